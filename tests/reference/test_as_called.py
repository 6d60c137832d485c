"""How criteria are called: on the probabilities of one region, as the published code calls them."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss, GeneralizedDiceLoss
from torch.nn import BCEWithLogitsLoss, MSELoss

from monai_instance_loss import reference
from monai_instance_loss.losses.pixel import BinaryCELoss


def boxes(*corners, size=8):
    mask = torch.zeros(1, 1, size, size)
    for low, high in corners:
        mask[..., low:high, low:high] = 1
    return mask


def make(criterion, center=None, name="InstanceLoss", **options):
    center = DiceLoss() if center is None else center
    return getattr(reference, name)(DiceLoss(), criterion, center, activation="none", spatial_dims=2, **options)


# an output and a label of 9 voxels that share 4
OUTPUT, LABEL = boxes((1, 4)), boxes((2, 5))


def test_cross_entropy_on_probabilities():
    # Dice: 1 - 2 * 4 / 18; BCE of "logits" 1 (9 voxels) and 0 (55), less p * y over the 4 shared ones
    bce = (9 * math.log(1 + math.e) + 55 * math.log(2) - 4) / 64
    expected = 1 - 8 / 18 + bce  # 1.273
    _, instance, instance_out, *_ = make(DiceCELoss())(OUTPUT, LABEL)
    assert float(instance) == pytest.approx(expected, abs=1e-5)
    assert float(instance_out) == pytest.approx(expected, abs=1e-5)
    # a false component and a missed label: 9 ones against nothing, nothing against 9 ones
    outputs, labels = boxes((0, 3)), boxes((4, 7))
    _, instance, instance_out, *_ = make(DiceCELoss())(outputs, labels)
    assert float(instance) == pytest.approx(1 + math.log(2), abs=1e-5)
    assert float(instance_out) == pytest.approx(1 + (9 * math.log(1 + math.e) + 55 * math.log(2)) / 64, abs=1e-5)


def test_activated_twice():
    # probabilities of 0 and 1 become 1/2 and 0.731
    one = 1 / (1 + math.exp(-1))
    expected = 1 - 2 * (4 * one + 5 / 2) / (9 * one + 55 / 2 + 9)
    terms = make(DiceLoss(sigmoid=True))(OUTPUT, LABEL)
    assert float(terms[1]) == pytest.approx(expected, abs=1e-5)


def test_dice_with_smoothing_on_a_false_component():
    # 1 - (0 + 1) / (9 + 1)
    terms = make(DiceLoss(smooth_nr=1, smooth_dr=1))(OUTPUT, torch.zeros_like(OUTPUT))
    assert float(terms[2]) == pytest.approx(0.9, abs=1e-6)


def test_generalised_dice_of_an_empty_target_is_zero():
    # its weights are those of the target, one over nothing and so none
    terms = make(GeneralizedDiceLoss())(boxes((0, 2), (5, 8)), boxes((5, 8)))
    # mean of a perfect component and a false one, both 0
    assert float(terms[2]) == pytest.approx(0, abs=1e-4)


def test_region_loss_takes_target_voxels_outside_the_region():
    # 5 missed and 5 false voxels at -log of the smallest float32, which is 87.3
    criterion = BinaryCELoss()
    expected = 10 * -math.log(1.1754944e-38) / 64
    assert float(criterion(OUTPUT, LABEL)) == pytest.approx(expected, rel=1e-5)
    _, instance, instance_out, *_ = make(criterion)(OUTPUT, LABEL)
    assert float(instance) == pytest.approx(expected, rel=1e-5)
    assert float(instance_out) == pytest.approx(expected, rel=1e-5)


class Recorder:
    """A criterion that remembers what it was called on."""

    def __init__(self):
        self.calls = []

    def __call__(self, p, target):
        self.calls.append((p.detach().clone(), target.clone()))
        return (p * (1 - target)).mean()

    def saw(self, *expected):
        assert len(self.calls) == len(expected)
        for wanted in expected:
            assert any(all(map(torch.equal, call, wanted)) for call in self.calls), wanted


def test_calls_on_regions():
    # two labels under one component, and a false one
    labels = boxes((0, 2), (4, 6))
    joined, false = boxes((1, 6)), torch.zeros_like(labels)
    false[..., 0, 7] = 1
    first, second = boxes((0, 2)), boxes((4, 6))
    # p and target, each with the other label's true positives left out or in
    beyond = joined * (1 - labels)
    with_false = joined + false

    def predicted(label):
        return beyond + joined * label

    criterion, center = Recorder(), Recorder()
    make(criterion, center, centroid_offset=0, name="ICILoss")(with_false, labels)
    criterion.saw((predicted(first), first), (predicted(second), second))
    criterion, center = Recorder(), Recorder()
    make(criterion, center, centroid_offset=0, instance_wise_loss_no_tp=False)(with_false, labels)
    regions = ((joined, first), (joined, second), (joined, labels), (false, torch.zeros_like(labels)))
    criterion.saw(*regions)
    # centres of mass rounded up: labels at (0.5, 0.5) and (4.5, 4.5), the components at (3, 3) and (0, 7); a box of
    # half-width 0 is the one voxel before, and none before index 0
    shown, wanted = torch.zeros_like(labels), torch.zeros_like(labels)
    shown[..., 2, 2] = wanted[..., 0, 0] = wanted[..., 4, 4] = 1
    center.saw((shown, wanted))


def test_calls_on_whole_samples():
    outputs, nothing = boxes((0, 2), (4, 6)), torch.zeros(1, 1, 8, 8)
    criterion = Recorder()
    terms = make(criterion)(outputs, nothing)
    criterion.saw((outputs, nothing), (boxes((0, 2)), nothing), (boxes((4, 6)), nothing))
    # 8 of 64 voxels on the whole sample, 4 of 64 on each component
    assert [float(term) for term in terms[1:3]] == pytest.approx([8 / 64, 4 / 64])
    criterion = Recorder()
    make(criterion)(nothing, outputs)
    criterion.saw((nothing, boxes((0, 2))), (nothing, boxes((4, 6))), (nothing, outputs))


def test_plain_dice_takes_one_pass_with_a_gradient_on_false_components():
    outputs = (0.9 * OUTPUT).requires_grad_()
    terms = make(DiceLoss())(outputs, torch.zeros_like(OUTPUT))
    (grad,) = torch.autograd.grad(terms[2], outputs)
    # the weights 0.9 / (9 * 0.9) of each voxel are held fixed
    torch.testing.assert_close(grad, OUTPUT / 9)

    class Halved(DiceLoss):
        def forward(self, input, target):
            return super().forward(input, target) / 2

    # a subclass is called
    assert float(make(Halved())(OUTPUT, LABEL)[1]) == pytest.approx((1 - 8 / 18) / 2, abs=1e-5)


@pytest.mark.parametrize("criterion", [DiceCELoss(), BCEWithLogitsLoss(), MSELoss()])
def test_gradients_on_soft_predictions_are_true(criterion):
    generator = torch.Generator().manual_seed(0)
    p = 0.8 * boxes((0, 2), (3, 6)) + 0.1 * torch.rand(1, 1, 8, 8, generator=generator)
    p = p.double().requires_grad_()
    labels = boxes((4, 8))

    def both(values):
        return torch.stack(make(criterion, criterion)(values, labels)[1:3])

    assert torch.autograd.gradcheck(both, p, eps=1e-5)


def test_criteria_leave_the_loss_as_it_was():
    loss = make(DiceCELoss())
    before = loss(OUTPUT, LABEL)
    assert isinstance(loss.loss_function_instance, DiceCELoss)
    assert pickle.loads(pickle.dumps(loss))(OUTPUT, LABEL) == before


def test_criteria_are_checked():
    with pytest.raises(TypeError, match=r"`instance_loss` to be None or a loss .*but got int"):
        make(3)(OUTPUT, LABEL)
    with pytest.raises(ValueError, match=r"return one number .*but got shape \(1, 1, 8, 8\)"):
        make(MSELoss(reduction="none"))(OUTPUT, LABEL)
