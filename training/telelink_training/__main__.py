"""`python -m telelink_training`: the command line."""

import sys

from telelink_training.cli import main

sys.exit(main())
