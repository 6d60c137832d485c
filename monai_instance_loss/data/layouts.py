"""How data sets lay out their files: one declaration a layout."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from monai_instance_loss._folders import walk_files

__all__ = ["LAYOUTS", "SUFFIXES", "DataSet", "Layout", "nifti_files"]

SUFFIXES = (".nii", ".nii.gz")
_NIFTI = r"\.nii(?:\.gz)?"


@dataclass(frozen=True)
class Layout:
    """How a data set calls its files.

    Attributes:
        name: what ``--layout`` calls it.
        shown: the path of a mask, for messages.
        mask: pattern of that path, without suffix, below the folder; its groups, joined by ``_``, name the case.
        images: the channels of a case, as paths from the folder of its mask, without suffix.
        probability: pattern of a probability map, if it is not that of a mask.
        nested: its masks are known as such in folders only: in one folder, files of these names are ``flat``.
    """

    name: str
    shown: str
    mask: str = r"(?!)"
    images: tuple[str, ...] = ()
    probability: str = ""
    nested: bool = False

    def case_of(self, path: str, probability: bool = False) -> str | None:
        """Name of the case whose mask (or probability map) has this path below the folder; None where it is neither.

        Example:
            >>> LAYOUTS["brats"].case_of("BraTS-GLI-00000-000/BraTS-GLI-00000-000-seg.nii.gz")
            'BraTS-GLI-00000-000'
        """
        pattern = self.probability if probability and self.probability else self.mask
        match = re.fullmatch(pattern + _NIFTI, path)
        return "_".join(filter(None, match.groups())) if match else None


_ENTITIES = r"(?:_(?!ses-|run-)[a-z]+-[^_/]+)*"
_BIDS = rf"(?:.*/)?(?!.*(?:desc|label)-brain_)(sub-[^_/]+)(?:_(ses-[^_/]+))?{_ENTITIES}"
_BIDS += rf"(?:_(run-[^_/]+))?{_ENTITIES}"

LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("flat", "<case>.nii.gz", r"([^/]+)"),
        Layout("wmh", "<site>/<case>/wmh.nii.gz", r"(.+)/wmh", ("pre/FLAIR", "pre/T1")),
        Layout("nnunet", "labelsTr/<case>.nii.gz beside dataset.json"),
        Layout(
            "bids",
            "sub-*/ses-*/.../*_mask.nii.gz",
            _BIDS + "_(?:mask|dseg)",
            probability=_BIDS + "_probseg",
            nested=True,
        ),
        Layout(
            "brats",
            "<case>/BraTS-*-seg.nii.gz",
            r"(?:.*/)?(BraTS[^/]*)[-_]seg",
            ("{case}-t2f", "{case}-t1n", "{case}-t1c", "{case}-t2w"),
        ),
        Layout(
            "mslesseg",
            "P<id>/T<n>/P<id>_T<n>_MASK.nii.gz",
            r"(?:.*/)?(P\d+(?:_T\d+)?)_MASK",
            ("{case}_FLAIR", "{case}_T1", "{case}_T2"),
        ),
        Layout("csv", "a CSV file with the columns case and reference"),
    )
}


@dataclass(frozen=True)
class DataSet:
    """The masks of a data set.

    Attributes:
        layout: how it is laid out.
        root: the folder (or CSV file) with the masks.
        masks: those of each case, in natural order; more than one where it is not clear which.
        labels: the values of each class that the data set declares; none where it declares nothing.
        ignore_label: the value of voxels that are not scored, if it declares one.
        rows: of a CSV file, the row of each case.
        channels: of nnU-Net, how many images a case has.
    """

    layout: Layout
    root: Path
    masks: dict[str, list[Path]]
    labels: dict[str, tuple[int, ...]] = field(default_factory=dict)
    ignore_label: int | None = None
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    channels: int = 0

    @property
    def folders(self) -> bool:
        """Whether masks lie in folders below the root."""
        return any(path.parent != self.root for paths in self.masks.values() for path in paths)

    def describe(self) -> str:
        """What was found, in one line."""
        labels = f", labels {', '.join(self.labels)}" if self.labels else ""
        return f"layout {self.layout.name} ({self.layout.shown}{labels}): {len(self.masks)} cases in {self.root}"


def nifti_files(folder: Path, nested: bool = False) -> list[Path]:
    """The NIfTI files right in a folder or, if nested, at any depth of it; sorted."""
    found = walk_files(folder) if nested else [path for path in folder.iterdir() if not path.is_dir()]
    return sorted(path for path in found if path.name.endswith(SUFFIXES) and not path.name.startswith("."))
