"""Sums over a volume, read in one pass or from maps, are those of whole maps, and so are their gradients."""

from __future__ import annotations

import pytest
import torch

from monai_instance_loss.instances import label_instances
from monai_instance_loss.instances.backends import SparseLabels
from monai_instance_loss.losses import InstanceLoss, RegionLoss, RegionSums, pixel
from monai_instance_loss.losses.engine import batch as batch_module
from monai_instance_loss.losses.engine.batch import Batch
from monai_instance_loss.losses.engine.options import InputOptions
from monai_instance_loss.losses.engine.reading import read
from monai_instance_loss.losses.engine.voxels import LogitVoxels, ProbabilityVoxels, squared

REGION = sorted(
    name
    for name in pixel.__all__
    if isinstance(getattr(pixel, name), type)
    and issubclass(getattr(pixel, name), RegionLoss)
    and name != "CompoundRegionLoss"
)


def sums_of_whole_maps(loss, voxels, target, kept):
    """What a RegionLoss needs of each sample's channel, from maps over everything."""
    on, off = (target & kept).flatten(0, 1), (~target & kept).flatten(0, 1)
    return RegionSums(
        {name: torch.where(on, voxels.map(name), 0).flatten(1).sum(1) for name in loss.on},
        {name: torch.where(off, voxels.map(name), 0).flatten(1).sum(1) for name in loss.off},
        on.flatten(1).sum(1),
        (on | off).flatten(1).sum(1),
    )


# with a threshold, voxels of predicted instances are looked at one by one as well
@pytest.mark.parametrize("name", REGION)
@pytest.mark.parametrize(
    ("options", "threshold"),
    [({"sigmoid": True}, None), ({"sigmoid": True, "ignore_index": 2}, 0.3), ({}, 0.3)],
    ids=str,
)
def test_sums_are_those_of_whole_maps(name, options, threshold, soft_batch):
    logits, target = soft_batch((2, 1 if "ignore_index" in options else 2, 12, 13), 2)
    logits, target = (logits if options else logits.sigmoid()), target.clone()
    kept = torch.ones_like(target, dtype=torch.bool)
    if "ignore_index" in options:
        target[:, :, 2:4] = 2
        kept[:, :, 2:4] = False
    loss = getattr(pixel, name)(**options)
    channels, results = logits.shape[1], []
    x = logits.clone().requires_grad_()
    batch = InputOptions(**options).prepare(x, target, threshold)
    dense = (LogitVoxels if options else ProbabilityVoxels)(x.masked_fill(~kept, 0).flatten(0, 1))
    for sums in (
        RegionSums(*batch.sums(loss.on, loss.off), batch.target_voxels, batch.voxels_per_block),
        sums_of_whole_maps(loss, dense, target == 1, kept),
    ):
        value = loss.score_image(sums, channels, loss.inputs.has_background(channels)).sum()
        results.append((value.detach(), *torch.autograd.grad(value, x)))
    assert all(part.isfinite().all() for part in results[0])
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-12)


def test_off_sums_after_single_voxels_are_the_same(soft_batch):
    logits, target = soft_batch((2, 1, 12, 13), 2)
    loss = pixel.DiceCERegionLoss()
    early, late = (InputOptions(sigmoid=True).prepare(logits, target, 0.3) for _ in range(2))
    assert late.foreground.logit.shape == late.position.shape
    torch.testing.assert_close(late.off_sums(loss.off), early.off_sums(loss.off))
    torch.testing.assert_close(late.foreground.p, early.foreground.p)


def test_a_sparse_prediction_is_labelled_where_it_is_predicted():
    target, logits = torch.zeros(1, 1, 24, 24, 24), torch.full((1, 1, 24, 24, 24), -9.0)
    # a lesion that is found at both ends, one that is missed, and a false component
    target[0, 0, 3, 3, 2:9] = target[0, 0, 20, 1, 1] = 1
    logits[0, 0, 3, 3, 1:4] = logits[0, 0, 3, 3, 7:9] = logits[0, 0, 12, 5:7, 5] = 9
    batch = InputOptions(sigmoid=True).prepare(logits, target, 0.5)
    found = batch.label_predicted(None)
    assert isinstance(found.source, SparseLabels)
    assert found.count == 3
    assert torch.equal(found.labels, label_instances(logits > 0).labels)
    assert torch.equal(found.at(batch.position, batch.is_predicted), found.labels.flatten()[batch.position])
    assert batch.is_target.sum() == 8
    assert batch.is_predicted.sum() == 7


def test_logits_are_read_once(soft_batch, monkeypatch):
    logits, target = soft_batch((2, 1, 12, 13), 2)
    names = []

    def recorded(*args):
        names.append(args[3])
        return read(*args)

    monkeypatch.setattr(batch_module, "read", recorded)
    criterion = pixel.DiceCERegionLoss()
    # the second sample has no lesion, and is scored as a whole
    target[1] = 0
    loss = InstanceLoss(sigmoid=True, pixel_loss=pixel.DiceCERegionLoss(sigmoid=True), instance_loss=criterion)
    assert loss(logits, target).isfinite()
    assert [set(read_for) for read_for in names] == [{"p", "ce_off"}]


def test_maps_that_are_not_read_for_are_summed_as_well(soft_batch):
    logits, target = soft_batch((2, 1, 12, 13), 2)
    batch = InputOptions(sigmoid=True).prepare(logits, target, 0.3)
    p = torch.where(target == 1, 0, logits.sigmoid()).flatten(1)
    for squares in (squared, lambda voxels: voxels.p**2):
        sums = batch.off_sums(("p", squares))
        assert list(sums) == ["p", squares]
        torch.testing.assert_close(sums, {"p": p.sum(1), squares: (p**2).sum(1)})
        # of some blocks, once those of all are known
        torch.testing.assert_close(batch.off_sums((squares,), torch.tensor([1]))[squares], (p**2).sum(1)[1:])


@pytest.mark.parametrize(
    "options", [{"sigmoid": True}, {"sigmoid": True, "ignore_index": 2}, {"softmax": True}], ids=str
)
def test_whole_maps_of_a_gpu_have_the_same_sums(options, soft_batch, monkeypatch):
    logits, target = soft_batch((2, 1 if "ignore_index" in options else 2, 12, 13), 2)
    if "ignore_index" in options:
        target[:, :, 2:4] = 2
    x, losses, results = logits.requires_grad_(), (pixel.DiceCERegionLoss(), pixel.FocalRegionLoss()), []
    for is_on_cpu in (True, False):
        monkeypatch.setattr(Batch, "_is_on_cpu", is_on_cpu)
        batch = InputOptions(**options).prepare(x, target)
        sums = [batch.sums(loss.on, loss.off) for loss in losses]
        total = sum(values.square().sum() for each in sums for part in each for values in part.values())
        results.append((sums, (batch.target_voxels, batch.voxels_per_block), torch.autograd.grad(total, x)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-12)


def test_softmax_sums_of_some_blocks_are_those_of_all(soft_batch):
    logits, _ = soft_batch((2, 3, 6, 7), 2)
    labels = soft_batch((2, 3, 6, 7), 3)[0].argmax(1, keepdim=True)
    batch = InputOptions(softmax=True, to_onehot_y=True).prepare(logits, labels, 0.3)
    every = batch.off_sums(("p", "ce_off"))
    # a batch without sums that are known already
    some = batch.with_threshold(0.5).off_sums(("p", "ce_off"), torch.tensor([4, 1]))
    torch.testing.assert_close(some, {name: values[[4, 1]] for name, values in every.items()})


def test_counts_positions_and_means_leave_ignored_voxels_out():
    p = torch.tensor([[[[0.9, 0.2, 0.8, 0.6]]]])
    batch = InputOptions(ignore_index=7).prepare(p, torch.tensor([[[[1, 0, 7, 0]]]]), 0.5)
    assert batch.blocks == 1
    assert batch.kept.tolist() == [[[True, True, False, True]]]
    assert batch.target_voxels.tolist() == [1]
    assert batch.voxels_per_block.tolist() == [3]
    # voxels 0 and 3 are at least 0.5; so is 2, which is ignored
    assert batch.predicted.tolist() == [[[True, False, False, True]]]
    assert batch.position.tolist() == [0, 3]
    assert batch.is_target.tolist() == [True, False]
    assert batch.is_predicted.tolist() == [True, True]
    # (1 + 2 + 3) / 3, whatever stands where it is ignored
    assert batch.mean(torch.tensor([[[1.0, 2.0, 50.0, 3.0]]])).tolist() == [2]
    nothing = InputOptions(ignore_index=7).prepare(p, torch.full((1, 1, 1, 4), 7))
    assert nothing.mean(torch.ones(1, 1, 4)).tolist() == [0]


def test_another_threshold_changes_what_is_predicted_and_nothing_else():
    target = torch.tensor([[[[1.0, 0.0, 0.0]]]])
    batch = InputOptions().prepare(torch.tensor([[[[0.9, 0.4, 0.2]]]]), target, 0.5)
    assert batch.predicted.tolist() == [[[True, False, False]]]
    other = batch.with_threshold(0.3)
    assert other.predicted.tolist() == [[[True, True, False]]]
    assert batch.predicted.tolist() == [[[True, False, False]]]
    assert torch.equal(other.target, batch.target)
    # two instances side by side are still two
    marked = InputOptions(target_is_instances=True).prepare(torch.ones(1, 1, 1, 3), torch.tensor([[[[1, 2, 0]]]]), 0.5)
    assert marked.with_threshold(0.3).label_target(None).count == 2
    # nobody asks for predictions: the target alone is foreground
    nobody = InputOptions().prepare(torch.tensor([[[[0.9, 0.4, 0.2]]]]), target)
    assert not nobody.predicted.any()
    assert nobody.position.tolist() == [0]


def test_zero_is_zero_whatever_the_values_are_and_has_a_graph():
    x = torch.full((1, 1, 2, 2), torch.nan, requires_grad=True)
    zero = InputOptions(sigmoid=True).prepare(x, torch.zeros(1, 1, 2, 2)).zero()
    assert zero.requires_grad
    assert float(zero.detach()) == 0
