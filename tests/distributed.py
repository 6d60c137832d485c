"""One rank of two: calls a function of a test file inside a gloo group; the fixture `two_ranks` starts both."""

from __future__ import annotations

import importlib.util
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

if __name__ == "__main__":
    file, function, rank, folder = sys.argv[1:]
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("test_file", file)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/init", rank=int(rank), world_size=2, timeout=timedelta(seconds=60)
    )
    torch.save(getattr(module, function)(int(rank)), Path(folder) / rank)
    # a rank that leaves early would take the group away from the other
    dist.barrier()
    dist.destroy_process_group()
