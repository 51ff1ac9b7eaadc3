"""Entry point of `python -m client`."""

import sys

if __name__ == "__main__":
    try:
        # Inside the try: Ctrl-C during the imports must not end in a traceback either.
        from client.cli import main

        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
