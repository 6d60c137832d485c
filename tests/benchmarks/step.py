"""A training step of the WMH bundle's U-Net with and without InstanceLoss: forward, loss, backward, optimizer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import torch
from cases import SHAPES, Batch, Case
from loss_speed import BASELINE, OURS, PIXEL, losses
from monai.bundle import ConfigParser
from timing import interleaved, over, spread

CONFIG = Path(__file__).parents[2] / "tutorials" / "wmh_bundle" / "configs" / "train.yaml"
BUNDLE = "InstanceLoss as the bundle has it"


def step_section(device: torch.device, repeats: int, seed: int, quick: bool) -> list[dict[str, object]]:
    """Milliseconds of a step on a batch of the bundle's patches, and on larger volumes.

    In mid-training the lesions' logits are added to what the network says. At the first step the network stands alone
    and sees foreground nearly everywhere, which is the most that an instance loss can be given.
    """
    config = ConfigParser()
    config.read_config(str(CONFIG))
    patch = (config["batch_size"] * config["samples_per_case"], 1, *config["patch_size"])
    settings = [("bundle's patch", Case("patch", patch, "10 lesions", seed), repeats)]
    if not quick:
        # on whole volumes a step takes ten seconds of the CPU
        on_cuda = device.type == "cuda"
        size, times = ("medium", repeats) if on_cuda else ("small", min(repeats, 5))
        settings.append(("2x1x128^3" if on_cuda else "2x1x64^3", Case(size, SHAPES[size], "60 lesions", seed), times))
    section = []
    for name, case, times in settings:
        batch = Batch(case, device)
        for moment in ("mid-training", "first step"):
            torch.manual_seed(seed)
            calls = contenders(config, batch, moment == "mid-training")
            samples = interleaved(calls, times, device)
            section.append({"step": name, "moment": moment, **batch.describe(), "losses": _rows(samples)})
            row = section[-1]["losses"][OURS]
            print(f"step, {name}, {moment}: {row['over_dicece']['median']} times {BASELINE}", flush=True)
    return section


def contenders(config: ConfigParser, batch: Batch, trained: bool) -> dict[str, Callable[[], object]]:
    """Name to a training step with that loss."""
    device = batch.input.device
    network = config.get_parsed_content("network_def", instantiate=True).to(device).train()
    # every step does the work of one and leaves the network as it is: all see the same prediction
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, weight_decay=0.0)
    image = torch.cat([batch.target + torch.randn_like(batch.target), torch.randn_like(batch.target)], 1)
    shown = batch.input.detach() if trained else torch.zeros_like(batch.target)
    known = losses()
    candidates = {name: known[name] for name in (BASELINE, PIXEL, OURS)}
    candidates[BUNDLE] = config.get_parsed_content("loss", instantiate=True)

    def step_with(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], target: torch.Tensor) -> Callable:
        def step() -> None:
            mixed = torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else contextlib.nullcontext()
            with mixed:
                output = network(image)
                value = loss(output + shown.to(output.dtype), target)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()

        return step

    return {
        name: step_with(loss, batch.instance_map if name == BUNDLE else batch.target)
        for name, loss in candidates.items()
    }


def _rows(samples: dict) -> dict[str, object]:
    rows = {}
    for name, known in samples.items():
        if known.error:
            rows[name] = {"error": known.error}
            continue
        rows[name] = {
            "ms": spread(known.total),
            "over_dicece": over(known.total, samples[BASELINE].total),
            "over_pixel": over(known.total, samples[PIXEL].total),
            "repeats": len(known.total),
        }
    return rows
