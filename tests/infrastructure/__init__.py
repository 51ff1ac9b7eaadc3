"""What the synthesized template means: who may do what, who may reach what, what holds what."""
