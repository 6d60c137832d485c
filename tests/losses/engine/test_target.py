"""Targets of every form become the same mask, and what is none of the form is refused."""

from __future__ import annotations

import pytest
import torch

from monai_instance_loss.losses.engine import target as target_module
from monai_instance_loss.losses.engine.options import InputOptions
from monai_instance_loss.losses.engine.target import (
    binary_mask,
    class_mask,
    instance_mask,
    value_range,
)

DTYPES = [torch.bool, torch.uint8, torch.int16, torch.int64, torch.float16, torch.float32, torch.float64]


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize("odd", [2.0, 0.5, -1.0, float("nan")])
def test_one_odd_value_is_refused_in_sparse_and_in_dense_foreground(count, odd):
    target = torch.zeros(1, 1, 5, 5)
    target.view(-1)[:count] = 1
    target[0, 0, 0, 0] = odd
    with pytest.raises(ValueError, match=r"Expected `target` to be binary"):
        binary_mask(target)


@pytest.mark.parametrize("dtype", DTYPES)
def test_binary_channels_are_the_mask(dtype):
    target = torch.zeros(1, 2, 1, 100)
    target[0, 0, 0, 0] = target[0, 1, 0, 1:3] = 1
    for mask in (target.bool(), ~target.bool()):
        found = binary_mask(mask.to(dtype))
        assert torch.equal(found.mask, mask)
        assert found.ids is None
        # a bool mask is not looked at, and a dense one as a whole
        sparse = dtype != torch.bool and mask.sum() == 3
        assert (None if found.position is None else found.position.tolist()) == ([0, 101, 102] if sparse else None)


@pytest.mark.parametrize("value", [2, -1, 0.5, torch.nan, torch.inf])
@pytest.mark.parametrize("is_waited_for", [True, False])
def test_what_is_not_binary_is_refused(value, is_waited_for, monkeypatch):
    monkeypatch.setattr(target_module, "_DEVICES", () if is_waited_for else ("cpu",))
    target = torch.zeros(2, 3, 4, 5)
    target[0, 0, 0, 0] = 1
    assert torch.equal(binary_mask(target).mask, target.bool())
    target[1, 2, 3, 4] = value
    error, message = (
        (ValueError, r"values in \{0, 1\}, but got torch.float32 values from")
        if is_waited_for
        else (
            RuntimeError,
            "Expected `target` to be binary",
        )
    )
    with pytest.raises(error, match=message):
        binary_mask(target)


def test_a_device_that_is_not_waited_for_reads_targets_of_all_channels(monkeypatch):
    monkeypatch.setattr(target_module, "_DEVICES", ("cpu",))
    one_hot = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    for first in (0, 1):
        batch = InputOptions(include_background=first == 0, sigmoid=True).prepare(one_hot, one_hot)
        assert torch.equal(batch.target, one_hot[0, first:].bool())


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_class_labels_are_one_channel_a_class(dtype):
    labels = torch.tensor([[[[0, 2, 1]]]]).to(dtype)
    assert class_mask(labels, 4).mask.int().tolist() == [[[[1, 0, 0]], [[0, 0, 1]], [[0, 1, 0]], [[0, 0, 0]]]]


@pytest.mark.parametrize("value", [3, -1, 0.5, torch.nan])
def test_what_is_no_class_label_is_refused(value):
    labels = torch.tensor([[[[0.0, 2.0, value]]]])
    with pytest.raises(ValueError, match=r"class labels in 0\.\.2 with to_onehot_y=True, but got torch.float32 values"):
        class_mask(labels, 3)


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_an_instance_map_keeps_its_ids(dtype):
    found = instance_mask(torch.tensor([[[[0, 7, 7]], [[3, 0, 0]]]]).to(dtype), None)
    assert found.mask.tolist() == [[[[False, True, True]], [[True, False, False]]]]
    assert found.position.tolist() == [1, 2, 3]
    assert found.ids.tolist() == [7, 7, 3]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            -1,
            r"an instance map \(0 background, ids above, ignore_index=-2\), but got torch.float32 values from -1 to 3",
        ),
        (torch.inf, "an instance map .*but got torch.float32 values from 0 to inf"),
        (torch.nan, "an instance map .*but got torch.float32 values from nan to nan"),
        (0.5, "an instance map of whole numbers, but got torch.float32 values from 0 to 3"),
    ],
)
def test_what_is_no_instance_map_is_refused(value, message):
    with pytest.raises(ValueError, match=message):
        instance_mask(torch.tensor([[[[0.0, 3.0, value]]]]), -2)


def test_value_range_tells_type_and_extremes():
    assert value_range(torch.tensor([0.25, -3.0])) == "torch.float32 values from -3 to 0.25"
    assert value_range(torch.zeros(0, dtype=torch.int64)) == "torch.int64 values from 0 to 0"
