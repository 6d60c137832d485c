"""The way of a contribution: a pixel loss and an instance term that this file adds, and nothing else."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from monai.engines import SupervisedTrainer
from torch.nn import MSELoss

from monai_instance_loss.handlers import LossTermsHandler
from monai_instance_loss.losses import InstanceLoss, InstanceLossTerms, RegionLoss
from monai_instance_loss.losses.engine.cuda import tables
from monai_instance_loss.losses.engine.voxels import one, squared
from monai_instance_loss.losses.terms import Term, base

# a pixel loss: its maps, and a value from their sums


def missing_squared(voxels):
    """(1 - p)^2, a map."""
    return (1 - voxels.p).square()


class MeanSquaredLoss(RegionLoss):
    """Torch's MSELoss on probabilities, as a RegionLoss."""

    on, off = (missing_squared, one), (squared,)

    def score(self, sums):
        # target voxels outside the region have a probability of 0
        outside = sums.target_voxels - sums.on[one]
        return (sums.on[missing_squared] + outside + sums.off[squared]) / sums.voxels


def test_a_new_pixel_loss_has_its_value(contract):
    logits, target = contract.scene((2, 3, 8, 9))
    p = logits.sigmoid()
    torch.testing.assert_close(MeanSquaredLoss()(p, target), MSELoss()(p, target))
    torch.testing.assert_close(MeanSquaredLoss(sigmoid=True)(logits, target), MSELoss()(p, target))


@pytest.mark.parametrize(
    "check",
    [
        "finite_with_graph",
        "zero_for_no_samples",
        "half_is_computed_in_single",
        "nan_is_seen",
        "bad_calls_name_the_argument",
        "bad_options_name_the_argument",
        "copies_and_keeps_its_arguments",
        "trains",
        "gradient_is_that_of_differences",
    ],
)
def test_a_new_pixel_loss_keeps_the_contract(contract, check):
    contract.keep(check, MeanSquaredLoss)


class NoGraph(MeanSquaredLoss):
    def forward(self, input, target):
        return super().forward(input, target).detach()


class Infinite(MeanSquaredLoss):
    def score(self, sums):
        return super().score(sums) + (sums.target_voxels / sums.target_voxels)


class Blind(MeanSquaredLoss):
    def score(self, sums):
        return super().score(sums).nan_to_num()


class WrongGradient(MeanSquaredLoss):
    def score(self, sums):
        value = super().score(sums)
        return value + 0.1 * (value - value.data)


class Writes(MeanSquaredLoss):
    def forward(self, input, target):
        input.data.add_(1)
        return super().forward(input, target)


class Halves(MeanSquaredLoss):
    def forward(self, input, target):
        return super().forward(input, target).to(input.dtype)


class TakesNoFlags(MeanSquaredLoss):
    def __init__(self, **_):
        super().__init__(sigmoid=True)


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (NoGraph, "finite_with_graph"),
        (Infinite, "finite_with_graph"),
        (Blind, "nan_is_seen"),
        (WrongGradient, "gradient_is_that_of_differences"),
        (Writes, "copies_and_keeps_its_arguments"),
        (Halves, "half_is_computed_in_single"),
        (TakesNoFlags, "bad_options_name_the_argument"),
        (TakesNoFlags, "bad_calls_name_the_argument"),
        (NoGraph, "trains"),
        (NoGraph, "zero_for_no_samples"),
    ],
)
def test_the_contract_is_not_kept_by_a_loss_that_breaks_it(contract, kind, check):
    with pytest.raises(AssertionError, match=check):
        contract.keep(check, kind)


def test_a_new_pixel_loss_is_a_criterion_of_instances(naive, soft_batch):
    logits, target = soft_batch((2, 2, 12, 13), 1)
    loss = InstanceLoss(sigmoid=True, instance_loss=MeanSquaredLoss(), center_loss=MeanSquaredLoss())
    terms = loss.terms(logits, target)
    # on volumes that are masked one after another
    mse = MSELoss()
    options = naive.Options(instance_loss=mse, center_loss=mse, threshold=0.1)
    expected = naive.terms(torch.sigmoid(logits), target, options)
    for name in ("instance", "instance_pred", "center"):
        torch.testing.assert_close(getattr(terms, name), expected[name])


def test_all_instances_are_scored_in_one_pass(monkeypatch):
    calls = []
    score = MeanSquaredLoss.score
    monkeypatch.setattr(
        MeanSquaredLoss, "score", lambda self, sums: calls.append(sums.voxels.numel()) or score(self, sums)
    )
    for count in (1, 12):
        target = torch.zeros(1, 1, 3, 30)
        target[0, 0, 1, 0 : 2 * count : 2] = 1
        calls.clear()
        InstanceLoss(sigmoid=True, pixel_loss=MSELoss(), instance_loss=MeanSquaredLoss())(8 * target - 4, target)
        # once for the true instances, once for the predicted ones
        assert calls == [count, count]


def test_a_network_trains_with_a_new_criterion(contract):
    def make(**options):
        return InstanceLoss(instance_loss=MeanSquaredLoss(), **options)

    for check in ("trains", "finite_with_graph", "copies_and_keeps_its_arguments"):
        contract.keep(check, make)


# a term: a function of the overlap, a field and an entry


def shrunk(overlap, loss):
    """Squared share of each true instance's size that the probabilities on it fall short of, averaged."""
    side = overlap.true
    share = side.gather(overlap.sums(("p",))["p"]) / side.voxels.clamp(min=1)
    total = side.sum_by_block((1 - share).square(), overlap.blocks)
    return loss.averaging.instances(total, side.count_by_block(overlap.blocks), overlap.shape, overlap.classes_present)


SHRUNK = Term(shrunk)


class TermsAndShrunk(NamedTuple):
    pixel: torch.Tensor
    instance: torch.Tensor
    instance_pred: torch.Tensor
    center: torch.Tensor
    false: torch.Tensor
    missed: torch.Tensor
    proximity: torch.Tensor
    shrunk: torch.Tensor


class InstanceLossAndShrunk(InstanceLoss):
    terms_type = TermsAndShrunk
    instance_terms = InstanceLoss.instance_terms | {"shrunk": SHRUNK}


TARGET = torch.tensor([[[[1.0, 1.0, 0.0, 1.0, 0.0, 0.0]]]])
P = torch.tensor([[[[0.8, 0.6, 0.0, 0.2, 0.0, 0.9]]]])
# shares (0.8 + 0.6) / 2 = 0.7 and 0.2: (0.3^2 + 0.8^2) / 2
EXPECTED = (0.09 + 0.64) / 2


def test_a_new_term_has_its_value():
    loss = InstanceLossAndShrunk()
    assert loss.weights == {**InstanceLoss().weights, "shrunk": 0.0}
    terms = loss.terms(P, TARGET)
    assert float(terms.shrunk) == pytest.approx(EXPECTED, abs=1e-6)
    # the others are what they were
    for name, value in InstanceLoss().terms(P, TARGET)._asdict().items():
        assert torch.equal(getattr(terms, name), value)


def test_a_new_term_is_weighed_with_the_others():
    plain = InstanceLoss()(P, TARGET)
    value = InstanceLossAndShrunk(weights={"shrunk": 3})(P, TARGET)
    assert float(value) == pytest.approx(float(plain) + 3 * EXPECTED, abs=1e-5)
    with pytest.raises(ValueError, match=r"`weights` to name terms of .*'shrunk'\], but got \['shrink'\]"):
        InstanceLossAndShrunk(weights={"shrink": 1})
    with pytest.raises(ValueError, match=r"but got \['shrunk'\]"):
        InstanceLoss(weights={"shrunk": 1})


def test_a_new_term_of_sums_is_the_same_on_tables(monkeypatch, soft_batch):
    logits, target = soft_batch((2, 2, 12, 13), 1)
    loss = InstanceLossAndShrunk(sigmoid=True, weights={"pixel": 0, "shrunk": 1})
    expected = loss(logits, target)
    made = []
    table = base.TableOverlap
    monkeypatch.setattr(tables, "_DEVICES", ("cpu",))
    monkeypatch.setattr(base, "TableOverlap", lambda *args: made.append(1) or table(*args))
    torch.testing.assert_close(loss(logits, target), expected)
    assert made == [1]


@pytest.mark.parametrize("check", ["finite_with_graph", "nan_is_seen", "copies_and_keeps_its_arguments", "trains"])
def test_a_loss_with_a_new_term_keeps_the_contract(contract, check):
    contract.keep(check, lambda **options: InstanceLossAndShrunk(weights={"shrunk": 1}, **options))


def test_a_new_term_is_logged():
    class Writer:
        scalars: dict[str, float] = {}  # noqa: RUF012

        def add_scalar(self, tag, value, step):
            self.scalars[tag] = value

        def flush(self):
            pass

    loss = InstanceLossAndShrunk(sigmoid=True, weights={"shrunk": 1})
    network = torch.nn.Conv2d(1, 1, 1)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[{"image": P, "label": TARGET}],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), 0.1),
        loss_function=loss,
        train_handlers=[LossTermsHandler(loss, summary_writer=Writer())],
    )
    trainer.run()
    assert Writer.scalars["train_loss/shrunk"] == pytest.approx(float(loss.last_terms["shrunk"]))
    assert "train_loss_epoch/shrunk" in trainer.state.metrics


def test_the_published_values_do_not_change_with_a_new_term(golden_case):
    case = golden_case(0)
    terms = InstanceLossAndShrunk(threshold=0.5, **case.options).terms(case.prediction, case.target)
    assert set(case.expected) == set(InstanceLossTerms._fields)
    for name in InstanceLossTerms._fields[1:]:
        assert float(getattr(terms, name)) == pytest.approx(case.expected[name], rel=1e-4, abs=1e-4)
