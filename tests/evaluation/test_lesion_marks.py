from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from monai_instance_loss.evaluation.lesion_marks import grey_window, outline_lesions, scale_bar, show_image


def pieces(mask: np.ndarray) -> set[tuple]:
    """Both ends of each line of the outline, of voxels of 2 by 1 mm."""
    axis = Figure().subplots()
    outline_lesions(axis, mask, (2.0, 1.0), "false")
    return {tuple(map(tuple, line.tolist())) for line in axis.collections[0].get_segments()}


def test_straight_borders_are_one_line_each_so_that_dashes_are_seen():
    mask = np.zeros((6, 8), int)
    mask[1:4, 2:7] = 3
    # three voxels of 2 mm from 2 to 8 mm, five of 1 mm from 2 to 7 mm
    assert pieces(mask) == {((2, 2), (2, 7)), ((8, 2), (8, 7)), ((2, 2), (8, 2)), ((2, 7), (8, 7))}


def test_an_outline_has_its_corners_and_holes():
    mask = np.ones((3, 3), int)
    mask[1, 1] = 0
    # the square of 6 by 3 mm at the border of the image, and the hole from 2 to 4 and from 1 to 2 mm
    assert len(pieces(mask)) == 8
    assert {((2, 1), (2, 2)), ((4, 1), (4, 2)), ((2, 1), (4, 1)), ((2, 2), (4, 2))} <= pieces(mask)
    assert pieces(np.eye(2, dtype=int)) >= {((0, 0), (0, 1)), ((2, 0), (2, 2)), ((0, 1), (4, 1))}
    assert pieces(np.zeros((3, 3), int)) == set()


def test_the_scale_bar_has_its_length():
    axis = Figure().subplots()
    image = np.arange(12.0).reshape(3, 4)
    show_image(axis, image, (10.0, 5.0), grey_window(image))
    scale_bar(axis, 20)
    start, stop = axis.get_lines()[0].get_xdata()
    assert start - stop == 20
    # in the picture as in the axes: 3 voxels of 10 mm, 4 of 5 mm
    assert (axis.get_xlim(), axis.get_ylim()) == ((30, 0), (0, 20))
