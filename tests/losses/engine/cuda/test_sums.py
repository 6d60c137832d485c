from __future__ import annotations

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from monai_instance_loss.instances import backends
from monai_instance_loss.losses.engine.cuda import region_map, region_sums, sums

MAPS = ("p", "p_fixed", "ce_on", "ce_off")
ALL = ("voxels", *MAPS)


def scene(shape=(3, 5, 7), instances=4, dtype=torch.float64, seed=0, spread=4.0):
    """Logits and regions of rows that are mostly background; one region more than there can be voxels in."""
    generator = torch.Generator().manual_seed(seed)
    logit = (spread * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)
    row = torch.arange(shape[0], dtype=torch.int32).view(-1, *[1] * (len(shape) - 1))
    region = torch.randint(shape[0], shape[0] + instances, shape, generator=generator, dtype=torch.int32)
    region = torch.where(torch.rand(shape, generator=generator) < 0.6, row, region)
    return logit, region, shape[0] + instances + 1


def naive(logit, region, count, names=ALL):
    """Sums of whole maps in float64, region by region."""
    x = logit.double()
    p = torch.sigmoid(x)
    maps = {
        "voxels": torch.ones_like(x),
        "p": p,
        "p_fixed": p * p.detach(),
        "ce_on": torch.logaddexp(-x, torch.zeros_like(x)),
        "ce_off": torch.logaddexp(x, torch.zeros_like(x)),
    }
    return {name: torch.stack([maps[name][region == k].sum() for k in range(count)]) for name in names}


def gradient(function, logit, region, count, slopes):
    """The gradient in the logits of the sums, weighted by slopes by name."""
    x = logit.clone().requires_grad_()
    found = function(x, region, count, tuple(slopes))
    total = sum((found[name] * slope.to(found[name].dtype)).sum() for name, slope in slopes.items())
    return torch.autograd.grad(total, x)[0]


def some_slopes(count, names=MAPS):
    generator = torch.Generator().manual_seed(5)
    return {name: torch.randn(count, generator=generator, dtype=torch.float64) for name in names}


def test_by_hand():
    three = math.log(3)
    # p is 1/2, 3/4, 3/4 and 1/4, 1/2, 3/4
    logit = torch.tensor([[0, three, three], [-three, 0, three]], requires_grad=True)
    region = torch.tensor([[0, 0, 2], [1, 2, 3]], dtype=torch.int32)
    found = region_sums(logit, region, 5, ALL)
    half, quarter, most = math.log(2), math.log(4), math.log(4 / 3)
    assert found["voxels"].tolist() == [2, 1, 2, 1, 0]
    assert found["voxels"].dtype == torch.int64
    assert not found["voxels"].requires_grad
    expected = {
        # 1/2 + 3/4, 1/4, 3/4 + 1/2, 3/4, nothing
        "p": [1.25, 0.25, 1.25, 0.75, 0],
        # 1/4 + 9/16, 1/16, 9/16 + 1/4, 9/16
        "p_fixed": [0.8125, 0.0625, 0.8125, 0.5625, 0],
        "ce_on": [half + most, quarter, most + half, most, 0],
        "ce_off": [half + quarter, most, quarter + half, quarter, 0],
    }
    for name, values in expected.items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], torch.tensor(values), rtol=1e-6, atol=0)
    # p (1 - p) is 1/4 and 3/16
    for name, values in {
        "p": [[1 / 4, 3 / 16, 3 / 16], [3 / 16, 1 / 4, 3 / 16]],
        "p_fixed": [[1 / 8, 9 / 64, 9 / 64], [3 / 64, 1 / 8, 9 / 64]],
        "ce_on": [[-1 / 2, -1 / 4, -1 / 4], [-3 / 4, -1 / 2, -1 / 4]],
        "ce_off": [[1 / 2, 3 / 4, 3 / 4], [1 / 4, 1 / 2, 3 / 4]],
    }.items():
        slope = torch.tensor([1.0, 2.0, -1.0, 3.0, 7.0])
        (grad,) = torch.autograd.grad((found[name] * slope).sum(), logit, retain_graph=True)
        weight = torch.tensor([[1.0, 1.0, -1.0], [2.0, -1.0, 3.0]])
        torch.testing.assert_close(grad, torch.tensor(values) * weight, rtol=1e-6, atol=0)


@pytest.mark.parametrize("slots", [1, 3, 1024])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 5, 7), (2, 3, 4, 5), (4, 1)])
def test_is_that_of_whole_maps(shape, dtype, tolerance, slots, monkeypatch):
    monkeypatch.setattr(sums, "_SLOTS", slots)
    logit, region, count = scene(shape, dtype=dtype)
    found, expected = region_sums(logit, region, count, ALL), naive(logit, region, count)
    assert tuple(found) == ALL
    for name in ALL:
        torch.testing.assert_close(found[name].double(), expected[name], rtol=tolerance, atol=1e-15)
    slopes = some_slopes(count)
    grad = gradient(region_sums, logit, region, count, slopes)
    torch.testing.assert_close(grad, gradient(naive, logit, region, count, slopes), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("names", [(), ("voxels",), ("ce_off", "voxels", "p"), ("p_fixed",)], ids=str)
def test_only_the_maps_asked_for_in_their_order(names):
    logit, region, count = scene()
    found, whole = region_sums(logit.requires_grad_(), region, count, names), region_sums(logit, region, count, ALL)
    assert tuple(found) == names
    for name in names:
        assert torch.equal(found[name], whole[name])
        assert found[name].requires_grad == (name != "voxels")


def test_gradcheck():
    logit, region, count = scene((2, 3, 4))

    def parts(x):
        return tuple(region_sums(x, region, count, ("ce_on", "p", "ce_off")).values())

    assert torch.autograd.gradcheck(parts, logit.requires_grad_())


def test_differentiable_once():
    logit, region, count = scene()
    total = region_sums(logit.requires_grad_(), region, count, ("p",))["p"].square().sum()
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(total, logit, create_graph=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_logits_keep_their_digits(dtype):
    # every voxel in a region of its own
    logit = torch.tensor([[-1e4, -90, -80, -17, 17, 80, 90, 1e4]], dtype=dtype)
    region = torch.arange(8, dtype=torch.int32)[None]
    found = region_sums(logit, region, 8, MAPS)
    # far from 0, p is exp(x) or 1 - exp(-x), and -log(1 - p) is log1p(exp(x)) or x + exp(-x)
    faint = math.exp(-17)
    p = torch.tensor([0, math.exp(-90), math.exp(-80), faint, 1 - faint, 1, 1, 1], dtype=dtype)
    ce = torch.tensor([0, 0, 0, math.log1p(faint), 17 + faint, 80, 90, 1e4], dtype=dtype)
    # 8 voxels are less than 2**4
    step = 2.0 ** (4 - 61)
    torch.testing.assert_close(found["p"], p, rtol=3e-7, atol=step)
    torch.testing.assert_close(found["ce_off"], ce, rtol=3e-7, atol=step * 10001)
    torch.testing.assert_close(found["ce_on"], ce.flip(0), rtol=3e-7, atol=step * 10001)
    # 1 - p is exp(-x) where 1 and p are the same number; below 1e-38 a float32 has no digits to keep
    grad = gradient(region_sums, logit, region, 8, {"ce_on": torch.ones(8)})
    torch.testing.assert_close(-grad[0], p.flip(0), rtol=3e-7, atol=1.2e-38)
    grad = gradient(region_sums, logit, region, 8, {"p": torch.ones(8)})
    torch.testing.assert_close(grad[0], torch.minimum(p, p.flip(0)), rtol=3e-7, atol=1.2e-38)
    # exp(-80) is far below 3e-7 of 1: it counts for itself
    assert 1e-35 < float(grad[0, 2]) < 3e-35
    assert 1e-35 < float(grad[0, 5]) < 3e-35


def test_many_faint_voxels_add_up():
    # 2**14 voxels of 1e-11 are a thousand steps of 2**(15 - 61) each: half a step lost by all would be seen
    logit = torch.linspace(-25.5, -24.5, 2**14, dtype=torch.float32)[None]
    region = torch.zeros(1, 2**14, dtype=torch.int32)
    expected = logit.double().sigmoid().sum()
    found = region_sums(logit, region, 1, ("p",))["p"][0]
    torch.testing.assert_close(found.double(), expected, rtol=5e-5, atol=0)


@pytest.mark.parametrize("value", [1e38, 3e38, 1e300])
def test_the_largest_numbers_there_are(value):
    logit = torch.tensor([[value, 0.0]], dtype=torch.float64 if value > 1e38 * 4 else torch.float32)
    found = region_sums(logit, torch.tensor([[0, 1]], dtype=torch.int32), 2, MAPS)
    assert found["ce_off"][0] == logit[0, 0]
    assert found["ce_on"][0] == 0
    assert found["p"].tolist() == [1, 0.5]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_voxel_that_is_not_finite_makes_all_sums_nan(value):
    logit, region, count = scene(dtype=torch.float32)
    logit[1, 2, 3] = value
    found = region_sums(logit.requires_grad_(), region, count, ALL)
    assert all(bool(found[name].isnan().all()) for name in MAPS)
    assert torch.equal(found["voxels"], naive(logit, region, count)["voxels"].long())
    torch.autograd.grad(found["ce_on"].sum(), logit)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    logit, region, count = scene(dtype=dtype)
    found, wide = (region_sums(x, region, count, ALL) for x in (logit, logit.float()))
    for name in ALL:
        assert torch.equal(found[name], wide[name])
    slopes = some_slopes(count)
    grad = gradient(region_sums, logit, region, count, slopes)
    assert grad.dtype == dtype
    assert torch.equal(grad, gradient(region_sums, logit.float(), region, count, slopes).to(dtype))


def test_the_order_of_voxels_does_not_matter():
    logit, region, count = scene((2, 5000), dtype=torch.float32)
    found = region_sums(logit, region, count, ALL)
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(1))
    for other in (
        region_sums(logit, region, count, ALL),
        region_sums(logit[:, order], region[:, order], count, ALL),
        region_sums(logit.view(2, 5, 1000).transpose(1, 2), region.view(2, 5, 1000).transpose(1, 2), count, ALL),
    ):
        assert all(torch.equal(found[name], other[name]) for name in ALL)


def test_the_gradient_of_a_layout_of_its_own():
    logit, region, count = scene()
    slopes = some_slopes(count)
    expected = gradient(region_sums, logit, region, count, slopes)
    x = logit.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(gradient(region_sums, x, region, count, slopes), expected)


@pytest.mark.parametrize("shape", [(0, 4), (2, 0), (0, 3, 0)], ids=str)
def test_no_voxels(shape):
    logit = torch.zeros(shape, requires_grad=True)
    found = region_sums(logit, torch.zeros(shape, dtype=torch.int32), 3, ALL)
    assert all(found[name].tolist() == [0, 0, 0] for name in ALL)
    (grad,) = torch.autograd.grad(found["p"].sum(), logit)
    assert grad.shape == shape
    assert region_map(*[torch.zeros(shape, dtype=torch.int32)] * 3, (1, 1)).shape == shape


def test_the_shapes_do_not_depend_on_what_is_in_the_tensors():
    # there are no values here to look at: whatever asks for one raises
    with FakeTensorMode():
        logit = torch.empty(2, 3, 4, requires_grad=True)
        labels = torch.empty(2, 3, 4, dtype=torch.int32)
        region = region_map(labels, labels, labels, (5, 6))
        found = region_sums(logit, region, 30, ALL)
        (grad,) = torch.autograd.grad(sum(found[name].sum() for name in MAPS), logit)
    assert grad.shape == logit.shape
    assert {name: tuple(value.shape) for name, value in found.items()} == dict.fromkeys(ALL, (30,))


def test_regions_by_hand():
    # 2 rows, up to 3 true and 4 predicted instances: 2 backgrounds, then 2.., 5.., 9..
    true = torch.tensor([[0, 1, 3, 0], [2, 0, 0, 3]], dtype=torch.int32)
    pred = torch.tensor([[0, 0, 2, 4], [1, 1, 0, 0]], dtype=torch.int32)
    both = torch.tensor([[0, 0, 1, 0], [2, 0, 0, 0]], dtype=torch.int32)
    # 0, 2 + 1 - 1, 9 + 1 - 1, 5 + 4 - 1; 9 + 2 - 1, 5 + 1 - 1, 1, 2 + 3 - 1
    assert region_map(true, pred, both, (3, 4)).tolist() == [[0, 2, 9, 8], [10, 5, 1, 4]]


def test_regions_keep_the_shape_and_tell_all_kinds_apart():
    generator = torch.Generator().manual_seed(3)
    true, pred = (torch.randint(0, 3, (3, 4, 5, 2), generator=generator, dtype=torch.int32) for _ in range(2))
    both = torch.where((true > 0) & (pred > 0), 3 * true + pred, 0).int()
    region = region_map(true, pred, both, (2, 2))
    assert region.dtype == torch.int32
    assert region.shape == true.shape
    row = torch.arange(3)[:, None, None, None].expand(true.shape)
    seen = {}
    for kind in zip(row.flatten().tolist(), *(m.flatten().tolist() for m in (true, pred, both, region)), strict=True):
        where = ("row", kind[0]) if kind[1] == kind[2] == 0 else kind[1:4]
        assert seen.setdefault(kind[4], where) == where
    # a background for each row, 2 true alone, 2 predicted alone, 4 of both
    assert len(seen) == 3 + 2 + 2 + 4


def test_errors():
    logit, region, count = scene()
    with pytest.raises(ValueError, match=r"`names` to be among .*'ce_off'\), but got 'ce'"):
        region_sums(logit, region, count, ("p", "ce"))
    with pytest.raises(ValueError, match=r"`region` to be int32 .* \(3, 5, 7\), but got torch.int64"):
        region_sums(logit, region.long(), count, ("p",))
    with pytest.raises(ValueError, match=r"`region` .* of shape \(3, 5, 6\)"):
        region_sums(logit, region[..., 1:], count, ("p",))
    with pytest.raises(ValueError, match=r"`logit` to be a float \(R, \*spatial\), but got torch.int32"):
        region_sums(region, region, count, ("p",))
    with pytest.raises(ValueError, match=r"`logit` .* of shape \(4,\)"):
        region_sums(torch.zeros(4), torch.zeros(4, dtype=torch.int32), 1, ("p",))
    with pytest.raises(ValueError, match="`count` to be at least the number of rows, 3, but got 2"):
        region_sums(logit, region, 2, ("p",))
    with pytest.raises(ValueError, match=r"`true` to be int32 .* but got torch.int64"):
        region_map(region.long(), region, region, (1, 1))
    with pytest.raises(ValueError, match=r"`both` .* of shape \(2, 5, 7\)"):
        region_map(region, region, region[1:], (1, 1))


@pytest.mark.parametrize(
    ("device", "named", "interpreted", "wanted"),
    [
        ("cpu", None, "0", False),
        ("cpu", None, "1", False),
        ("cpu", "triton", "1", True),
        ("cpu", "triton", "0", False),
        ("cpu", "torch", "1", False),
        ("cuda", None, "0", True),
        ("cuda", "triton", "0", True),
        ("cuda", "torch", "0", False),
        ("mps", None, "0", False),
    ],
)
def test_kernels_run_on_cuda_and_where_the_environment_says_so(device, named, interpreted, wanted, monkeypatch):
    monkeypatch.setattr(backends, "_missing_for_triton", lambda interpreted: "")
    monkeypatch.delenv("MONAI_INSTANCE_LOSS_LABELLING", raising=False)
    monkeypatch.setenv("TRITON_INTERPRET", interpreted)
    if named is not None:
        monkeypatch.setenv("MONAI_INSTANCE_LOSS_LABELLING", named)
    with FakeTensorMode():
        assert sums._in_triton(torch.empty(2, 3, device=device)) == wanted
    # nothing to launch a kernel for
    assert not sums._in_triton(torch.empty(2, 0))


def test_torch_where_triton_is_missing(monkeypatch):
    monkeypatch.setattr(backends, "_missing_for_triton", lambda interpreted: "triton is not installed.")
    monkeypatch.delenv("MONAI_INSTANCE_LOSS_LABELLING", raising=False)
    with FakeTensorMode():
        assert not sums._in_triton(torch.empty(2, 3, device="cuda"))
