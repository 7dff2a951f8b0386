"""The command ``retouch``, also as ``python -m retouch``: Ctrl-C is one line from the first moment on."""

import os
import sys


def run() -> None:
    """``cli.run``, whose imports take a part of a second."""
    try:
        from retouch.cli import run
    except KeyboardInterrupt:
        os.write(2, b"retouch: interrupted\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    run()
