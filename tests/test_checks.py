from __future__ import annotations

import re
from types import MappingProxyType

import numpy as np
import pytest

from monai_instance_loss._checks import checked_choice, checked_count, checked_fraction, checked_number, checked_weights

DEFAULTS = MappingProxyType({"a": 1.0, "b": 0.0})


def test_weights_override_defaults_and_are_floats():
    assert checked_weights(None, DEFAULTS) == {"a": 1.0, "b": 0.0}
    weights = checked_weights(MappingProxyType({"b": 2}), DEFAULTS)
    assert weights == {"a": 1.0, "b": 2.0}
    assert all(type(weight) is float for weight in weights.values())
    assert list(weights) == ["a", "b"]


@pytest.mark.parametrize(
    ("weights", "error", "received"),
    [
        ({"c": 1}, ValueError, "['c']"),
        ({1: 1}, ValueError, "['1']"),
        ({"a": -1e-9}, ValueError, "-1e-09 for 'a'"),
        ({"a": float("nan")}, ValueError, "nan for 'a'"),
        ({"a": True}, TypeError, "True for 'a'"),
        ({"a": None}, TypeError, "None for 'a'"),
        ([("a", 1)], TypeError, "list"),
        ("a", TypeError, "str"),
    ],
)
def test_bad_weights_are_refused(weights, error, received):
    with pytest.raises(error, match=rf"Expected `weights` .*but got {re.escape(received)}"):
        checked_weights(weights, DEFAULTS)


def test_fractions_are_between_zero_and_one():
    assert checked_fraction("alpha", 0.5) == checked_fraction("alpha", np.float64(0.5)) == 0.5
    for value in (0, 1, 0.0, 1.0, -0.1, 2, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=rf"Expected `alpha` to be in \(0, 1\), but got {value!r}"):
            checked_fraction("alpha", value)
    for value in ("0.5", None, True, [0.5]):
        with pytest.raises(TypeError, match=rf"Expected `alpha` to be a number, but got {re.escape(repr(value))}"):
            checked_fraction("alpha", value)


def test_sizes_are_whole():
    assert checked_count("radius", 0) == 0
    assert checked_count("radius", 7) == 7
    with pytest.raises(ValueError, match="Expected `radius` to be 0 or more, but got -1"):
        checked_count("radius", -1)
    for value in (1.0, "1", None, True):
        with pytest.raises(TypeError, match=rf"Expected `radius` to be an integer, but got {re.escape(repr(value))}"):
            checked_count("radius", value)


def test_numbers_are_finite_and_within_their_bounds():
    assert checked_number("beta", 0) == checked_number("beta", 0.0) == 0
    assert checked_number("beta", 1, high=1) == 1
    assert type(checked_number("beta", 3)) is float
    for value in (-1e-9, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"Expected `beta` to be finite and 0 or more, but got {value!r}"):
            checked_number("beta", value)
    for value in (0.99, 2.01, float("nan")):
        with pytest.raises(ValueError, match=rf"Expected `beta` to be in \[1, 2\], but got {value!r}"):
            checked_number("beta", value, 1, 2)
    with pytest.raises(ValueError, match=r"Expected `beta` to be in \(1, 2\], but got 1"):
        checked_number("beta", 1, 1, 2, above=True)
    for value in ("1", None, True):
        with pytest.raises(TypeError, match=rf"Expected `beta` to be a number, but got {re.escape(repr(value))}"):
            checked_number("beta", value)


def test_choices_are_listed():
    assert checked_choice("mode", "a", ("a", "b")) == "a"
    for value in ("c", None):
        with pytest.raises(ValueError, match=f'Expected `mode` to be "a" or "b", but got {value!r}'):
            checked_choice("mode", value, ("a", "b"))
