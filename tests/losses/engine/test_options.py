from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_instance_loss.losses import InstanceLoss
from monai_instance_loss.losses.engine.options import InputOptions
from monai_instance_loss.losses.pixel import DiceRegionLoss

LOGITS = torch.linspace(-3, 3, 2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
LABELS = torch.arange(2 * 4 * 5).reshape(2, 1, 4, 5) % 3
ONE_HOT = torch.cat([k == LABELS for k in range(3)], 1)


def read(options: InputOptions, input: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities and target mask (B, C, *spatial) of everything."""
    batch = options.prepare(input, target)
    return batch.voxels.p.view(batch.shape), batch.target.view(batch.shape)


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
    on_labels = InputOptions(include_background=include_background, to_onehot_y=True, **flags)
    # labels give the same target
    for p, mask in (read(options, LOGITS, ONE_HOT), read(on_labels, LOGITS, LABELS)):
        torch.testing.assert_close(p, expected[:, first:])
        assert torch.equal(mask, ONE_HOT[:, first:])


def test_probabilities_need_no_activation():
    p = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(read(InputOptions(), p, ONE_HOT)[0], p)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.float16, torch.float32, torch.float64])
def test_targets_of_any_dtype_become_masks(dtype):
    assert torch.equal(read(InputOptions(sigmoid=True), LOGITS, ONE_HOT.to(dtype))[1], ONE_HOT)
    labels = LABELS.to(dtype)
    assert torch.equal(read(InputOptions(softmax=True, to_onehot_y=True), LOGITS, labels)[1], ONE_HOT)


def test_meta_tensors_become_plain():
    options = InputOptions(softmax=True, to_onehot_y=True)
    prepared = options.prepare(MetaTensor(LOGITS), MetaTensor(LABELS))
    assert type(prepared.target) is torch.Tensor
    assert type(prepared.voxels.p) is torch.Tensor


def test_without_an_ignore_index_nothing_is_ignored():
    assert InputOptions(sigmoid=True).prepare(LOGITS, ONE_HOT).ignored is None


def test_ignored_voxels_belong_to_no_class():
    labels = LABELS.clone()
    labels[1, 0, 2] = 255
    prepared = InputOptions(softmax=True, to_onehot_y=True, ignore_index=255).prepare(LOGITS, labels)
    ignored = (labels == 255).expand(-1, 3, -1, -1).flatten(0, 1)
    assert torch.equal(prepared.ignored, ignored)
    assert not prepared.target[ignored].any()
    assert torch.equal(prepared.target[~ignored], ONE_HOT.flatten(0, 1)[~ignored])


def test_an_instance_map_is_ignored_where_any_channel_says_so():
    instance_map = torch.tensor([[[[1, -1], [0, 2]], [[3, 4], [0, 0]]]])
    options = InputOptions(target_is_instances=True, ignore_index=-1)
    prepared = options.prepare(torch.rand(1, 2, 2, 2), instance_map)
    assert prepared.ignored.tolist() == [[[False, True], [False, False]]] * 2
    instances = prepared.label_target(None)
    assert instances.labels.tolist() == [[[[1, 0], [0, 2]], [[3, 0], [0, 0]]]]
    assert instance_map.tolist() == [[[[1, -1], [0, 2]], [[3, 4], [0, 0]]]]


def test_a_bool_instance_map_has_one_instance_a_channel():
    # two pieces of id 1
    instance_map = torch.tensor([[[[True, False, True]], [[False, False, True]]]])
    batch = InputOptions(target_is_instances=True).prepare(torch.rand(1, 2, 1, 3), instance_map)
    assert batch.has_ids
    instances = batch.label_target(None)
    assert instances.labels.tolist() == [[[[1, 0, 1]], [[0, 0, 2]]]]


def test_an_instance_map_keeps_its_ids_without_the_background():
    # two instances side by side
    instance_map = torch.tensor([[[[5, 0, 0]], [[1, 2, 0]]]])
    options = InputOptions(target_is_instances=True, include_background=False)
    instances = options.prepare(torch.rand(1, 2, 1, 3), instance_map).label_target(None)
    assert instances.labels.tolist() == [[[[1, 2, 0]]]]


def test_ignored_voxels_of_an_instance_map_reach_the_pixel_loss_that_knows_them():
    p, instance_map = torch.tensor([[[[0.5, 0.25, 0.75]]]]), torch.tensor([[[[2, 0, -1]]]])
    options = InputOptions(target_is_instances=True, ignore_index=-1)
    input, target = options.pixel_arguments(p, instance_map, DiceRegionLoss(ignore_index=-1))
    assert input is p
    assert target.tolist() == [[[[1, 0, -1]]]]
    # to one that does not they are certain background
    input, target = options.pixel_arguments(p, instance_map, DiceRegionLoss(ignore_index=5))
    assert (input.tolist(), target.tolist()) == ([[[[0.5, 0.25, 0]]]], [[[[1, 0, 0]]]])


@pytest.mark.parametrize(
    ("value", "is_probability"), [(1.0005, True), (-0.0005, True), (1.002, False), (-0.002, False)]
)
def test_probabilities_may_be_off_by_a_rounding_error(value, is_probability):
    p, target = torch.tensor([[[[0.5, value]]]]), torch.zeros(1, 1, 1, 2)
    if is_probability:
        assert InputOptions().prepare(p, target).voxels.p.tolist() == p[0].tolist()
    else:
        with pytest.raises(ValueError, match=r"`input` to be probabilities in \[0, 1\]"):
            InputOptions().prepare(p, target)


@pytest.mark.parametrize("flag", ["to_onehot_y", "include_background"])
def test_flags_without_meaning_for_one_channel_warn(flag):
    options = InputOptions(sigmoid=True, **{flag: flag == "to_onehot_y"})
    with pytest.warns(UserWarning, match=f"single channel prediction, `{flag}=.*` ignored") as caught:
        batch = options.prepare(LOGITS[:, :1], ONE_HOT[:, :1])
    assert torch.equal(batch.target, ONE_HOT[:, 0])
    # the line that calls, not one inside the package
    assert caught[0].filename == __file__


def test_arguments_are_left_alone():
    logits, labels = LOGITS.clone(), LABELS.clone()
    labels[0, 0, 0] = 255
    before = labels.clone()
    options = InputOptions(softmax=True, to_onehot_y=True, ignore_index=255)
    batch = options.prepare(logits, labels)
    options.pixel_arguments(logits, labels, torch.nn.Identity())
    batch.voxels.at_least(0.5)
    assert torch.equal(logits, LOGITS)
    assert torch.equal(labels, before)


def test_a_warning_points_at_the_line_that_calls_the_loss():
    loss = InstanceLoss(sigmoid=True, to_onehot_y=True, pixel_loss=torch.nn.BCEWithLogitsLoss())
    with pytest.warns(UserWarning, match="single channel prediction") as caught:
        loss(LOGITS[:, :1], ONE_HOT[:, :1].float())
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(
    ("options", "channels", "expected"),
    [
        # one channel has no background beside it, and sigmoid channels have none among them
        ({"softmax": True}, 3, True),
        ({}, 2, True),
        ({"softmax": True, "include_background": False}, 3, False),
        ({"sigmoid": True}, 3, False),
        ({}, 1, False),
    ],
)
def test_has_background(options, channels, expected):
    assert InputOptions(**options).has_background(channels) is expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_is_instances": True, "to_onehot_y": True}, "`to_onehot_y` to be False .*but got True"),
        ({"target_is_instances": True, "ignore_index": 0}, "`ignore_index` to be negative .*but got 0"),
    ],
)
def test_options_that_contradict_each_other(options, message):
    with pytest.raises(ValueError, match=message):
        InputOptions(**options)


@pytest.mark.parametrize(
    ("input", "target", "error", "message"),
    [
        (LOGITS.numpy(), ONE_HOT, TypeError, "`input` to be a torch.Tensor, but got ndarray"),
        (LOGITS, ONE_HOT.numpy(), TypeError, "`target` to be a torch.Tensor, but got ndarray"),
        (LOGITS.long(), ONE_HOT, TypeError, "`input` to be a float tensor, but got torch.int64"),
        (LOGITS, ONE_HOT + 0j, TypeError, "`target` to be bool, integer or float, but got torch.complex64"),
        (LOGITS, ONE_HOT.to("meta"), ValueError, "`target` to be on cpu as `input` is, but got meta"),
    ],
)
def test_what_is_no_fit_tensor_is_refused(input, target, error, message):
    with pytest.raises(error, match=message):
        InputOptions(sigmoid=True).prepare(input, target)
