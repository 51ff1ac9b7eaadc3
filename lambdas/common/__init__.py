"""What the handlers share: typed events, AWS clients, errors, and the models that travel between states."""
