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
from monai.metrics import DiceMetric, HausdorffDistanceMetric

from monai_instance_loss.metrics.buffer import BufferedMetric
from monai_instance_loss.metrics.challenge import WMHChallengeMetric
from monai_instance_loss.metrics.component import ComponentMetric
from monai_instance_loss.metrics.froc import InstanceFROC

REDUCTIONS = ["mean", "sum", "mean_batch", "none"]
# how many of the four samples each of the two ranks sees; None: the rank never calls the metric
SPLITS = {"uneven": [3, 1], "one rank without a sample": [4, 0], "one rank never called": [None, 4]}
BINS = {"volume_edges_mm3": (1.5, 2.5), "spacing_mm": (1, 1, 2)}
METRICS = {
    "challenge": lambda: WMHChallengeMetric(spacing_mm=(1, 1, 2)),
    "component": lambda: ComponentMetric(DiceMetric(), reduction="pooled"),
    "component in bins": lambda: ComponentMetric(HausdorffDistanceMetric(), missed_score=9, **BINS),
    "froc": lambda: InstanceFROC(),
    "froc in bins": lambda: InstanceFROC(fp_per_case=(0.5, 3), **BINS),
}


def samples() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    y_pred, y = ((torch.rand(4, 1, 6, 6, 3, generator=generator) > 0.9) for _ in range(2))
    y_pred[1], y[1] = False, False
    return y_pred, y


def call(metric: BufferedMetric, part: slice = slice(None)) -> None:
    y_pred, y = (mask[part] for mask in samples())
    # every voxel of its own probability, whichever rank it is on
    ramp = torch.linspace(0.2, 1, 4 * 108).view(4, 1, 6, 6, 3)[part]
    metric(y_pred * ramp if isinstance(metric, InstanceFROC) else y_pred, y)


def aggregates(metric: BufferedMetric) -> dict[str, list[list[float]]]:
    results = {reduction: metric.aggregate(reduction) for reduction in REDUCTIONS}
    results["of its own"] = metric.aggregate()
    return {
        reduction: [value.flatten().tolist() for value in (values if isinstance(values, list) else [values])]
        for reduction, values in results.items()
    }


def run_rank(rank: int, init_file: str) -> dict:
    method = f"file://{init_file}"
    dist.init_process_group("gloo", init_method=method, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    results: dict = {}
    for name, split in SPLITS.items():
        results[name] = {}
        for kind, create in METRICS.items():
            metric = create()
            if split[rank] is not None:
                start = sum(filter(None, split[:rank]))
                call(metric, slice(start, start + split[rank]))
            results[name][kind] = aggregates(metric)
    metric = METRICS["froc"]()
    call(metric, slice(rank, rank + 1))
    metric.aggregate()
    # now one rank has more, and the other must gather once more, with nothing
    call(metric, slice(2, 4) if rank else slice(0, 0))
    results["called again"] = metric.aggregate().item()
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
    call(metric)
    expected = {
        reduction: [pytest.approx(value, nan_ok=True) for value in values]
        for reduction, values in aggregates(metric).items()
    }
    assert ranks[0][split][kind] == expected
    assert ranks[1][split][kind] == expected


def test_a_rank_with_nothing_new_gathers_again(ranks):
    metric = METRICS["froc"]()
    call(metric)
    assert [rank["called again"] for rank in ranks] == [pytest.approx(metric.aggregate().item())] * 2


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("container", [list, torch.stack])
def test_unknown_arguments_of_a_call_are_refused(kind, container):
    y_pred, y = (container(list(mask)) for mask in samples())
    with pytest.raises(TypeError, match="unexpected keyword argument 'spacing'"):
        METRICS[kind]()(y_pred, y, spacing=(1, 1, 3))


class Voxels(BufferedMetric):
    """Buffers the number of true voxels of each sample."""

    def _rows_of_nothing(self):
        return torch.zeros(0, 1)

    def _compute_tensor(self, y_pred, y=None):
        return y.flatten(1).sum(1, keepdim=True).float()

    def aggregate(self):
        return self._rows().sum()


MASK = torch.ones(2, 1, 2, 2)


@pytest.mark.parametrize("empty", [MASK[:0], []], ids=["tensor", "list"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 0)])
def test_a_batch_of_none_adds_nothing(empty, order):
    metric = Voxels()
    for which in order:
        metric(*([MASK, MASK] if which else [empty, empty]))
    assert metric.aggregate().item() == 8
    assert len(metric) == 2


def test_a_later_call_is_seen_by_a_later_aggregate():
    metric = Voxels()
    metric(MASK[:0], MASK[:0])
    assert (metric.aggregate().item(), len(metric)) == (0, 0)
    metric(MASK, MASK)
    assert metric.aggregate().item() == 8
    metric(list(MASK), tuple(MASK))
    assert metric.aggregate().item() == 16


def test_reset_forgets_everything():
    metric = Voxels()
    metric(MASK[:0], MASK[:0])
    metric(MASK, MASK)
    metric.reset()
    assert metric.get_buffer() is None
    with pytest.raises(ValueError, match="Expected Voxels to be called before `aggregate`, but got no data"):
        metric.aggregate()


@pytest.mark.parametrize("samples", [0, 1, 3])
def test_lists_of_another_length_are_refused(samples):
    with pytest.raises(ValueError, match=rf"Expected `y` .*as many samples as `y_pred`, 2, but got {samples}"):
        Voxels()(list(MASK), [MASK[0]] * samples)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(run_rank(int(sys.argv[2]), str(Path(sys.argv[1])))))
