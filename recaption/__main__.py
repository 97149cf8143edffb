"""`python -m recaption` is the command line."""

import sys

from recaption.cli import main

sys.exit(main())
