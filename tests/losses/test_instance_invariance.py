"""What must not change the value of InstanceLoss: order, orientation, numbering, and how samples are put together."""

from __future__ import annotations

import pytest
import torch

from monai_instance_loss.instances import label_instances
from monai_instance_loss.losses import InstanceLoss, InstanceLossTerms

ALL = dict.fromkeys(InstanceLossTerms._fields, 1.0)
INSTANCE_TERMS = InstanceLossTerms._fields[1:]
SHAPES = [(3, 1, 13, 15), (2, 1, 8, 9, 10)]


def check_equal(first: InstanceLossTerms, second: InstanceLossTerms, names: tuple[str, ...] = ALL) -> None:
    for name in names:
        torch.testing.assert_close(getattr(first, name), getattr(second, name), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("average_over", ["instance", "sample"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_order_of_samples(soft_batch, shape, average_over):
    logits, target = soft_batch(shape, 1)
    loss = InstanceLoss(sigmoid=True, average_over=average_over)
    check_equal(loss.terms(logits.flip(0), target.flip(0)), loss.terms(logits, target))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_flips_and_transposes(soft_batch, shape):
    logits, target = soft_batch(shape, 2)
    # centres are rounded up, so center and proximity do change with a flip, as in the published code
    unchanged = ("pixel", "instance", "instance_pred", "false", "missed")
    loss = InstanceLoss(sigmoid=True)
    for axis in range(2, len(shape)):
        check_equal(loss.terms(logits.flip(axis), target.flip(axis)), loss.terms(logits, target), unchanged)
    check_equal(loss.terms(logits.transpose(2, 3), target.transpose(2, 3)), loss.terms(logits, target))


@pytest.mark.parametrize("average_over", ["instance", "sample"])
def test_a_batch_is_its_samples_put_together(soft_batch, average_over):
    logits, target = soft_batch((4, 1, 13, 14), 3)
    # without lesion, without prediction
    target[1], logits[2] = 0, logits[2] - 12
    loss = InstanceLoss(sigmoid=True, average_over=average_over, threshold=0.3)
    batch = loss.terms(logits, target)
    singles = [loss.terms(logits[b : b + 1], target[b : b + 1]) for b in range(4)]
    # a sample counts as many instances as it has, and one if it has none
    found = torch.sigmoid(logits) >= 0.3
    counts = {
        "instance": [max(1, label_instances(target[b : b + 1]).count) for b in range(4)],
        "instance_pred": [max(1, label_instances(found[b : b + 1]).count) for b in range(4)],
    }
    assert len(set(counts["instance"])) > 1
    for name in INSTANCE_TERMS:
        share = counts.get(name, [1] * 4) if average_over == "instance" else [1] * 4
        expected = sum(n * getattr(single, name) for n, single in zip(share, singles, strict=True)) / sum(share)
        torch.testing.assert_close(getattr(batch, name), expected, rtol=1e-6, atol=1e-9)


def test_sum_over_the_batch_is_the_mean_times_its_size(soft_batch):
    logits, target = soft_batch((3, 1, 13, 14), 4)
    for average_over in ("instance", "sample"):
        mean, total = (
            InstanceLoss(sigmoid=True, average_over=average_over, reduction=reduction).terms(logits, target)
            for reduction in ("mean", "sum")
        )
        sizes = dict.fromkeys(INSTANCE_TERMS, 3)
        if average_over == "instance":
            sizes["instance"] = label_instances(target).count
            sizes["instance_pred"] = label_instances(torch.sigmoid(logits) >= 0.1).count
        for name in INSTANCE_TERMS:
            torch.testing.assert_close(getattr(total, name), sizes[name] * getattr(mean, name))
        torch.testing.assert_close(total.pixel, mean.pixel)


def test_order_of_channels(soft_batch):
    logits, target = soft_batch((2, 3, 12, 13), 5)
    loss = InstanceLoss(sigmoid=True)
    check_equal(loss.terms(logits.flip(1), target.flip(1)), loss.terms(logits, target))


@pytest.mark.parametrize("shape", [(2, 2, 12, 13), (2, 1, 7, 8, 9)], ids=str)
@pytest.mark.parametrize("connectivity", [None, 1])
def test_a_map_of_instances_is_as_good_as_labelling(soft_batch, shape, connectivity):
    logits, target = soft_batch(shape, 6)
    loss = InstanceLoss(sigmoid=True, connectivity=connectivity)
    on_map = InstanceLoss(sigmoid=True, connectivity=connectivity, target_is_instances=True)
    instances = label_instances(target, connectivity)
    expected = loss.terms(logits, target)
    check_equal(on_map.terms(logits, instances.labels), expected)
    # any numbering: shuffled, with gaps, as floats, counted anew in each channel
    order = torch.randperm(instances.count, generator=torch.Generator().manual_seed(0))
    ids = torch.cat([torch.zeros(1, dtype=torch.int64), 3 * order + 5])[instances.labels.long()]
    for renumbered in (ids, ids.double(), ids.int()):
        check_equal(on_map.terms(logits, renumbered), expected)


def test_a_map_tells_touching_lesions_apart(naive, soft_batch):
    logits, target = soft_batch((2, 1, 12, 13), 7)
    target[0, 0, 2:4, 2:11] = 1
    # two lesions where labelling sees one: everything is cut after column 5
    instance_map = label_instances(target).labels.long()
    instance_map[..., 6:] += 1000 * (instance_map[..., 6:] > 0)
    terms = InstanceLoss(sigmoid=True, target_is_instances=True).terms(logits, instance_map)
    expected = naive.terms(torch.sigmoid(logits), target, naive.Options(threshold=0.1), instance_map=instance_map)
    for name in INSTANCE_TERMS:
        torch.testing.assert_close(getattr(terms, name), expected[name], rtol=1e-5, atol=1e-6)
    whole = InstanceLoss(sigmoid=True).terms(logits, target)
    assert not torch.isclose(terms.instance, whole.instance)


def test_memory_layout(soft_batch):
    logits, target = soft_batch((2, 2, 12, 13), 8)
    loss = InstanceLoss(sigmoid=True)
    expected = loss.terms(logits, target)
    for layout in (
        lambda x: x.to(memory_format=torch.channels_last),
        lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
        lambda x: x.repeat_interleave(2, 3)[..., ::2],
        lambda x: torch.nn.functional.pad(x, (1, 0))[..., 1:],
    ):
        check_equal(loss.terms(layout(logits), layout(target)), expected)


def test_small_instances_are_not_scored():
    # 4 voxels: missed; 1 voxel: missed, not scored. Predictions of 6 and 2 voxels, both false
    target, p = torch.zeros(1, 1, 12, 12), torch.zeros(1, 1, 12, 12)
    target[0, 0, 1:3, 1:3] = target[0, 0, 10, 1] = 1
    p[0, 0, 1:3, 6:9] = p[0, 0, 10, 9:11] = 1
    missed = {0: 2, 1: 1, 3: 1, 4: 0}
    false = {0: 2, 1: 2, 2: 1, 5: 1, 6: 0}
    for size, count in missed.items():
        assert float(InstanceLoss(min_instance_size=size, count_as_rate=False).terms(p, target).missed) == count
    for size, count in false.items():
        assert float(InstanceLoss(min_instance_size=size, count_as_rate=False).terms(p, target).false) == count
    # as if they were not there, where they touch nothing
    without_target, without_p = target.clone(), p.clone()
    without_target[0, 0, 10, 1], without_p[0, 0, 10, 9:11] = 0, 0
    check_equal(
        InstanceLoss(min_instance_size=2).terms(p, target),
        InstanceLoss().terms(without_p, without_target),
        INSTANCE_TERMS,
    )
    # nothing large enough on either side: the whole sample, 1 - (0 + 1e-5) / (8 + 5 + 1e-5)
    none = InstanceLoss(min_instance_size=50).terms(p, target)
    assert float(none.instance) == float(none.instance_pred) == pytest.approx(1, abs=1e-5)
    assert float(none.missed) == float(none.false) == 0
