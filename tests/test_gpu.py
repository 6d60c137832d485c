"""What a CUDA device must give: the numbers of the CPU, twice the same. Run with `-m gpu`."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from monai_instance_loss import label_instances
from monai_instance_loss.instances import fragments, segment_sum
from monai_instance_loss.losses import InstanceLoss, SoftInstanceF1Loss

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def _batch(shape: tuple[int, ...], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    smooth = torch.nn.functional.avg_pool3d if len(shape) == 5 else torch.nn.functional.avg_pool2d
    target = (smooth(torch.rand(shape, generator=generator), 3, 1, 1) > 0.62).float()
    logits = 6 * (smooth(target + 0.5 * torch.rand(shape, generator=generator), 3, 1, 1) - 0.6)
    return logits, target


@pytest.mark.parametrize("density", [0.02, 0.1, 0.3, 0.6])
@pytest.mark.parametrize("shape", [(2, 2, 64, 80), (2, 1, 48, 40, 56)])
def test_label_maps_are_those_of_the_cpu(shape: tuple[int, ...], density: float) -> None:
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < density
    for connectivity in range(1, len(shape) - 1):
        cpu, cuda = label_instances(mask, connectivity), label_instances(mask.cuda(), connectivity)
        assert torch.equal(cpu.labels, cuda.labels.cpu())
        assert torch.equal(cpu.sample, cuda.sample.cpu())
        assert torch.equal(cpu.channel, cuda.channel.cpu())


def test_fragments_and_sums_are_those_of_the_cpu_bit_for_bit() -> None:
    logits, target = _batch((2, 1, 48, 48, 48))
    true, pred = label_instances(target).labels, label_instances(logits > 0).labels
    cpu, cuda = fragments(true, pred), fragments(true.cuda(), pred.cuda())
    for name in ("position", "ids", "true", "pred", "voxels"):
        assert torch.equal(getattr(cpu, name), getattr(cuda, name).cpu()), name
    values = torch.rand(cpu.ids.shape, generator=torch.Generator().manual_seed(2))
    sums = segment_sum(values.cuda(), cuda.ids, cuda.count)
    assert torch.equal(segment_sum(values, cpu.ids, cpu.count), sums.cpu())


@pytest.mark.parametrize("shape", [(2, 1, 96, 96), (2, 1, 48, 48, 48)])
def test_terms_and_gradients_are_those_of_the_cpu(shape: tuple[int, ...]) -> None:
    logits, target = _batch(shape)
    loss = InstanceLoss(sigmoid=True)
    results = {}
    for device in ("cpu", "cuda"):
        input = logits.detach().to(device).requires_grad_()
        terms = torch.stack(loss.terms(input, target.to(device)))
        (gradient,) = torch.autograd.grad(terms.sum(), input)
        results[device] = terms.detach().cpu(), gradient.cpu()
    torch.testing.assert_close(results["cuda"][0], results["cpu"][0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(results["cuda"][1], results["cpu"][1], rtol=1e-4, atol=1e-7)


def test_same_numbers_twice_also_with_deterministic_algorithms_demanded() -> None:
    logits, target = _batch((2, 1, 48, 48, 48))
    logits, target = logits.cuda(), target.cuda()
    loss = InstanceLoss(sigmoid=True, weights=dict.fromkeys(InstanceLoss().weights, 1.0))
    runs = []
    for demanded in (False, False, True):
        torch.use_deterministic_algorithms(demanded)
        try:
            input = logits.clone().requires_grad_()
            value = loss(input, target)
            value.backward()
        finally:
            torch.use_deterministic_algorithms(False)
        runs.append((value.detach(), input.grad))
    for value, gradient in runs[1:]:
        torch.testing.assert_close(value, runs[0][0], rtol=1e-6, atol=0)
        torch.testing.assert_close(gradient, runs[0][1], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_amp_step_is_finite_and_a_nan_is_seen_by_the_scaler(dtype: torch.dtype) -> None:
    logits, target = _batch((1, 1, 32, 32, 32))
    layer = torch.nn.Conv3d(1, 1, 1).cuda()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cuda")
    for poison in (0.0, float("nan")):
        before = layer.weight.detach().clone()
        with torch.autocast("cuda", dtype):
            value = InstanceLoss(sigmoid=True)(layer(logits.cuda() + poison), target.cuda())
        optimizer.zero_grad()
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()
        assert bool(value.isfinite()) == (poison == 0.0)
        # a step that saw a NaN is skipped
        assert torch.equal(before, layer.weight) == (poison != 0.0)


NO_BOXES = {"pixel": 1.0, "instance": 1.0, "instance_pred": 1.0, "false": 1.0, "missed": 1.0}


@pytest.mark.parametrize("loss", [InstanceLoss, SoftInstanceF1Loss])
def test_the_host_waits_for_nothing(loss: type[InstanceLoss] | type[SoftInstanceF1Loss]) -> None:
    logits, target = _batch((2, 1, 48, 48, 48))
    input, target = logits.cuda().requires_grad_(), target.cuda()
    weights = NO_BOXES if loss is InstanceLoss else {"pixel": 1.0}
    criterion = loss(sigmoid=True, weights=weights)
    # kernels are compiled at their first call
    criterion(input, target).backward()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        criterion(input, target).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_graph_replays_with_other_data() -> None:
    loss = InstanceLoss(sigmoid=True, weights=NO_BOXES)
    batches = [_batch((2, 1, 48, 48, 48), seed) for seed in (0, 1, 2)]
    # nothing at all is ordinary as well
    batches.append((torch.full_like(batches[0][0], -9.0), torch.zeros_like(batches[0][1])))
    input = batches[0][0].cuda().requires_grad_()
    target = batches[0][1].cuda()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            input.grad = None
            loss(input, target).backward()
    torch.cuda.current_stream().wait_stream(stream)
    input.grad = None
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = loss(input, target)
        value.backward()
    for other_input, other_target in batches:
        input.data.copy_(other_input)
        target.copy_(other_target)
        graph.replay()
        x = other_input.cuda().requires_grad_()
        expected = loss(x, other_target.cuda())
        expected.backward()
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(input.grad, x.grad, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("shape", [(2, 2, 64, 64), (2, 1, 40, 36, 44)])
def test_tables_of_fixed_length_give_the_numbers_of_the_cpu(shape: tuple[int, ...]) -> None:
    logits, target = _batch(shape)
    loss = InstanceLoss(sigmoid=True, weights=NO_BOXES)
    results = {}
    for device in ("cpu", "cuda"):
        input = logits.detach().to(device).requires_grad_()
        value = loss(input, target.to(device))
        value.backward()
        results[device] = value.detach().cpu(), input.grad.cpu()
    torch.testing.assert_close(results["cuda"][0], results["cpu"][0], rtol=1e-6, atol=1e-7)
    scale = results["cpu"][1].abs().max()
    torch.testing.assert_close(results["cuda"][1], results["cpu"][1], rtol=1e-6, atol=float(1e-6 * scale))


def test_a_target_that_is_not_binary_stops_the_program() -> None:
    code = (
        "import torch; from monai_instance_loss.losses import InstanceLoss\n"
        "input = torch.zeros(1, 1, 8, 8, 8, device='cuda')\n"
        "InstanceLoss(sigmoid=True)(input, torch.full_like(input, 0.5)).item()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "assert" in done.stderr.lower()
