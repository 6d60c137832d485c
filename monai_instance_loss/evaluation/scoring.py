"""What is scored of a case, and how: labels, matching, connectivity, smallest lesion, empty cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from monai_instance_loss._checks import checked_choice, checked_count
from monai_instance_loss.metrics.matching import Matching
from monai_instance_loss.metrics.overlaps import MEASURES

__all__ = ["Region", "Scoring", "parse_matching", "parse_regions"]

_EMPTY = ("exclude", "one", "zero")
_MEAN = "mean"
_HALF = 0.5


@dataclass(frozen=True)
class Region:
    """Labels of a map that are scored as one class.

    Attributes:
        name: of the class.
        values: the labels, whole numbers from 1 on.
    """

    name: str
    values: tuple[int, ...]


@dataclass(frozen=True)
class Scoring:
    """What is scored of a case, and how.

    Args:
        ignore_label: value in the reference of voxels that are not scored.
        regions: the classes; none takes masks for binary.
        matching: when a predicted lesion matches one of the reference.
        connectivity: largest number of orthogonal steps between neighbouring voxels of a lesion, 1..3; None is 3.
        min_size: fewest voxels of a lesion; smaller ones are taken out of both masks.
        empty: what Dice, recall, precision, F1 and panoptic quality are where both masks are empty: ``"exclude"`` is
            NaN, which means leave out, ``"one"`` 1 and ``"zero"`` 0.

    Raises:
        TypeError: ``min_size`` or ``connectivity`` is no whole number.
        ValueError: an option is out of range, or two classes have one name.

    Example:
        >>> Scoring(matching=parse_matching("iou:0.3")).matching.threshold
        0.3
    """

    ignore_label: int | None = None
    regions: tuple[Region, ...] = ()
    matching: Matching = field(default_factory=Matching)
    connectivity: int | None = None
    min_size: int = 0
    empty: str = "exclude"

    def __post_init__(self) -> None:
        checked_count("min_size", self.min_size)
        checked_choice("empty", self.empty, _EMPTY)
        if self.connectivity is not None and checked_count("connectivity", self.connectivity, 1) > 3:
            raise ValueError(f"Expected `connectivity` to be 1, 2 or 3, but got {self.connectivity}.")
        names = [region.name for region in self.regions]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"Expected labels to have different names, but got {name!r} twice.")
        for region in self.regions:
            if self.ignore_label in region.values:
                raise ValueError(
                    f"Expected the label {self.ignore_label} either to be scored, as {region.name}, or to be ignored, "
                    "but got both."
                )

    def described(self) -> dict[str, Any]:
        """The options as plain values, for ``summary.json``."""
        threshold = self.matching.threshold
        return {
            "ignore_label": self.ignore_label,
            "labels": {region.name: list(region.values) for region in self.regions},
            "matching": self.matching.criterion if threshold is None else f"{self.matching.criterion}:{threshold:g}",
            "assignment": self.matching.assignment,
            "connectivity": _CONNECTIVITIES[self.connectivity or 3],
            "min_size_voxels": self.min_size,
            "empty": self.empty,
        }


_CONNECTIVITIES = {
    1: "faces (6 neighbours)",
    2: "faces and edges (18 neighbours)",
    3: "faces, edges and corners (26 neighbours)",
}


def parse_matching(text: str, assignment: str = "many") -> Matching:
    """A matching from ``criterion`` or ``criterion:threshold``; the threshold of an overlap is 0.5 where left out.

    Args:
        text: such as ``touch`` or ``iou:0.3``; ``Matching`` knows the criteria.
        assignment: as in ``Matching``.

    Raises:
        ValueError: the criterion, the threshold or the assignment is unknown or out of range.

    Example:
        >>> parse_matching("dice")
        Matching(criterion='dice', threshold=0.5, assignment='many', dilation_mm=0.0, inclusive=False)
    """
    criterion, colon, number = text.partition(":")
    try:
        threshold = float(number) if colon else None
    except ValueError:
        raise ValueError(f"Expected the matching to be a criterion or `criterion:number`, but got {text!r}.") from None
    if criterion in MEASURES and threshold is None:
        threshold = _HALF
    return Matching(criterion, threshold, assignment)


def parse_regions(texts: Sequence[str], known: Sequence[Region] = ()) -> tuple[Region, ...]:
    """Classes from ``N``, ``NAME`` or ``NAME=1,2``.

    Args:
        texts: a number ``N`` is the label of that number; a ``NAME`` is one of ``known``.
        known: the classes that a data set declares, whose names are used for numbers too.

    Raises:
        ValueError: a text is none of these, or names a label that is 0 or a class that is not known.

    Example:
        >>> parse_regions(["2", "WT=1,2,3"])
        (Region(name='2', values=(2,)), Region(name='WT', values=(1, 2, 3)))
    """
    by_name = {region.name: region for region in known}
    by_value = {region.values: region for region in known}
    regions = []
    for text in texts:
        name, equals, numbers = text.rpartition("=")
        if not equals and text in by_name:
            regions.append(by_name[text])
            continue
        try:
            values = tuple(sorted({int(number) for number in numbers.split(",")}))
        except ValueError:
            declared = f" of {', '.join(by_name)}" if by_name else ""
            raise ValueError(
                f"Expected a label to be a number, NAME=1,2 or a name{declared}, but got {text!r}."
            ) from None
        if min(values) < 1 or (equals and not name):
            raise ValueError(f"Expected a label to have a name and numbers from 1 on, but got {text!r}.")
        same = by_value.get(values)
        regions.append(Region(name if equals else same.name if same else numbers, values))
    if any(region.name == _MEAN for region in regions):
        raise ValueError(f"Expected a label to have another name than {_MEAN!r}, which is that of the mean of all.")
    return tuple(regions)
