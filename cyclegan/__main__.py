"""``python -m cyclegan``: the command line, where its script is not on the path."""

import sys

from cyclegan.cli import main

sys.exit(main())
