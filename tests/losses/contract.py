"""What every loss keeps, whoever wrote it: checks of a function that makes the loss from MONAI's flags."""

from __future__ import annotations

import copy
import itertools
import pickle
import re
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer

from monai_instance_loss.losses.terms import TermsLoss

Make = Callable[..., torch.nn.Module]

# 0 and 1 fill the target, None puts one voxel into it; each of them meets each logit and each shape
SHAPES = [(6, 7), (4, 5, 6), (1, 1), (1, 1, 1)]
LEVELS = [-1e4, -5.0, 5.0, 1e4]
FILLS = [0.0, 1.0, None]
DEGENERATE = [
    (fill, level, SHAPES[(row + column) % 4])
    for (row, fill), (column, level) in itertools.product(enumerate(FILLS), enumerate(LEVELS))
]
# input, target, options, error and message; numbers are the value of one voxel of an image of zeros
BAD_CALLS = [
    ((2, 1, 4, 4), (2, 1, 4, 5), {"sigmoid": True}, ValueError, r"`target` .*but got \(2, 1, 4, 5\)"),
    ((2, 3, 4, 4), (2, 2, 4, 4), {"softmax": True}, ValueError, r"`target` .*but got \(2, 2, 4, 4\)"),
    ((4, 4), (4, 4), {"sigmoid": True}, ValueError, r"`input` .*but got shape \(4, 4\)"),
    ((1, 1, 4, 4), (1, 1, 4, 4), {"softmax": True}, ValueError, "`input` .*2 or more channels"),
    ((1, 1, 4, 4), 2.0, {"sigmoid": True}, ValueError, "`target` to be binary.*from 0 to 2"),
    ((1, 1, 4, 4), 0.5, {"sigmoid": True}, ValueError, "`target` to be binary.*from 0 to 0.5"),
    ((1, 1, 4, 4), torch.nan, {"sigmoid": True}, ValueError, "`target` to be binary.*nan"),
    (3.0, (1, 1, 4, 4), {}, ValueError, r"`input` to be probabilities in \[0, 1\].*to 3"),
]
BAD_OPTIONS = [
    ({"sigmoid": True, "softmax": True}, ValueError, "`sigmoid`, `softmax` and `other_act` to be given one at most"),
    ({"reduction": "median"}, ValueError, "`reduction` .*but got 'median'"),
    ({"other_act": 3}, TypeError, "`other_act` .*but got int"),
]
FORMS = [
    ((2, 1, 6, 7), {"sigmoid": True}),
    ((1, 3, 3, 4, 4), {"softmax": True, "include_background": False}),
    ((1, 2, 6, 6), {}),
]


def scene(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    pool = torch.nn.functional.avg_pool3d if len(shape) == 5 else torch.nn.functional.avg_pool2d
    field = pool(torch.rand(shape, generator=generator), 3, 1, 1)
    target = (field > field.flatten().quantile(0.9)).float()
    return 8 * (field - 0.55) + torch.randn(shape, generator=generator), target


def finite_with_graph(make: Make, fill: float | None, level: float, spatial: tuple[int, ...]) -> None:
    """Empty, full and tiny volumes have a finite loss with a finite gradient, however certain the prediction is."""
    target = torch.full((2, 1, *spatial), fill or 0.0)
    if fill is None:
        target[(0, 0, *[0] * len(spatial))] = 1
    logits = torch.full((2, 1, *spatial), level, requires_grad=True)
    value = make(sigmoid=True)(logits, target)
    assert value.ndim == 0
    assert value.isfinite()
    value.backward()
    assert logits.grad.isfinite().all()


def zero_for_no_samples(make: Make) -> None:
    logits = torch.zeros(0, 1, 4, 5, requires_grad=True)
    value = make(sigmoid=True)(logits, torch.zeros(0, 1, 4, 5))
    assert value.detach().item() == 0
    value.backward()
    assert logits.grad.shape == logits.shape


def half_is_computed_in_single(make: Make, dtype: torch.dtype) -> None:
    logits, target = scene((2, 1, 12, 13))
    half = logits.to(dtype)
    loss = make(sigmoid=True)
    if isinstance(loss, TermsLoss):
        # the pixel loss is MONAI's
        loss.weights["pixel"] = 0.0
    torch.testing.assert_close(loss(half, target), loss(half.float(), target), rtol=1e-5, atol=1e-6)


def nan_is_seen(make: Make, where: float) -> None:
    """A NaN gives a NaN loss, off the target and on it."""
    logits, target = scene((1, 1, 12, 13))
    logits[tuple((target == where).nonzero()[0])] = torch.nan
    assert make(sigmoid=True)(logits, target).isnan()


def bad_calls_name_the_argument(make: Make, input, target, options, error, message) -> None:  # type: ignore[no-untyped-def]
    def filled(value: tuple[int, ...] | float) -> torch.Tensor:
        if isinstance(value, tuple):
            return torch.zeros(value)
        volume = torch.zeros(1, 1, 4, 4)
        volume[0, 0, 1, 1] = value
        return volume

    with pytest.raises(error, match=message):
        make(**options)(filled(input), filled(target))


def bad_options_name_the_argument(make: Make, options, error, message) -> None:  # type: ignore[no-untyped-def]
    # a config's parser wraps what a loss raises
    with pytest.raises((RuntimeError, error)) as raised:
        make(**options)
    cause: BaseException | None = raised.value
    while cause is not None and not isinstance(cause, error):
        cause = cause.__cause__
    assert cause is not None
    assert re.search(message, str(cause)), str(cause)


def copies_and_keeps_its_arguments(make: Make) -> None:
    """Copies and pickles compute the same, `repr` shows the options, and a call changes nothing that it is given."""
    loss = make(sigmoid=True)
    logits, target = scene((2, 1, 10, 11))
    before = logits.clone(), target.clone()
    value = loss(logits, target)
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert torch.equal(twin(logits, target), value)
    assert torch.equal(loss(logits, target), value)
    assert "sigmoid=True" in repr(loss)
    assert torch.equal(logits, before[0])
    assert torch.equal(target, before[1])


def trains(make: Make, dims: int, classes: int) -> None:
    """Serves a SupervisedTrainer: one class as logits, several as labels without the background."""
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
        loss_function=make(**options),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.run()
    assert trainer.state.iteration == 2
    after = network.state_dict()
    assert all(value.isfinite().all() for value in after.values())
    assert any(not torch.equal(before[key], after[key]) for key in after)


def held_fixed(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """The function with whatever it detaches held at what it is on the first call: presence weights, components."""
    recorded: list[torch.Tensor] = []
    detach = torch.Tensor.detach

    def call(x: torch.Tensor) -> torch.Tensor:
        known: Iterator[torch.Tensor] = iter(recorded)
        first = not recorded
        seen = []

        def recorded_detach(tensor: torch.Tensor) -> torch.Tensor:
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


def gradient_is_that_of_differences(make: Make, shape: tuple[int, ...], options: dict[str, bool]) -> None:
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
    loss = make(**options)
    if isinstance(loss, TermsLoss):
        # every term but the pixel loss, which is MONAI's
        loss.weights = dict.fromkeys(loss.weights, 1.0) | {"pixel": 0.0}
    assert torch.autograd.gradcheck(held_fixed(lambda value: loss(value, target)), x.requires_grad_())


CONTRACT: dict[str, list[tuple]] = {  # type: ignore[type-arg]
    "finite_with_graph": DEGENERATE,
    "zero_for_no_samples": [()],
    "half_is_computed_in_single": [(torch.float16,), (torch.bfloat16,)],
    "nan_is_seen": [(0.0,), (1.0,)],
    "bad_calls_name_the_argument": BAD_CALLS,
    "bad_options_name_the_argument": BAD_OPTIONS,
    "copies_and_keeps_its_arguments": [()],
    # volumes of one class, images of several: gradients are checked the other way round
    "trains": [(3, 1), (2, 3)],
    "gradient_is_that_of_differences": FORMS,
}


def keep(check: str, make: Make) -> None:
    """Run one check of the contract on all of its cases, and say which one failed."""
    for arguments in CONTRACT[check]:
        try:
            globals()[check](make, *arguments)
        except (Exception, pytest.fail.Exception) as error:
            raise AssertionError(f"{check}{arguments}: {type(error).__name__}: {error}") from error
