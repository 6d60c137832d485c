"""Cases of a data set that is made when it is missing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .cases import find_wmh_cases
from .writing import UNFINISHED_NAME, write_wmh_dataset

__all__ = ["wmh_cases"]


def wmh_cases(
    dataset_dir: str | os.PathLike[str], *, make_data: bool = True, **generate_kwargs: Any
) -> list[dict[str, str]]:
    """Return the cases of a data set, making synthetic ones first when the folder is missing or empty.

    Source: `write_wmh_dataset` and `find_wmh_cases`.

    Args:
        dataset_dir: folder of the data set, such as the WMH Segmentation Challenge's training data.
        make_data: whether to make synthetic cases in a missing or empty folder; an error otherwise, for a folder that
            somebody named and may have mistyped.
        generate_kwargs: arguments of `write_wmh_dataset`, unused when the folder holds something.

    Raises:
        TypeError: when ``make_data`` is no bool.
        FileNotFoundError: as `find_wmh_cases`; and when the folder is missing or empty, and ``make_data`` is False.
        OSError, ValueError: as `find_wmh_cases`.
        FileExistsError: when an earlier run was cut off while it made the data set.

    Example:
        >>> import tempfile
        >>> options = dict(cases_per_site=1, sites=("GE3T",), spacing_mm=(4, 4, 6), progress=False)
        >>> with tempfile.TemporaryDirectory() as root:
        ...     first = wmh_cases(root, **options)
        ...     first == wmh_cases(root)
        True
    """
    if not isinstance(make_data, bool):
        raise TypeError(f"Expected `make_data` to be True or False, but got {make_data!r}.")
    folder = Path(dataset_dir)
    wrong = "does not exist" if not folder.exists() else "is empty" if _is_empty(folder) else ""
    if wrong and make_data:
        return write_wmh_dataset(folder, **generate_kwargs)
    if wrong:
        raise FileNotFoundError(
            f"Expected `dataset_dir` to hold cases, but got {folder}, which {wrong}: correct the path, or ask for "
            "synthetic cases with `make_data` (in the bundle `--make_data true`)."
        )
    if (folder / UNFINISHED_NAME).exists():
        raise FileExistsError(
            f"Expected `dataset_dir` to hold a finished data set, but got {folder}, whose making was cut off: "
            "delete the folder and run again, or wait for the process that is writing it."
        )
    return find_wmh_cases(folder)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
