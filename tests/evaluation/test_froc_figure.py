from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from monai.metrics import compute_froc_score

from monai_instance_loss.evaluation.case import CaseResult
from monai_instance_loss.evaluation.froc_figure import froc_figure
from monai_instance_loss.evaluation.summary import froc_of

NAN = math.nan


def froc(*rows: tuple[int, float]) -> dict[str, Any]:
    """The curve of one case, of rows of kind (1: a lesion, 2: a false positive) and score."""
    table = np.array([[0, 0, 0, 0], *[[kind, 0, 0, score] for kind, score in rows]], np.float32)
    return froc_of([CaseResult("a", froc=table)])


def read_off(axis: Any, rate: float) -> float:
    """What a reader finds above a number of false lesions, with a ruler on the figure."""
    line = axis.transData.transform(axis.get_lines()[0].get_xydata())
    x = axis.transData.transform((rate, 0))[0]
    y = np.interp(x, *line.T)
    return axis.transData.inverted().transform((x, y))[1]


def drawn(figure: Any) -> bytes:
    png = io.BytesIO()
    figure.savefig(png)
    return png.getvalue()


@pytest.mark.parametrize("rate", [0.06, 0.125, 0.25, 0.7, 1, 3, 5, 8])
def test_what_is_read_off_is_what_is_computed(rate):
    # of three lesions one at 0, level to 3 false ones, two there, and from there a line to (9, 1)
    curve = froc((1, 0.9), (2, 0.7), (2, 0.7), (2, 0.7), (1, 0.5), *[(2, 0.3)] * 6, (1, 0.3))
    expected = compute_froc_score(np.array(curve["curve_fp_per_case"]), np.array(curve["curve_sensitivity"]), (rate,))
    assert read_off(froc_figure("net", curve).axes[0], rate) == pytest.approx(expected, abs=1e-3)


def test_a_chord_over_six_doublings():
    # one cut: 8 false ones and the only lesion, so that 1 a case is worth 1 / 8
    axis = froc_figure("net", froc((1, 0.5), *[(2, 0.5)] * 8)).axes[0]
    assert read_off(axis, 1) == pytest.approx(1 / 8, abs=1e-3)
    assert read_off(axis, 4) == pytest.approx(1 / 2, abs=1e-3)


@pytest.mark.parametrize("point", [None, (2.0, 2 / 3), (20.0, 0.7)])
def test_what_is_drawn(point):
    curve = froc((1, 0.9), (2, 0.7), (2, 0.6), (1, 0.5), (1, 0.0))
    figure = froc_figure("net", curve, point)
    (axis,) = figure.axes
    line, level = axis.get_lines()[:2]
    points = {tuple(np.round(xy, 6)) for xy in line.get_xydata()}
    # thresholds 0.9, 0.7, 0.6 and 0.5, of three lesions in one case
    assert {(0, 0.333333), (1, 0.333333), (2, 0.333333), (2, 0.666667)} <= points
    np.testing.assert_allclose(level.get_ydata(), [2 / 3, 2 / 3])
    assert axis.get_xlim()[1] > (point[0] if point else 8)
    np.testing.assert_allclose(axis.collections[0].get_offsets()[:, 1], curve["sensitivity"])
    assert [text.get_text() for text in axis.texts] == ["0.5", "0.6", "0.7", "0.9"]
    assert axis.texts[0].xy == pytest.approx((2, 2 / 3))
    assert drawn(figure)
    # the legend is beside the axis, where no point is, and names what is drawn
    (legend,) = figure.legends
    assert not legend.get_window_extent().overlaps(axis.get_window_extent())
    assert len(legend.get_texts()) == (3 if point is None else 4)


def test_thresholds_do_not_run_into_each_other():
    generator = np.random.default_rng(0)
    rows = zip(generator.integers(1, 3, 400), generator.uniform(0.1, 1, 400), strict=True)
    axis = froc_figure("net", froc(*rows)).axes[0]
    assert 5 < len(axis.texts) < 30


def test_without_a_true_lesion():
    figure = froc_figure("net", froc((2, 0.5)), (0.0, NAN))
    assert drawn(figure)
    assert not figure.legends
    assert [text.get_text() for text in figure.axes[0].texts] == ["No lesion in the reference"]


def test_without_a_candidate():
    assert drawn(froc_figure("net", froc((1, 0.0))))
