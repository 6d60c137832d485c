"""What a preset declares: regions, lesions, matching, empty cases, and columns with their units and averages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from monai_instance_loss._checks import checked_choice, checked_count, checked_number
from monai_instance_loss.metrics.coverage import Coverage
from monai_instance_loss.metrics.matching import Matching

if TYPE_CHECKING:
    from monai_instance_loss.evaluation.presets.scored_region import ScoredRegion

__all__ = ["Column", "Preset"]

_AVERAGES: dict[str, Callable[[list[float]], Any]] = {"mean": np.mean, "sum": np.sum}


@dataclass(frozen=True)
class Column:
    """A score of a region, by the official name that is its key in ``Preset.columns``.

    Args:
        score: what it is, from the region with its lesions labelled and matched.
        unit: "lesions", "mm", "ml", "mm3", or "" for none.
        average: over cases, of those where it is not NaN: "mean" or "sum".
    """

    score: Callable[[ScoredRegion], float]
    unit: str = ""
    average: str = "mean"

    def __post_init__(self) -> None:
        checked_choice("average", self.average, list(_AVERAGES))


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The rules of a challenge or toolkit; everything that a preset of this package is.

    Source: each names its own. Differentiable: nothing.

    Args:
        name: as in ``get_preset``.
        source: paper, repository and commit that the rules are taken from, in one line.
        columns: the official columns, by their official names.
        options: the options below that the columns depend on; no others can be overridden.
        regions: labels that make up each region, for scores by region; None is one mask of 0 and 1 and scores of it.
        ignore_label: label of the reference, beside those, whose voxels are taken out of both sides.
        connectivity: of lesions, the largest number of orthogonal steps between neighbouring voxels; None is full.
        matching: which predicted and true lesions belong together.
        coverage: for ``msseg``, when a lesion is detected by those that touch it.
        merge_steps: true lesions that touch when dilated so often count as one, and a prediction that touches a dilated
            one matches it.
        min_volume_mm3: lesions of up to this volume are taken out on both sides; None keeps all, and has to be with
            ``merge_steps``.
        unscored_volume_mm3: true lesions of up to this volume, found or missed, are not counted.
        empty: the score where there is nothing on either side; NaN leaves such cases out of averages.
        missed_distance_mm: the distance of a missed or a made up lesion.
        thresholds: of the matching, over which scores are averaged.

    Raises:
        TypeError: an option has the wrong type.
        ValueError: an option is out of range.

    Example:
        >>> volume = Column(lambda region: region.true_voxels * region.voxel_mm3, "mm3")
        >>> preset = Preset(name="volume", source="ours", columns={"volume": volume}, options=())
        >>> preset.averages(preset.rows("a", {"volume": 8.0}) + preset.rows("b", {"volume": 4.0}))
        [{'cases': 2, 'volume': 6.0}]
    """

    name: str
    source: str
    columns: Mapping[str, Column] = field(repr=False)
    options: tuple[str, ...]
    regions: Mapping[str, tuple[int, ...]] | None = None
    ignore_label: int | None = None
    connectivity: int | None = 3
    matching: Matching = field(default_factory=Matching)
    coverage: Coverage = field(default_factory=Coverage)
    merge_steps: int = 0
    min_volume_mm3: float | None = None
    unscored_volume_mm3: float = 0.0
    empty: float = math.nan
    missed_distance_mm: float = math.inf
    thresholds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name, kind in (("matching", Matching), ("coverage", Coverage)):
            if not isinstance(getattr(self, name), kind):
                got = type(getattr(self, name)).__name__
                raise TypeError(f"Expected `{name}` to be a {kind.__name__}, but got {got}.")
        for threshold in self.thresholds:
            replace(self.matching, threshold=threshold)
        checked_count("merge_steps", self.merge_steps)
        checked_number("unscored_volume_mm3", self.unscored_volume_mm3)
        if self.min_volume_mm3 is not None:
            checked_number("min_volume_mm3", self.min_volume_mm3)
            if self.merge_steps:
                raise ValueError(
                    f"Expected `min_volume_mm3` to be None with `merge_steps`, but got {self.min_volume_mm3}."
                )
        if self.regions is not None:
            _check_regions(self.regions, self.ignore_label)

    def override(self, **options: Any) -> Preset:
        """The preset with other values of its options.

        Raises:
            TypeError: a value has the wrong type.
            ValueError: the preset does not have the option, or the value is out of range.
        """
        unknown = sorted(set(options) - set(self.options))
        if unknown:
            raise ValueError(f"Expected options of the preset {self.name!r}, {list(self.options)}, but got {unknown}.")
        return replace(self, **options)

    def resolved(self) -> dict[str, Any]:
        """Name, source, every option with its value, and unit and average of each column, for a summary in JSON."""
        options = {name: getattr(self, name) for name in self.options}
        plain = {
            name: asdict(value) if isinstance(value, Matching | Coverage) else value for name, value in options.items()
        }
        columns = {name: {"unit": column.unit, "average": column.average} for name, column in self.columns.items()}
        return {"preset": self.name, "source": self.source, **plain, "columns": columns}

    def rows(self, case: str, scores: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What ``score_case`` gave for a case as rows of a table: one, or one a region."""
        if self.regions is None:
            return [{"case": case, **scores}]
        return [{"case": case, "region": region, **scores[region]} for region in self.regions]

    def averages(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Each column over all cases as its ``average`` says, one row, or one a region; NaN where nothing is left."""
        rows = list(rows)
        regions = [None] if self.regions is None else list(self.regions)
        result = []
        for region in regions:
            mine = [row for row in rows if row.get("region") == region]
            summary: dict[str, Any] = {"cases": len(mine)} if region is None else {"region": region, "cases": len(mine)}
            for name, column in self.columns.items():
                values = [row[name] for row in mine if not math.isnan(row[name])]
                summary[name] = float(_AVERAGES[column.average](values)) if values else math.nan
            result.append(summary)
        return result


def _check_regions(regions: Mapping[str, tuple[int, ...]], ignore_label: int | None) -> None:
    if not isinstance(regions, Mapping) or not regions:
        raise TypeError(f"Expected `regions` to be a mapping from names to labels, but got {regions!r}.")
    for name, labels in regions.items():
        whole = [label for label in labels if isinstance(label, int) and label > 0 and label != ignore_label]
        if not whole or len(whole) != len(labels):
            raise ValueError(f"Expected `regions` to hold labels above 0, but got {labels!r} for {name!r}.")
