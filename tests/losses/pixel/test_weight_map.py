from __future__ import annotations

import copy
import pickle
from functools import partial
from math import log

import numpy as np
import pytest
import torch
from monai.engines import SupervisedTrainer
from monai.losses import DeepSupervisionLoss, DiceLoss, FocalLoss
from monai.transforms import ConcatItemsd, ToTensord
from torch.nn import BCEWithLogitsLoss, CrossEntropyLoss
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax, one_hot

from monai_instance_loss.losses.pixel import DiceRegionLoss, WeightMapLoss
from monai_instance_loss.transforms import InstanceWeightMapd

BCE = BCEWithLogitsLoss(reduction="none")
CE = CrossEntropyLoss(reduction="none")
SHAPES = [(2, 3, 5, 4), (1, 3, 3, 4, 2)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def batch(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (B, C, *spatial), class labels and weights (B, 1, *spatial)."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, shape[1], (shape[0], 1, *shape[2:]), generator=generator)
    weight = 3 * torch.rand(labels.shape, generator=generator, dtype=torch.float64)
    return torch.randn(shape, generator=generator, dtype=torch.float64), labels, weight


def channels(labels: torch.Tensor) -> torch.Tensor:
    return one_hot(labels[:, 0], 3).movedim(-1, 1).double()


def test_by_hand():
    # p = 1/4 on the target and 1/2, 3/4 off it
    logits = torch.tensor([[[[-log(3), 0, log(3)]]]])
    target = torch.tensor([[[[1.0, 0.0, 0.0]], [[2.0, 0.0, 0.5]]]])
    values = [2 * log(4), 0, 0.5 * log(4)]
    assert float(WeightMapLoss(BCE)(logits, target)) == pytest.approx(sum(values) / 3)
    assert float(WeightMapLoss(BCE, reduction="sum")(logits, target)) == pytest.approx(sum(values))
    assert WeightMapLoss(BCE, reduction="none")(logits, target).flatten().tolist() == pytest.approx(values)


@every_shape
def test_binary_channels_are_torchs_with_a_weight(shape):
    logits, labels, weight = batch(shape)
    value = WeightMapLoss(BCE)(logits, torch.cat([channels(labels), weight], 1))
    torch.testing.assert_close(value, binary_cross_entropy_with_logits(logits, channels(labels), weight))


@every_shape
def test_cross_entropy_of_classes_is_u_nets(shape):
    logits, labels, weight = batch(shape)
    expected = -(weight * channels(labels) * log_softmax(logits, 1)).sum()
    target = torch.cat([labels, weight], 1)
    torch.testing.assert_close(WeightMapLoss(CE, reduction="sum")(logits, target), expected)
    # one value a voxel, not one a channel
    torch.testing.assert_close(WeightMapLoss(CE)(logits, target), expected / labels.numel())
    values = WeightMapLoss(CE, reduction="none")(logits, target)
    assert values.shape == labels.shape
    soft = torch.cat([channels(labels), weight], 1)
    torch.testing.assert_close(WeightMapLoss(CE)(logits, soft), expected / labels.numel())


def test_monais_focal_loss_takes_labels():
    logits, labels, weight = batch(SHAPES[0])
    focal = FocalLoss(use_softmax=True, to_onehot_y=True, reduction="none")
    expected = (focal(logits, labels) * weight).mean()
    target = torch.cat([labels, weight], 1)
    torch.testing.assert_close(WeightMapLoss(focal)(logits, target), expected, check_dtype=False)


def test_weights_of_one_change_nothing_and_of_zero_leave_out():
    logits, labels, _ = batch(SHAPES[0])
    one = torch.cat([labels, torch.ones_like(labels)], 1)
    torch.testing.assert_close(WeightMapLoss(CE)(logits, one), CrossEntropyLoss()(logits, labels[:, 0]))
    kept = torch.zeros_like(labels)
    kept[..., :2] = 1
    x = logits.clone().requires_grad_()
    WeightMapLoss(CE)(x, torch.cat([labels, kept], 1)).backward()
    assert (x.grad[..., 2:] == 0).all()
    assert (x.grad[..., :2] != 0).all()


@pytest.mark.parametrize("loss", [BCE, CE])
def test_gradcheck(loss):
    logits, labels, weight = batch((1, 3, 3, 2))
    target = torch.cat([channels(labels) if loss is BCE else labels, weight], 1)
    assert torch.autograd.gradcheck(lambda x: WeightMapLoss(loss)(x, target), logits.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    logits, labels, weight = batch((1, 3, 40, 40))
    half, target = logits.to(dtype), torch.cat([labels, weight], 1).float()
    value = WeightMapLoss(CE)(half, target)
    assert value.dtype == torch.float32
    assert torch.equal(value, WeightMapLoss(CE)(half.float(), target))


def test_a_function_is_a_loss():
    logits, labels, weight = batch(SHAPES[0])
    loss = WeightMapLoss(partial(binary_cross_entropy_with_logits, reduction="none"))
    target = torch.cat([channels(labels), weight], 1)
    assert torch.equal(loss(logits, target), WeightMapLoss(BCE)(logits, target))


def test_batch_of_none_is_zero_with_graph():
    x = torch.zeros(0, 1, 4, 4, requires_grad=True)
    value = WeightMapLoss(BCE)(x, torch.zeros(0, 2, 4, 4))
    value.backward()
    assert float(value.detach()) == 0


def test_copies_and_deep_supervision():
    logits, labels, weight = batch((2, 3, 8, 8))
    target, loss = torch.cat([labels, weight], 1), WeightMapLoss(CE)
    before = target.clone()
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert torch.equal(twin(logits, target), loss(logits, target))
    assert torch.equal(target, before)
    small = torch.nn.functional.interpolate(target, scale_factor=0.5, mode="nearest-exact")
    levels = [logits, logits[..., ::2, ::2]]
    expected = loss(logits, target) + 0.5 * loss(levels[1], small)
    torch.testing.assert_close(DeepSupervisionLoss(loss)(levels, target), expected, check_dtype=False)


def test_trains_with_the_weights_of_instances():
    mask = np.zeros((1, 8, 8), dtype=np.uint8)
    mask[:, 1:4, 1:4] = mask[:, 6, 6] = 1
    item = {"image": np.random.default_rng(0).random((1, 8, 8), dtype=np.float32), "label": mask}
    item = InstanceWeightMapd("label", output_keys="weight")(item)
    item = ToTensord(["image", "label"])(ConcatItemsd(["label", "weight"], name="label")(item))
    # 10 voxels of 2 instances: 10 / (2 * 9) in the large one, 10 / 2 in the small one
    assert item["label"].shape == (2, 8, 8)
    assert float(item["label"][1, 2, 2]) == pytest.approx(10 / 18)
    assert float(item["label"][1, 6, 6]) == pytest.approx(5)
    network = torch.nn.Conv2d(1, 1, 3, padding=1)
    before = copy.deepcopy(network.state_dict())
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=torch.utils.data.DataLoader([{key: item[key] for key in ("image", "label")}]),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=WeightMapLoss(BCE),
    )
    trainer.run()
    assert not torch.equal(network.state_dict()["weight"], before["weight"])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: WeightMapLoss(3), TypeError, "`loss`.*but got int"),
        (lambda: WeightMapLoss(BCEWithLogitsLoss()), ValueError, "`loss`.*BCEWithLogitsLoss with 'mean'"),
        (lambda: WeightMapLoss(DiceLoss(reduction="sum")), ValueError, "`loss`.*DiceLoss with 'sum'"),
        (lambda: WeightMapLoss(BCE, reduction="median"), ValueError, "`reduction`.*'median'"),
    ],
)
def test_bad_options_name_the_argument(make, error, message):
    with pytest.raises(error, match=f"Expected {message}"):
        make()


@pytest.mark.parametrize(
    ("loss", "target", "message"),
    [
        (BCE, torch.zeros(1, 1, 4, 4), r"`target` to have shape .*but got \(1, 1, 4, 4\)"),
        (BCE, torch.zeros(1, 2, 4, 5), r"`target` to have shape .*but got \(1, 2, 4, 5\)"),
        (BCE, torch.zeros(2, 2, 4, 4), r"`target` to have shape .*but got \(2, 2, 4, 4\)"),
        (BCE, torch.full((1, 2, 4, 4), -1.0), "weights.*to be finite and 0 or more, but got .*-1"),
        (BCE, torch.full((1, 2, 4, 4), torch.nan), "weights.*to be finite and 0 or more, but got .*nan"),
        (BCE, torch.full((1, 2, 4, 4), torch.inf), "weights.*to be finite and 0 or more, but got .*inf"),
        (DiceRegionLoss(sigmoid=True, reduction="none"), torch.zeros(1, 2, 4, 4), r"`loss`.*\(1, 1, 1, 1\)"),
        (DiceLoss(sigmoid=True, reduction="none"), torch.zeros(1, 2, 4, 4), r"`loss`.*\(1, 1, 1, 1\)"),
        (binary_cross_entropy_with_logits, torch.zeros(1, 2, 4, 4), r"`loss`.*but got values of shape \(\)"),
    ],
)
def test_bad_calls_name_the_argument(loss, target, message):
    with pytest.raises(ValueError, match=f"Expected {message}"):
        WeightMapLoss(loss)(torch.zeros(1, 1, 4, 4), target)


@pytest.mark.parametrize(
    ("input", "target", "message"),
    [
        ([[0.0]], torch.zeros(1, 2, 4, 4), "`input`.*list"),
        (torch.zeros(1, 1, 4, 4), None, "`target`.*NoneType"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.int64), torch.zeros(1, 2, 4, 4), "`input`.*int64"),
    ],
)
def test_bad_types_name_the_argument(input, target, message):
    with pytest.raises(TypeError, match=f"Expected {message}"):
        WeightMapLoss(BCE)(input, target)
