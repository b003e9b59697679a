"""Makes the scripts in examples/ importable, as they are to each other when run."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
