"""Lesions drawn on slices: what was found, missed and made up, as a figure for radiologists. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_instance_loss._optional import import_extra
from monai_instance_loss.evaluation.lesion_slice import LesionSlice

__all__ = ["draw_lesions"]

Figure = import_extra("matplotlib.figure", "Figure")

# readable without colour too: line style and shape say the same
_STYLES: dict[str, dict[str, Any]] = {
    "detected": {"color": "#4ddb7a", "linestyle": "solid", "linewidth": 1.1},
    "missed": {"color": "#ffa31a", "linestyle": "solid", "linewidth": 1.8},
    "false": {"color": "#6cc8ff", "linestyle": (0, (2.5, 1.2)), "linewidth": 1.8},
    "ignored": {"color": "#e08cff", "linestyle": "dotted", "linewidth": 1.6},
}
_MARK_MARGIN_MM = 3.0
_MARK_MIN_MM = 4.5
_SCALE_BAR_MM = 20
_PANEL_INCHES = 3.6
_LEGEND_INCHES = 0.6


def draw_lesions(slices: Sequence[LesionSlice]) -> Any:
    """Draw one row a slice: the image, the reference on it, the prediction on it, with missed and false ones marked.

    Source: ours. Radiological convention: the patient's right is on the left, the front is up.

    Args:
        slices: from ``most_informative_slice``.

    Returns:
        A ``matplotlib.figure.Figure``; save it with ``savefig``.

    Raises:
        ValueError: ``slices`` is empty.
        OptionalImportError: matplotlib is not installed.
    """
    if not slices:
        raise ValueError("Expected `slices` to hold at least 1 slice, but got none.")
    heights = [
        _PANEL_INCHES * s.image.shape[1] * s.spacing_mm[1] / (s.image.shape[0] * s.spacing_mm[0]) for s in slices
    ]
    figure = Figure(figsize=(3.08 * _PANEL_INCHES, sum(heights) + 0.55 * len(slices) + _LEGEND_INCHES), dpi=150)
    grid = figure.subplots(len(slices), 3, squeeze=False, height_ratios=heights)
    for axes, row in zip(grid, slices, strict=True):
        _draw_row(axes, row)
    _legend(figure)
    figure.tight_layout(rect=(0, _LEGEND_INCHES / figure.get_figheight(), 1, 1))
    return figure


def _draw_row(axes: Sequence[Any], row: LesionSlice) -> None:
    lit = row.image[row.image > row.image.min()]
    low, high = np.percentile(lit, (1, 99.7)) if lit.size else (0, 1)
    x_mm, y_mm = (n * step for n, step in zip(row.image.shape, row.spacing_mm, strict=True))
    for axis in axes:
        axis.imshow(
            row.image.T, cmap="gray", vmin=low, vmax=high, origin="lower", extent=(0, x_mm, 0, y_mm), aspect="equal"
        )
        axis.set_xlim(x_mm, 0)  # the patient's right on the left
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_facecolor("black")
        for x, side, align in ((0.02, "R", "left"), (0.98, "L", "right")):
            axis.text(x, 0.98, side, color="white", fontsize=11, ha=align, va="top", transform=axis.transAxes)
    image, reference, prediction = axes
    image.plot([x_mm - 6, x_mm - 6 - _SCALE_BAR_MM], [6, 6], color="white", linewidth=2.5, solid_capstyle="butt")
    image.text(x_mm - 6 - _SCALE_BAR_MM / 2, 8, f"{_SCALE_BAR_MM} mm", color="white", fontsize=8, ha="center")
    for axis in (reference, prediction):
        _outline(axis, row.ignored, row.spacing_mm, "ignored")
    for axis, labels, status in (
        (reference, row.detected, "detected"),
        (reference, row.missed, "missed"),
        (prediction, row.matched, "detected"),
        (prediction, row.false, "false"),
    ):
        _outline(axis, labels, row.spacing_mm, status)
    _mark(reference, row.missed, row.spacing_mm, "missed")
    _mark(prediction, row.missed, row.spacing_mm, "missed")
    _mark(prediction, row.false, row.spacing_mm, "false")
    _describe(axes, row)


def _describe(axes: Sequence[Any], row: LesionSlice) -> None:
    image, reference, prediction = axes
    here = {name: len(np.unique(getattr(row, name))) - bool((getattr(row, name) == 0).any()) for name in row.totals}
    image.set_title(
        f"{row.case}\nFLAIR, axial z = {row.position_mm:+.0f} mm (slice {row.index}/{row.n_slices})", fontsize=9
    )
    n_true = row.totals["detected"] + row.totals["missed"]
    reference.set_title(
        f"Reference: {here['detected'] + here['missed']} lesions in this slice, {here['missed']} missed\n"
        f"whole case: {n_true} lesions, {row.totals['missed']} missed",
        fontsize=9,
    )
    n_pred = row.totals["matched"] + row.totals["false"]
    prediction.set_title(
        f"Prediction: {here['matched'] + here['false']} in this slice, {here['false']} false\n"
        f"whole case: {n_pred} predicted, {row.totals['false']} false",
        fontsize=9,
    )


def _outline(axis: Any, mask: NDArray[Any], spacing_mm: tuple[float, float], status: str) -> None:
    """Draw the border of a mask along the voxels' edges, so that a lesion of one voxel has its true size."""
    from matplotlib.collections import LineCollection

    dx, dy = spacing_mm
    padded = np.pad(mask != 0, 1)
    across = np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])
    along = np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])
    edges = [((i * dx, j * dy), (i * dx, (j + 1) * dy)) for i, j in across]
    edges += [((i * dx, j * dy), ((i + 1) * dx, j * dy)) for i, j in along]
    axis.add_collection(LineCollection(edges, **{**_STYLES[status], "linewidth": 1.2}))


def _mark(axis: Any, labels: NDArray[Any], spacing_mm: tuple[float, float], status: str) -> None:
    """Put a ring (missed) or a dashed square (false) around each instance."""
    from matplotlib.patches import Circle, Rectangle

    for instance in np.unique(labels[labels > 0]):
        voxels = np.argwhere(labels == instance) * spacing_mm
        low, high = voxels.min(0), voxels.max(0) + spacing_mm
        centre = (low + high) / 2
        reach = max(_MARK_MIN_MM, float((high - low).max()) / 2 + _MARK_MARGIN_MM)
        patch = (
            Circle(centre, reach * 1.15, fill=False, **_STYLES[status])
            if status == "missed"
            else Rectangle(centre - reach, 2 * reach, 2 * reach, fill=False, **_STYLES[status])
        )
        axis.add_patch(patch)


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    missed, false = _STYLES["missed"], _STYLES["false"]
    handles = [
        Line2D([], [], **_STYLES["detected"], label="outline: detected lesion, or prediction that touches one"),
        Line2D(
            [], [], linestyle="none", marker="o", markersize=11, fillstyle="none",
            markeredgecolor=missed["color"], markeredgewidth=missed["linewidth"], label="ring: missed lesion",
        ),
        Patch(
            fill=False, edgecolor=false["color"], linestyle=false["linestyle"], linewidth=false["linewidth"],
            label="dashed square: false lesion",
        ),
        Line2D([], [], **_STYLES["ignored"], label="dotted: other pathology, not scored"),
    ]  # fmt: skip
    figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.22 / figure.get_figheight()),
        ncols=4,
        fontsize=9,
        handlelength=1.8,
        frameon=False,
    )
    figure.text(
        0.5,
        0.12 / figure.get_figheight(),
        "Radiological display: the patient's right is on the left. Lesions are matched in 3D; each is outlined where "
        "this slice cuts it.",
        fontsize=8,
        ha="center",
    )
