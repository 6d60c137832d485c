from __future__ import annotations

import io

import numpy as np
import pytest

from monai_instance_loss.evaluation.figures import agreement_figure, sensitivity_figure
from monai_instance_loss.evaluation.lesion_strata import volume_strata
from monai_instance_loss.evaluation.statistics import agreement

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
    # the legend is on no point
    (legend,) = figure.legends
    assert not legend.get_window_extent().overlaps(axis.get_window_extent())


def test_sensitivity_without_a_lesion():
    figure = sensitivity_figure({"net": volume_strata([], (10.0, 100.0))})
    assert drawn(figure)
    # nothing is drawn that a legend could name
    assert not figure.legends
    assert [text.get_text() for text in figure.axes[0].texts] == ["No lesion in the reference"]


def test_agreement_shows_cases_and_limits(scores):
    cases = [
        scores(str(k), n_true=k, n_pred=k + k % 2, volume_true_ml=2.0 * k, volume_pred_ml=1.0 * k) for k in range(10)
    ]
    lines = {
        "lesion_count": agreement([case.n_true for case in cases], [case.n_pred for case in cases])._asdict(),
        "volume_ml": agreement([0, 2, 4, 6], [0, 1, 2, 3])._asdict(),
    }
    figure = agreement_figure({"net": cases}, {"net": lines})
    counts, volumes = figure.axes
    # the mean of both sides, and their difference
    np.testing.assert_allclose(counts.collections[0].get_offsets(), [[k + k % 2 / 2, k % 2] for k in range(10)])
    np.testing.assert_allclose(volumes.collections[0].get_offsets(), [[1.5 * k, -k] for k in range(10)])
    # 0 and 1 five times each: squares of the deviations sum to 10 / 4, over n - 1 = 9; 1.96 sqrt(10 / 36) = 1.033
    assert {text.get_text() for text in counts.texts} == {"bias\n+0.5", "+1.96 SD\n+1.53", "-1.96 SD\n-0.533"}
    # of four cases there are no limits
    assert {text.get_text() for text in volumes.texts} == {"bias\n-1.5"}
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
