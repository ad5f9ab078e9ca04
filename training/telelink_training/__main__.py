"""`python -m telelink_training`: the command line."""

import signal
import sys

# A supervisor's SIGTERM is taken like Ctrl-C: or the workers would outlive this process by minutes.
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    from telelink_training.cli import main  # takes seconds, in which an interrupt has nothing to say yet
except KeyboardInterrupt:
    sys.exit(130)

sys.exit(main())
