"""One table for all losses: empty cases, errors, half precision, NaN, pickling, and training from a config."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.losses import DeepSupervisionLoss

from monai_instance_loss import losses
from monai_instance_loss.losses import pixel

INSTANCE = ["InstanceLoss", "InstanceCenterLoss", "ICILoss", "SoftInstanceF1Loss", "BlobLoss", "CCLoss", "BiCCLoss"]
PIXEL = sorted(
    name
    for name in pixel.__all__
    if isinstance(getattr(pixel, name), type)
    and issubclass(getattr(pixel, name), losses.ImageLoss)
    and name != "CompoundRegionLoss"
)
ALL = [f"monai_instance_loss.losses.{name}" for name in INSTANCE] + [
    f"monai_instance_loss.losses.pixel.{name}" for name in PIXEL
]


def make(target: str, **options):
    config = yaml.safe_dump({"loss": {"_target_": target, **options}})
    return ConfigParser(yaml.safe_load(config)).get_parsed_content("loss")


def scene(shape):
    generator = torch.Generator().manual_seed(0)
    pool = torch.nn.functional.avg_pool3d if len(shape) == 5 else torch.nn.functional.avg_pool2d
    field = pool(torch.rand(shape, generator=generator), 3, 1, 1)
    target = (field > field.flatten().quantile(0.9)).float()
    return 8 * (field - 0.55) + torch.randn(shape, generator=generator), target


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("target_fill", [0.0, 1.0, None])
@pytest.mark.parametrize("level", [-1e4, -5.0, 5.0, 1e4])
@pytest.mark.parametrize("spatial", [(6, 7), (4, 5, 6), (1, 1), (1, 1, 1)], ids=str)
def test_empty_full_and_tiny_volumes_are_finite_with_graph(name, target_fill, level, spatial):
    target = torch.zeros(2, 1, *spatial)
    if target_fill is None:
        target[(0, 0, *[0] * len(spatial))] = 1
    else:
        target.fill_(target_fill)
    logits = torch.full((2, 1, *spatial), level, requires_grad=True)
    value = make(name, sigmoid=True)(logits, target)
    assert value.ndim == 0
    assert value.isfinite()
    value.backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_batch_of_none_is_zero_with_graph(name):
    logits = torch.zeros(0, 1, 4, 5, requires_grad=True)
    value = make(name, sigmoid=True)(logits, torch.zeros(0, 1, 4, 5))
    assert float(value) == 0
    value.backward()
    assert logits.grad.shape == logits.shape


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(name, dtype):
    logits, target = scene((2, 1, 12, 13))
    half = logits.to(dtype)
    options = {"weights": {"pixel": 0}} if name.rpartition(".")[2] in INSTANCE else {}
    loss = make(name, sigmoid=True, **options)
    torch.testing.assert_close(loss(half, target), loss(half.float(), target), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("where", ["background", "lesion"])
def test_nan_logits_give_a_nan_loss(name, where):
    logits, target = scene((1, 1, 12, 13))
    index = (target == (where == "lesion")).nonzero()[0]
    logits[tuple(index)] = torch.nan
    assert make(name, sigmoid=True)(logits, target).isnan()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("input", "target", "options", "error", "message"),
    [
        ((2, 1, 4, 4), (2, 1, 4, 5), {"sigmoid": True}, ValueError, r"`target` .*but got \(2, 1, 4, 5\)"),
        ((2, 3, 4, 4), (2, 2, 4, 4), {"softmax": True}, ValueError, r"`target` .*but got \(2, 2, 4, 4\)"),
        ((4, 4), (4, 4), {"sigmoid": True}, ValueError, r"`input` .*but got shape \(4, 4\)"),
        ((1, 1, 4, 4), (1, 1, 4, 4), {"softmax": True}, ValueError, "`input` .*2 or more channels"),
        ((1, 1, 4, 4), 2.0, {"sigmoid": True}, ValueError, "`target` to be binary.*from 0 to 2"),
        ((1, 1, 4, 4), 0.5, {"sigmoid": True}, ValueError, "`target` to be binary.*from 0 to 0.5"),
        ((1, 1, 4, 4), torch.nan, {"sigmoid": True}, ValueError, "`target` to be binary.*nan"),
        (3.0, (1, 1, 4, 4), {}, ValueError, r"`input` to be probabilities in \[0, 1\].*to 3"),
    ],
)
def test_bad_calls_name_the_argument(name, input, target, options, error, message):
    def filled(value):
        if isinstance(value, tuple):
            return torch.zeros(value)
        volume = torch.zeros(1, 1, 4, 4)
        volume[0, 0, 1, 1] = value
        return volume

    with pytest.raises(error, match=message):
        make(name, **options)(filled(input), filled(target))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"sigmoid": True, "softmax": True},
            ValueError,
            "`sigmoid`, `softmax` and `other_act` to be given one at most",
        ),
        ({"reduction": "median"}, ValueError, "`reduction` .*but got 'median'"),
        ({"other_act": 3}, TypeError, "`other_act` .*but got int"),
    ],
)
def test_bad_options_name_the_argument(name, options, error, message):
    kind = getattr(losses if name.rpartition(".")[2] in INSTANCE else pixel, name.rpartition(".")[2])
    with pytest.raises(error, match=message):
        kind(**options)


@pytest.mark.parametrize("name", ALL)
def test_copies_pickles_and_shows_itself_and_keeps_its_arguments(name):
    loss = make(name, sigmoid=True)
    logits, target = scene((2, 1, 10, 11))
    before = logits.clone(), target.clone()
    value = loss(logits, target)
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert torch.equal(twin(logits, target), value)
    assert torch.equal(loss(logits, target), value)
    assert "sigmoid=True" in repr(loss)
    assert torch.equal(logits, before[0])
    assert torch.equal(target, before[1])


@pytest.mark.parametrize("name", [name for name in ALL if name.rpartition(".")[2] in INSTANCE])
def test_deep_supervision(name):
    logits, target = scene((2, 1, 16, 16))
    levels = [logits, torch.nn.functional.avg_pool2d(logits, 2)]
    loss = make(name, sigmoid=True)
    small = torch.nn.functional.interpolate(target, scale_factor=0.5, mode="nearest-exact")
    expected = loss(levels[0], target) + 0.5 * loss(levels[1], small)
    torch.testing.assert_close(DeepSupervisionLoss(loss)(levels, target), expected)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("classes", [1, 3])
def test_trains_from_a_config_in_a_supervised_trainer(name, dims, classes):
    spatial = (16,) * dims
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand((2, 1, *spatial), generator=generator) > 0.9) * (1 + (classes > 1))
    data = [{"image": torch.rand((1, *spatial), generator=generator), "label": label.long()} for label in labels]
    options = {"sigmoid": True} if classes == 1 else {"softmax": True, "to_onehot_y": True, "include_background": False}
    torch.manual_seed(0)
    network = torch.nn.Sequential((torch.nn.Conv2d if dims == 2 else torch.nn.Conv3d)(1, classes, 3, padding=1))
    before = copy.deepcopy(network.state_dict())
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=DataLoader(Dataset(data), batch_size=1),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=make(name, **options),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.run()
    assert trainer.state.iteration == 2
    after = network.state_dict()
    assert all(value.isfinite().all() for value in after.values())
    assert any(not torch.equal(before[key], after[key]) for key in after)


def held_fixed(function):
    """The function with whatever it detaches held at what it is on the first call: presence weights, components."""
    recorded = []
    detach = torch.Tensor.detach

    def call(x):
        known = iter(recorded)
        first = not recorded
        seen = []

        def recorded_detach(tensor):
            value = detach(tensor).clone() if first else next(known)
            seen.append(value)
            return value

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.Tensor, "detach", recorded_detach)
            result = function(x)
        if first:
            recorded.extend(seen)
        return result

    return call


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 1, 6, 7), {"sigmoid": True}),
        ((1, 3, 4, 4, 5), {"softmax": True, "include_background": False}),
        ((1, 2, 6, 6), {}),
    ],
    ids=["sigmoid", "softmax", "probabilities"],
)
def test_gradcheck(name, shape, options):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(shape, generator=generator, dtype=torch.float64) - 0.8
    # away from the thresholds 0.1 and 0.5 of predicted components and contours
    for level in (0.0, torch.logit(torch.tensor(0.1, dtype=torch.float64))):
        near = (x - level).abs() < 0.05
        x = torch.where(near, x + 0.1, x)
    if options.get("softmax"):
        target = torch.nn.functional.one_hot((x + torch.randn(shape, generator=generator)).argmax(1), shape[1])
        target = target.movedim(-1, 1).double()
    else:
        target = (x + torch.randn(shape, generator=generator) > 0.3).double()
    x = x if options else x.sigmoid()
    loss = make(name, **options)
    if name.rpartition(".")[2] in INSTANCE:
        # every term but the pixel loss, which is MONAI's
        loss.weights = dict.fromkeys(loss.weights, 1.0) | {"pixel": 0.0}
    assert torch.autograd.gradcheck(held_fixed(lambda value: loss(value, target)), x.requires_grad_())
