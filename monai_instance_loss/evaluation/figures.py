"""Figures of an evaluation, readable in greyscale too: models differ by marker and line, not by colour alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_instance_loss._optional import import_extra
from monai_instance_loss.evaluation.case import CaseScores

__all__ = ["agreement_figure", "sensitivity_figure"]

Figure = import_extra("matplotlib.figure", "Figure")

_COLORS = ("#0b4f8a", "#d55e00", "#117733", "#aa3377", "#4d4d4d", "#b8860b")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_LINES = ("solid", "dashed", "dotted", "dashdot", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
_DPI = 150


def sensitivity_figure(strata: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    """Sensitivity against lesion volume, with exact 95 % intervals.

    Source: ours.

    Args:
        strata: of each model, from ``volume_strata``.

    Returns:
        A ``matplotlib.figure.Figure``.

    Example:
        >>> stratum = {"from_mm3": 0, "to_mm3": None, "n_true": 4, "sensitivity": 0.5, "low": 0.1, "high": 0.9,
        ...            "geometric_mean_mm3": 20.0}
        >>> sensitivity_figure({"net": [stratum]}).axes[0].get_ylabel()
        'Sensitivity to lesions'
    """
    figure = Figure(figsize=(7.2, 4.6), dpi=_DPI, layout="constrained")
    axis = figure.subplots()
    edges = [stratum["from_mm3"] for stratum in next(iter(strata.values()))][1:]
    for edge in edges:
        axis.axvline(edge, color="0.8", linewidth=0.8, zorder=0)
    for k, (model, rows) in enumerate(strata.items()):
        kept = [row for row in rows if row["n_true"]]
        if kept:
            _draw_strata(axis, k, model, kept, _shift(k, len(strata)))
    axis.set_xscale("log")
    axis.set_xticks(edges, [f"{edge:g}" for edge in edges])
    axis.minorticks_off()
    axis.set_xlabel("Lesion volume in the reference (mm³)")
    axis.set_ylabel("Sensitivity to lesions")
    axis.set_ylim(-0.02, 1.12)
    axis.set_yticks(np.linspace(0, 1, 6))
    _diameter_axis(axis)
    _write_counts(axis, next(iter(strata.values())))
    if axis.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    else:
        axis.text(0.5, 0.5, "No lesion in the reference", ha="center", transform=axis.transAxes)
    return figure


def agreement_figure(
    scores: Mapping[str, Sequence[CaseScores]], agreements: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> Any:
    """Bland-Altman plots of the number of lesions and of their volume, a row a model.

    Source: Bland & Altman 1986, doi:10.1016/S0140-6736(86)90837-8.

    Args:
        scores: of each model.
        agreements: of each model, as in ``summarise_model``.

    Returns:
        A ``matplotlib.figure.Figure``.

    Example:
        >>> lines = {"bias": 0.0, "low": -1.0, "high": 1.0}
        >>> figure = agreement_figure({"net": []}, {"net": {"lesion_count": lines, "volume_ml": lines}})
        >>> figure.axes[1].get_ylabel()
        'Prediction - reference (ml)'
    """
    figure = Figure(figsize=(9.6, 3.9 * len(scores)), dpi=_DPI, layout="constrained")
    grid = figure.subplots(len(scores), 2, squeeze=False)
    for k, (axes, (model, cases)) in enumerate(zip(grid, scores.items(), strict=True)):
        for axis, title, unit, key, names in (
            (axes[0], "Number of lesions", "lesions", "lesion_count", ("n_true", "n_pred")),
            (axes[1], "Lesion volume", "ml", "volume_ml", ("volume_true_ml", "volume_pred_ml")),
        ):
            true, pred = (np.array([getattr(case, name) for case in cases], dtype=np.float64) for name in names)
            axis.scatter((true + pred) / 2, pred - true, **_points(k))
            _draw_limits(axis, agreements[model][key])
            axis.yaxis.get_major_locator().set_params(integer=key == "lesion_count")
            axis.set_title(f"{title}: {model} (n = {len(cases)} cases)", fontsize=10)
            axis.set_xlabel(f"Mean of prediction and reference ({unit})")
            axis.set_ylabel(f"Prediction - reference ({unit})")
    return figure


def _draw_strata(axis: Any, k: int, model: str, rows: Sequence[Mapping[str, Any]], shift: float) -> None:
    volumes = np.array([row["geometric_mean_mm3"] for row in rows]) * shift
    found, low, high = (np.array([row[name] for row in rows]) for name in ("sensitivity", "low", "high"))
    color = _COLORS[k % len(_COLORS)]
    axis.fill_between(volumes, low, high, color=color, alpha=0.12, linewidth=0)
    axis.errorbar(volumes, found, [found - low, high - found], fmt="none", ecolor=color, elinewidth=1, capsize=3)
    style = {"color": color, "linestyle": _LINES[k % len(_LINES)], "marker": _MARKERS[k % len(_MARKERS)]}
    axis.plot(volumes, found, **style, markersize=6, markerfacecolor="white", label=f"{model}, exact 95 % interval")


def _shift(k: int, models: int) -> float:
    """Factor that keeps the bars of several models from hiding each other on the logarithmic axis."""
    return float(1.06 ** (k - (models - 1) / 2))


def _diameter_axis(axis: Any) -> None:
    """The diameter of a sphere of that volume, on top."""

    def diameter(volume: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.cbrt(6 * np.maximum(volume, 0) / math.pi))

    def volume(diameter: Any) -> NDArray[Any]:
        return np.asarray(math.pi * np.asarray(diameter) ** 3 / 6)

    top = axis.secondary_xaxis("top", functions=(diameter, volume))
    top.set_xlabel("Diameter of a sphere of that volume (mm)")
    ticks = [
        tick for tick in (1, 2, 3, 4, 6, 10, 15, 20, 30, 50) if axis.get_xlim()[0] <= volume(tick) <= axis.get_xlim()[1]
    ]
    top.set_xticks(ticks, [str(tick) for tick in ticks])
    top.minorticks_off()


def _write_counts(axis: Any, strata: Sequence[Mapping[str, Any]]) -> None:
    for row in strata:
        if row["n_true"]:
            label = f"n={row['n_true']}"
            axis.text(row["geometric_mean_mm3"], 1.06, label, ha="center", va="center", fontsize=8, color="0.25")


def _points(k: int) -> dict[str, Any]:
    color, marker = _COLORS[k % len(_COLORS)], _MARKERS[k % len(_MARKERS)]
    return {"marker": marker, "s": 34, "facecolors": "none", "edgecolors": color, "linewidths": 1.2, "zorder": 3}


def _draw_limits(axis: Any, limits: Mapping[str, float]) -> None:
    axis.axhline(0, color="0.75", linewidth=0.8, zorder=0)
    for name, title, line in (("high", "+1.96 SD", "dashed"), ("bias", "bias", "solid"), ("low", "-1.96 SD", "dashed")):
        if math.isfinite(limits[name]):
            axis.axhline(limits[name], color="black", linewidth=1, linestyle=line)
            place = {"xy": (1, limits[name]), "xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
            axis.annotate(f"{title}\n{limits[name]:+.3g}", **place, xytext=(4, 0), va="center", fontsize=8)
