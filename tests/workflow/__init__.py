"""The synthesized state machine, run with the real handlers."""
