"""The package that holds Slicer's scripted plugins: importing it makes their base class importable by its own name."""

import sys
from pathlib import Path

_here = str(Path(__file__).parent)
if _here not in sys.path:
    sys.path.append(_here)
