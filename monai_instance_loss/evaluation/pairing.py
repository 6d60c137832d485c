"""Which prediction belongs to which reference: by file name, or by the folders of the WMH Segmentation Challenge."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from monai_instance_loss.data.cases import natural_key

__all__ = ["CaseFiles", "Failure", "pair_files"]

_SUFFIXES = (".nii", ".nii.gz")
_REFERENCE_NAME = "wmh"
_MASK_NAMES = (_REFERENCE_NAME, "result")
_IMAGE_NAMES = ("pre/FLAIR",)


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case.

    Attributes:
        case: its name.
        reference: mask of the reference.
        predictions: mask of each model that has one.
        probability: probability map of the first model.
        image: scan to draw the masks on.
    """

    case: str
    reference: Path
    predictions: dict[str, Path]
    probability: Path | None = None
    image: Path | None = None


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


@dataclass
class _Folder:
    """A folder of masks or images, and what was found in it."""

    path: Path
    inner: tuple[str, ...] = _MASK_NAMES
    endings: tuple[str, ...] = ("",)
    used: set[Path] = field(default_factory=set)

    def find(self, names: Iterable[str]) -> list[Path]:
        """All files that may be that of a case with these names."""
        found = []
        for name in names:
            found += [
                path
                for ending in self.endings
                for suffix in _SUFFIXES
                if (path := self.path / f"{name}{ending}{suffix}").is_file()
            ]
            inside = self.path / name
            if inside.is_dir():
                wanted = (inside / f"{stem}{suffix}" for stem in self.inner for suffix in _SUFFIXES)
                found += [path for path in wanted if path.is_file()] or _nifti_files(inside, nested=True)
        self.used.update(found)
        return found


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
    case is called ``<site>/<case>``, ``<site>_<case>`` or, if only one has that name, ``<case>``.

    Args:
        reference_dir: folder of the reference.
        prediction_dirs: folder of each model, by its name.
        probability_dir: folder of probability maps of the first model, found as predictions are.
        image_dir: folder of scans, found as predictions are; ``<case>_0000`` and ``<case>/pre/FLAIR`` are known too.
            Left out, it is ``reference_dir``, of which only ``pre/FLAIR`` is taken.

    Returns:
        The cases with a reference, in natural order, and what went wrong: a file without a partner, or several files
        for one case.

    Raises:
        FileNotFoundError: a folder does not exist, or holds no reference.
        ValueError: the reference is in both layouts at once.

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
    references, nested = _find_references(_existing(reference_dir))
    last = Counter(case.rsplit("/", 1)[-1] for case in references)
    names = {case: _names_of(case, last) for case in references}
    models = {model: _Folder(_existing(folder)) for model, folder in prediction_dirs.items()}
    probabilities = None if probability_dir is None else _Folder(_existing(probability_dir))
    images = None if image_dir is None else _Folder(_existing(image_dir), _IMAGE_NAMES, ("", "_0000"))
    cases, failures = [], []
    for case, paths in references.items():
        found = {model: folder.find(names[case]) for model, folder in models.items()}
        if len(paths) > 1:
            failures.append(Failure(case, None, _not_one("reference", case, Path(reference_dir), paths)))
            continue
        predictions = {model: files[0] for model, files in found.items() if len(files) == 1}
        failures += [
            Failure(case, model, _not_one("prediction", case, models[model].path, files))
            for model, files in found.items()
            if model not in predictions
        ]
        maps = probabilities.find(names[case]) if probabilities else []
        if probabilities and len(maps) != 1:
            first = next(iter(models))
            failures.append(Failure(case, first, _not_one("probability map", case, probabilities.path, maps)))
        scans = images.find(names[case]) if images else _scan_of(paths[0])
        cases.append(CaseFiles(case, paths[0], predictions, _only(maps), _only(scans)))
    for model, folder in models.items():
        failures += _leftovers(model, folder, names, nested, Path(reference_dir))
    return cases, failures


def _existing(folder: str | os.PathLike[str]) -> Path:
    path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(f"Expected an existing folder, but got {path}.")
    return path


def _find_references(folder: Path) -> tuple[dict[str, list[Path]], bool]:
    """Files of each case, in natural order, and whether cases are folders."""
    flat = _nifti_files(folder)
    in_folders = [path for path in _nifti_files(folder, nested=True) if _stem(path) == _REFERENCE_NAME]
    in_folders = [path for path in in_folders if path.parent != folder]
    if flat and in_folders:
        raise ValueError(
            f"Expected the reference to be files in {folder} or `<case>/wmh.nii.gz` below it, but got both: "
            f"{flat[0]} and {in_folders[0]}."
        )
    if not flat and not in_folders:
        raise FileNotFoundError(
            f"Expected {folder} to hold references (`<case>.nii.gz`, or `<site>/<case>/wmh.nii.gz`), but got none."
        )
    cases: dict[str, list[Path]] = {}
    for path in flat or in_folders:
        case = _stem(path) if flat else path.parent.relative_to(folder).as_posix()
        cases.setdefault(case, []).append(path)
    return {case: cases[case] for case in sorted(cases, key=natural_key)}, not flat


def _names_of(case: str, last: Mapping[str, int]) -> list[str]:
    short = case.rsplit("/", 1)[-1]
    names = [case, case.replace("/", "_")] + ([short] if last[short] == 1 else [])
    return list(dict.fromkeys(names))


def _leftovers(
    model: str, folder: _Folder, names: Mapping[str, list[str]], nested: bool, reference_dir: Path
) -> list[Failure]:
    """Predictions that belong to no reference."""
    folders_of_cases = {folder.path / name for case in names for name in names[case]}
    left = [
        path
        for path in _nifti_files(folder.path, nested)
        if path not in folder.used and folders_of_cases.isdisjoint(path.parents)
    ]
    message = "Expected a reference of {} in {}, but got none."
    return [
        Failure(path.relative_to(folder.path).as_posix(), model, message.format(path, reference_dir)) for path in left
    ]


def _nifti_files(folder: Path, nested: bool = False) -> list[Path]:
    found = folder.rglob("*") if nested else folder.iterdir()
    return sorted(p for p in found if p.name.endswith(_SUFFIXES) and not p.name.startswith(".") and p.is_file())


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")


def _scan_of(reference: Path) -> list[Path]:
    return [path for suffix in _SUFFIXES if (path := reference.parent / f"{_IMAGE_NAMES[0]}{suffix}").is_file()]


def _only(paths: list[Path]) -> Path | None:
    return paths[0] if len(paths) == 1 else None


def _not_one(what: str, case: str, folder: Path, paths: list[Path]) -> str:
    got = ", ".join(map(str, paths)) or "none"
    return f"Expected one {what} of {case} in {folder}, but got {got}."
