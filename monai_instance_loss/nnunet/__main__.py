"""``python -m monai_instance_loss.nnunet`` prints the folder that ``nnUNet_extTrainer`` is to name."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import version
from pathlib import Path

__all__ = ["main"]


def main() -> int:
    """Print the folder of the trainers; where nnU-Net would not look there, say so instead.

    Returns:
        The exit code: 0, or 1 where nnunetv2 is missing or too old.
    """
    try:
        paths = importlib.import_module("nnunetv2.paths")
    except ModuleNotFoundError:
        print("Expected nnunetv2, but got none: pip install 'monai_instance_loss[nnunet]'.", file=sys.stderr)
        return 1
    if not hasattr(paths, "nnUNet_extTrainer"):
        print(
            "Expected an nnunetv2 that finds trainers through `nnUNet_extTrainer` (2.8), but got "
            f"{version('nnunetv2')}: update it, or see `help('monai_instance_loss.nnunet')` for the way in two lines.",
            file=sys.stderr,
        )
        return 1
    print(Path(__file__).parent / "trainers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
