"""nnU-Net's targets as losses and metrics read them."""

from __future__ import annotations

import pytest
import torch

from monai_instance_loss.losses import BlobLoss, CCLoss, InstanceLoss, SoftInstanceF1Loss
from monai_instance_loss.metrics import InstanceConfusionMatrixMetric
from monai_instance_loss.nnunet import Labels, OwnLoss

KINDS = [
    Labels(),
    Labels(ignore_label=3),
    Labels(regions=True),
    Labels(regions=True, ignore_label=3),
]


def data(labels: Labels, shape=(2, 8, 10, 6), seed=0):
    """Logits and a target as nnU-Net makes them: (B, 1) labels 0..2 and 3, or (B, 2 or 3) regions."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(shape[0], 1, *shape[1:], generator=generator)
    target = ((drawn > 0.9).short() + (drawn > 0.95).short()).short()
    if labels.ignore_label is not None:
        target[:, :, :2] = 3
    channels = 2 if labels.regions else 3
    if labels.regions:
        known = [target == 1, target == 2]
        target = torch.cat([*known, target == 3] if labels.ignore_label is not None else known, 1)
    return torch.randn(shape[0], channels, *shape[1:], generator=generator), target


@pytest.mark.parametrize("labels", KINDS)
@pytest.mark.parametrize("kind", [InstanceLoss, BlobLoss, CCLoss, SoftInstanceF1Loss])
def test_a_loss_takes_target_and_flags_and_leaves_ignored_voxels_out(labels, kind):
    logits, given = data(labels)
    loss = kind(**labels.flags)
    target = labels.target(given)
    value = loss(logits.requires_grad_(), target)
    value.backward()
    assert torch.isfinite(value)
    rest = logits.grad[:, :, 2:].abs().sum()
    assert rest > 0
    ignored = logits.grad[:, :, :2].abs().sum()
    assert (ignored == 0) == (labels.ignore_label is not None)


@pytest.mark.parametrize("labels", KINDS)
def test_own_loss_gets_the_target_that_nnunet_made(labels):
    logits, given = data(labels)
    seen = []

    def nnunets(input, target):
        seen.append(target)
        return input.sum()

    # a weight for the pixel loss alone: nothing else is called
    weights = dict.fromkeys(InstanceLoss().weights, 0) | {"pixel": 1}
    loss = InstanceLoss(**labels.flags, pixel_loss=OwnLoss(nnunets, labels), weights=weights)
    assert loss(logits, labels.target(given)) == logits.sum()
    assert torch.equal(seen[0], given.to(seen[0].dtype))


@pytest.mark.parametrize("labels", KINDS)
def test_masks_are_scored_as_counted_by_hand(labels):
    # a row of 8 voxels: label 1 at 0 and 3, label 2 at 5; predicted: label 1 at 3 and 6, label 2 at 5. The last two
    # voxels are ignored where they can be
    row = torch.tensor([1, 0, 0, 1, 0, 2, 0, 0])
    predicted = torch.tensor([0, 0, 0, 1, 0, 2, 1, 0])
    if labels.ignore_label is not None:
        row[6:] = 3
    output = torch.full((1, 2 if labels.regions else 3, 1, 8), -1.0)
    for place, label in enumerate(predicted.tolist()):
        if labels.regions and label:
            output[0, label - 1, 0, place] = 1
        elif not labels.regions:
            output[0, label, 0, place] = 1
    given = row[None, None, None].short()
    if labels.regions:
        values = (1, 2) if labels.ignore_label is None else (1, 2, 3)
        given = torch.cat([given == value for value in values], 1)
    metric = InstanceConfusionMatrixMetric(metric_name=("tp", "missed", "false"), ignore_index=-1, reduction="sum")
    metric(*labels.masks(output, given))
    # label 1: found at 3, missed at 0, false at 6, unless that is ignored; label 2: found
    assert [score.item() for score in metric.aggregate()] == [2, 1, 1 if labels.ignore_label is None else 0]


def test_pixels_of_nnunets_own_target_stay_as_they_are():
    labels = Labels(regions=True, ignore_label=3)
    _, given = data(labels)
    before = given.clone()
    labels.target(given)
    labels.masks(torch.zeros(2, 2, 8, 10, 6), given)
    assert torch.equal(given, before)
