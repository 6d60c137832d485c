from __future__ import annotations

import pytest
import torch

from monai_instance_loss.losses.pixel import LovaszHingeLoss, LovaszSoftmaxLoss


def choquet(errors: torch.Tensor, target: torch.Tensor) -> float:
    """The Lovasz extension as an integral over thresholds of the Jaccard loss of {error >= threshold}: no sorting."""
    on, total, previous = target.bool(), 0.0, 0.0
    for level in sorted(set(errors[errors > 0].tolist())):
        wrong = errors >= level
        jaccard = float((on & ~wrong).sum()) / float((on | wrong).sum())
        total += (level - previous) * (1 - jaccard)
        previous = level
    return total


def random_case(shape: tuple[int, ...], ties: bool) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(len(shape))
    logits = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return (logits.round() if ties else logits), (torch.rand(shape, generator=generator) < 0.3).double()


def test_hinge_by_hand():
    # three voxels, one target; hinge errors: on 1 - 2 -> 0, off 1 + 1 = 2, off 1 - 0.5 = 0.5.
    # wrong in order: {off} takes the Jaccard loss to 1 - 1/2, {off, off} to 1 - 1/3: 2 * 1/2 + 0.5 * (2/3 - 1/2)
    logits, target = torch.tensor([[[[2.0, 1.0, -0.5]]]]), torch.tensor([[[[1.0, 0.0, 0.0]]]])
    assert float(LovaszHingeLoss(sigmoid=True)(logits, target)) == pytest.approx(1 + 0.5 / 6)


def test_softmax_by_hand():
    # errors on 0.4, off 0.6, off 0.1: 0.6 * 1/2 + 0.4 * 1/2 (the last target voxel: Jaccard 0 from then on)
    p, target = torch.tensor([[[[0.6, 0.6, 0.1]]]]), torch.tensor([[[[1.0, 0.0, 0.0]]]])
    assert float(LovaszSoftmaxLoss()(p, target)) == pytest.approx(0.5)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("shape", [(2, 2, 6, 7), (1, 2, 4, 3, 5)], ids=str)
def test_against_the_integral_over_thresholds(shape, ties):
    logits, target = random_case(shape, ties)
    hinge = LovaszHingeLoss(sigmoid=True, reduction="none")(logits, target)
    softmax = LovaszSoftmaxLoss(sigmoid=True, reduction="none")(logits, target)
    for b in range(shape[0]):
        errors = [(1 - logits[b, c] * (2 * target[b, c] - 1)).clamp(min=0) for c in range(2)]
        for c in range(2):
            assert float(hinge[b, c]) == pytest.approx(choquet(errors[c], target[b, c]))
        distances = (target[b] - logits[b].sigmoid()).abs()
        expected = sum(choquet(distances[c], target[b, c]) for c in range(2)) / 2
        assert float(softmax[b]) == pytest.approx(expected)


def test_the_batch_as_one_image():
    logits, target = random_case((3, 2, 5, 5), False)
    for loss in (LovaszHingeLoss, LovaszSoftmaxLoss):
        pooled = loss(per_image=False, sigmoid=True)(logits, target)
        wide = logits.permute(1, 0, 2, 3).reshape(1, 2, 15, 5), target.permute(1, 0, 2, 3).reshape(1, 2, 15, 5)
        torch.testing.assert_close(pooled, loss(sigmoid=True)(*wide))


def test_softmax_is_one_minus_jaccard_on_binary_predictions():
    _, target = random_case((1, 1, 9, 9), False)
    p = target.roll(1, -1)
    jaccard = (p * target).sum() / torch.maximum(p, target).sum()
    assert float(LovaszSoftmaxLoss()(p, target)) == pytest.approx(1 - float(jaccard))


def test_classes_absent_from_the_target():
    # class 2 is in neither sample, class 1 in the first only; errors of an absent class: its largest p
    labels = torch.tensor([[[[0, 1]]], [[[0, 0]]]])
    p = torch.tensor([[[[0.9, 0.2]], [[0.1, 0.5]], [[0.0, 0.3]]], [[[0.8, 0.6]], [[0.2, 0.3]], [[0.0, 0.1]]]])
    # sample 0: class 0 errors on 0.1, off 0.2 -> 0.2/2 + 0.1/2; class 1 errors off 0.1, on 0.5 -> 0.5 * 1 + 0.1 * 0
    # sample 1: class 0, all on: errors 0.4, 0.2 -> 0.4/2 + 0.2/2; class 1 and 2 absent: 0.3 and 0.1
    first = (0.15, 0.5, 0.3)
    second = (0.3, 0.3, 0.1)
    present = LovaszSoftmaxLoss(to_onehot_y=True, reduction="none")(p, labels).flatten()
    everything = LovaszSoftmaxLoss(classes="all", to_onehot_y=True, reduction="none")(p, labels).flatten()
    torch.testing.assert_close(present, torch.tensor([sum(first[:2]) / 2, second[0]]))
    torch.testing.assert_close(everything, torch.tensor([sum(first) / 3, sum(second) / 3]))


def test_steps_do_not_lose_their_digits_in_a_large_image():
    # all errors 0.5 and half the voxels on: 0.5 times the Jaccard loss of everything wrong, 1
    target = torch.zeros(1, 1, 1024, 1024)
    target[:, :, ::2] = 1
    x = torch.zeros_like(target).requires_grad_()
    value = LovaszSoftmaxLoss(sigmoid=True)(x, target)
    assert float(value.detach()) == pytest.approx(0.5, rel=1e-5)


def test_unknown_classes_are_refused():
    with pytest.raises(ValueError, match='`classes` to be "present" or "all", but got \'some\''):
        LovaszSoftmaxLoss(classes="some")
