"""The operating point: how probabilities become instances, and how that was chosen, as a small JSON file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from monai_instance_loss._checks import checked_count, checked_number
from monai_instance_loss._whole_file import whole_file

__all__ = ["OperatingPoint"]


@dataclass(frozen=True)
class OperatingPoint:
    """How a map of probabilities becomes instances: which voxels make one, and which instances are kept.

    Source: ours; the two thresholds are the hysteresis of Canny (IEEE TPAMI 1986, doi:10.1109/TPAMI.1986.4767851).
    ``choose_operating_point`` and ``conformal_operating_point`` find one, ``apply_operating_point`` and the transform
    ``InstanceOperatingPoint`` apply it. Equal points are those that make equal masks.

    Args:
        threshold: probability of a voxel of an instance, this or more, in (0, 1].
        min_volume_mm3: smallest volume in mm3 (area in mm2 of a 2D image) of an instance that is kept; a millionth
            less is kept too. 0 keeps all, and needs no voxel size.
        high_threshold: hysteresis: an instance is kept where its largest probability is this or more; it is as large as
            ``threshold`` makes it. Above ``threshold``, up to 1; None keeps all.
        connectivity: largest number of orthogonal steps between neighbouring voxels of an instance, 1..number of
            spatial dimensions; None is full connectivity (8 or 26 neighbours).
        chosen: how it was chosen, in what JSON knows; empty for a point set by hand.

    Raises:
        TypeError: an option is of another type.
        ValueError: an option is out of range.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     OperatingPoint(0.3, min_volume_mm3=10).save(f"{root}/point.json")
        ...     OperatingPoint.load(f"{root}/point.json")
        OperatingPoint(threshold=0.3, min_volume_mm3=10, high_threshold=None, connectivity=None, chosen={})
    """

    threshold: float
    min_volume_mm3: float = 0.0
    high_threshold: float | None = None
    connectivity: int | None = None
    chosen: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        checked_number("threshold", self.threshold, 0, 1, above=True)
        checked_number("min_volume_mm3", self.min_volume_mm3)
        if self.high_threshold is not None:
            checked_number("high_threshold", self.high_threshold, self.threshold, 1, above=True)
        if self.connectivity is not None and checked_count("connectivity", self.connectivity, 1) > 3:
            raise ValueError(f"Expected `connectivity` to be None or in 1..3, but got {self.connectivity!r}.")
        if not isinstance(self.chosen, Mapping):
            raise TypeError(f"Expected `chosen` to be a mapping, but got {type(self.chosen).__name__}.")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the point as JSON, whole or not at all.

        Raises:
            OSError: the file cannot be written.
            TypeError, ValueError: ``chosen`` holds what JSON does not know.
        """
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        text = json.dumps(values | {"chosen": dict(self.chosen)}, indent=2, ensure_ascii=False, allow_nan=False)
        with whole_file(Path(path)) as temporary:
            # names of files may hold bytes that are no text: they are spelt out
            temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> OperatingPoint:
        """Read a point that ``save`` wrote, or that was written by hand: only ``threshold`` has to be there.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is no JSON, or holds something else than an operating point; the message names it.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"Expected {path} to be the JSON of an operating point, but got: {error}") from error
        names = [item.name for item in fields(cls)]
        if not isinstance(values, dict) or "threshold" not in values or not set(values) <= set(names):
            got = list(values) if isinstance(values, dict) else values
            raise ValueError(f"Expected {path} to hold `threshold` and no others than {names}, but got {got!r}.")
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"Expected {path} to hold an operating point, but got: {error}") from error
