from __future__ import annotations

import copy
from math import log, pi

import pytest
import torch
from scipy.stats import multivariate_t

from monai_instance_loss.losses import InstanceLoss
from monai_instance_loss.losses.engine.region import RegionSums
from monai_instance_loss.losses.engine.voxels import ProbabilityVoxels
from monai_instance_loss.losses.pixel import TLoss


def test_by_hand():
    # D = 2, nu = 2: -log G(2) + log G(1) + log(2 pi) + 2 log(1 + delta^2 / 2), with delta^2 = 0.5^2 + 0.5^2
    p, target = torch.full((1, 1, 1, 2), 0.5), torch.tensor([[[[1.0, 0.0]]]])
    assert float(TLoss(nu=2)(p, target).detach()) == pytest.approx(log(2 * pi) + 2 * log(1.25))


@pytest.mark.parametrize("shape", [(2, 2, 6, 5), (1, 1, 3, 4, 3)], ids=str)
@pytest.mark.parametrize("nu", [0.3, 1.0, 7.5])
def test_against_scipy(soft_batch, shape, nu):
    logits, target = soft_batch(shape, 0)
    value = TLoss(nu=nu, sigmoid=True, reduction="none")(logits, target)
    delta = (target - logits.sigmoid()).flatten(2)
    for b in range(shape[0]):
        for c in range(shape[1]):
            expected = -multivariate_t(loc=[0.0] * delta.shape[2], df=nu).logpdf(delta[b, c].numpy())
            assert float(value[b, c].detach()) == pytest.approx(expected, rel=1e-6)


def test_nu_is_learnt(soft_batch):
    logits, target = soft_batch((2, 1, 8, 8), 1)
    loss = TLoss(sigmoid=True)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.1)
    values = []
    for _ in range(20):
        optimizer.zero_grad()
        values.append(loss(logits, target))
        values[-1].backward()
        optimizer.step()
    assert values[-1] < values[0]
    assert float(loss.nu.detach()) != pytest.approx(1)


def test_gradcheck_of_nu(soft_batch):
    logits, target = soft_batch((1, 1, 4, 5), 2)
    loss = TLoss(sigmoid=True).double()

    def value(log_nu: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(copy.deepcopy(loss), {"log_nu": log_nu}, (logits, target))

    assert torch.autograd.gradcheck(value, torch.tensor(0.4, dtype=torch.float64, requires_grad=True))


def test_an_error_counts_less_the_larger_errors_already_are():
    """What makes it robust: the gradient of one voxel falls as the rest of the image is more wrong."""
    target = torch.ones(1, 1, 4, 4)
    grads = []
    for others in (0.9, 0.1):
        p = torch.full_like(target, others)
        p[..., 0, 0] = 0.5
        p.requires_grad_()
        TLoss()(p, target).backward()
        grads.append(p.grad[0, 0, 0, 0].abs())
    assert grads[1] < grads[0]


def test_a_perfect_prediction_of_a_large_volume_keeps_its_digits():
    target = torch.zeros(1, 1, 64, 64, 64)
    target[..., :8] = 1
    size = target.numel()
    half = torch.tensor((1 + size) / 2, dtype=torch.float64)
    expected = -torch.lgamma(half) + log(pi) / 2 + size / 2 * log(pi)
    assert float(TLoss()(target, target).detach()) == pytest.approx(float(expected), rel=1e-6)


def test_serves_as_a_criterion_of_instances(soft_batch):
    logits, target = soft_batch((1, 1, 12, 12), 3)
    x = logits.requires_grad_()
    value = InstanceLoss(sigmoid=True, instance_loss=TLoss(), weights={"pixel": 0})(x, target)
    value.backward()
    assert value.isfinite()
    assert x.grad.any()


def test_a_region_without_target_has_a_likelihood_too():
    loss, p = TLoss(), torch.tensor([0.3, 0.6])
    off = {name: ProbabilityVoxels(p).map(name).sum()[None] for name in loss.off}
    on = {name: torch.zeros(1) for name in loss.on}
    sums = RegionSums(on, off, torch.tensor([0]), torch.tensor([2]))
    value = loss.score_false(sums, torch.tensor([0.5]))
    torch.testing.assert_close(value, loss(p.view(1, 1, 1, 2), torch.zeros(1, 1, 1, 2))[None])


@pytest.mark.parametrize("nu", [0, -1.0, float("nan")])
def test_nu_is_checked(nu):
    with pytest.raises(ValueError, match=f"`nu` to be .* but got {nu!r}"):
        TLoss(nu=nu)
