"""Which prediction belongs to which reference: by file name, or by the folders of the WMH Segmentation Challenge."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monai_instance_loss.evaluation.layout import (
    Folder,
    Names,
    dead_links,
    find_references,
    names_of_cases,
    nifti_files,
    scan_beside,
)
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
        points: operating point of each model whose prediction is a probability map.
    """

    case: str
    reference: Path
    predictions: dict[str, Path]
    probability: Path | None = None
    image: Path | None = None
    points: Mapping[str, OperatingPoint] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """Why a prediction of a case was not scored.

    Attributes:
        case: name of the case, or of the file where it belongs to none.
        model: name of the model; None where the reference is at fault, and no model was scored.
        message: what was expected and what came.
    """

    case: str
    model: str | None
    message: str


def pair_files(
    reference_dir: str | os.PathLike[str],
    prediction_dirs: Mapping[str, str | os.PathLike[str]],
    probability_dir: str | os.PathLike[str] | None = None,
    image_dir: str | os.PathLike[str] | None = None,
) -> tuple[list[CaseFiles], list[Failure]]:
    """Pair the NIfTI files of a reference with those of predictions, and tell what has no partner.

    Source: ours; the layout is that of https://wmh.isi.uu.nl. Only names are looked at.

    Convention: the reference is either files ``<case>.nii`` or ``.nii.gz`` right in the folder, or folders
    ``<site>/<case>/wmh.nii.gz`` at any depth. The prediction of a case is ``<case>.nii``, ``<case>.nii.gz`` or, where
    there is a folder ``<case>``, its ``wmh`` or ``result`` file, or else its only NIfTI file. In the second layout a
    case is called ``<site>/<case>``, ``<site>_<case>`` or, if only one has that name, ``<case>``. Linked folders are
    followed. A file that may be that of two cases is used for neither.

    Args:
        reference_dir: folder of the reference.
        prediction_dirs: folder of each model, by its name.
        probability_dir: folder of probability maps of the first model, found as predictions are.
        image_dir: folder of scans, found as predictions are; ``<case>_0000`` and ``<case>/pre/FLAIR`` are known too.
            Left out, it is ``reference_dir``, of which only ``pre/FLAIR`` is taken.

    Returns:
        The cases with a reference, in natural order, and what went wrong: a file without a partner, several files for
        one case, several cases for one file, or a link in the reference that leads nowhere.

    Raises:
        FileNotFoundError: a folder does not exist, or holds no reference.
        OSError: a folder below one of them cannot be read.
        ValueError: the reference is in both layouts at once, or a file of it is found twice over links.

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
    reference_dir = _existing(reference_dir)
    references, nested = find_references(reference_dir)
    names = names_of_cases(references)
    masks = {model: _Files(Folder("prediction", _existing(path)), names) for model, path in prediction_dirs.items()}
    maps = scans = None
    if probability_dir is not None:
        maps = _Files(Folder("probability map", _existing(probability_dir)), names)
    if image_dir is not None:
        scans = _Files(Folder.of_scans(_existing(image_dir)), names)
    cases, failures = [], [_dead_link(path, reference_dir) for path in dead_links(reference_dir)]
    for case, paths in references.items():
        name = printable(case)
        if len(paths) > 1:
            failures.append(Failure(name, None, _not_one("reference", case, reference_dir, paths)))
            continue
        predictions = {}
        for model, files in masks.items():
            chosen, message = files.choose(case)
            if chosen:
                predictions[model] = chosen
            else:
                failures.append(Failure(name, model, message))
        probability, message = maps.choose(case) if maps else (None, "")
        if message:
            failures.append(Failure(name, next(iter(masks)), message))
        image = scans.choose(case)[0] if scans else _only(scan_beside(paths[0]))
        cases.append(CaseFiles(name, paths[0], predictions, probability, image))
    for model, files in masks.items():
        failures += files.leftovers(model, nested, reference_dir)
    return cases, failures


class _Files:
    """The files of a folder that belong to cases: each to one, and each case has one."""

    def __init__(self, folder: Folder, names: Mapping[str, Names]) -> None:
        self.folder, self.names = folder, names
        self.found = folder.files_of(names)
        self.owners: dict[Path, list[str]] = {}
        for case, paths in self.found.items():
            for path in paths:
                self.owners.setdefault(path, []).append(case)

    def choose(self, case: str) -> tuple[Path | None, str]:
        """The file of a case; where there is none to be had, None and the reason."""
        what, found = self.folder.what, self.found[case]
        if len(found) != 1:
            return None, _not_one(what, case, self.folder.path, found)
        owners = self.owners[found[0]]
        if len(owners) > 1:
            cases = f"{', '.join(owners[:-1])} and {owners[-1]}"
            return None, f"Expected {found[0]} to be the {what} of one case, but got {cases}."
        return found[0], ""

    def leftovers(self, model: str, nested: bool, reference_dir: Path) -> list[Failure]:
        """Files that belong to no reference."""
        root = self.folder.path
        folders_of_cases = {root / name for own in self.names.values() for name in own.full + own.short}
        # links may give a file a second name
        used = {path.resolve() for path in self.owners}
        left = [
            path
            for path in nifti_files(root, nested)
            if path.resolve() not in used and folders_of_cases.isdisjoint(path.parents)
        ]
        message = "Expected a reference of {} in {}, but got none."
        return [Failure(path.relative_to(root).as_posix(), model, message.format(path, reference_dir)) for path in left]


def _existing(folder: str | os.PathLike[str]) -> Path:
    path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(f"Expected an existing folder, but got {path}.")
    return path


def _dead_link(path: Path, folder: Path) -> Failure:
    message = f"Expected {path} to be a file or folder, but got a link that leads nowhere."
    return Failure(path.relative_to(folder).as_posix(), None, message)


def _only(paths: Sequence[Path]) -> Path | None:
    return paths[0] if len(paths) == 1 else None


def _not_one(what: str, case: str, folder: Path, paths: Sequence[Path]) -> str:
    got = ", ".join(map(str, paths)) or "none"
    return f"Expected one {what} of {case} in {folder}, but got {got}."
