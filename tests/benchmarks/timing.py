"""Interleaved timing: every round calls every contender once, so that a slow spell of the machine hits all of them."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

WARM_UP = 2


@dataclass
class Samples:
    """Milliseconds of one contender, round by round; backward is 0 for what has no gradient."""

    forward: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)
    error: str | None = None


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    repeats: int,
    device: torch.device,
    limits: Mapping[str, int] | None = None,
    warm_up: int = WARM_UP,
) -> dict[str, Samples]:
    """Time each call, and the backward pass of what it returns if that has one; ``limits`` gives some fewer repeats.

    All take part from the first round on, so that equal indices are the same round. A contender that fails is noted
    and left out from then on.
    """
    samples = {name: Samples() for name in calls}
    for index in range(warm_up + repeats):
        for name, call in calls.items():
            known = samples[name]
            if known.error or index - warm_up >= (limits or {}).get(name, repeats):
                continue
            try:
                forward, total = once(call, device)
            except Exception as error:  # a peer that fails must not cost the run
                known.error = f"{type(error).__name__}: {error}".splitlines()[0]
                print(f"{name}: {known.error}", file=sys.stderr, flush=True)
                continue
            if index >= warm_up:
                known.forward.append(forward)
                known.total.append(total)
    return samples


def once(call: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Milliseconds of a call, and of the call and the backward pass of its result."""
    synchronise(device)
    start = time.perf_counter()
    value = call()
    synchronise(device)
    middle = time.perf_counter()
    if isinstance(value, torch.Tensor) and value.requires_grad:
        value.backward()
        synchronise(device)
    return (middle - start) * 1e3, (time.perf_counter() - start) * 1e3


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def spread(values: list[float], digits: int = 3) -> dict[str, float]:
    """Median, tenth and ninetieth percentile (the nearest value below)."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        "median": round(statistics.median(ordered), digits),
        "p10": round(ordered[int(0.1 * last)], digits),
        "p90": round(ordered[int(0.9 * last)], digits),
    }


def over(values: list[float], base: list[float]) -> dict[str, float]:
    """Spread of the ratios to the values of the same rounds."""
    return spread([value / other for value, other in zip(values, base, strict=False)])
