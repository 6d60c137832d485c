"""The FROC curve, drawn as it is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_instance_loss._optional import import_extra

__all__ = ["froc_figure"]

Figure = import_extra("matplotlib.figure", "Figure")

_COLOR, _MASK_COLOR = "#0b4f8a", "#d55e00"
_DPI = 150
# the axis is linear up to here, and logarithmic from here on
_LINEAR_TO = 0.125
# points that a line gets for each doubling
_STEPS = 32
# thresholds are written no closer than this, in parts of the height and width of the axis
_APART = 0.07


def froc_figure(model: str, froc: Mapping[str, Any], operating_point: tuple[float, float] | None = None) -> Any:
    """FROC curve: sensitivity against the number of false lesions a case, on a logarithmic axis, with thresholds.

    Source: as ``InstanceFROC``. Between two thresholds sensitivity is linear in the number of false lesions, which is
    a bent line on a logarithmic axis, and is drawn so: what is read off is what is computed.

    Args:
        model: its name.
        froc: from ``froc_of``.
        operating_point: false lesions a case and sensitivity of the binary masks, to mark.

    Returns:
        A ``matplotlib.figure.Figure``.

    Example:
        >>> froc = {"cases": 1, "threshold": 0.1, "score": 0.5, "fp_per_case": [1.0], "sensitivity": [0.5],
        ...         "curve_fp_per_case": [1.0, 0.0], "curve_sensitivity": [0.5, 0.0],
        ...         "curve_threshold": [0.3, math.nan]}
        >>> froc_figure("net", froc).axes[0].get_xlabel()
        'False lesions a case'
    """
    figure = Figure(figsize=(6.8, 5.4), dpi=_DPI, layout="constrained")
    axis = figure.subplots()
    rates, found, cuts = (
        np.array(froc[f"curve_{name}"], dtype=np.float64)[::-1] for name in ("fp_per_case", "sensitivity", "threshold")
    )
    ticks = [0.0, *froc["fp_per_case"]]
    end = 1.15 * max(ticks[-1], rates[-1], operating_point[0] if operating_point else 0)
    if math.isnan(froc["score"]):
        axis.text(0.5, 0.5, "No lesion in the reference", ha="center", transform=axis.transAxes)
    else:
        axis.plot(*_bent(rates, found), color=_COLOR, label=f"{model}: all thresholds")
        axis.plot([rates[-1], end], [found[-1]] * 2, color=_COLOR, linestyle="dotted", label="level beyond its end")
        axis.scatter(
            froc["fp_per_case"], froc["sensitivity"],
            s=34, marker="o", facecolors="none", edgecolors=_COLOR, linewidths=1.2, zorder=3,
            label=f"sensitivity at {ticks[1]:g} to {ticks[-1]:g}, mean {froc['score']:.3f}",
        )  # fmt: skip
    if operating_point is not None and not math.isnan(operating_point[1]):
        marker = {"marker": "X", "markersize": 10, "color": _MASK_COLOR, "linestyle": "none", "zorder": 4}
        axis.plot(*operating_point, **marker, clip_on=False, label="the masks that were scored")
    axis.set_xscale("symlog", base=2, linthresh=_LINEAR_TO, linscale=0.5)
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlim(0, end)
    axis.set_ylim(-0.02, 1.02)
    axis.set_yticks(np.linspace(0, 1, 6))
    axis.set_xlabel("False lesions a case")
    axis.set_ylabel("Sensitivity to lesions")
    axis.grid(color="0.9")
    _write_thresholds(axis, rates, found, cuts)
    if not math.isnan(froc["score"]):
        figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def _bent(rates: NDArray[np.float64], found: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The curve with points between its own, as a straight line on a linear axis is none on this one."""
    x, y = [rates[:1]], [found[:1]]
    places = _places(rates)
    for k in range(rates.size - 1):
        share = np.linspace(0, 1, 2 + int(_STEPS * (places[k + 1] - places[k])))
        x.append(_rates(places[k] + share * (places[k + 1] - places[k])))
        run = rates[k + 1] - rates[k]
        y.append(found[k] + (share if run == 0 else (x[-1] - rates[k]) / run) * (found[k + 1] - found[k]))
    return np.concatenate(x), np.concatenate(y)


def _places(rates: Any) -> NDArray[np.float64]:
    """Places on the axis: in proportion up to ``_LINEAR_TO``, which is at 1, and logarithmic from there on."""
    scaled = np.asarray(rates) / _LINEAR_TO
    return np.where(scaled <= 1, scaled, 1 + np.log2(np.maximum(scaled, 1)))


def _rates(places: NDArray[np.float64]) -> NDArray[np.float64]:
    return _LINEAR_TO * np.where(places <= 1, places, np.exp2(np.maximum(places - 1, 0)))


def _write_thresholds(
    axis: Any, rates: NDArray[np.float64], found: NDArray[np.float64], cuts: NDArray[np.float64]
) -> None:
    """Thresholds beside the curve, from the lowest on, as many as there is room for."""
    width = _places(axis.get_xlim()[1])
    written: list[tuple[float, float]] = []
    for x, y, cut in zip(rates[::-1], found[::-1], cuts[::-1], strict=True):
        place = (float(_places(x) / width), float(y))
        if math.isnan(cut) or math.isnan(y) or any(math.dist(place, other) < _APART for other in written):
            continue
        written.append(place)
        axis.plot([x], [y], marker="|", markersize=7, color=_COLOR, linestyle="none")
        # at the bottom above the curve, so that the axis does not hide it
        below = -10 if y > _APART else 4
        axis.annotate(f"{cut:.2g}", (x, y), xytext=(4, below), textcoords="offset points", fontsize=7.5, color="0.25")
