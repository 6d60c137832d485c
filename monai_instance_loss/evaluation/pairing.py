"""Which prediction belongs to which reference: by file name, or by the folders of the WMH Segmentation Challenge."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monai_instance_loss.data.layouts import DataSet, nifti_files
from monai_instance_loss.data.opening import open_data_set
from monai_instance_loss.data.pairs import paths_in
from monai_instance_loss.evaluation.layout import Folder, Names, dead_links, names_of_cases, scan_beside
from monai_instance_loss.evaluation.tables import printable
from monai_instance_loss.operating_points import OperatingPoint

__all__ = ["CaseFiles", "Failure", "pair_files"]


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case.

    Attributes:
        case: its name.
        reference: mask of the reference.
        predictions: mask of each model that has one.
        probability: probability map of the first model.
        image: scan to draw the masks on.
        group: what the case belongs to, such as a site; empty where that is not known.
        points: operating point of each model whose prediction is a probability map.
    """

    case: str
    reference: Path
    predictions: dict[str, Path]
    probability: Path | None = None
    image: Path | None = None
    group: str = ""
    points: Mapping[str, OperatingPoint] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """Why a prediction of a case was not scored.

    Attributes:
        case: name of the case, or of the file where it belongs to none.
        model: name of the model; None where the reference is at fault, and no model was scored.
        message: what was expected and what came.
        missing: the case is on one side only.
    """

    case: str
    model: str | None
    message: str
    missing: bool = field(default=False, compare=False)


def pair_files(
    reference_dir: str | os.PathLike[str],
    prediction_dirs: Mapping[str, str | os.PathLike[str]],
    probability_dir: str | os.PathLike[str] | None = None,
    image_dir: str | os.PathLike[str] | None = None,
    layout: str | None = None,
) -> tuple[list[CaseFiles], list[Failure]]:
    """Pair the NIfTI files of a reference with those of predictions, and tell what has no partner.

    Source: ours; ``open_data_set`` knows the layouts of a reference. Only names are looked at.

    Convention: the prediction of a case is ``<case>.nii``, ``<case>.nii.gz`` or, where there is a folder ``<case>``,
    its ``wmh`` or ``result`` file, or else its only NIfTI file; files that are called as the layout of the reference
    calls them come first. In the layout of the WMH Challenge a case is called ``<site>/<case>``, ``<site>_<case>`` or,
    if only one has that name, ``<case>``. Linked folders are followed. A file that may be that of two cases is used for
    neither. A CSV file names files itself; those of a folder that is given come first.

    Args:
        reference_dir: folder of the reference, or a CSV file.
        prediction_dirs: folder of each model, by its name; none takes the column prediction of a CSV file.
        probability_dir: folder of probability maps of the first model, found as predictions are.
        image_dir: folder of scans, found as predictions are; ``<case>_0000`` and ``<case>/pre/FLAIR`` are known too.
            Left out, they are where the layout has them.
        layout: one of ``LAYOUTS``; None detects it.

    Returns:
        The cases with a reference, in natural order, and what went wrong: a file without a partner, several files for
        one case, several cases for one file, or a link in the reference that leads nowhere.

    Raises:
        FileNotFoundError: a folder does not exist, or holds no reference.
        OSError: a folder below one of them cannot be read.
        ValueError: the reference is in two layouts at once, or a file of it is found twice over links; no predictions
            are given.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("ref/a.nii", "ref/b.nii", "net/a.nii.gz"):
        ...         path = Path(root, name)
        ...         path.parent.mkdir(exist_ok=True)
        ...         path.touch()
        ...     cases, failures = pair_files(f"{root}/ref", {"net": f"{root}/net"})
        >>> [(case.case, case.predictions["net"].name) for case in cases if case.predictions]
        [('a', 'a.nii.gz')]
        >>> [(failure.case, failure.model) for failure in failures]
        [('b', 'net')]
    """
    return pair_data_set(open_data_set(reference_dir, layout), prediction_dirs, probability_dir, image_dir)


def pair_data_set(
    data: DataSet,
    prediction_dirs: Mapping[str, str | os.PathLike[str]],
    probability_dir: str | os.PathLike[str] | None = None,
    image_dir: str | os.PathLike[str] | None = None,
) -> tuple[list[CaseFiles], list[Failure]]:
    """As ``pair_files``, of a reference that is open already."""
    names = names_of_cases(data.masks)
    masks = {
        model: _Files(Folder("prediction", _existing(path), layout=data.layout), names)
        for model, path in prediction_dirs.items()
    }
    named: dict[str, _Column] = {}
    if not masks:
        if "prediction" not in next(iter(data.rows.values()), ()):
            raise ValueError(f"Expected folders of predictions (--pred), or a column prediction in {data.root}.")
        named["prediction"] = _Column(data, "prediction")
    maps: _Files | _Column = _Column(data, "probability")
    if probability_dir is not None:
        maps = _Files(Folder("probability map", _existing(probability_dir), layout=data.layout), names)
    scans = None if image_dir is None else _Files(Folder.of_scans(_existing(image_dir)), names)
    is_table = bool(data.rows)
    cases, failures = [], [] if is_table else [_dead_link(path, data.root) for path in dead_links(data.root)]
    sources: dict[str, _Files | _Column] = {**masks, **named}
    for case, paths in data.masks.items():
        name = printable(case)
        if len(paths) != 1:
            failures.append(Failure(name, None, _not_one("reference", case, data.root, paths), missing=not paths))
            continue
        predictions = {}
        for model, files in sources.items():
            chosen, failure = files.choose(case, model)
            if chosen:
                predictions[model] = chosen
            failures += failure
        probability, failure = maps.choose(case, next(iter(sources)))
        # a table need not have one of each case
        failures += failure if isinstance(maps, _Files) else []
        image = scans.choose(case, "")[0] if scans else _scan(data, case)
        group = data.rows.get(case, {}).get("group", "")
        cases.append(CaseFiles(name, paths[0], predictions, probability, image, group))
    for model, files in masks.items():
        failures += files.leftovers(model, data)
    return cases, failures


def _scan(data: DataSet, case: str) -> Path | None:
    listed = paths_in(data.root, data.rows.get(case, {}).get("image", ""))
    return listed[0] if listed else scan_beside(data, case)


class _Column:
    """The files that a column of a CSV file names."""

    def __init__(self, data: DataSet, name: str) -> None:
        self.data, self.name = data, name

    def choose(self, case: str, model: str) -> tuple[Path | None, list[Failure]]:
        found = paths_in(self.data.root, self.data.rows.get(case, {}).get(self.name, ""))
        if len(found) == 1:
            return found[0], []
        message = _not_one(self.name, case, self.data.root, found)
        return None, [Failure(printable(case), model, message, missing=not found)]


class _Files:
    """The files of a folder that belong to cases: each to one, and each case has one."""

    def __init__(self, folder: Folder, names: Mapping[str, Names]) -> None:
        self.folder, self.names = folder, names
        self.found = folder.files_of(names)
        self.owners: dict[Path, list[str]] = {}
        for case, paths in self.found.items():
            for path in paths:
                self.owners.setdefault(path, []).append(case)

    def choose(self, case: str, model: str) -> tuple[Path | None, list[Failure]]:
        """The file of a case; where there is none to be had, None and the reason."""
        what, found = self.folder.what, self.found[case]
        if len(found) != 1:
            message = _not_one(what, case, self.folder.path, found)
            return None, [Failure(printable(case), model, message, missing=not found)]
        owners = self.owners[found[0]]
        if len(owners) > 1:
            cases = f"{', '.join(owners[:-1])} and {owners[-1]}"
            message = f"Expected {found[0]} to be the {what} of one case, but got {cases}."
            return None, [Failure(printable(case), model, message)]
        return found[0], []

    def leftovers(self, model: str, data: DataSet) -> list[Failure]:
        """Files that belong to no reference."""
        root = self.folder.path
        folders_of_cases = {root / name for own in self.names.values() for name in own.full + own.short}
        # links may give a file a second name
        used = {path.resolve() for path in self.owners}
        found = set(nifti_files(root, data.folders and data.layout.name == "wmh"))
        found |= {path for paths in self.folder.by_layout().values() for path in paths}
        left = [
            path for path in sorted(found) if path.resolve() not in used and folders_of_cases.isdisjoint(path.parents)
        ]
        message = "Expected a reference of {} in {}, but got none."
        return [
            Failure(path.relative_to(root).as_posix(), model, message.format(path, data.root), missing=True)
            for path in left
        ]


def _existing(folder: str | os.PathLike[str]) -> Path:
    path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(f"Expected an existing folder, but got {path}.")
    return path


def _dead_link(path: Path, folder: Path) -> Failure:
    message = f"Expected {path} to be a file or folder, but got a link that leads nowhere."
    return Failure(path.relative_to(folder).as_posix(), None, message)


def _not_one(what: str, case: str, folder: Path, paths: Sequence[Path]) -> str:
    got = ", ".join(map(str, paths)) or "none"
    return f"Expected one {what} of {case} in {folder}, but got {got}."
