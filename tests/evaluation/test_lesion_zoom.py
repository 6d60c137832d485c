from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_instance_loss.evaluation.lesion_drawing import draw_lesions
from monai_instance_loss.evaluation.lesion_slice import axial_slice
from monai_instance_loss.evaluation.lesion_volume import LesionVolume, lesion_volume
from monai_instance_loss.evaluation.lesion_zoom import zoom_on_errors

SHAPE = (1, 20, 24, 10)
# voxels of 2 x 1 x 3 mm, in axes that are the patient's
AFFINE = np.array([[2.0, 0, 0, -20], [0, 1, 0, 5], [0, 0, 3, -30], [0, 0, 0, 1]])


def mask(*parts: tuple) -> torch.Tensor:
    volume = torch.zeros(SHAPE)
    for part in parts:
        volume[(0, *part)] = 1
    return volume


def matched(y_pred: torch.Tensor, y: torch.Tensor) -> LesionVolume:
    image = MetaTensor(torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)), affine=AFFINE)
    return lesion_volume("a", image, y_pred, y)


@pytest.fixture
def volume() -> LesionVolume:
    """In slice 4: a missed lesion of two voxels, one above the other, and false ones of 1 and 4 voxels."""
    return matched(mask((10, slice(10, 14), 4), (18, 20, 4), (1, 1, 4)), mask((4, 6, slice(4, 6)), (18, 20, 4)))


def test_the_largest_of_each_kind(volume):
    missed, false = zoom_on_errors(volume, axial_slice(volume))
    assert (missed.status, missed.voxels, missed.volume_mm3) == ("missed", 2, pytest.approx(2 * 6))
    assert (false.status, false.voxels) == ("false", 4)
    # the next ones, where there is room
    assert [(zoom.status, zoom.voxels) for zoom in zoom_on_errors(volume, axial_slice(volume), 9)[2:]] == [("false", 1)]


def test_two_of_a_kind_where_the_other_is_lacking():
    only_missed = matched(mask(), mask((1, 1, 2), (slice(8, 10), 8, 2)))
    zooms = zoom_on_errors(only_missed, axial_slice(only_missed))
    assert [(zoom.status, zoom.voxels) for zoom in zooms] == [("missed", 2), ("missed", 1)]
    perfect = matched(mask((1, 1, 2)), mask((1, 1, 2)))
    assert zoom_on_errors(perfect, axial_slice(perfect)) == []


def test_all_planes_go_through_the_lesion(volume):
    (missed, _) = zoom_on_errors(volume, axial_slice(volume))
    axial, coronal, sagittal = missed.planes
    # voxel (4, 6, 4) and the one above: in the axial plane one of them is seen, in the others both
    assert [int((plane.maps["missed"] > 0).sum()) for plane in missed.planes] == [1, 2, 2]
    assert [int((plane.view(missed.width_mm)["missed"] > 0).sum()) for plane in missed.planes] == [1, 2, 2]
    # -30 + 4 * 3, 5 + 6 and -20 + 4 * 2
    assert [plane.title for plane in missed.planes] == ["axial z = -18 mm", "coronal y = +11 mm", "sagittal x = -12 mm"]
    assert [plane.image.shape for plane in missed.planes] == [(20, 24), (20, 10), (24, 10)]
    assert [plane.spacing_mm for plane in missed.planes] == [(2, 1), (2, 3), (1, 3)]
    # the middle of the voxels, from the corner of the first: 4.5 * 2, 6.5 * 1 and 5 * 3
    assert (axial.centre_mm, coronal.centre_mm, sagittal.centre_mm) == ((9, 6.5), (9, 15), (6.5, 15))
    np.testing.assert_array_equal(coronal.image, volume.image[:, 6])


def test_a_large_lesion_is_seen_whole():
    large = matched(mask(), mask((slice(2, 18), 10, 3)))
    (zoom,) = zoom_on_errors(large, axial_slice(large))
    # 16 voxels of 2 mm, and 6 mm around
    assert zoom.width_mm == 16 * 2 + 2 * 6


def test_two_voxels_can_be_seen(volume):
    shown = axial_slice(volume)
    zooms = zoom_on_errors(volume, shown)
    figure = draw_lesions([shown], zooms)
    figure.savefig(io.BytesIO())
    coronal = figure.axes[4]
    # 2 mm by 6 mm in a view of 24 mm, of more than 300 dots across
    (low, high) = coronal.transData.transform([(10, 12), (8, 18)])
    across, along = np.abs(high - low)
    assert across > 25
    assert along > 75
    view = coronal.get_window_extent()
    assert view.width == pytest.approx(view.height, abs=1)
    (x, y) = np.mean([low, high], axis=0)
    assert view.contains(x, y)


def legend(figure) -> list[str]:
    return [text.get_text().split(":")[0] for text in figure.legends[0].get_texts()]


def test_the_legend_names_only_what_is_drawn(volume):
    only_missed = matched(mask(), mask((1, 1, 2)))
    assert legend(draw_lesions([axial_slice(only_missed)])) == ["ring, thick outline"]
    only_false = matched(mask((1, 1, 2)), mask())
    shown = axial_slice(only_false)
    assert legend(draw_lesions([shown], zoom_on_errors(only_false, shown))) == ["dashed square, thick dashed outline"]
    # the detected lesion is on the slice, but too far off for a close view
    shown = axial_slice(volume)
    names = legend(draw_lesions([shown], zoom_on_errors(volume, shown)[:1]))
    assert names == ["thin outline", "ring, thick outline", "dashed square, thick dashed outline"]


def test_all_views_have_the_grey_values_of_the_slice(volume):
    # a plane without a bright lesion would else look like one
    shown = axial_slice(volume)
    figure = draw_lesions([shown], zoom_on_errors(volume, shown))
    assert len({axis.images[0].get_clim() for axis in figure.axes}) == 1
    # frames leave the overview as it is: 20 voxels of 2 mm, 24 of 1 mm
    assert {(axis.get_xlim(), axis.get_ylim()) for axis in figure.axes[:3]} == {((40, 0), (0, 24))}
