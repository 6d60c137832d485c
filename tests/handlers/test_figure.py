from __future__ import annotations

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from matplotlib.image import imread
from matplotlib.patches import Circle, Rectangle
from monai.data import MetaTensor
from monai.handlers import from_engine

from monai_instance_loss.evaluation.lesion_drawing import draw_lesions
from monai_instance_loss.evaluation.lesion_slice import LesionSlice, most_informative_slice
from monai_instance_loss.handlers import LesionFigureHandler

SHAPE = (1, 10, 12, 6)
RAS = np.array([[2.0, 0, 0, -9], [0, 1, 0, -5], [0, 0, 3, -30], [0, 0, 0, 1]])


def mask(*boxes: tuple[slice | int, ...]) -> torch.Tensor:
    volume = torch.zeros(SHAPE)
    for box in boxes:
        volume[(0, *box)] = 1
    return volume


def example(ignore_index: int | None = None) -> LesionSlice:
    # slice 1: one large detected lesion; slice 4: one missed, one false, one detected
    y = mask((slice(1, 6), slice(1, 6), slice(0, 3)), (8, 9, 4), (2, slice(8, 10), 4))
    y_pred = mask((slice(1, 4), slice(1, 4), slice(0, 3)), (2, 8, 4), (5, 5, slice(4, 6)))
    image = MetaTensor(torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)), affine=RAS)
    return most_informative_slice("Utrecht/0", image, y_pred, y, ignore_index=ignore_index)


def test_the_slice_with_most_errors_is_chosen_over_the_one_with_most_lesion() -> None:
    chosen = example()
    assert (chosen.index, chosen.n_slices) == (5, 6)
    assert chosen.totals == {"detected": 2, "missed": 1, "matched": 2, "false": 1}


def test_without_errors_the_slice_with_most_lesion_is_chosen() -> None:
    y = mask((1, 1, 1), (slice(1, 4), slice(1, 4), 3))
    assert most_informative_slice("a", torch.rand(SHAPE), y, y).index == 4


def test_position_and_spacing_are_those_of_the_affine() -> None:
    chosen = example()
    assert chosen.spacing_mm == (2.0, 1.0)
    # the fifth slice of 3 mm from -30 mm up
    assert chosen.position_mm == pytest.approx(-30 + 4 * 3)


def test_any_orientation_gives_the_same_slice() -> None:
    expected = example()
    image = MetaTensor(torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)), affine=RAS)
    y = mask((slice(1, 6), slice(1, 6), slice(0, 3)), (8, 9, 4), (2, slice(8, 10), 4))
    y_pred = mask((slice(1, 4), slice(1, 4), slice(0, 3)), (2, 8, 4), (5, 5, slice(4, 6)))
    # axes (z, x flipped, y): voxel (i, j, k) is voxel (9 - j, k, i) of the original
    turn = np.array([[0, -1, 0, 9], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    turned = [volume.as_subclass(torch.Tensor).flip(1).permute(0, 3, 1, 2) for volume in (image, y_pred, y)]
    chosen = most_informative_slice("Utrecht/0", MetaTensor(turned[0], affine=RAS @ turn), *turned[1:])
    for name in ("image", "detected", "missed", "matched", "false"):
        np.testing.assert_array_equal(getattr(chosen, name) != 0, getattr(expected, name) != 0)
    np.testing.assert_array_equal(chosen.image, expected.image)
    assert (chosen.index, chosen.position_mm, chosen.spacing_mm) == (5, expected.position_mm, expected.spacing_mm)


def test_ignored_voxels_are_neither_missed_nor_false() -> None:
    y = mask((3, 3, 2)).masked_fill(mask((slice(6, 10), slice(6, 10), slice(0, 6))) > 0, 2)
    y_pred = mask((3, 3, 2), (8, 8, 2))
    chosen = most_informative_slice("a", torch.rand(SHAPE), y_pred, y, ignore_index=2)
    assert chosen.totals == {"detected": 1, "missed": 0, "matched": 1, "false": 0}
    assert chosen.ignored.sum() == 16


def test_the_metrics_count_the_same() -> None:
    from monai_instance_loss.metrics import match_by_touch

    generator = torch.Generator().manual_seed(1)
    y, y_pred = (torch.rand(2, 1, *SHAPE[1:], generator=generator) > 0.9).float()
    totals = most_informative_slice("a", torch.rand(SHAPE), y_pred, y).totals
    assert totals == {k: int(v) for k, v in match_by_touch(y_pred[None], y[None])._asdict().items()}


def test_missed_get_a_ring_on_both_panels_and_false_a_dashed_square_on_the_prediction() -> None:
    figure = draw_lesions([example()])
    image, reference, prediction = figure.axes
    assert [isinstance(patch, Circle) for patch in reference.patches] == [True]
    assert sorted(type(patch).__name__ for patch in prediction.patches) == ["Circle", "Rectangle"]
    assert not image.patches
    (square,) = (patch for patch in prediction.patches if isinstance(patch, Rectangle))
    assert square.get_linestyle() != "solid"
    # the false instance is voxel (5, 5) of 2 mm by 1 mm: centre (11, 5.5) mm
    np.testing.assert_allclose(np.array(square.get_xy()) + square.get_width() / 2, (11, 5.5))
    assert "Utrecht/0" in image.get_title()
    assert "1 false" in prediction.get_title()
    assert "1 missed" in reference.get_title()


def test_radiological_display_in_true_proportions() -> None:
    for axes in draw_lesions([example()]).axes:
        assert axes.xaxis_inverted()
        assert not axes.yaxis_inverted()
        assert axes.get_aspect() == 1
        # 10 voxels of 2 mm and 12 of 1 mm
        assert axes.images[0].get_extent() == [0, 20, 0, 12]


def test_a_constant_image_can_be_drawn() -> None:
    draw_lesions([most_informative_slice("a", torch.zeros(SHAPE), mask(), mask())])


def test_handler_writes_pages_and_starts_afresh_each_epoch(tmp_path) -> None:
    y = mask((1, 1, 1))

    def step(engine: Engine, index: int) -> list[dict[str, torch.Tensor]]:
        engine.state.batch = [{"case": str(index), "flair": torch.rand(SHAPE)}]
        return [{"pred": torch.zeros(SHAPE), "label": y}]

    engine = Engine(step)
    handler = LesionFigureHandler(
        tmp_path / "new", from_engine(["case", "flair"]), from_engine(["pred", "label"]), rows=2
    )
    handler.attach(engine)
    engine.run([0, 1, 2], max_epochs=2)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["lesions_1.png", "lesions_2.png"]
    first, second = (imread(tmp_path / "new" / f"lesions_{page}.png") for page in (1, 2))
    assert first.shape[0] > second.shape[0] > 300


def test_errors_name_what_they_got(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"`y_pred` to be \(1, H, W, D\).*got shape \(2, 2\)"):
        most_informative_slice("a", torch.rand(SHAPE), torch.zeros(2, 2), mask())
    with pytest.raises(ValueError, match="`slices` to hold at least 1 slice"):
        draw_lesions([])
    with pytest.raises(ValueError, match="`rows` to be an integer of at least 1, but got 0"):
        LesionFigureHandler(tmp_path, from_engine(["a"]), from_engine(["b"]), rows=0)
