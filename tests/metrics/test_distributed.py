from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from monai_instance_loss.metrics import InstanceF1Metric

REDUCTIONS = ["mean", "sum", "mean_batch", "pooled"]
# how many of the four samples each of the two ranks sees
SPLITS = {"uneven": [3, 1], "one rank without a sample": [4, 0]}


def masks() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    y_pred, y = ((torch.rand(4, 2, 9, 9, generator=generator) > 0.85) for _ in range(2))
    y_pred[1], y[1] = False, False
    return y_pred, y


def aggregates(metric: InstanceF1Metric) -> dict[str, list[float]]:
    return {reduction: metric.aggregate(reduction).flatten().tolist() for reduction in REDUCTIONS}


def run_rank(rank: int, init_file: str) -> dict[str, dict[str, list[float]]]:
    method = f"file://{init_file}"
    dist.init_process_group("gloo", init_method=method, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    results = {}
    for name, split in SPLITS.items():
        metric = InstanceF1Metric()
        y_pred, y = (mask.split(split)[rank] for mask in masks())
        metric(y_pred, y)
        results[name] = aggregates(metric)
    dist.destroy_process_group()
    return results


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    init_file = tmp_path_factory.mktemp("gloo") / "init"
    command = [sys.executable, "-W", "ignore", __file__, str(init_file)]
    # the same package in the children as here, installed or not
    options = {"stdout": subprocess.PIPE, "text": True, "env": {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}}
    processes = [subprocess.Popen([*command, str(rank)], **options) for rank in range(2)]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [json.loads(output.splitlines()[-1]) for output in outputs]


@pytest.mark.parametrize("split", SPLITS)
def test_two_processes_aggregate_as_one(ranks, split):
    metric = InstanceF1Metric()
    metric(*masks())
    expected = {reduction: pytest.approx(values) for reduction, values in aggregates(metric).items()}
    assert ranks[0][split] == expected
    assert ranks[1][split] == expected


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(run_rank(int(sys.argv[2]), str(Path(sys.argv[1])))))
