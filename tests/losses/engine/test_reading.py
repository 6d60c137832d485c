from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from monai_instance_loss.losses.engine import reading
from monai_instance_loss.losses.engine.reading import read, softplus

NOTHING = torch.zeros(0, dtype=torch.int64)


def volume(shape, dtype=torch.float64, seed=0):
    return 5 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def some_positions(count, share, seed=1):
    return (torch.rand(count, generator=torch.Generator().manual_seed(seed)) < share).nonzero().squeeze(1)


def slow(logit, position, left_out):
    """The same from whole maps."""
    flat = logit.flatten()
    rest = torch.ones_like(flat, dtype=torch.bool)
    rest[left_out] = False
    rest = rest.view(logit.shape[0], -1)
    ce = F.binary_cross_entropy_with_logits(logit, torch.zeros_like(logit), reduction="none").flatten(1)
    p = logit.sigmoid().flatten(1)
    return flat[position], torch.where(rest, p, 0).sum(1), torch.where(rest, ce, 0).sum(1)


def test_by_hand():
    logit = torch.tensor([[0.0, math.log(3)], [1.0, math.log(3)]])
    picked, sums = read(logit, torch.tensor([2]), torch.tensor([2]), ("p", "ce_off"))
    assert picked.tolist() == [1.0]
    # 1/2 + 3/4, and 3/4; -log(1/2) - log(1/4), and -log(1/4)
    torch.testing.assert_close(sums["p"], torch.tensor([1.25, 0.75]))
    torch.testing.assert_close(sums["ce_off"], torch.tensor([3 * math.log(2), 2 * math.log(2)]))


# pieces of several rows, of one row, and of a part of one; the last one may be short
@pytest.mark.parametrize("piece", [1, 4, 20, 30, 65, 10**6])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("names", [(), ("p",), ("ce_off",), ("ce_off", "p")])
def test_is_that_of_whole_maps(piece, share, names, monkeypatch):
    monkeypatch.setattr(reading, "_PIECE", piece)
    logit = volume((4, 5, 6))
    position, left_out = some_positions(logit.numel(), 0.3, 5), some_positions(logit.numel(), share)
    weights = [volume((count,), seed=2) for count in (position.numel(), 4, 4)]
    results = []
    for function in (lambda x: read(x, position, left_out, names), lambda x: slow(x, position, left_out)):
        x = logit.clone().requires_grad_()
        picked, *rest = function(x)
        if len(rest) == 1:
            assert tuple(rest[0]) == names
            values = {"picked": picked, **rest[0]}
        else:
            values = {"picked": picked, "p": rest[0], "ce_off": rest[1]}
        values = {name: values[name] for name in ("picked", *names)}
        order = ("picked", "p", "ce_off")
        total = sum((values[name] * weights[order.index(name)]).sum() for name in values)
        (grad,) = torch.autograd.grad(total, x)
        results.append((values, grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-12)


# wide rows, some of which are a whole number of the stretches that cross-entropies are multiplied in
@pytest.mark.parametrize("width", [4096, 8192, 8200])
@pytest.mark.parametrize("piece", [4096, 8192, 2**18])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
def test_wide_rows_are_those_of_whole_maps(width, piece, dtype, rtol, monkeypatch):
    monkeypatch.setattr(reading, "_PIECE", piece)
    logit = volume((3, width), dtype) - 6
    left_out = some_positions(logit.numel(), 0.1)
    _, sums = read(logit, NOTHING, left_out, ("ce_off", "p"))
    _, p, ce = slow(logit.double(), NOTHING, left_out)
    torch.testing.assert_close((sums["p"], sums["ce_off"]), (p.to(dtype), ce.to(dtype)), rtol=rtol, atol=0)


def test_cross_entropies_whose_product_overflows_are_added():
    # exp(4 * 30) is infinite in float32, and voxels 1024 apart are multiplied
    x = torch.full((2, 4096), -30.0)
    x[1, 5::1024] = 30
    _, sums = read(x, NOTHING, NOTHING, ("ce_off",))
    assert sums["ce_off"].tolist() == pytest.approx([4096 * math.exp(-30), 120], rel=1e-5, abs=0)


def test_gradcheck():
    logit = volume((2, 3, 4)).requires_grad_()
    position, left_out = torch.tensor([1, 6, 13]), torch.tensor([6, 8])

    def parts(x):
        picked, sums = read(x, position, left_out, ("p", "ce_off"))
        return picked, sums["p"], sums["ce_off"]

    assert torch.autograd.gradcheck(parts, logit)


# the last one is a channels-last batch, whose rows lie across each other in memory
@pytest.mark.parametrize(
    "logit",
    [volume((3, 4, 5)).transpose(1, 2), volume((3, 4, 10))[..., ::2], volume((5, 4, 3)).permute(2, 0, 1)],
    ids=["transposed", "sliced", "channels last"],
)
def test_a_layout_of_its_own(logit):
    assert not logit.is_contiguous()
    position = some_positions(logit.numel(), 0.2)
    picked, sums = read(logit, position, position, ("p",))
    expected, p, _ = slow(logit, position, position)
    torch.testing.assert_close((picked, sums["p"]), (expected, p))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_logits_have_finite_sums_and_gradients(dtype):
    x = torch.tensor([[-1e4, -90.0, -20.0, 0.0, 20.0], [39.0, 41.0, 88.0, 90.0, 1e4]], dtype=dtype, requires_grad=True)
    for position in (NOTHING, torch.tensor([4, 9])):
        _, sums = read(x, position, position, ("p", "ce_off"))
        _, p, ce = slow(x.detach().double(), position, position)
        torch.testing.assert_close((sums["p"], sums["ce_off"]), (p.to(dtype), ce.to(dtype)))
        x.grad = None
        (sums["p"] + sums["ce_off"]).sum().backward()
        assert x.grad.isfinite().all()
        # the slope of the cross-entropy of a voxel that is no target is p
        assert float(x.grad[1, 0]) == pytest.approx(1)


def test_small_cross_entropies_keep_their_digits():
    x = torch.full((1, 10), -30.0)
    _, sums = read(x, NOTHING, NOTHING, ("ce_off",))
    assert float(sums["ce_off"]) == pytest.approx(10 * math.exp(-30), rel=1e-5, abs=0)


def test_moderate_cross_entropies_keep_their_digits_beside_large_ones():
    # exp(800) is infinite, so that the row of 15 is read the slow way too
    x = torch.tensor([[15.0], [800.0]], dtype=torch.float64)
    _, sums = read(x, NOTHING, NOTHING, ("ce_off",))
    expected = [15 + math.log1p(math.exp(-15)), 800]
    assert sums["ce_off"].tolist() == pytest.approx(expected, rel=1e-14)
    assert softplus(x).flatten().tolist() == pytest.approx(expected, rel=1e-14)


def test_many_pieces_add_up_without_rounding(monkeypatch):
    monkeypatch.setattr(reading, "_PIECE", 4)
    x = torch.full((1, 20_000), math.log(1 / 9))
    # p is 1/10; 5000 sums of 4 in float32 would be wrong in the sixth digit
    assert float(read(x, NOTHING, NOTHING, ("p",)).sums["p"]) == pytest.approx(2000, rel=2e-7)


def test_nan_stays_in_its_row_and_is_left_out_with_its_voxel():
    x = torch.zeros(2, 3)
    x[1, 2] = torch.nan
    _, sums = read(x, NOTHING, NOTHING, ("p", "ce_off"))
    for name in ("p", "ce_off"):
        assert sums[name].isnan().tolist() == [False, True]
    picked, sums = read(x, torch.tensor([5]), torch.tensor([5]), ("p", "ce_off"))
    assert picked.isnan().all()
    assert all(total.isfinite().all() for total in sums.values())


def test_is_the_same_twice():
    logit = volume((2, 70, 70, 70), torch.float32)
    position = some_positions(logit.numel(), 0.05)
    first, second = (read(logit, position, position, ("p", "ce_off")) for _ in range(2))
    assert torch.equal(first.picked, second.picked)
    assert all(torch.equal(first.sums[name], second.sums[name]) for name in first.sums)
