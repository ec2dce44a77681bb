"""What ``precision.py`` runs: trained networks, who lowers their precision, and what that costs."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

sys.path.insert(0, str(ROOT / "examples" / "digits"))
