"""How folders of masks and images are laid out: which files they hold, and which of them may be that of a case."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from monai_instance_loss._folders import walk_files
from monai_instance_loss.data.layouts import LAYOUTS, SUFFIXES, DataSet, Layout, nifti_files

__all__ = ["Folder", "Names", "dead_links", "names_of_cases", "scan_beside"]

_MASK_NAMES = ("wmh", "result")
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
        layout: that of the reference, whose own names count too.
    """

    what: str
    path: Path
    inner: tuple[str, ...] = _MASK_NAMES
    endings: tuple[str, ...] = ("",)
    layout: Layout = LAYOUTS["flat"]

    @classmethod
    def of_scans(cls, path: Path) -> Folder:
        """A folder of scans, as nnU-Net or the WMH Segmentation Challenge call them."""
        return cls("scan", path, _IMAGE_NAMES, ("", "_0000"))

    def files_of(self, names: Mapping[str, Names]) -> dict[str, list[Path]]:
        """All files that may be that of each case; a file may be listed for two cases.

        What the layout of the reference calls a mask of the case comes first, and else what is called as the case is.

        A case that has a file of its full name has no claim, by its short one, on the full name of another case.
        """
        found = {case: self._find(own.full) for case, own in names.items()}
        taken = {path for paths in found.values() for path in paths}
        for case, paths in found.items():
            short = self._find(names[case].short)
            found[case] = paths + [path for path in short if path not in paths and not (paths and path in taken)]
        return found | {case: paths for case, paths in self.by_layout().items() if case in names}

    def by_layout(self) -> dict[str, list[Path]]:
        """The files of each case that are called as the layout of the reference calls them."""
        found: dict[str, list[Path]] = {}
        if self.layout.name in ("flat", "wmh", "nnunet", "csv"):
            return found
        for path in nifti_files(self.path, nested=True):
            case = self.layout.case_of(path.relative_to(self.path).as_posix(), self.what == "probability map")
            if case is not None:
                found.setdefault(case, []).append(path)
        return found

    def _find(self, names: Iterable[str]) -> list[Path]:
        found = []
        for name in names:
            stems = (f"{name}{ending}" for ending in self.endings)
            found += _present(self.path / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES)
            inside = self.path / name
            if inside.is_dir():
                found += _present(inside / f"{stem}{suffix}" for stem in self.inner for suffix in SUFFIXES) or (
                    nifti_files(inside, nested=True)
                )
        return found


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


def dead_links(folder: Path) -> list[Path]:
    """Links at any depth that lead nowhere and are not called as NIfTI files: folders, it may be, of a lost disk."""
    others = (path for path in walk_files(folder) if not path.name.endswith(SUFFIXES) and path.name[0] != ".")
    return [path for path in others if not path.exists()]


def scan_beside(data: DataSet, case: str) -> Path | None:
    """The first scan of a case that lies where its layout has it, if there is one."""
    (reference, *_) = data.masks[case]
    stems = [reference.parent / stem.format(case=case) for stem in data.layout.images]
    if data.layout.name == "nnunet":
        stems = [data.root.parent / data.root.name.replace("labels", "images") / f"{case}_0000"]
    found = _present(stem.with_name(f"{stem.name}{suffix}") for stem in stems for suffix in SUFFIXES)
    return found[0] if found else None


def _present(paths: Iterable[Path]) -> list[Path]:
    """Those that exist and are no folder; a link that leads nowhere is one, so that reading names it."""
    return [path for path in paths if os.path.lexists(path) and not path.is_dir()]
