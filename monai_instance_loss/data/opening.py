"""The masks of a data set, and which layout it has."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from monai_instance_loss._folders import natural_key
from monai_instance_loss.data.layouts import LAYOUTS, DataSet, nifti_files
from monai_instance_loss.data.nnunet_layout import is_nnunet, open_nnunet
from monai_instance_loss.data.pairs import open_pairs

__all__ = ["open_data_set"]


def open_data_set(root: str | os.PathLike[str], layout: str | None = None, part: str | None = None) -> DataSet:
    """Find the masks of a data set, and which layout it has.

    Source: ours. Only names are looked at, and a ``dataset.json``. Linked folders are followed.

    Args:
        root: folder of the data set, ``labelsTr`` or ``labelsTs`` of one of nnU-Net, or a CSV file.
        layout: one of ``LAYOUTS``; None detects it.
        part: ``labelsTr`` or ``labelsTs``, for the folder of a data set of nnU-Net that has both.

    Raises:
        FileNotFoundError: the folder does not exist, or holds no mask in the layout.
        OSError: a folder below it cannot be read.
        ValueError: the layout is unknown or not clear, or ``dataset.json`` or the CSV file cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     Path(root, "P1_T2_MASK.nii.gz").touch()
        ...     found = open_data_set(root)
        >>> found.layout.name, list(found.masks)
        ('mslesseg', ['P1_T2'])
    """
    path = Path(root)
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f"Expected `layout` to be one of {', '.join(LAYOUTS)}, but got {layout!r}.")
    if path.is_file() and (layout == "csv" or (layout is None and path.suffix.lower() == ".csv")):
        return open_pairs(path)
    if not path.is_dir():
        raise FileNotFoundError(f"Expected an existing folder, but got {path}.")
    if layout == "nnunet" or (layout is None and is_nnunet(path)):
        return open_nnunet(path, part)
    files = nifti_files(path, nested=True)
    found = _masks(path, files, LAYOUTS if layout is None else [layout])
    if len(found) > 1:
        first, second, *_ = sorted(found, key=list(LAYOUTS).index)
        raise ValueError(
            f"Expected {path} to have one layout, but got both: {_first(found[first])} and {_first(found[second])}, "
            f"which are {first} and {second}. Choose one with --layout."
        )
    if not found:
        raise FileNotFoundError(_nothing(path, files, layout))
    ((name, masks),) = found.items()
    return DataSet(LAYOUTS[name], path, {case: masks[case] for case in sorted(masks, key=natural_key)})


def _masks(root: Path, files: Iterable[Path], names: Iterable[str]) -> dict[str, dict[str, list[Path]]]:
    """The masks of each case, of each of these layouts that has any."""
    names = list(names)
    found: dict[str, dict[str, list[Path]]] = {}
    places: dict[Path, Path] = {}
    for path in files:
        below = path.relative_to(root).as_posix()
        for name in names:
            layout = LAYOUTS[name]
            case = layout.case_of(below)
            if case is None or (layout.nested and len(names) > 1 and path.parent == root):
                continue
            first = places.setdefault(path.parent.resolve() / path.name, path)
            if first is not path:
                raise ValueError(
                    f"Expected each reference once, but got {first} and {path}, which links make one file."
                )
            found.setdefault(name, {}).setdefault(case, []).append(path)
    # what a layout calls by a name of its own in one folder is not `flat` too, nor are the scans beside it
    special = {case for name, masks in found.items() if name != "flat" for case in masks}
    if all(re.split(r"[-_](?!.*[-_])", stem)[0] in special for stem in found.get("flat", {})):
        found.pop("flat", None)
    return found


def _first(masks: Mapping[str, list[Path]]) -> Path:
    return next(iter(masks.values()))[0]


def _nothing(root: Path, files: list[Path], layout: str | None) -> str:
    if layout is None:
        wanted = ", ".join(f"`{known.shown}`" for known in LAYOUTS.values())
        return f"Expected {root} to hold references ({wanted}), but got none."
    others = _masks(root, files, LAYOUTS)
    looks = f" Its files have the layout {' or '.join(others)}." if others else ""
    return (
        f"Expected {root} to hold references in the layout {layout} (`{LAYOUTS[layout].shown}`), but got none.{looks}"
    )
