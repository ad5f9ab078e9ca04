"""`python -m telelink_score`, and the command `telelink`."""

import signal
import sys

from telelink_score.cli import main


def run() -> int:
    """The command line. A supervisor's SIGTERM is taken like Ctrl-C: what was begun is taken away again."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return main()


if __name__ == "__main__":  # a worker process imports this module again
    sys.exit(run())
