from __future__ import annotations

import io
import math

import numpy as np
import pytest

from monai_instance_loss.evaluation.figures import agreement_figure, froc_figure, sensitivity_figure
from monai_instance_loss.evaluation.statistics import agreement
from monai_instance_loss.evaluation.summary import volume_strata

LESIONS = [
    {"case": c, "volume_mm3": v, "status": s}
    for c, v, s in (("a", 4, "missed"), ("a", 9, "detected"), ("b", 50, "detected"))
]


def drawn(figure) -> bytes:
    png = io.BytesIO()
    figure.savefig(png)
    return png.getvalue()


def test_sensitivity_shows_the_strata(scores):
    strata = volume_strata(LESIONS, (10.0, 100.0))
    figure = sensitivity_figure({"net": strata, "other": strata})
    (axis,) = figure.axes[:1]
    lines = {line.get_label().split(",")[0]: line for line in axis.get_lines() if not line.get_label().startswith("_")}
    np.testing.assert_allclose(lines["net"].get_ydata(), [0.5, 1])
    # models are told apart without colour
    styles = {(line.get_marker(), line.get_linestyle()) for line in lines.values()}
    assert len(styles) == 2
    assert {text.get_text() for text in axis.texts} == {"n=2", "n=1"}
    assert "mm³" in axis.get_xlabel()
    assert drawn(figure)


def test_sensitivity_without_a_lesion():
    assert drawn(sensitivity_figure({"net": volume_strata([], (10.0, 100.0))}))


def test_agreement_shows_cases_and_limits(scores):
    cases = [
        scores(str(k), n_true=k, n_pred=k + k % 2, volume_true_ml=2.0 * k, volume_pred_ml=1.0 * k) for k in range(4)
    ]
    lines = {
        "lesion_count": agreement([0, 1, 2, 3], [0, 2, 2, 4])._asdict(),
        "volume_ml": agreement([0, 2, 4, 6], [0, 1, 2, 3])._asdict(),
    }
    figure = agreement_figure({"net": cases}, {"net": lines})
    counts, volumes = figure.axes
    np.testing.assert_allclose(counts.collections[0].get_offsets(), [[0, 0], [1.5, 1], [2, 0], [3.5, 1]])
    np.testing.assert_allclose(volumes.collections[0].get_offsets(), [[0, 0], [1.5, -1], [3, -2], [4.5, -3]])
    assert "bias\n+0.5" in {text.get_text() for text in counts.texts}
    assert (counts.get_ylabel(), volumes.get_ylabel()) == (
        "Prediction - reference (lesions)",
        "Prediction - reference (ml)",
    )
    assert drawn(figure)


@pytest.mark.parametrize("n", [0, 1])
def test_agreement_of_too_few_cases(scores, n):
    lines = agreement([0] * n, [1] * n)._asdict()
    both = {"net": {"lesion_count": lines, "volume_ml": lines}}
    assert drawn(agreement_figure({"net": [scores("a", n_pred=1, volume_pred_ml=1.0)] * n}, both))


@pytest.mark.parametrize("point", [None, (20.0, 0.7)])
def test_froc(point):
    froc = {
        "cases": 2, "threshold": 0.1, "score": 0.5, "fp_per_case": [0.5, 8.0], "sensitivity": [0.25, 0.75],
        "curve_fp_per_case": [2.0, 0.5, 0.0], "curve_sensitivity": [0.75, 0.25, 0.0],
    }  # fmt: skip
    figure = froc_figure("net", froc, point)
    (axis,) = figure.axes
    curve, level = axis.get_lines()[:2]
    np.testing.assert_allclose(curve.get_xydata(), [[0, 0], [0.5, 0.25], [2, 0.75]])
    np.testing.assert_allclose(level.get_ydata(), [0.75, 0.75])
    assert axis.get_xlim()[1] > (point[0] if point else 8)
    assert drawn(figure)


def test_froc_without_a_true_lesion():
    froc = {
        "cases": 1, "threshold": 0.1, "score": math.nan, "fp_per_case": [1.0], "sensitivity": [math.nan],
        "curve_fp_per_case": [0.0], "curve_sensitivity": [math.nan],
    }  # fmt: skip
    assert drawn(froc_figure("net", froc, (0.0, math.nan)))
