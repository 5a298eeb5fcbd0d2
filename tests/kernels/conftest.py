"""Modules beside the tests, which several of them share, are found."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
