from __future__ import annotations

import math

from monai_instance_loss.evaluation.lesion_strata import pooled_rate
from monai_instance_loss.evaluation.report_numbers import bounds_text, interval_text, number, p_text, rate_texts

NAN = math.nan


def test_an_interval_or_the_reason_why_there_is_none():
    score = {"mean": 0.12345, "low": 0.1, "high": 0.2, "interval": "BCa bootstrap over cases"}
    assert interval_text(score, 3) == "0.123 [0.100, 0.200]"
    assert interval_text({**score, "low": -0.1}, 2, signed=True) == "+0.12 [-0.10, +0.20]"
    assert interval_text({**score, "low": NAN, "high": NAN, "interval": "none: n < 10"}, 1) == "0.1 [n < 10]"
    assert interval_text({**score, "mean": NAN}, 3) == "-"


def test_rates():
    # 0 of 3: 1 - 0.025^(1/3) = 0.708
    assert rate_texts(pooled_rate([(0, 3)])) == ("0.000 [0.000, 0.708]", "[n < 10]")
    assert rate_texts(pooled_rate([(0, 0)])) == ("-", "-")


def test_no_p_value_of_few_pairs():
    assert [p_text(p, n) for p, n in ((0.5, 5), (0.03125, 6), (0.0004, 60), (NAN, 0))] == [
        "[n < 6]", "0.031", "< 0.001", "[n < 6]",
    ]  # fmt: skip


def test_plain_numbers_and_bounds():
    assert (number(1.005, 1), number(1.0, 1, signed=True), number(NAN, 1)) == ("1.0", "+1.0", "-")
    assert [bounds_text(*ends) for ends in ((0, 10), (10, 30.5), (300, None), (0, None))] == [
        "below 10", "10 to 30.5", "300 or more", "0 or more",
    ]  # fmt: skip
