"""Types of command-line arguments that several commands share; known without torch."""

from __future__ import annotations

import argparse

__all__ = ["ignore_label"]


def ignore_label(text: str) -> int:
    """The value of voxels that are not scored: any whole number but those of background and lesion.

    Raises:
        argparse.ArgumentTypeError: it is 0 or 1.
        ValueError: it is no whole number.

    Example:
        >>> ignore_label("2")
        2
    """
    if int(text) in (0, 1):
        raise argparse.ArgumentTypeError(f"expected neither 0 (background) nor 1 (lesion), but got {text}")
    return int(text)
