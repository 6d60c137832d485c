from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_instance_loss.losses.engine import options as inputs
from monai_instance_loss.losses.engine.options import InputOptions

LOGITS = torch.linspace(-3, 3, 2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
LABELS = torch.arange(2 * 4 * 5).reshape(2, 1, 4, 5) % 3
ONE_HOT = torch.cat([k == LABELS for k in range(3)], 1)


def dense(options: InputOptions, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Probabilities (B, C, *spatial) of everything."""
    prepared = options.prepare(input, target)
    blocks = torch.arange(prepared.target.shape[0] * prepared.target.shape[1])
    return prepared.probability.blocks(blocks).p.view(prepared.target.shape)


@pytest.mark.parametrize("include_background", [True, False])
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"sigmoid": True}, torch.sigmoid(LOGITS)),
        ({"softmax": True}, torch.softmax(LOGITS, 1)),
        ({"other_act": lambda x: torch.sigmoid(3 * x)}, torch.sigmoid(3 * LOGITS)),
    ],
    ids=["sigmoid", "softmax", "other_act"],
)
def test_activation_and_background(flags, expected, include_background):
    options = InputOptions(include_background=include_background, **flags)
    first = 0 if include_background else 1
    torch.testing.assert_close(dense(options, LOGITS, ONE_HOT), expected[:, first:])
    assert torch.equal(options.prepare(LOGITS, ONE_HOT).target, ONE_HOT[:, first:])
    # labels give the same target
    on_labels = InputOptions(include_background=include_background, to_onehot_y=True, **flags)
    assert torch.equal(on_labels.prepare(LOGITS, LABELS).target, ONE_HOT[:, first:])


def test_probabilities_need_no_activation():
    p = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(dense(InputOptions(), p, ONE_HOT), p)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.float16, torch.float32, torch.float64])
def test_targets_of_any_dtype_become_masks(dtype):
    assert torch.equal(InputOptions(sigmoid=True).prepare(LOGITS, ONE_HOT.to(dtype)).target, ONE_HOT)
    labels = LABELS.to(dtype)
    assert torch.equal(InputOptions(softmax=True, to_onehot_y=True).prepare(LOGITS, labels).target, ONE_HOT)


def test_meta_tensors_become_plain():
    options = InputOptions(softmax=True, to_onehot_y=True)
    prepared = options.prepare(MetaTensor(LOGITS), MetaTensor(LABELS))
    assert type(prepared.target) is torch.Tensor
    assert type(prepared.probability.blocks(torch.arange(6)).p) is torch.Tensor


def test_without_an_ignore_index_nothing_is_ignored():
    assert InputOptions(sigmoid=True).prepare(LOGITS, ONE_HOT).ignored is None


def test_ignored_voxels_belong_to_no_class():
    labels = LABELS.clone()
    labels[1, 0, 2] = 255
    prepared = InputOptions(softmax=True, to_onehot_y=True, ignore_index=255).prepare(LOGITS, labels)
    assert torch.equal(prepared.ignored, labels == 255)
    assert not prepared.target[(labels == 255).expand(-1, 3, -1, -1)].any()
    kept = (labels != 255).expand(-1, 3, -1, -1)
    assert torch.equal(prepared.target[kept], ONE_HOT[kept])


def test_an_instance_map_is_ignored_where_any_channel_says_so():
    instance_map = torch.tensor([[[[1, -1], [0, 2]], [[3, 4], [0, 0]]]])
    options = InputOptions(target_is_instances=True, ignore_index=-1)
    prepared = options.prepare(torch.rand(1, 2, 2, 2), instance_map)
    assert prepared.ignored.tolist() == [[[[False, True], [False, False]]]]
    instances = options.label_target(prepared, None)
    assert instances.labels.tolist() == [[[[1, 0], [0, 2]], [[3, 0], [0, 0]]]]
    assert instance_map.tolist() == [[[[1, -1], [0, 2]], [[3, 4], [0, 0]]]]


def test_a_bool_instance_map_has_one_instance_a_channel():
    # two pieces of id 1
    instance_map = torch.tensor([[[[True, False, True]], [[False, False, True]]]])
    options = InputOptions(target_is_instances=True)
    instances = options.label_target(options.prepare(torch.rand(1, 2, 1, 3), instance_map), None)
    assert instances.labels.tolist() == [[[[1, 0, 1]], [[0, 0, 2]]]]


@pytest.mark.parametrize("value", [2, -1, 0.5, torch.nan])
def test_a_device_that_is_not_waited_for_refuses_what_is_not_binary(value, monkeypatch):
    monkeypatch.setattr(inputs, "_DEVICES", ("cpu",))
    target = ONE_HOT.float()
    for first in (0, 1):
        prepared = InputOptions(include_background=first == 0, sigmoid=True).prepare(LOGITS, target)
        assert torch.equal(prepared.target, ONE_HOT[:, first:])
    target[1, 2, 3, 4] = value
    with pytest.raises(RuntimeError, match="Expected `target` to be binary"):
        InputOptions(sigmoid=True).prepare(LOGITS, target)


@pytest.mark.parametrize("flag", ["to_onehot_y", "include_background"])
def test_flags_without_meaning_for_one_channel_warn(flag):
    options = InputOptions(sigmoid=True, **{flag: flag == "to_onehot_y"})
    with pytest.warns(UserWarning, match=f"single channel prediction, `{flag}=.*` ignored"):
        prepared = options.prepare(LOGITS[:, :1], ONE_HOT[:, :1])
    assert torch.equal(prepared.target, ONE_HOT[:, :1])


def test_arguments_are_left_alone():
    logits, labels = LOGITS.clone(), LABELS.clone()
    labels[0, 0, 0] = 255
    before = labels.clone()
    options = InputOptions(softmax=True, to_onehot_y=True, ignore_index=255)
    prepared = options.prepare(logits, labels)
    options.pixel_arguments(logits, labels, torch.nn.Identity(), prepared.ignored)
    prepared.probability.at_least(0.5)
    assert torch.equal(logits, LOGITS)
    assert torch.equal(labels, before)
