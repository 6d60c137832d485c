"""Peak extra memory of forward + backward, in float32 maps of the size of the batch; one loss and case a process.

python tests/benchmarks/memory.py --loss InstanceLoss --case "60 lesions"

On the CPU it is what the kernel counts: the process's resident memory before the call, and its high-water mark after
it. Freed maps go back to the system at once (the C library is told so by MALLOC_MMAP_THRESHOLD_), so that none is
reused unseen. On CUDA it is what torch's allocator counts. The gradient of the input, one map, is part of it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from cases import NOISE, Batch, cases
from loss_speed import ALL_TERMS, BASELINE, DENSE, FROM_MAP, OURS, losses, target_of

LOSSES = (BASELINE, OURS, ALL_TERMS, FROM_MAP, DENSE)
CASES = ("60 lesions", "600 lesions", NOISE)
MAP_BYTES = 4


def peak_maps(name: str, batch: Batch) -> float:
    """Maps that one forward + backward takes at its peak, beyond input and target."""
    loss, target, input = losses()[name], target_of(name, batch), batch.input

    def step() -> None:
        input.grad = None
        loss(input, target).backward()

    step()
    input.grad = None
    extra = _cuda_peak(step, input.device) if input.is_cuda else resident_peak(step)
    return extra / (MAP_BYTES * input.numel())


def memory_section(device: torch.device, threads: int, seed: int, quick: bool) -> list[dict[str, object]]:
    """Each loss in a process of its own."""
    section = []
    for name in CASES[:1] if quick else CASES:
        rows = {}
        for loss in LOSSES[:2] if quick else LOSSES:
            command = [sys.executable, __file__, "--loss", loss, "--case", name, "--device", str(device)]
            command += ["--threads", str(threads), "--seed", str(seed), *(["--quick"] if quick else [])]
            environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            lines = (done.stderr if done.returncode else done.stdout).strip().splitlines() or ["no output"]
            rows[loss] = {"error": lines[-1]} if done.returncode else json.loads(lines[-1])
            print(f"memory, {name}, {loss}: {rows[loss]}", flush=True)
        section.append({"case": name, "losses": rows})
    return section


def _cuda_peak(step: Callable[[], None], device: torch.device) -> int:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def resident_peak(step: Callable[[], None]) -> int:
    """Bytes that a call takes at its peak, beyond what was resident before."""
    ctypes.CDLL(None).malloc_trim(0)
    # sets the high-water mark back to what is resident now
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    step()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"Expected /proc/self/status to tell {field}, but it does not.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", choices=losses(), required=True)
    parser.add_argument("--case", choices=CASES, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    (case,) = cases("medium", (options.case,), options.quick, options.seed)
    maps = peak_maps(options.loss, Batch(case, torch.device(options.device)))
    print(json.dumps({"peak_maps": round(maps, 2), "without_gradient": round(maps - 1, 2)}))


if __name__ == "__main__":
    main()
