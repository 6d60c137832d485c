"""Marks on slices: outlines along voxels, rings, squares, and the legend of those that are there. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_legend", "grey_window", "mark_lesions", "outline_lesions", "scale_bar", "show_image"]

# readable without colour too: line style and shape say the same
_STYLES: dict[str, dict[str, Any]] = {
    "detected": {"color": "#4ddb7a", "linestyle": "solid", "linewidth": 1.1},
    # only in close views, where both masks are on one image
    "matched": {"color": "#4ddb7a", "linestyle": (0, (2.5, 1.2)), "linewidth": 1.1},
    "missed": {"color": "#ffa31a", "linestyle": "solid", "linewidth": 1.8},
    "false": {"color": "#6cc8ff", "linestyle": (0, (2.5, 1.2)), "linewidth": 1.8},
    "ignored": {"color": "#e08cff", "linestyle": "dotted", "linewidth": 1.6},
}
_MARK_MARGIN_MM = 3.0
_MARK_MIN_MM = 4.5


def grey_window(image: NDArray[Any]) -> tuple[float, float]:
    """The grey values that are black and white.

    Example:
        >>> grey_window(np.zeros((2, 2)))
        (0.0, 1.0)
    """
    lit = image[image > image.min()]
    low, high = np.percentile(lit, (1, 99.7)) if lit.size else (0, 1)
    return float(low), float(high)


def show_image(
    axis: Any, image: NDArray[Any], spacing_mm: tuple[float, float], window: tuple[float, float], sides: str = "RL"
) -> None:
    """Show a plane in true proportions, with the second axis up and the first to the left.

    Args:
        axis: of matplotlib.
        image: (X, Y) grey values.
        spacing_mm: voxel size along both axes in mm.
        window: from ``grey_window``.
        sides: letters of the patient's sides on the left and on the right.
    """
    low, high = window
    x_mm, y_mm = (n * step for n, step in zip(image.shape, spacing_mm, strict=True))
    axis.imshow(image.T, cmap="gray", vmin=low, vmax=high, origin="lower", extent=(0, x_mm, 0, y_mm), aspect="equal")
    axis.set_xlim(x_mm, 0)
    axis.set_ylim(0, y_mm)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_facecolor("black")
    for x, side, align in ((0.02, sides[0], "left"), (0.98, sides[1], "right")):
        text = axis.text(x, 0.98, side, color="white", fontsize=11, ha=align, va="top", transform=axis.transAxes)
        text.set_path_effects(_edge())


def scale_bar(axis: Any, length_mm: int) -> None:
    """A bar of so many mm in the lower left corner of what an axis shows."""
    right, left = axis.get_xlim()
    low, high = axis.get_ylim()
    start, base = right - 0.04 * (right - left), low + 0.04 * (high - low)
    line = {"color": "white", "linewidth": 2.5, "solid_capstyle": "butt", "path_effects": _edge()}
    axis.plot([start, start - length_mm], [base, base], **line)
    text = {"color": "white", "fontsize": 8, "ha": "center", "va": "bottom", "path_effects": _edge()}
    axis.text(start - length_mm / 2, base + 0.01 * (high - low), f"{length_mm} mm", **text)


def outline_lesions(axis: Any, mask: NDArray[Any], spacing_mm: tuple[float, float], status: str) -> None:
    """Draw the border of a mask along the voxels' edges, so that a lesion of one voxel has its true size."""
    from matplotlib.collections import LineCollection

    dx, dy = spacing_mm
    padded = np.pad(mask != 0, 1)
    across = _runs(padded[1:, 1:-1] != padded[:-1, 1:-1])
    along = _runs((padded[1:-1, 1:] != padded[1:-1, :-1]).T)
    edges = [((i * dx, start * dy), (i * dx, stop * dy)) for i, start, stop in across]
    edges += [((start * dx, j * dy), (stop * dx, j * dy)) for j, start, stop in along]
    style = _STYLES[status]
    axis.add_collection(LineCollection(edges, **style, path_effects=_edge(style["linewidth"] + 1)))


def _runs(borders: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Line, start and stop of each straight piece of border: dashes of one voxel's length would be none."""
    steps = np.diff(np.pad(borders, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    (lines, starts), (_, stops) = np.nonzero(steps == 1), np.nonzero(steps == -1)
    return np.stack([lines, starts, stops], 1)


def mark_lesions(axis: Any, labels: NDArray[Any], spacing_mm: tuple[float, float], status: str) -> None:
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


def draw_legend(figure: Any, drawn: Collection[str], rest: str, bottom_inches: float = 0.22) -> None:
    """Say what the marks mean, of those that are drawn, and below them the rest.

    Args:
        figure: of matplotlib.
        drawn: the statuses.
        rest: a sentence.
        bottom_inches: where the legend begins.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    missed, false = _STYLES["missed"], _STYLES["false"]
    handles = {
        "detected": Line2D([], [], **_STYLES["detected"], label="thin outline: detected, or prediction that touches"),
        "matched": Line2D([], [], **_STYLES["matched"], label="thin dashed outline: prediction that touches"),
        "missed": Line2D(
            [], [], linestyle="none", marker="o", markersize=11, fillstyle="none",
            markeredgecolor=missed["color"], markeredgewidth=missed["linewidth"],
            label="ring, thick outline: missed lesion",
        ),
        "false": Patch(
            fill=False, edgecolor=false["color"], linestyle=false["linestyle"], linewidth=false["linewidth"],
            label="dashed square, thick dashed outline: false lesion",
        ),
        "ignored": Line2D([], [], **_STYLES["ignored"], label="dotted: other pathology, not scored"),
    }  # fmt: skip
    height = figure.get_figheight()
    figure.legend(
        handles=[handle for status, handle in handles.items() if status in drawn],
        loc="lower center",
        bbox_to_anchor=(0.5, bottom_inches / height),
        ncols=3,
        fontsize=9,
        handlelength=1.8,
        frameon=False,
    )
    figure.text(0.5, 0.12 / height, rest, fontsize=8, ha="center")


def _edge(linewidth: float = 2.0) -> list[Any]:
    """A dark edge, so that what is light can be seen on white."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=linewidth, foreground="black")]
