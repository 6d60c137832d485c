"""One case, two masks or label maps, one call: the official columns of a preset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monai_instance_loss.evaluation.presets import get_preset
from monai_instance_loss.evaluation.presets.preset import Preset
from monai_instance_loss.evaluation.presets.scored_region import ScoredRegion
from monai_instance_loss.instances.spacing import checked_spacing

__all__ = ["score_case"]


def score_case(
    y_pred: Any, y: Any, *, spacing_mm: Sequence[float], preset: str | Preset, **overrides: Any
) -> dict[str, Any]:
    """Score one case by the rules of a challenge or toolkit, in the official columns.

    Source: the preset's; ``get_preset(preset).source`` names it. Units, ranges and averages of the columns are those of
    ``get_preset(preset).resolved()``. Differentiable: nothing.

    Args:
        y_pred: the prediction (H, W) or (H, W, D), array or tensor of any dtype: a mask of 0 and 1, or, where the
            preset has regions, a map of its labels.
        y: the ground truth of the same shape; it may hold the preset's ``ignore_label`` as well.
        spacing_mm: size of a voxel along each axis in mm.
        preset: one of ``evaluation.presets.NAMES``, or a ``Preset``.
        overrides: options of the preset with other values, such as ``connectivity=1`` or
            ``regions={"lesion": (1, 2)}``.

    Returns:
        A number a column, NaN where there is nothing to score; for a preset with regions a dictionary of such
        dictionaries, by region.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: the preset or an option of it is unknown, the shapes differ or are not 2D or 3D, values are not
            those of a mask or label map of the preset, or ``spacing_mm`` is not one positive number an axis.
        OptionalImportError: scipy is not installed.

    Example:
        >>> y, y_pred = np.zeros((8, 8, 4)), np.zeros((8, 8, 4))
        >>> y[1:3, 1, 1] = y[6, 6, 2] = y_pred[2, 1, 1] = y_pred[4, 4, 1] = 1
        >>> scores = score_case(y_pred, y, spacing_mm=(1, 1, 5), preset="isles22")
        >>> {name: round(score, 3) for name, score in scores.items()}
        {'dice': 0.4, 'lesion_f1': 0.5, 'lesion_count_difference': 0, 'volume_difference_ml': 0.005}
    """
    rules = preset.override(**overrides) if isinstance(preset, Preset) else get_preset(preset, **overrides)
    pred, true = _label_map("y_pred", y_pred), _label_map("y", y)
    if pred.shape != true.shape or true.ndim not in (2, 3):
        raise ValueError(f"Expected `y` to be 2D or 3D and as `y_pred`, {pred.shape}, but got {true.shape}.")
    spacing = checked_spacing(spacing_mm, true.ndim)
    if spacing is None:
        raise TypeError("Expected `spacing_mm` to be a sequence, but got None.")
    _check_labels("y_pred", pred, rules, None)
    _check_labels("y", true, rules, rules.ignore_label)
    kept = None if rules.ignore_label is None else true != rules.ignore_label
    scores = {}
    for name, labels in (rules.regions or {"": (1,)}).items():
        pred_mask, y_mask = _where(pred, labels), _where(true, labels)
        if kept is not None:
            pred_mask &= kept
        region = ScoredRegion(_as_batch(pred_mask), _as_batch(y_mask), spacing, rules)
        scores[name] = {column: how.score(region) for column, how in rules.columns.items()}
    return scores if rules.regions is not None else scores[""]


def _label_map(name: str, value: Any) -> NDArray[Any]:
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    if array.dtype.kind not in "buif":
        raise TypeError(f"Expected `{name}` to be an array or tensor of numbers, but got {array.dtype}.")
    return array


def _as_batch(mask: NDArray[np.bool_]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(mask))[None, None]


def _where(volume: NDArray[Any], labels: Iterable[int]) -> NDArray[np.bool_]:
    """Voxels of some labels; several times faster than numpy's ``isin`` and ``unique``, which sort."""
    return reduce(np.logical_or, (volume == label for label in labels))


def _check_labels(name: str, volume: NDArray[Any], rules: Preset, ignored: int | None) -> None:
    """Refuse labels that no region has: nothing is left out silently."""
    known = {0, *(label for labels in (rules.regions or {"": (1,)}).values() for label in labels)}
    known |= set() if ignored is None else {ignored}
    odd = np.unique(volume[~_where(volume, known)]).tolist()
    if odd:
        kind = f"labels of the regions {dict(rules.regions)}" if rules.regions else "0 and 1"
        hint = "" if rules.regions or ignored in odd else " Name the labels of lesions with `regions`."
        raise ValueError(f"Expected `{name}` to hold {kind} for the preset {rules.name!r}, but got {odd[:8]}.{hint}")
