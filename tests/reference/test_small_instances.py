"""Instances of ``min_instance_size`` or less: counted, and otherwise as if they were not there."""

from __future__ import annotations

import math

import pytest
import torch
from monai.losses import DiceLoss

from monai_instance_loss import reference
from monai_instance_loss.reference.small_instances import remove_small


def make(name="InstanceLoss", pixel=None, activation="none", **options):
    dice = DiceLoss()
    options = {"spatial_dims": 2, "min_instance_size": 2, **options}
    return getattr(reference, name)(dice if pixel is None else pixel, dice, dice, activation, **options)


def scene():
    """A lesion that a single voxel touches, and one of 9 voxels under a component of 16; from the authors' code."""
    outputs, labels = torch.zeros(1, 1, 20, 20), torch.zeros(1, 1, 20, 20)
    outputs[..., 15:19, 15:19] = outputs[..., 3, 3] = 1
    labels[..., 2:6, 2:6] = labels[..., 15:18, 15:18] = 1
    return outputs, labels


def test_small_components_are_false_and_detect_nothing():
    outputs, labels = scene()
    # the first lesion is missed, the second one has 1 - 2 * 9 / (9 + 16); the voxel is false, whatever it touches
    second = 1 - 18 / 25
    # upside down, the larger component comes first, and the published code scores the region that it means
    pixel, instance, instance_out, center, false, missed, proximity = make()(outputs.flip(2), labels.flip(2))
    assert float(pixel) == pytest.approx(1 - 2 * 10 / (17 + 25), abs=1e-5)
    assert float(instance) == pytest.approx((1 + second) / 2, abs=1e-5)
    assert float(instance_out) == pytest.approx(second, abs=1e-5)
    assert (float(false), float(missed)) == (1, 1)
    # as the published code printed them
    assert float(center) == pytest.approx(0.4050, abs=1e-4)
    assert float(proximity) == pytest.approx(1.7722, abs=1e-4)


def test_the_right_region_where_the_published_code_takes_another():
    # the voxel comes first: published instance 1.0 and proximity 2.704, all else the same
    outputs, labels = scene()
    pixel, instance, instance_out, center, false, missed, _ = make()(outputs, labels)
    assert float(instance) == pytest.approx((1 + 1 - 18 / 25) / 2, abs=1e-5)
    published = (0.5238, 0.28, 0.3817, 1, 1)
    assert [float(term) for term in (pixel, instance_out, center, false, missed)] == pytest.approx(published, abs=1e-4)


def test_rates_are_of_all_instances():
    outputs, labels = scene()
    *_, false, missed = make("InstanceCenterLoss", rate_instead_number=True)(outputs, labels)
    # one of two components, one of two lesions
    assert (float(false), float(missed)) == (0.5, 0.5)
    # small lesions can be missed: a third one, of a voxel, that nothing touches
    labels[..., 10, 2] = 1
    *_, missed = make("InstanceCenterLoss", rate_instead_number=True)(outputs, labels)
    assert float(missed) == pytest.approx(2 / 3)
    # and detected, by the larger component
    labels[..., 18, 10:19] = labels[..., 10, 2] = 0
    labels[..., 15:19, 15:19] = 0
    labels[..., 16, 16] = 1
    _, _, instance_out, _, false, missed = make("InstanceCenterLoss")(outputs, labels)
    assert (float(false), float(missed)) == (1, 1)
    # the component is scored against the small lesion: 1 - 2 * 1 / (16 + 1)
    assert float(instance_out) == pytest.approx(1 - 2 / 17, abs=1e-5)


def test_pixel_and_false_discovery_rate_see_all_voxels():
    outputs, labels = scene()
    pixel, _, _, fdr, false, _ = make("ICILoss")(outputs, labels)
    assert float(pixel) == pytest.approx(1 - 2 * 10 / (17 + 25), abs=1e-5)
    # 7 of 17 predicted voxels are off the target
    assert float(fdr) == pytest.approx(7 / 17, abs=1e-5)
    assert float(false) == 1


def test_a_sample_without_labels_is_scored_as_a_whole():
    outputs, labels = scene()
    smooth = DiceLoss(smooth_nr=17, smooth_dr=17)
    loss = reference.InstanceLoss(DiceLoss(), smooth, DiceLoss(), "none", spatial_dims=2, min_instance_size=2)
    _, instance, instance_out, _, false, missed, _ = loss(outputs, torch.zeros_like(labels))
    # 17 voxels against nothing, with a smoothing of 17
    assert float(instance) == pytest.approx(1 - 17 / (17 + 17))
    # the large component alone
    assert float(instance_out) == pytest.approx(1 - 17 / (16 + 17))
    assert (float(false), float(missed)) == (2, 0)


def test_one_side_all_small():
    # the published code fails here
    outputs, labels = scene()
    outputs[..., 15:19, 15:19] = 0
    pixel, instance, instance_out, _, false, missed, proximity = make()(outputs, labels)
    # nothing is predicted, but for the pixel loss and the count: 1 - 2 * 1 / (1 + 25)
    assert float(pixel) == pytest.approx(1 - 2 / 26, abs=1e-5)
    assert [float(term) for term in (instance, instance_out, false, missed)] == pytest.approx([1, 1, 1, 2], abs=1e-5)
    assert math.isfinite(float(proximity))
    terms = make(min_instance_size=100)(*scene())
    assert [float(term) for term in terms[4:6]] == [2, 2]
    assert all(math.isfinite(float(term)) for term in terms)


def test_samples_do_not_mix():
    outputs, labels = scene()
    pair = torch.cat([outputs, outputs.flip(2)]), torch.cat([torch.zeros_like(labels), labels.flip(2)])
    both = make(instance_wise_reduce="data")(*pair)
    singles = [make()(outputs, torch.zeros_like(labels)), make()(outputs.flip(2), labels.flip(2))]
    for got, one, other in list(zip(both, *singles, strict=True))[1:]:
        torch.testing.assert_close(got, (one + other) / 2)


def test_gradients():
    outputs, labels = scene()
    p = (0.9 * outputs).requires_grad_()
    *_, false, _, _ = make()(p, labels)
    # the small component alone is false, with its one voxel
    (grad,) = torch.autograd.grad(false, p)
    assert float(false.detach()) == pytest.approx(0.9)
    assert grad[0, 0, 3, 3] == 1
    assert int(grad.count_nonzero()) == 1
    terms = make()(p, labels)
    for index in (1, 2, 3, 5):
        (grad,) = torch.autograd.grad(terms[index], p, retain_graph=True)
        assert grad[0, 0, 3, 3] == 0
        assert grad.isfinite().all()
        assert grad.any()


def test_gradient_of_the_region_is_true():
    outputs, labels = scene()
    outputs[..., 19, 12] = 1
    p = (0.05 + 0.8 * outputs[..., 12:, 12:]).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: make()(x, labels[..., 12:, 12:])[1], p, eps=1e-5)


def test_pixel_loss_is_called_once_on_what_was_given():
    calls = []

    def pixel(*arguments):
        calls.append(arguments)
        return DiceLoss(sigmoid=True)(*arguments)

    outputs, labels = scene()
    logits = 20 * outputs - 10
    make(pixel=pixel, activation="sigmoid")(logits, labels)
    ((given, target),) = calls
    assert torch.equal(given, logits)
    assert torch.equal(target, labels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types(dtype):
    outputs, labels = scene()
    expected = [float(term) for term in make()(outputs, labels)]
    for activation, values in (("none", outputs), ("sigmoid", 200 * outputs - 100)):
        terms = make(pixel=DiceLoss(sigmoid=activation == "sigmoid"), activation=activation)(values.to(dtype), labels)
        assert [float(term) for term in terms] == pytest.approx(expected, rel=1e-2)


def test_half_precision_is_compared_with_the_threshold_as_it_is():
    # 0.301 rounds to 0.30078 in bfloat16, the value of a lone voxel that is thus none
    outputs, labels = scene()
    outputs[..., 3, 3] = 0.301
    terms = make(segmentation_threshold=0.301)(outputs.bfloat16(), labels)
    # the first lesion has 2 * p in common with p + 16, the second one 1 - 18 / 25
    assert float(terms[1]) == pytest.approx((1 - 2 * 0.30078 / (0.30078 + 16) + 1 - 18 / 25) / 2, abs=1e-4)
    assert [float(term) for term in terms[4:6]] == pytest.approx([0, 1 - 0.30078], abs=1e-4)


def test_nan_is_seen_by_every_term():
    outputs, labels = scene()
    # alone, it would be a small component
    outputs[..., 10, 10] = math.nan
    assert all(math.isnan(float(term)) for term in make()(outputs, labels))


def test_empty_batch():
    terms = make()(torch.zeros(0, 1, 8, 8, requires_grad=True), torch.zeros(0, 1, 8, 8))
    assert [float(term) for term in terms[1:]] == [0] * 6


@pytest.mark.parametrize("size", [-1, 1.5])
def test_size_is_checked(size):
    calls = []
    loss = make(pixel=lambda *arguments: calls.append(arguments), min_instance_size=size)
    with pytest.raises((ValueError, TypeError), match=r"`min_instance_size` to be .*but got -?1"):
        loss(*scene())
    assert not calls


def test_removing_leaves_its_arguments_alone():
    outputs, labels = scene()
    p, target = outputs.clone(), labels.clone()
    removed = remove_small(p, target, 0.5, 2)
    assert torch.equal(p, outputs)
    assert torch.equal(target, labels)
    assert (removed.p != outputs).nonzero().tolist() == [[0, 0, 3, 3]]
    assert (removed.target != labels).nonzero().tolist() == [[0, 0, 3, 3]]


def test_what_is_removed():
    # of components at 0.3 or more: the first, of one voxel, but not the one of two voxels, nor lone background
    p = torch.tensor([[0.3, 0.2, 0.3, 0.9]])[None, None]
    target = torch.ones_like(p)
    removed = remove_small(p, target, 0.3, 1)
    torch.testing.assert_close(removed.p, torch.tensor([[0.0, 0.2, 0.3, 0.9]])[None, None])
    assert removed.target.tolist() == [[[[0, 1, 1, 1]]]]
    # no label, nothing removed
    assert torch.equal(remove_small(p, 0 * target, 0.3, 1).p, p)
