"""The benchmark is made of scripts that import each other; pytest has to find them as Python does."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
