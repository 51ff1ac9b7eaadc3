"""What the README's figures come from. `python -m benchmarks.bridge --help` tells more."""
