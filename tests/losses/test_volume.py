"""The sparse and the dense way through a volume are the same numbers and gradients."""

from __future__ import annotations

import pytest
import torch

from monai_instance_loss.losses import BiCCLoss, BlobLoss, RegionLoss, pixel, volume
from monai_instance_loss.losses.probability import Voxels

REGION = sorted(
    name
    for name in pixel.__all__
    if isinstance(getattr(pixel, name), type)
    and issubclass(getattr(pixel, name), RegionLoss)
    and name != "CompoundRegionLoss"
)


def value_and_gradient(loss, logits, target, sparse, monkeypatch):
    monkeypatch.setattr(volume, "_SPARSE", 0 if sparse else 10**9)
    x = logits.clone().requires_grad_()
    value = loss(x, target)
    (grad,) = torch.autograd.grad(value, x)
    return value.detach(), grad


@pytest.mark.parametrize("name", [*REGION, "BlobLoss", "BiCCLoss"])
@pytest.mark.parametrize("options", [{"sigmoid": True}, {"sigmoid": True, "ignore_index": 2}, {}], ids=str)
def test_sparse_and_dense_are_the_same(name, options, soft_batch, monkeypatch):
    logits, target = soft_batch((2, 1 if "ignore_index" in options else 2, 12, 13), 2)
    logits, target = (logits if options else logits.sigmoid()), target.clone()
    if "ignore_index" in options:
        target[:, :, 2:4] = 2
        # whatever stands on ignored voxels
        logits[:, :, 2] = torch.nan
    loss = {"BlobLoss": BlobLoss, "BiCCLoss": BiCCLoss}.get(name) or getattr(pixel, name)
    results = [value_and_gradient(loss(**options), logits, target, sparse, monkeypatch) for sparse in (True, False)]
    assert all(value.isfinite() and grad.isfinite().all() for value, grad in results)
    for sparse, dense in zip(*results, strict=True):
        torch.testing.assert_close(sparse, dense, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["logit", "p"])
def test_gradcheck_of_a_split(kind):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    values = (values.sigmoid() if kind == "p" else values).requires_grad_()
    position = torch.tensor([1, 6, 7])

    def parts(values):
        on, off = Voxels(**{kind: values}).split(position)
        return on.p, on.ce_on, off.p, off.ce_off, off.ce_on * off.p

    assert torch.autograd.gradcheck(parts, values)


@pytest.mark.parametrize("kind", ["logit", "p"])
def test_a_split_is_the_voxels_apart(kind):
    values = torch.tensor([[0.2, 0.9], [0.4, 0.6]])
    on, off = Voxels(**{kind: values}).split(torch.tensor([2]))
    whole = Voxels(**{kind: values})
    torch.testing.assert_close(on.p, whole.p[1:, 0])
    mask = torch.tensor([[False, False], [True, False]])
    for name, at_zero in (("p", 0.0), ("ce_off", 0.0)):
        torch.testing.assert_close(getattr(off, name), getattr(whole, name).masked_fill(mask, at_zero))
    # the cross-entropy of a target voxel with a probability of 0 is as large as it gets
    assert float(off.ce_on[1, 0]) > 80
    torch.testing.assert_close(off.ce_on[~mask], whole.ce_on[~mask])


def test_extreme_logits_have_finite_cross_entropies_and_gradients():
    x = torch.tensor([-1e4, -90.0, -20.0, 0.0, 20.0, 39.0, 41.0, 90.0, 1e4], requires_grad=True)
    for position in (torch.zeros(0, dtype=torch.int64), torch.tensor([4])):
        _, off = Voxels(logit=x).split(position)
        (off.ce_off.sum() + off.p.sum()).backward()
    assert x.grad.isfinite().all()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        x.double(), torch.zeros(9).double(), reduction="none"
    )
    torch.testing.assert_close(Voxels(logit=x).ce_off, expected.float())
