"""Lesions drawn on slices: what was found, missed and made up, as a figure for radiologists. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from monai_instance_loss._optional import import_extra
from monai_instance_loss.evaluation.lesion_marks import (
    draw_legend,
    grey_window,
    mark_lesions,
    outline_lesions,
    scale_bar,
    show_image,
)
from monai_instance_loss.evaluation.lesion_slice import LesionSlice
from monai_instance_loss.evaluation.lesion_zoom import LesionZoom

__all__ = ["draw_lesions"]

Figure = import_extra("matplotlib.figure", "Figure")

_SCALE_BAR_MM = 20
_ZOOM_BAR_MM = 5
_PANEL_INCHES = 3.6
_ZOOM_INCHES = 2.7
_LEGEND_INCHES = 0.8
_STATUSES = ("detected", "matched", "missed", "false", "ignored")


def draw_lesions(slices: Sequence[LesionSlice], zooms: Sequence[LesionZoom] = (), image_name: str = "FLAIR") -> Any:
    """Draw one row a slice: the image, the reference on it, the prediction on it, with missed and false ones marked.

    Source: ours. Radiological convention: the patient's right is on the left, the front is up.

    Args:
        slices: from ``most_informative_slice``.
        zooms: from ``zoom_on_errors`` of the first slice, drawn below, a row each, and framed on its image.
        image_name: what the image is, for the title; empty where that is not known.

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
    ] + [_ZOOM_INCHES] * len(zooms)
    height = sum(heights) + 0.55 * len(heights) + _LEGEND_INCHES
    figure = Figure(figsize=(3.08 * _PANEL_INCHES, height), dpi=150)
    grid = figure.subplots(len(heights), 3, squeeze=False, height_ratios=heights)
    for axes, row in zip(grid, slices, strict=False):
        _draw_row(axes, row, image_name)
    for axes, zoom, name in zip(grid[len(slices) :], zooms, "ABCDEFGH", strict=False):
        _frame(grid[0, 0], zoom, name)
        _draw_zoom(axes, zoom, name, grey_window(slices[0].image))
    rest = (
        "Radiological display: the patient's right is on the left. Lesions are matched in 3D; each is outlined where "
        "this slice cuts it."
    )
    draw_legend(figure, _drawn(slices, zooms), rest)
    figure.tight_layout(rect=(0, _LEGEND_INCHES / height, 1, 1))
    return figure


def _drawn(slices: Sequence[LesionSlice], zooms: Sequence[LesionZoom]) -> set[str]:
    """The statuses of what can be seen."""
    drawn = {status for row in slices for status in _STATUSES if getattr(row, status).any()}
    if "matched" in drawn:
        # drawn as the detected ones are
        drawn = drawn - {"matched"} | {"detected"}
    views = [plane.view(zoom.width_mm) for zoom in zooms for plane in zoom.planes]
    return drawn | {status for view in views for status in _STATUSES if view[status].any()}


def _draw_row(axes: Sequence[Any], row: LesionSlice, image_name: str) -> None:
    for axis in axes:
        show_image(axis, row.image, row.spacing_mm, grey_window(row.image))
    image, reference, prediction = axes
    scale_bar(image, _SCALE_BAR_MM)
    for axis in (reference, prediction):
        outline_lesions(axis, row.ignored, row.spacing_mm, "ignored")
    for axis, labels, status in (
        (reference, row.detected, "detected"),
        (reference, row.missed, "missed"),
        (prediction, row.matched, "detected"),
        (prediction, row.false, "false"),
    ):
        outline_lesions(axis, labels, row.spacing_mm, status)
    mark_lesions(reference, row.missed, row.spacing_mm, "missed")
    mark_lesions(prediction, row.missed, row.spacing_mm, "missed")
    mark_lesions(prediction, row.false, row.spacing_mm, "false")
    _describe(axes, row, image_name)


def _describe(axes: Sequence[Any], row: LesionSlice, image_name: str) -> None:
    image, reference, prediction = axes
    here = {name: len(np.unique(getattr(row, name))) - bool((getattr(row, name) == 0).any()) for name in row.totals}
    plane = f"{image_name}, axial" if image_name else "axial"
    image.set_title(f"{row.case}\n{plane} z = {row.position_mm:+.0f} mm (slice {row.index}/{row.n_slices})", fontsize=9)
    n_true = row.totals["detected"] + row.totals["missed"]
    reference.set_title(
        f"Reference: {_lesions(here['detected'] + here['missed'])} in this slice, {here['missed']} missed\n"
        f"whole case: {_lesions(n_true)}, {row.totals['missed']} missed",
        fontsize=9,
    )
    n_pred = row.totals["matched"] + row.totals["false"]
    prediction.set_title(
        f"Prediction: {here['matched'] + here['false']} in this slice, {here['false']} false\n"
        f"whole case: {n_pred} predicted, {row.totals['false']} false",
        fontsize=9,
    )


def _lesions(n: int) -> str:
    return f"{n} lesion" if n == 1 else f"{n} lesions"


def _frame(axis: Any, zoom: LesionZoom, name: str) -> None:
    """Where a close view is."""
    from matplotlib.patches import Rectangle

    x, y = (centre - zoom.width_mm / 2 for centre in zoom.planes[0].centre_mm)
    axis.add_patch(Rectangle((x, y), zoom.width_mm, zoom.width_mm, fill=False, edgecolor="white", linewidth=0.9))
    axis.text(x + zoom.width_mm, y + zoom.width_mm, name, color="white", fontsize=9, ha="left", va="bottom")


def _draw_zoom(axes: Sequence[Any], zoom: LesionZoom, name: str, window: tuple[float, float]) -> None:
    half = zoom.width_mm / 2
    for axis, plane in zip(axes, zoom.planes, strict=True):
        show_image(axis, plane.image, plane.spacing_mm, window, plane.sides)
        for status in ("ignored", "detected", "matched", "missed", "false"):
            outline_lesions(axis, plane.maps[status], plane.spacing_mm, status)
        x, y = plane.centre_mm
        axis.set_xlim(x + half, x - half)
        axis.set_ylim(y - half, y + half)
        axis.set_title(plane.title, fontsize=9)
    first = axes[0]
    scale_bar(first, _ZOOM_BAR_MM)
    size = f"{zoom.volume_mm3:.3g} mm³, {zoom.voxels} voxel{'s' * (zoom.voxels > 1)}"
    first.set_title(f"{name}: {zoom.status} lesion, {size}\n{zoom.planes[0].title}", fontsize=9)
