"""Sums over a volume, read in one pass or from maps, are those of whole maps, and so are their gradients."""

from __future__ import annotations

import pytest
import torch

from monai_instance_loss.instances import label_instances
from monai_instance_loss.instances.backends import SparseLabels
from monai_instance_loss.losses import InstanceLoss, RegionLoss, RegionSums, pixel
from monai_instance_loss.losses.engine import batch as volume
from monai_instance_loss.losses.engine.batch import Volume
from monai_instance_loss.losses.engine.options import InputOptions
from monai_instance_loss.losses.engine.reading import read
from monai_instance_loss.losses.engine.voxels import Voxels

REGION = sorted(
    name
    for name in pixel.__all__
    if isinstance(getattr(pixel, name), type)
    and issubclass(getattr(pixel, name), RegionLoss)
    and name != "CompoundRegionLoss"
)


def sums_of_whole_maps(loss, x, target, kept, kind):
    """What a RegionLoss needs of each sample's channel, from maps over everything."""
    voxels = Voxels(**{kind: x.flatten(0, 1)})
    on, off = (target & kept).flatten(0, 1), (~target & kept).flatten(0, 1)
    return RegionSums(
        tuple(torch.where(on, values, 0).flatten(1).sum(1) for values in loss.on_maps(voxels)),
        tuple(torch.where(off, values, 0).flatten(1).sum(1) for values in loss.off_maps(voxels)),
        on.flatten(1).sum(1),
        (on | off).flatten(1).sum(1),
    )


# with a threshold, voxels of predicted instances are looked at one by one as well
@pytest.mark.parametrize("threshold", [None, 0.3])
@pytest.mark.parametrize("name", REGION)
@pytest.mark.parametrize("options", [{"sigmoid": True}, {"sigmoid": True, "ignore_index": 2}, {}], ids=str)
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
    volume = Volume(InputOptions(**options).prepare(x, target), threshold)
    dense = x if not options else x.masked_fill(~kept, 0)
    for sums in (
        volume.sums(loss.on_maps, loss.off_maps),
        sums_of_whole_maps(loss, dense, target == 1, kept, "logit" if options else "p"),
    ):
        value = loss.score_image(sums, channels).sum()
        results.append((value.detach(), *torch.autograd.grad(value, x)))
    assert all(part.isfinite().all() for part in results[0])
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-12)


def test_off_sums_after_single_voxels_are_the_same(soft_batch):
    logits, target = soft_batch((2, 1, 12, 13), 2)
    loss = pixel.DiceCERegionLoss()
    early, late = (Volume(InputOptions(sigmoid=True).prepare(logits, target), 0.3) for _ in range(2))
    assert late.foreground.logit.shape == late.position.shape
    torch.testing.assert_close(late.off_sums(loss.off_maps), early.off_sums(loss.off_maps))
    torch.testing.assert_close(late.foreground.p, early.foreground.p)


def test_a_sparse_prediction_is_labelled_where_it_is_predicted():
    target, logits = torch.zeros(1, 1, 24, 24, 24), torch.full((1, 1, 24, 24, 24), -9.0)
    # a lesion that is found at both ends, one that is missed, and a false component
    target[0, 0, 3, 3, 2:9] = target[0, 0, 20, 1, 1] = 1
    logits[0, 0, 3, 3, 1:4] = logits[0, 0, 3, 3, 7:9] = logits[0, 0, 12, 5:7, 5] = 9
    batch = Volume(InputOptions(sigmoid=True).prepare(logits, target), 0.5)
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

    monkeypatch.setattr(volume, "read", recorded)
    criterion = pixel.DiceCERegionLoss()
    # the second sample has no lesion, and is scored as a whole
    target[1] = 0
    loss = InstanceLoss(sigmoid=True, pixel_loss=pixel.DiceCERegionLoss(sigmoid=True), instance_loss=criterion)
    assert loss(logits, target).isfinite()
    assert [set(read_for) for read_for in names] == [{"p", "ce_off"}]


def test_maps_that_are_not_read_for_are_summed_as_well(soft_batch):
    logits, target = soft_batch((2, 1, 12, 13), 2)
    batch = Volume(InputOptions(sigmoid=True).prepare(logits, target), 0.3)
    # a loss that leaves `off_maps` at its default gets the sums of maps that it does not use
    p, _ = batch.off_sums(lambda voxels: (voxels.p, voxels.ce_on))
    torch.testing.assert_close(p, torch.where(target == 1, 0, logits.sigmoid()).flatten(1).sum(1))


@pytest.mark.parametrize(
    "options", [{"sigmoid": True}, {"sigmoid": True, "ignore_index": 2}, {"softmax": True}], ids=str
)
def test_whole_maps_of_a_gpu_have_the_same_sums(options, soft_batch, monkeypatch):
    logits, target = soft_batch((2, 1 if "ignore_index" in options else 2, 12, 13), 2)
    if "ignore_index" in options:
        target[:, :, 2:4] = 2
    x, losses, results = logits.requires_grad_(), (pixel.DiceCERegionLoss(), pixel.FocalRegionLoss()), []
    for is_on_cpu in (True, False):
        monkeypatch.setattr(Volume, "_is_on_cpu", is_on_cpu)
        batch = Volume(InputOptions(**options).prepare(x, target))
        sums = [batch.sums(loss.on_maps, loss.off_maps) for loss in losses]
        total = sum(values.square().sum() for each in sums for values in (*each.on, *each.off))
        counts = [(each.target_voxels, each.voxels) for each in sums]
        results.append(([(each.on, each.off) for each in sums], counts, torch.autograd.grad(total, x)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["logit", "p"])
def test_gradcheck_of_voxels_without_some(kind):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    values = (values.sigmoid() if kind == "p" else values).requires_grad_()

    def parts(values):
        off = Voxels(**{kind: values}).without(torch.tensor([1, 6, 7]))
        return off.p, off.ce_off, off.ce_on * off.p

    assert torch.autograd.gradcheck(parts, values)


@pytest.mark.parametrize("kind", ["logit", "p"])
def test_voxels_without_some_have_a_probability_of_0_there(kind):
    values = torch.tensor([[0.2, 0.9], [0.4, 0.6]])
    whole = Voxels(**{kind: values})
    off = whole.without(torch.tensor([2]))
    mask = torch.tensor([[False, False], [True, False]])
    for name, at_zero in (("p", 0.0), ("ce_off", 0.0)):
        torch.testing.assert_close(getattr(off, name), getattr(whole, name).masked_fill(mask, at_zero))
    # the cross-entropy of a target voxel with a probability of 0 is as large as it gets
    assert float(off.ce_on[1, 0]) > 80
    torch.testing.assert_close(off.ce_on[~mask], whole.ce_on[~mask])


@pytest.mark.parametrize("kind", ["logit", "p"])
def test_selected_voxels(kind):
    chosen = Voxels(**{kind: torch.tensor([0.2, 0.9, 0.4])}).select(torch.tensor([2, 0]))
    torch.testing.assert_close(chosen.p, Voxels(**{kind: torch.tensor([0.4, 0.2])}).p)


def test_extreme_logits_have_finite_cross_entropies_and_gradients():
    x = torch.tensor([-1e4, -90.0, -20.0, 0.0, 20.0, 39.0, 41.0, 90.0, 1e4], requires_grad=True)
    for position in (torch.zeros(0, dtype=torch.int64), torch.tensor([4])):
        off = Voxels(logit=x).without(position)
        (off.ce_off.sum() + off.p.sum()).backward()
    assert x.grad.isfinite().all()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        x.double(), torch.zeros(9).double(), reduction="none"
    )
    torch.testing.assert_close(Voxels(logit=x).ce_off, expected.float())
