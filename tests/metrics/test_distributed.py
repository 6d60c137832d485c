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

from monai_instance_loss.metrics import (
    InstanceConfusionMatrixMetric,
    InstanceDiceMetric,
    InstanceF1Metric,
    InstanceMetric,
    Matching,
    PanopticQualityMetric,
)

REDUCTIONS = ["mean", "sum", "mean_batch", "pooled"]
# how many of the four samples each of the two ranks sees; None: the rank never calls the metric
SPLITS = {"uneven": [3, 1], "one rank without a sample": [4, 0], "one rank never called": [4, None]}
BINS = {"volume_edges_mm3": (1.5, 2.5), "spacing_mm": (1, 1)}
METRICS = {
    "f1": lambda: InstanceF1Metric(),
    "several, in bins": lambda: InstanceConfusionMatrixMetric(metric_name=["tp", "false_rate"], **BINS),
    "dice": lambda: InstanceDiceMetric(matching=Matching("iou", 0.1, "optimal")),
    "pq": lambda: PanopticQualityMetric(metric_name=["pq", "sq", "rq"], matching=Matching("iou", 0.1, "greedy")),
    "pq in bins": lambda: PanopticQualityMetric(**BINS),
}


def masks() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    y_pred, y = ((torch.rand(4, 2, 9, 9, generator=generator) > 0.85) for _ in range(2))
    y_pred[1], y[1] = False, False
    return y_pred, y


def aggregates(metric: InstanceMetric) -> dict[str, list[list[float]]]:
    results = {reduction: metric.aggregate(reduction) for reduction in REDUCTIONS}
    return {
        reduction: [value.flatten().tolist() for value in (values if isinstance(values, list) else [values])]
        for reduction, values in results.items()
    }


def run_rank(rank: int, init_file: str) -> dict[str, dict[str, dict[str, list[list[float]]]]]:
    method = f"file://{init_file}"
    dist.init_process_group("gloo", init_method=method, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    results: dict = {}
    for name, split in SPLITS.items():
        results[name] = {}
        for kind, create in METRICS.items():
            metric = create()
            if split[rank] is not None:
                start = sum(split[:rank])
                metric(*(mask[start : start + split[rank]] for mask in masks()))
            results[name][kind] = aggregates(metric)
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
@pytest.mark.parametrize("kind", METRICS)
def test_two_processes_aggregate_as_one(ranks, split, kind):
    metric = METRICS[kind]()
    metric(*masks())
    expected = {
        reduction: [pytest.approx(value, nan_ok=True) for value in values]
        for reduction, values in aggregates(metric).items()
    }
    assert ranks[0][split][kind] == expected
    assert ranks[1][split][kind] == expected


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(run_rank(int(sys.argv[2]), str(Path(sys.argv[1])))))
