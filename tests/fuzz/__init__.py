"""Differential fuzzing of the bridge's decoder against wsproto.

    .venv/bin/python -m tests.fuzz --count 1000000 --seed 7

runs as many frame sequences as asked for; every difference is written to ``corpus/`` and thereby becomes a test.
"""
