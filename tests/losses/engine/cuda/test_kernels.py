"""The Triton kernels, run by Triton's interpreter on the CPU, and compiled for a GPU that need not be there.

Run as a script, this is the process of the interpreter: it has to be asked for before triton is imported.
"""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from monai_instance_loss.instances import backends
from monai_instance_loss.losses.engine.cuda import region_map, region_sums, sums

if sys.platform != "linux":
    pytest.skip("triton is made for Linux only", allow_module_level=True)

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from monai_instance_loss.losses.engine.cuda import kernels

Ask = Callable[..., Any]

MAPS = ("p", "p_fixed", "ce_on", "ce_off")
ALL = ("voxels", *MAPS)
VARIABLE = backends._VARIABLE


def sums_and_gradient(
    logit: torch.Tensor, region: torch.Tensor, slopes: dict[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Sums by name, and the gradient of those that have a slope (count,)."""
    x = logit.clone().requires_grad_()
    (count,) = next(iter(slopes.values())).shape
    found = region_sums(x, region, count, tuple(slopes))
    total = sum((found[name] * slope).sum() for name, slope in slopes.items() if name != "voxels")
    return {name: value.detach() for name, value in found.items()}, torch.autograd.grad(total, x)[0]


@pytest.fixture(scope="module")
def interpreted() -> Iterator[Ask]:
    """``interpreted(lanes, function, *args)``: what a function gives where the kernels are interpreted."""
    worker = subprocess.Popen(
        [sys.executable, __file__],
        env={**os.environ, "TRITON_INTERPRET": "1", VARIABLE: "triton"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    def ask(lanes: int, function: str, *args: Any) -> Any:
        pickle.dump((lanes, function, args), worker.stdin)
        worker.stdin.flush()
        return pickle.load(worker.stdout)

    yield ask
    worker.stdin.close()
    assert worker.wait() == 0
    worker.stdout.close()


def main() -> None:
    torch.set_num_threads(1)
    # where torch ran instead of the kernels, every test would pass
    sums._sum_maps = sums._gradient = None
    functions = {"sums_and_gradient": sums_and_gradient, "region_map": region_map}
    while True:
        try:
            kernels._LANES, function, args = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(functions[function](*args), sys.stdout.buffer)
        sys.stdout.buffer.flush()


def scene(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float32, instances: int = 3, background: float = 0.6
) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Logits, regions and slopes; one region more than there can be voxels in."""
    generator = torch.Generator().manual_seed(4)
    logit = (4 * torch.randn(shape, generator=generator)).to(dtype)
    row = torch.arange(shape[0], dtype=torch.int32).view(-1, *[1] * (len(shape) - 1))
    region = torch.randint(shape[0], shape[0] + instances, shape, generator=generator, dtype=torch.int32)
    region = torch.where(torch.rand(shape, generator=generator) < background, row, region)
    slopes = {name: torch.randn(shape[0] + instances + 1, generator=generator) for name in ALL}
    return logit, region, slopes


def check(ask: Ask, lanes: int, logit: torch.Tensor, region: torch.Tensor, slopes: dict[str, torch.Tensor]) -> None:
    """The kernels give what torch does."""
    found, grad = ask(lanes, "sums_and_gradient", logit, region, slopes)
    expected, expected_grad = sums_and_gradient(logit, region, slopes)
    assert tuple(found) == tuple(slopes)
    tolerance = 1e-13 if logit.dtype == torch.float64 else 1e-6
    for name, values in found.items():
        assert values.dtype == expected[name].dtype
        if name == "voxels":
            assert torch.equal(values, expected[name])
        else:
            torch.testing.assert_close(values, expected[name], rtol=tolerance, atol=1e-12)
    assert grad.shape == logit.shape
    # a last digit of half precision may be rounded the other way; the interpreter cuts off that of bfloat16
    tolerance = {torch.float16: 2**-10, torch.bfloat16: 2**-7}.get(logit.dtype, tolerance)
    # maps with slopes around 1 may cancel each other
    torch.testing.assert_close(grad, expected_grad, rtol=tolerance, atol=tolerance)


# rows that end within a block, or with it, and blocks that a row does not fill
@pytest.mark.parametrize("lanes", [16, 128])
@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (1, 16), (3, 5, 7), (2, 16, 8), (2, 3, 5, 9)], ids=str)
def test_is_that_of_torch(interpreted, shape, lanes):
    check(interpreted, lanes, *scene(shape))


def test_blocks_of_the_package(interpreted):
    check(interpreted, kernels._LANES, *scene((2, 3, 700)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types(interpreted, dtype):
    check(interpreted, 32, *scene((2, 5, 9), dtype))


# blocks of background alone, of one instance alone, and of more than are added up in one step
@pytest.mark.parametrize(("instances", "background"), [(1, 1.0), (1, 0.0), (1, 0.5), (40, 0.0), (40, 0.5)])
def test_any_number_of_regions_in_a_block(interpreted, instances, background):
    check(interpreted, 64, *scene((2, 10, 20), instances=instances, background=background))


@pytest.mark.parametrize("names", [("voxels",), ("p",), ("p_fixed", "voxels"), ("ce_off", "ce_on"), ("ce_on", "p")])
def test_only_the_maps_asked_for(interpreted, names):
    logit, region, slopes = scene((2, 5, 9))
    if names == ("voxels",):
        found = interpreted(32, "sums_and_gradient", logit, region, {**slopes, "p": slopes["p"]})[0]
        assert torch.equal(found["voxels"], region_sums(logit, region, 6, names)["voxels"])
    else:
        check(interpreted, 32, logit, region, {name: slopes[name] for name in names})


def test_by_hand(interpreted):
    three = math.log(3)
    logit = torch.tensor([[0, three, three], [-three, 0, three]])
    region = torch.tensor([[0, 0, 2], [1, 2, 3]], dtype=torch.int32)
    slope = torch.tensor([1.0, 2.0, -1.0, 3.0, 7.0])
    found, grad = interpreted(16, "sums_and_gradient", logit, region, {"voxels": slope, "p_fixed": slope})
    assert found["voxels"].tolist() == [2, 1, 2, 1, 0]
    # p is 1/2, 3/4, 3/4 and 1/4, 1/2, 3/4: 1/4 + 9/16, 1/16, 9/16 + 1/4, 9/16, nothing
    torch.testing.assert_close(found["p_fixed"], torch.tensor([0.8125, 0.0625, 0.8125, 0.5625, 0]), rtol=1e-6, atol=0)
    # p * p (1 - p), times the slope of the region: 1/8, 9/64 and -9/64; 2 * 3/64, -1/8 and 3 * 9/64
    expected = torch.tensor([[1 / 8, 9 / 64, -9 / 64], [6 / 64, -1 / 8, 27 / 64]])
    torch.testing.assert_close(grad, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_logits_keep_their_digits(interpreted, dtype):
    # every voxel in a region of its own
    logit = torch.tensor([[-1e4, -90, -80, -17, -1e-5, 0, 1e-5, 17, 80, 90, 1e4]], dtype=dtype)
    region = torch.arange(11, dtype=torch.int32)[None]
    for name in MAPS:
        found, grad = interpreted(16, "sums_and_gradient", logit, region, {name: torch.ones(11)})
        expected, expected_grad = sums_and_gradient(logit, region, {name: torch.ones(11)})
        # 11 voxels are less than 2**4, and the largest cross-entropy less than 10001
        torch.testing.assert_close(found[name], expected[name], rtol=3e-7, atol=2.0 ** (4 - 61) * 10001)
        torch.testing.assert_close(grad, expected_grad, rtol=3e-7, atol=1.2e-38)


def test_many_faint_voxels_add_up(interpreted):
    # 2**14 voxels of 1e-11 are a thousand steps of 2**(15 - 61) each: half a step lost by all would be seen
    logit = torch.linspace(-25.5, -24.5, 2**14)[None]
    found, _ = interpreted(4096, "sums_and_gradient", logit, torch.zeros_like(logit).int(), {"p": torch.ones(1)})
    torch.testing.assert_close(found["p"][0].double(), logit.double().sigmoid().sum(), rtol=5e-5, atol=0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_voxel_that_is_not_finite_makes_all_sums_nan(interpreted, value):
    logit, region, slopes = scene((2, 5, 9))
    logit[1, 2, 3] = value
    found, _ = interpreted(32, "sums_and_gradient", logit, region, slopes)
    assert all(bool(found[name].isnan().all()) for name in MAPS)
    assert found["voxels"].sum() == 2 * 5 * 9


def test_twice_the_same(interpreted):
    logit, region, slopes = scene((2, 5, 20), instances=10)
    first, again = (interpreted(64, "sums_and_gradient", logit, region, slopes) for _ in range(2))
    other, _ = interpreted(16, "sums_and_gradient", logit, region, slopes)
    for name in ALL:
        assert torch.equal(first[0][name], again[0][name])
        # nor does it matter what is added up within a program first
        assert torch.equal(first[0][name], other[name])
    assert torch.equal(first[1], again[1])


@pytest.mark.parametrize("shape", [(1, 1), (3, 5, 7), (2, 3, 5, 9)], ids=str)
def test_regions_are_those_of_torch(interpreted, shape):
    generator = torch.Generator().manual_seed(3)
    true, pred = (torch.randint(0, 3, shape, generator=generator, dtype=torch.int32) for _ in range(2))
    both = torch.where((true > 0) & (pred > 0), 3 * true + pred, 0).int()
    assert torch.equal(interpreted(16, "region_map", true, pred, both, (4, 7)), region_map(true, pred, both, (4, 7)))
    # other layouts
    moved = [labels.transpose(0, -1) for labels in (true, pred, both)]
    assert torch.equal(interpreted(16, "region_map", *moved, (4, 7)), region_map(*moved, (4, 7)))


LINES = {name: line for line, name in enumerate(ALL)}
NONE = dict.fromkeys(ALL, -1)

# name, element type, type of sizes, maps
KERNELS = [
    ("_sum_maps", "fp32", "i32", LINES),
    ("_sum_maps", "fp16", "i32", LINES),
    ("_sum_maps", "bf16", "i32", {**NONE, "p": 0, "ce_off": 1}),
    ("_sum_maps", "fp64", "i32", LINES),
    ("_sum_maps", "fp32", "i64", {**NONE, "voxels": 0}),
    ("_sum_maps", "fp32", "one", LINES),
    ("_gradient", "fp32", "i32", LINES),
    ("_gradient", "fp16", "i32", LINES),
    ("_gradient", "bf16", "i32", {**NONE, "ce_on": 0}),
    ("_gradient", "fp64", "i64", LINES),
    ("_gradient", "fp32", "one", LINES),
    ("_map_regions", "i32", "i32", {}),
    ("_map_regions", "i32", "i64", {}),
]


@pytest.mark.parametrize(("name", "element", "size", "lines"), KERNELS)
def test_kernels_compile_for_a_gpu(name, element, size, lines, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(kernels, name)
    labels = dict.fromkeys(("true", "pred", "both", "region"), "*i32")
    wide = "*fp64" if element == "fp64" else "*fp32"
    values = {"logit": f"*{element}", "grad": f"*{element}", "scale": wide, "slope": wide, "sums": "*i64"}
    sizes = dict.fromkeys(("width", "count", "first_true", "first_pred", "first_both"), "i32")
    types = {**labels, **values, **sizes, "width": size}
    constants = {"lanes": kernels._LANES, **lines}
    if size == "one":
        # triton makes a constant of an argument that is 1
        del types["width"]
        constants["width"] = 1
    signature = {arg: types.get(arg, "constexpr") for arg in kernel.arg_names}
    source = ASTSource(kernel, signature, {arg: constants[arg] for arg in kernel.arg_names if arg not in types})
    options = {"num_warps": kernels._WARPS}
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    # the machine code that ptxas made of it
    assert len(compiled.asm["cubin"]) > 1000
    ptx = compiled.asm["ptx"]
    if name == "_sum_maps":
        assert "relaxed.add.u64" in ptx
    elif element != "fp64":
        # nothing to wait for
        assert "bar.sync" not in ptx


def on_cuda(
    _: int, function: str, logit: torch.Tensor, region: torch.Tensor, slopes: dict[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """What ``sums_and_gradient`` gives on CUDA, back on the CPU."""
    on_device = {name: slope.cuda() for name, slope in slopes.items()}
    found, grad = sums_and_gradient(logit.cuda(), region.cuda(), on_device)
    return {name: value.cpu() for name, value in found.items()}, grad.cpu()


@pytest.mark.gpu
@pytest.mark.parametrize("named", ["triton", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_cuda_gives_what_the_cpu_does(dtype, named, monkeypatch):
    monkeypatch.setenv(VARIABLE, named)
    check(on_cuda, 0, *scene((2, 31, 64, 65), dtype, instances=50, background=0.97))


@pytest.mark.gpu
def test_cuda_gives_the_same_time_after_time():
    arguments = scene((2, 31, 64, 65), instances=50, background=0.7)
    first, grad = on_cuda(0, "", *arguments)
    for _ in range(5):
        found, again = on_cuda(0, "", *arguments)
        assert all(torch.equal(first[name], found[name]) for name in ALL)
        assert torch.equal(grad, again)


@pytest.mark.gpu
@pytest.mark.parametrize("named", ["triton", "torch"])
def test_the_host_does_not_wait_for_cuda(named, monkeypatch):
    monkeypatch.setenv(VARIABLE, named)
    logit, region, slopes = scene((2, 31, 64, 65), instances=50, background=0.97)
    logit, region, slopes = logit.cuda(), region.cuda(), {name: slope.cuda() for name, slope in slopes.items()}
    # kernels are compiled before
    sums_and_gradient(logit, region, slopes)
    region_map(region, region, region, (99, 99))
    torch.cuda.set_sync_debug_mode("error")
    try:
        sums_and_gradient(logit, region, slopes)
        region_map(region, region, region, (99, 99))
    finally:
        torch.cuda.set_sync_debug_mode("default")


if __name__ == "__main__":
    main()
