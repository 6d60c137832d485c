"""How folders of masks and images are laid out: which files they hold, and which of them may be that of a case."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from monai_instance_loss._folders import natural_key, walk_files

__all__ = ["Folder", "Names", "dead_links", "find_references", "names_of_cases", "nifti_files", "scan_beside"]

_SUFFIXES = (".nii", ".nii.gz")
_REFERENCE_NAME = "wmh"
_MASK_NAMES = (_REFERENCE_NAME, "result")
_IMAGE_NAMES = ("pre/FLAIR",)


@dataclass(frozen=True)
class Names:
    """What the files of a case may be called.

    Attributes:
        full: ``<site>/<case>`` and ``<site>_<case>``.
        short: ``<case>``, if it is another name and no other site has one of it.
    """

    full: tuple[str, ...]
    short: tuple[str, ...] = ()


@dataclass(frozen=True)
class Folder:
    """A folder of masks, probability maps or scans.

    Attributes:
        what: what its files are, for messages.
        path: where it is.
        inner: names of the file where a case is a folder.
        endings: what may follow the name of a case.
    """

    what: str
    path: Path
    inner: tuple[str, ...] = _MASK_NAMES
    endings: tuple[str, ...] = ("",)

    @classmethod
    def of_scans(cls, path: Path) -> Folder:
        """A folder of scans, as nnU-Net or the WMH Segmentation Challenge call them."""
        return cls("scan", path, _IMAGE_NAMES, ("", "_0000"))

    def files_of(self, names: Mapping[str, Names]) -> dict[str, list[Path]]:
        """All files that may be that of each case; a file may be listed for two cases.

        A case that has a file of its full name has no claim, by its short one, on the full name of another case.
        """
        found = {case: self._find(own.full) for case, own in names.items()}
        taken = {path for paths in found.values() for path in paths}
        for case, paths in found.items():
            short = self._find(names[case].short)
            found[case] = paths + [path for path in short if path not in paths and not (paths and path in taken)]
        return found

    def _find(self, names: Iterable[str]) -> list[Path]:
        found = []
        for name in names:
            stems = (f"{name}{ending}" for ending in self.endings)
            found += _present(self.path / f"{stem}{suffix}" for stem in stems for suffix in _SUFFIXES)
            inside = self.path / name
            if inside.is_dir():
                found += _present(inside / f"{stem}{suffix}" for stem in self.inner for suffix in _SUFFIXES) or (
                    nifti_files(inside, nested=True)
                )
        return found


def find_references(folder: Path) -> tuple[dict[str, list[Path]], bool]:
    """Files of each case, in natural order, and whether cases are folders.

    Raises:
        FileNotFoundError: there is none.
        ValueError: they are in both layouts at once, or one is found twice over links.
    """
    flat = nifti_files(folder)
    in_folders = [path for path in nifti_files(folder, nested=True) if _stem(path) == _REFERENCE_NAME]
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
    places: dict[Path, Path] = {}
    for path in flat or in_folders:
        first = places.setdefault(path.parent.resolve() / path.name, path)
        if first is not path:
            raise ValueError(f"Expected each reference once, but got {first} and {path}, which links make one file.")
        case = _stem(path) if flat else path.parent.relative_to(folder).as_posix()
        cases.setdefault(case, []).append(path)
    return {case: cases[case] for case in sorted(cases, key=natural_key)}, not flat


def names_of_cases(cases: Iterable[str]) -> dict[str, Names]:
    """What the files of each case may be called.

    Example:
        >>> names_of_cases(["Utrecht/0"])
        {'Utrecht/0': Names(full=('Utrecht/0', 'Utrecht_0'), short=('0',))}
    """
    last = {case: case.rsplit("/", 1)[-1] for case in cases}
    count = Counter(last.values())
    return {
        case: Names(
            tuple(dict.fromkeys((case, case.replace("/", "_")))),
            (short,) if count[short] == 1 and short != case else (),
        )
        for case, short in last.items()
    }


def nifti_files(folder: Path, nested: bool = False) -> list[Path]:
    """The NIfTI files right in a folder or, if nested, at any depth of it; sorted."""
    found = walk_files(folder) if nested else [path for path in folder.iterdir() if not path.is_dir()]
    return sorted(path for path in found if path.name.endswith(_SUFFIXES) and not path.name.startswith("."))


def dead_links(folder: Path) -> list[Path]:
    """Links at any depth that lead nowhere and are not called as NIfTI files: folders, it may be, of a lost disk."""
    others = (path for path in walk_files(folder) if not path.name.endswith(_SUFFIXES) and path.name[0] != ".")
    return [path for path in others if not path.exists()]


def scan_beside(reference: Path) -> list[Path]:
    """The challenge's scan next to a reference, where there is one."""
    return _present(reference.parent / f"{_IMAGE_NAMES[0]}{suffix}" for suffix in _SUFFIXES)


def _present(paths: Iterable[Path]) -> list[Path]:
    """Those that exist and are no folder; a link that leads nowhere is one, so that reading names it."""
    return [path for path in paths if os.path.lexists(path) and not path.is_dir()]


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")
