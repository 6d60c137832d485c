"""``python -m monai_instance_loss``: ``evaluate`` folders of masks, ``tune`` an operating point."""

from __future__ import annotations

import sys

from monai_instance_loss.evaluation.command import main

if __name__ == "__main__":
    sys.exit(main())
