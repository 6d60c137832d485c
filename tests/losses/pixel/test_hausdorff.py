from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.losses import HausdorffDTLoss as MonaiHausdorffDTLoss
from scipy import ndimage

from monai_instance_loss.losses.pixel import AveragedHausdorffLoss, HausdorffDTLoss, hausdorff


def test_distance_transform_loss_by_hand():
    # target at 0, prediction at 0 and 1 (p = 0.75 there) of four voxels 2 mm apart.
    # (p - y)^2: 1/16, 9/16, 0, 0; squared distances at 1: of the target 2^2, of the prediction 2^2; at 0: 2^2, 4^2
    target = torch.tensor([[[[1.0, 0, 0, 0]]]])
    p = torch.tensor([[[[0.75, 0.75, 0, 0]]]])
    expected = (1 / 16 * (4 + 16) + 9 / 16 * (4 + 4)) / 4
    assert float(HausdorffDTLoss(spacing_mm=(1, 2))(p, target)) == pytest.approx(expected)


@pytest.mark.parametrize("alpha", [1.0, 2.0, 2.5])
@pytest.mark.parametrize("shape", [(3, 1, 9, 8), (2, 2, 6, 5, 7)], ids=str)
def test_equal_to_monai_on_float_targets(soft_batch, shape, alpha):
    logits, target = soft_batch(shape, 0)
    target[0, 0] = 0
    options = {"alpha": alpha, "include_background": True, "sigmoid": True, "reduction": "none"}
    theirs = MonaiHausdorffDTLoss(**options)(logits.float(), target.float())
    torch.testing.assert_close(HausdorffDTLoss(**options)(logits.float(), target.float()), theirs)


def test_distances_are_not_truncated_on_integer_targets():
    # the diagonal neighbour of the one target voxel lies at sqrt(2): squared 2, where a truncated distance gives 1
    target = torch.zeros(1, 1, 2, 2, dtype=torch.int64)
    target[..., 0, 0] = 1
    p = torch.zeros(1, 1, 2, 2)
    p[..., 1, 1] = 0.5
    p[..., 0, 0] = 1
    # p > 0.5 is the target: both maps hold sqrt(2) there
    assert float(HausdorffDTLoss()(p, target)) == pytest.approx(0.25 * (2 + 2) / 4)


def naive_averaged(
    p: np.ndarray, target: np.ndarray, alpha: float, spacing: tuple[float, ...], structure: np.ndarray
) -> float:
    labels, count = ndimage.label(target, structure)
    centers = ndimage.center_of_mass(target, labels, range(1, count + 1))
    farthest = np.linalg.norm(np.array(p.shape) * spacing)
    first, second = 0.0, []
    for index in np.ndindex(p.shape):
        first += p[index] * min(np.linalg.norm((np.array(index) - c) * spacing) for c in centers)
    for center in centers:
        reach = [
            p[index] * np.linalg.norm((np.array(index) - center) * spacing) + (1 - p[index]) * farthest
            for index in np.ndindex(p.shape)
        ]
        second.append(np.mean((np.array(reach) + 1e-6) ** alpha) ** (1 / alpha))
    return first / (p.sum() + 1e-6) + np.mean(second)


@pytest.mark.parametrize("connectivity", [1, None])
@pytest.mark.parametrize("alpha", [-1.0, -9.0])
@pytest.mark.parametrize(("shape", "spacing"), [((2, 2, 8, 7), (1.0, 2.5)), ((1, 1, 5, 4, 6), (3.0, 1.0, 1.0))])
def test_averaged_against_loops(soft_batch, shape, spacing, alpha, connectivity):
    logits, target = soft_batch(shape, 1)
    dims = len(shape) - 2
    structure = ndimage.generate_binary_structure(dims, connectivity or dims)
    value = AveragedHausdorffLoss(
        alpha=alpha, connectivity=connectivity, spacing_mm=spacing, sigmoid=True, reduction="none"
    )(logits, target)
    for b in range(shape[0]):
        for c in range(shape[1]):
            expected = naive_averaged(logits[b, c].sigmoid().numpy(), target[b, c].numpy(), alpha, spacing, structure)
            assert float(value[b, c]) == pytest.approx(expected, rel=1e-6)


def test_averaged_by_hand():
    # one row of two voxels, 3 mm high and 4 mm apart: d_max = |(3, 8)|. Centre at voxel 0; p = 0 there and 1 beside it:
    # first term 4; M over {d_max, 4} with exponent -1 is 2 / (1 / d_max + 1 / 4)
    target, p = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 1.0]]]])
    expected = 4 + 2 / (73**-0.5 + 1 / 4)
    value = AveragedHausdorffLoss(alpha=-1, spacing_mm=(3, 4))(p, target)
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_averaged_leaves_ignored_voxels_out_of_the_mean():
    # as by hand above, with d_max = |(3, 12)| and a third voxel that neither counts nor is far from the centre
    target, p = torch.tensor([[[[1.0, 0.0, -1.0]]]]), torch.tensor([[[[0.0, 1.0, 0.5]]]])
    expected = 4 + 2 / (153**-0.5 + 1 / 4)
    value = AveragedHausdorffLoss(alpha=-1, spacing_mm=(3, 4), ignore_index=-1)(p, target)
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_averaged_without_lesions_is_the_diagonal_times_presence():
    # presence of p = 0.5, 0.5 is 0.5; the diagonal of 3 x 4 voxels is 5
    p = torch.zeros(1, 1, 3, 4)
    assert float(AveragedHausdorffLoss()(p, torch.zeros_like(p))) == 0
    p[..., 0, :2] = 0.5
    p.requires_grad_()
    value = AveragedHausdorffLoss()(p, torch.zeros_like(p))
    value.backward()
    assert float(value.detach()) == pytest.approx(2.5)
    assert (p.grad[..., 0, :2] > 0).all()


def test_averaged_falls_as_the_peak_moves_to_the_centre():
    target = torch.zeros(1, 1, 9, 16)
    target[..., 3:6, 10:13] = 1
    values = []
    for column in (0, 4, 8, 11):
        p = torch.zeros_like(target)
        p[..., 4, column] = 1
        values.append(float(AveragedHausdorffLoss()(p, target)))
    assert values == sorted(values, reverse=True)


def test_chunks_change_neither_value_nor_gradient(soft_batch, monkeypatch):
    logits, target = soft_batch((1, 1, 14, 14), 2)
    results = []
    for chunk in (2**22, 1):
        monkeypatch.setattr(hausdorff, "_CHUNK", chunk)
        x = logits.clone().requires_grad_()
        value = AveragedHausdorffLoss(sigmoid=True)(x, target)
        results.append((value.detach(), torch.autograd.grad(value, x)[0]))
    torch.testing.assert_close(*results)


def test_memory_does_not_grow_with_the_number_of_lesions(monkeypatch):
    """What is saved for the gradient is the same for 4 lesions as for 36, once a chunk holds one."""
    monkeypatch.setattr(hausdorff, "_CHUNK", 1)
    saved = []
    for step in (12, 4):
        target = torch.zeros(1, 1, 24, 24)
        target[..., ::step, ::step] = 1
        storages = {}

        def pack(tensor: torch.Tensor, storages=storages) -> torch.Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            value = AveragedHausdorffLoss(sigmoid=True)(torch.zeros(1, 1, 24, 24, requires_grad=True), target)
        saved.append(sum(storages.values()))
        assert value.isfinite()
    assert saved[1] < 2 * saved[0]


def test_options_are_checked():
    with pytest.raises(ValueError, match=r"`alpha` to be below 0, but got 0\.0"):
        AveragedHausdorffLoss(alpha=0.0)
    with pytest.raises(ValueError, match=r"`alpha` to be finite and 0 or more, but got -1\.0"):
        HausdorffDTLoss(alpha=-1.0)
    with pytest.raises(ValueError, match=r"`connectivity` to be None or an integer in 1\.\.2"):
        AveragedHausdorffLoss(connectivity=3)(torch.rand(1, 1, 4, 4), torch.ones(1, 1, 4, 4))
