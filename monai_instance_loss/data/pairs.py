"""A CSV file that names the files of each case."""

from __future__ import annotations

import csv
from pathlib import Path

from monai_instance_loss._folders import natural_key
from monai_instance_loss.data.layouts import LAYOUTS, DataSet

__all__ = ["open_pairs", "paths_in"]


def open_pairs(path: Path) -> DataSet:
    """The cases of a CSV file with the columns case and reference, and any of prediction, probability, image, group.

    Raises:
        FileNotFoundError: it has no row.
        ValueError: a column is missing, or a case comes twice.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        if not {"case", "reference"} <= set(columns):
            raise ValueError(f"Expected {path} to have the columns case and reference, but got {', '.join(columns)}.")
        rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
    by_case: dict[str, dict[str, str]] = {}
    for row in rows:
        if not row["case"] or row["case"] in by_case:
            got = f"{row['case']!r} twice" if row["case"] else "a row without one"
            raise ValueError(f"Expected each row of {path} to have a case of its own, but got {got}.")
        by_case[row["case"]] = row
    if not by_case:
        raise FileNotFoundError(f"Expected {path} to hold cases, but got none.")
    cases = sorted(by_case, key=natural_key)
    masks = {case: paths_in(path, by_case[case]["reference"]) for case in cases}
    return DataSet(LAYOUTS["csv"], path, masks, rows={case: by_case[case] for case in cases})


def paths_in(table: Path, cell: str) -> list[Path]:
    """The paths in a cell of a CSV file, with ``;`` between them; those that are relative start at its folder.

    Example:
        >>> [path.as_posix() for path in paths_in(Path("a/pairs.csv"), "x.nii; /y.nii")]
        ['a/x.nii', '/y.nii']
    """
    return [table.parent / part.strip() for part in cell.split(";") if part.strip()]
