"""Cases of a data set that is made when it is missing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .cases import find_wmh_cases
from .writing import UNFINISHED_NAME, write_wmh_dataset

__all__ = ["wmh_cases"]


def wmh_cases(dataset_dir: str | os.PathLike[str], **generate_kwargs: Any) -> list[dict[str, str]]:
    """Return the cases of a data set, making synthetic ones first when the folder is missing or empty.

    Source: `write_wmh_dataset` and `find_wmh_cases`.

    Args:
        dataset_dir: folder of the data set, such as the WMH Segmentation Challenge's training data.
        generate_kwargs: arguments of `write_wmh_dataset`, unused when the folder holds something.

    Raises:
        FileNotFoundError, ValueError: as `find_wmh_cases`.
        FileExistsError: when an earlier run was cut off while it made the data set.

    Example:
        >>> import tempfile
        >>> options = dict(cases_per_site=1, sites=("GE3T",), spacing_mm=(4, 4, 6), progress=False)
        >>> with tempfile.TemporaryDirectory() as root:
        ...     first = wmh_cases(root, **options)
        ...     first == wmh_cases(root)
        True
    """
    folder = Path(dataset_dir)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return write_wmh_dataset(folder, **generate_kwargs)
    if (folder / UNFINISHED_NAME).exists():
        raise FileExistsError(
            f"Expected `dataset_dir` to hold a finished data set, but got {folder}, whose making was cut off: "
            "delete the folder and run again, or wait for the process that is writing it."
        )
    return find_wmh_cases(folder)
