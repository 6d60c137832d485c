"""What instance losses share: weights, the terms of the last call, and the way an overlap is made."""

from __future__ import annotations

import copy
import pickle
from typing import NamedTuple

import pytest
import torch
from monai.losses import DiceLoss

from monai_instance_loss.losses import BlobLoss, ICILoss, InstanceLoss, InstanceLossTerms, SoftInstanceF1Loss
from monai_instance_loss.losses.engine.options import InputOptions
from monai_instance_loss.losses.engine.overlap import VoxelOverlap
from monai_instance_loss.losses.engine.reduction import Averaging
from monai_instance_loss.losses.pixel import DiceRegionLoss
from monai_instance_loss.losses.terms import OverlapLoss, Term

LOSSES = [InstanceLoss, ICILoss, SoftInstanceF1Loss, BlobLoss]


@pytest.mark.parametrize("kind", LOSSES)
def test_the_terms_of_the_last_call_are_at_hand(kind, soft_batch, monkeypatch):
    logits, target = soft_batch((2, 1, 12, 13), 1)
    loss = kind(sigmoid=True)
    assert loss.last_terms is None
    read = []
    prepare = InputOptions.prepare
    monkeypatch.setattr(InputOptions, "prepare", lambda *args: read.append(1) or prepare(*args))
    x = logits.clone().requires_grad_()
    value = loss(x, target)
    calls = len(read)
    last = loss.last_terms
    assert set(last) == {name for name, weight in loss.weights.items() if weight > 0}
    assert not any(term.requires_grad for term in last.values())
    torch.testing.assert_close(sum(loss.weights[name] * term for name, term in last.items()), value.detach())
    # the input is read once, and looking at the terms reads nothing
    assert calls == len(read) == 1
    # all of them after `terms`, which itself keeps the graph
    terms = loss.terms(x, target)
    assert list(terms._fields) == list(loss.weights)
    for name, term in terms._asdict().items():
        assert torch.equal(loss.last_terms[name], term.detach())
    assert all(term.requires_grad for term in terms)


def test_the_last_call_is_the_last_one(soft_batch):
    logits, target = soft_batch((2, 1, 12, 13), 1)
    loss = InstanceLoss(sigmoid=True)
    loss(logits, target)
    first = loss.last_terms
    loss(-logits, target)
    assert not torch.equal(first["pixel"], loss.last_terms["pixel"])
    loss(logits[:0], target[:0])
    assert {name: float(value) for name, value in loss.last_terms.items()} == dict.fromkeys(first, 0.0)
    # a call that fails changes nothing
    with pytest.raises(ValueError, match="`target` to be binary"):
        loss(logits, target + 3)
    assert set(map(float, loss.last_terms.values())) == {0.0}


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("remake", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))])
def test_a_loss_that_was_called_copies_and_pickles(kind, remake, soft_batch):
    logits, target = soft_batch((2, 1, 12, 13), 1)
    loss = kind(sigmoid=True)
    value = loss(logits.requires_grad_(), target)
    again = remake(loss)
    assert repr(again) == repr(kind(sigmoid=True))
    assert again.last_terms.keys() == loss.last_terms.keys()
    assert torch.equal(again(logits, target), value)


@pytest.mark.parametrize("kind", LOSSES)
def test_weights_of_unknown_names_are_refused(kind):
    with pytest.raises(ValueError, match=r"`weights` to name terms of \['pixel', .*\], but got \['instances'\]"):
        kind(weights={"pixel": 1, "instances": 1})


@pytest.mark.parametrize("kind", LOSSES)
def test_weights_that_are_not_named_keep_their_default(kind, soft_batch):
    logits, target = soft_batch((2, 1, 12, 13), 1)
    defaults = kind().weights
    loss = kind(sigmoid=True, weights={"pixel": 0.5})
    assert loss.weights == {**defaults, "pixel": 0.5}
    loss(logits, target)
    pixel = loss.last_terms["pixel"]
    torch.testing.assert_close(pixel, kind(sigmoid=True).terms(logits, target).pixel)


def test_nothing_wanted_is_zero_with_graph():
    x = torch.full((1, 1, 4, 4), torch.nan, requires_grad=True)
    loss = InstanceLoss(sigmoid=True, weights=dict.fromkeys(InstanceLossTerms._fields, 0.0))
    value = loss(x, torch.zeros(1, 1, 4, 4))
    value.backward()
    assert float(value.detach()) == 0
    assert (x.grad == 0).all()
    assert loss.last_terms == {}


def test_terms_without_weight_are_not_computed(soft_batch, monkeypatch):
    logits, target = soft_batch((2, 1, 12, 13), 1)

    def refused(*_):
        raise AssertionError

    monkeypatch.setattr(VoxelOverlap, "__init__", refused)
    weights = dict.fromkeys(InstanceLossTerms._fields, 0.0) | {"pixel": 1.0}
    assert InstanceLoss(sigmoid=True, weights=weights)(logits, target).isfinite()
    with pytest.raises(AssertionError):
        InstanceLoss(sigmoid=True)(logits, target)


def test_a_pixel_loss_that_reads_as_the_loss_does_reads_the_same_batch(soft_batch, monkeypatch):
    logits, target = soft_batch((2, 1, 12, 13), 1)
    read = []
    prepare = InputOptions.prepare
    monkeypatch.setattr(InputOptions, "prepare", lambda *args: read.append(1) or prepare(*args))
    for own, times in ((DiceRegionLoss(sigmoid=True), 1), (DiceRegionLoss(other_act=torch.sigmoid), 2)):
        read.clear()
        loss = InstanceLoss(sigmoid=True, pixel_loss=own)
        loss(logits, target)
        assert len(read) == times
        torch.testing.assert_close(loss.last_terms["pixel"], DiceLoss(sigmoid=True)(logits, target))


def test_a_pixel_loss_with_options_of_its_own_keeps_them(soft_batch):
    logits, target = soft_batch((2, 2, 12, 13), 1)
    loss = InstanceLoss(sigmoid=True, include_background=False, pixel_loss=DiceRegionLoss(sigmoid=True))
    # both channels
    torch.testing.assert_close(loss.terms(logits, target).pixel, DiceLoss(sigmoid=True)(logits, target))


def test_a_pixel_loss_of_many_numbers_is_refused(soft_batch):
    logits, target = soft_batch((2, 1, 12, 13), 1)
    loss = InstanceLoss(sigmoid=True, pixel_loss=DiceLoss(sigmoid=True, reduction="none"))
    with pytest.raises(ValueError, match=r"`pixel_loss` to return one number, but got shape \(2, 1, 1, 1\)"):
        loss(logits, target)


def test_a_loss_lists_its_terms(soft_batch):
    class Terms(NamedTuple):
        pixel: torch.Tensor
        instances: torch.Tensor

    class Count(OverlapLoss):
        terms_type = Terms
        default_weights = {"instances": 2.0}  # noqa: RUF012
        instance_terms = {"instances": Term(lambda overlap, loss: overlap.presence_true.sum())}  # noqa: RUF012

    logits, target = soft_batch((1, 1, 12, 13), 1)
    loss = Count(InputOptions(sigmoid=True), Averaging(), None, None, None, 0.5, 0)
    assert loss.weights == {"pixel": 0.0, "instances": 2.0}
    value = loss(logits, target)
    torch.testing.assert_close(value, 2 * loss.terms(logits, target).instances)
    assert list(loss.last_terms) == ["pixel", "instances"]
