"""What InstanceLoss refuses, by the argument's name and with the value received, before it computes anything."""

from __future__ import annotations

import re

import pytest
import torch
from monai.losses import DiceLoss, FocalLoss

from monai_instance_loss.losses import InstanceLoss

P, Y = torch.full((2, 1, 6, 6), 0.3), torch.zeros(2, 1, 6, 6)


@pytest.mark.parametrize(
    ("options", "error", "name", "received"),
    [
        ({"weights": {"lesion": 1}}, ValueError, "weights", "lesion"),
        ({"weights": {"pixel": 1, "instance_out": 1}}, ValueError, "weights", "instance_out"),
        ({"weights": {"pixel": -0.5}}, ValueError, "weights", "-0.5"),
        ({"weights": {"center": float("nan")}}, ValueError, "weights", "nan"),
        ({"weights": {"center": float("inf")}}, ValueError, "weights", "inf"),
        ({"weights": {"center": "1"}}, TypeError, "weights", "'1'"),
        ({"weights": {"center": None}}, TypeError, "weights", "None"),
        ({"weights": [1, 1, 1]}, TypeError, "weights", "list"),
        ({"weights": 1.0}, TypeError, "weights", "float"),
        ({"threshold": 0}, ValueError, "threshold", "0"),
        ({"threshold": 1}, ValueError, "threshold", "1"),
        ({"threshold": -1}, ValueError, "threshold", "-1"),
        ({"threshold": float("nan")}, ValueError, "threshold", "nan"),
        ({"threshold": "a"}, TypeError, "threshold", "'a'"),
        ({"threshold": None}, TypeError, "threshold", "None"),
        ({"center_radius": -1}, ValueError, "center_radius", "-1"),
        ({"center_radius": 1.5}, TypeError, "center_radius", "1.5"),
        ({"center_radius": "3"}, TypeError, "center_radius", "'3'"),
        ({"min_instance_size": -2}, ValueError, "min_instance_size", "-2"),
        ({"min_instance_size": 0.5}, TypeError, "min_instance_size", "0.5"),
        ({"instance_reduction": "none"}, ValueError, "instance_reduction", "'none'"),
        ({"average_over": "data"}, ValueError, "average_over", "'data'"),
        ({"reduction": "none"}, ValueError, "reduction", "'none'"),
        ({"reduction": "max"}, ValueError, "reduction", "'max'"),
        ({"proximity": "median"}, ValueError, "proximity", "'median'"),
        ({"box_distance": "iou"}, ValueError, "box_distance", "'iou'"),
        ({"sigmoid": True, "softmax": True}, ValueError, "softmax", "softmax=True"),
        ({"sigmoid": True, "other_act": torch.tanh}, ValueError, "other_act", "sigmoid=True"),
        ({"other_act": "tanh"}, TypeError, "other_act", "str"),
        ({"pixel_loss": "dice"}, TypeError, "pixel_loss", "str"),
        ({"instance_loss": 3}, TypeError, "instance_loss", "int"),
        ({"center_loss": []}, TypeError, "center_loss", "list"),
        ({"instance_loss": DiceLoss(sigmoid=True)}, ValueError, "instance_loss", "sigmoid=True"),
        ({"center_loss": DiceLoss(softmax=True)}, ValueError, "center_loss", "softmax=True"),
        ({"instance_loss": DiceLoss(to_onehot_y=True)}, ValueError, "instance_loss", "to_onehot_y=True"),
        ({"instance_loss": DiceLoss(other_act=torch.sigmoid)}, ValueError, "instance_loss", "other_act="),
        ({"center_loss": FocalLoss(use_softmax=True)}, ValueError, "center_loss", "use_softmax=True"),
        ({"target_is_instances": True, "to_onehot_y": True}, ValueError, "to_onehot_y", "True"),
        ({"target_is_instances": True, "ignore_index": 0}, ValueError, "ignore_index", "0"),
        ({"target_is_instances": True, "ignore_index": 255}, ValueError, "ignore_index", "255"),
    ],
)
def test_bad_options_are_refused_when_the_loss_is_made(options, error, name, received):
    with pytest.raises(error, match=rf"Expected `?.*{re.escape(name)}.*but got .*{re.escape(received)}"):
        InstanceLoss(**options)


class Untouched(torch.nn.Module):
    """A pixel loss that must not be reached."""

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the pixel loss was called before the arguments were checked")


def filled(value: float, shape: tuple[int, ...] = (2, 1, 6, 6), dtype: torch.dtype = torch.float32) -> torch.Tensor:
    values = torch.zeros(shape, dtype=dtype)
    values[(-1,) * len(shape)] = value
    return values


THREE = torch.zeros(2, 3, 6, 6)
CALLS = {
    "another size": ({}, P, torch.zeros(2, 1, 6, 7), ValueError, "target", "(2, 1, 6, 7)"),
    "another batch": ({}, P, torch.zeros(1, 1, 6, 6), ValueError, "target", "(1, 1, 6, 6)"),
    "another class count": ({}, P, torch.zeros(2, 2, 6, 6), ValueError, "target", "(2, 2, 6, 6)"),
    "labels without to_onehot_y": ({"softmax": True}, THREE, Y, ValueError, "target", "(2, 1, 6, 6)"),
    "one-hot with to_onehot_y": (
        {"softmax": True, "to_onehot_y": True},
        THREE,
        THREE,
        ValueError,
        "target",
        "(2, 3, 6, 6)",
    ),
    "no channel": ({}, P[:, 0], Y[:, 0], ValueError, "input", "(2, 6, 6)"),
    "four spatial dimensions": ({}, P[..., None, None], Y[..., None, None], ValueError, "input", "(2, 1, 6, 6, 1, 1)"),
    "target without channel": ({}, P, Y[:, 0], ValueError, "target", "(2, 6, 6)"),
    "a two": ({}, P, filled(2), ValueError, "target", "2"),
    "a minus one": ({}, P, filled(-1), ValueError, "target", "-1"),
    "a fraction": ({}, P, filled(0.5), ValueError, "target", "0.5"),
    "NaN in the target": ({}, P, filled(torch.nan), ValueError, "target", "nan"),
    "infinity in the target": ({}, P, filled(torch.inf), ValueError, "target", "inf"),
    "255 in uint8": ({}, P, filled(255, dtype=torch.uint8), ValueError, "target", "255"),
    "a two that is not ignored": ({"ignore_index": 3}, P, filled(2), ValueError, "target", "2"),
    "class label too high": ({"softmax": True, "to_onehot_y": True}, THREE, filled(3), ValueError, "target", "3"),
    "class label below zero": ({"softmax": True, "to_onehot_y": True}, THREE, filled(-1), ValueError, "target", "-1"),
    "class label a fraction": ({"softmax": True, "to_onehot_y": True}, THREE, filled(1.5), ValueError, "target", "1.5"),
    "class label NaN": ({"softmax": True, "to_onehot_y": True}, THREE, filled(torch.nan), ValueError, "target", "nan"),
    "negative instance": ({"target_is_instances": True}, P, filled(-1), ValueError, "target", "-1"),
    "instance NaN": ({"target_is_instances": True}, P, filled(torch.nan), ValueError, "target", "nan"),
    "instance infinity": ({"target_is_instances": True}, P, filled(torch.inf), ValueError, "target", "inf"),
    "instance a fraction": ({"target_is_instances": True}, P, filled(1.5), ValueError, "target", ""),
    "negative instance beside the ignore index": (
        {"target_is_instances": True, "ignore_index": -5},
        P,
        filled(-3),
        ValueError,
        "target",
        "-3",
    ),
    "logits without activation": ({}, P + 3, Y, ValueError, "input", "3.3"),
    "negative logits without activation": ({}, P - 3, Y, ValueError, "input", "-2.7"),
    "infinity without activation": ({}, filled(torch.inf), Y, ValueError, "input", "inf"),
    "an activation that gives no probabilities": ({"other_act": torch.tanh}, P - 3, Y, ValueError, "input", "-0.9"),
    "softmax over one channel": ({"softmax": True}, P, Y, ValueError, "input", "1"),
    "integer input": ({}, Y.long(), Y, TypeError, "input", "torch.int64"),
    "bool input": ({}, Y.bool(), Y, TypeError, "input", "torch.bool"),
    "complex target": ({}, P, Y + 0j, TypeError, "target", "torch.complex64"),
    "a list": ({}, P.tolist(), Y, TypeError, "input", "list"),
    "no target": ({}, P, None, TypeError, "target", "NoneType"),
    "connectivity 3 of an image": ({"connectivity": 3}, P, Y, ValueError, "connectivity", "3"),
    "connectivity 3 of an instance map": (
        {"connectivity": 3, "target_is_instances": True},
        P,
        Y,
        ValueError,
        "connectivity",
        "3",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_bad_calls_are_refused_before_the_pixel_loss_is_called(case):
    options, input, target, error, name, received = CALLS[case]
    loss = InstanceLoss(pixel_loss=Untouched(), **options)
    for method in (loss, loss.terms):
        with pytest.raises(error, match=rf"Expected `{name}` (.|\n)*but got .*{re.escape(received)}"):
            method(input, target)


@pytest.mark.parametrize("connectivity", [0, -1, 4, 26, 1.5, True, "full"])
def test_connectivity_of_no_image_or_volume_is_refused(connectivity):
    with pytest.raises((ValueError, TypeError), match=rf"Expected `connectivity` .*but got {connectivity!r}"):
        InstanceLoss(pixel_loss=Untouched(), connectivity=connectivity)(P, Y)


def test_connectivity_is_checked_even_where_only_the_pixel_loss_is_wanted():
    weights = {"instance": 0, "instance_pred": 0}
    with pytest.raises(ValueError, match=r"Expected `connectivity` .*but got 7"):
        InstanceLoss(connectivity=7, weights=weights)(P, Y)


@pytest.mark.parametrize("pixel_loss", [DiceLoss(reduction="none"), torch.nn.BCELoss(reduction="none")])
def test_a_pixel_loss_without_reduction_is_refused(pixel_loss):
    with pytest.raises(ValueError, match=r"Expected `pixel_loss` to return one number, but got shape \(2, 1, \d"):
        InstanceLoss(pixel_loss=pixel_loss)(P, Y)


@pytest.mark.parametrize("name", ["instance_loss", "center_loss"])
def test_a_criterion_without_reduction_is_refused(name):
    loss = InstanceLoss(weights={"center": 1}, **{name: torch.nn.BCELoss(reduction="none")})
    with pytest.raises(ValueError, match=r"criterion .*one number .*but got shape \(1, 1, 6, 6\)"):
        loss(P, filled(1))


def test_nan_in_the_input_is_no_error():
    assert InstanceLoss()(filled(torch.nan), Y).isnan()
