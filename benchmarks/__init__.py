"""What the README's figures come from. `.venv/bin/python -m benchmarks.bridge --help` tells more."""
