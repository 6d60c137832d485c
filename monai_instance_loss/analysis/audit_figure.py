"""The figure of a gradient audit, one small panel a loss, readable in greyscale too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from monai_instance_loss._checks import checked_choice
from monai_instance_loss._optional import import_extra
from monai_instance_loss.analysis.gradient_audit import GradientRow
from monai_instance_loss.analysis.scenes import SITUATIONS

__all__ = ["plot_gradient_audit"]

Figure = import_extra("matplotlib.figure", "Figure")
Line2D = import_extra("matplotlib.lines", "Line2D")

# what varies, in words
_AXES = {
    "size_voxels": "Size of the lesion (voxels)",
    "other_lesions": "Number of other lesions",
    "background_probability": "Probability of the background",
}
# each marker smaller than the one before, so that none hides another
_STYLES: dict[str, dict[str, Any]] = {
    "false": {"label": "false component", "color": "#d55e00", "marker": "o", "markersize": 8, "linestyle": "solid"},
    "missed": {"label": "missed lesion", "color": "#0b4f8a", "marker": "^", "markersize": 6, "linestyle": "dashed"},
    "half_found": {
        "label": "half-found lesion",
        "color": "#117733",
        "marker": "s",
        "markersize": 3,
        "linestyle": "dotted",
    },
}
# what is drawn over a point whose gradient does not only help
_SIGNS: dict[str, dict[str, Any]] = {
    "mixed": {"label": "over it: helps and harms", "marker": "_"},
    "against": {"label": "over it: harms", "marker": "x"},
}
_SIGN = {"color": "black", "linestyle": "none", "markersize": 9, "markeredgewidth": 1.3}
_COLUMNS = 6
_DPI = 150
# below it the axis is linear, down to 0
_SMALLEST = 1e-6


def plot_gradient_audit(
    tables: Mapping[str, Sequence[GradientRow]],
    along: Literal["size_voxels", "other_lesions", "background_probability"] = "size_voxels",
    at: Mapping[str, float] | None = None,
) -> Any:
    """The gradient that a false, a missed and a half-found lesion receive, one panel a loss, all on one scale.

    Source: ours. A flat line treats all sizes alike. A point with nothing over it helps, one with a dash helps some
    voxels and harms others, one with a cross harms; a point at 0 has no gradient, a gap has one with NaN or infinity.

    Args:
        tables: name of a loss to its rows from ``gradient_audit``.
        along: what varies along the horizontal axis: the size in voxels, a number of lesions, or a probability.
        at: values of the other two by name; of what is not named, the middle one of those in the tables.

    Returns:
        A ``matplotlib.figure.Figure``.

    Raises:
        ValueError: no row, an unknown ``along``, a name in ``at`` that is none of the other two or a value without
            rows.
        OptionalImportError: matplotlib is not installed.

    Example:
        >>> from torch.nn import BCEWithLogitsLoss
        >>> from monai_instance_loss.analysis import gradient_audit
        >>> rows = gradient_audit(BCEWithLogitsLoss(), size_voxels=(1, 9), other_lesions=0, spatial_size=(16, 16))
        >>> plot_gradient_audit({"BCE": rows}).axes[0].get_title()
        'BCE'
    """
    checked_choice("along", along, tuple(_AXES))
    rows = [row for table in tables.values() for row in table]
    if not rows:
        raise ValueError(f"Expected `tables` to hold rows, but got none in {list(tables)}.")
    fixed = _fixed(rows, along, at or {})
    largest = max((row.gradient_l1 for row in rows if math.isfinite(row.gradient_l1)), default=0.0)
    columns = min(len(tables), _COLUMNS)
    lines = math.ceil(len(tables) / columns)
    # room for the words around a single panel too
    size = (max(1.9 * columns + 0.8, 6.4), max(1.7 * lines + 1.2, 4.2))
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, (name, table) in zip(grid, tables.items(), strict=False):
        _draw(axis, name, [row for row in table if all(getattr(row, key) == fixed[key] for key in fixed)], along)
    for axis in grid[len(tables) :]:
        axis.set_axis_off()
    _scale(grid[0], sorted({getattr(row, along) for row in rows}), largest)
    for axis in grid[max(len(tables) - columns, 0) : len(tables)]:
        axis.tick_params(labelbottom=True)
        axis.set_xlabel(_AXES[along], fontsize=8)
    figure.supylabel("Gradient on the lesion's logits (L1 norm)", fontsize=10)
    figure.suptitle(", ".join(f"{_AXES[key].lower()}: {value:g}" for key, value in fixed.items()), fontsize=10)
    figure.legend(
        handles=_legend(), loc="outside lower center", ncols=5 if columns > 4 else 3, fontsize=8, frameon=False
    )
    return figure


def _fixed(rows: Sequence[GradientRow], along: str, at: Mapping[str, float]) -> dict[str, float]:
    others = {
        key: sorted({getattr(row, key) for row in rows}) for key in GradientRow._fields if key in _AXES and key != along
    }
    if unknown := sorted(set(at) - set(others)):
        raise ValueError(f"Expected `at` to name some of {list(others)}, but got {unknown}.")
    for key, value in at.items():
        if value not in others[key]:
            raise ValueError(f"Expected `at` to give {key} one of {others[key]}, but got {value!r}.")
    return {key: at.get(key, values[len(values) // 2]) for key, values in others.items()}


def _draw(axis: Any, name: str, rows: Sequence[GradientRow], along: str) -> None:
    for situation in SITUATIONS:
        style = {key: value for key, value in _STYLES[situation].items() if key != "label"}
        drawn = [row for row in rows if row.situation == situation]
        where, norms = [getattr(row, along) for row in drawn], [row.gradient_l1 for row in drawn]
        axis.plot(where, norms, **style, linewidth=1.1, clip_on=False)
        for direction, sign in _SIGNS.items():
            signed = [(x, row.gradient_l1) for x, row in zip(where, drawn, strict=True) if row.direction == direction]
            if signed:
                axis.plot(*zip(*signed, strict=True), marker=sign["marker"], **_SIGN, clip_on=False, zorder=4)
    axis.set_title(name, fontsize=8)
    axis.grid(color="0.9", linewidth=0.6)
    axis.tick_params(labelsize=7)


def _scale(axis: Any, values: Sequence[float], largest: float) -> None:
    """Axes for all panels: logarithmic, with 0 where there is one."""
    if values[0] > 0:
        axis.set_xscale("log")
    else:
        axis.set_xscale("symlog", linthresh=1)
    shown = values if len(values) <= 4 else [values[0], *values[2:-1:2], values[-1]]
    axis.set_xticks(shown, [f"{value:g}" for value in shown])
    axis.minorticks_off()
    axis.set_yscale("symlog", linthresh=_SMALLEST, linscale=0.7)
    top = max(math.ceil(math.log10(largest)) if largest > 0 else 0, -5)
    powers = range(top if top % 2 == 0 else top - 1, -7, -2)
    axis.set_yticks([0, *(10.0**power for power in powers)], ["0", *(f"$10^{{{power}}}$" for power in powers)])
    axis.set_ylim(0, 10.0**top)


def _legend() -> list[Any]:
    lines = [Line2D([], [], **_STYLES[situation]) for situation in SITUATIONS]
    lines += [Line2D([], [], **_SIGN, **sign) for sign in _SIGNS.values()]
    return lines
