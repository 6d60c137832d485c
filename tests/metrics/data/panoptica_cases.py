"""Write panoptica_cases.json: boxes, and what panoptica says of the masks painted with them.

panoptica is no dependency of the tests; to write the file again, in an environment of its own:

    pip install panoptica==2.1.7 && python tests/metrics/data/panoptica_cases.py
"""

from __future__ import annotations

import json
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np

SHAPES = [(24, 30), (12, 14, 10)]
CASES = 6
# name -> (matcher of panoptica, threshold that an IoU has to exceed)
MATCHERS = {
    "iou_0.5": ("NaiveThresholdMatching", 0.5),
    "greedy_0.2": ("NaiveThresholdMatching", 0.2),
    "optimal_0.2": ("MaxBipartiteMatching", 0.2),
}
SCORES = ["tp", "fp", "fn", "pq", "sq", "rq", "sq_dsc"]


def boxes(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[list, list]:
    """Corners (low, high exclusive) of true boxes, and of predicted ones that are mostly shifted copies."""
    true, pred = [], []
    for _ in range(7):
        size = rng.integers(2, 6, len(shape))
        low = rng.integers(0, np.array(shape) - size + 1)
        true.append([low.tolist(), (low + size).tolist()])
        if rng.random() < 0.85:
            low = np.clip(low + rng.integers(-1, 2, len(shape)), 0, np.array(shape) - size)
            pred.append([low.tolist(), (low + size).tolist()])
    rng.shuffle(pred)
    return true, pred


def paint(shape: tuple[int, ...], corners: list, as_map: bool) -> np.ndarray:
    """Mask, or instance map, of boxes; later ones lie on top."""
    volume = np.zeros(shape, dtype=np.uint8)
    for value, (low, high) in enumerate(corners, start=1):
        volume[tuple(map(slice, low, high))] = value if as_map else 1
    return volume


def main() -> None:
    """Score every case with every matcher."""
    from panoptica import ConnectedComponentsInstanceApproximator, InputType, Panoptica_Evaluator, instance_matcher
    from panoptica.metrics import Metric

    cases = []
    for shape, as_map, seed in product(SHAPES, (False, True), range(CASES)):
        true, pred = boxes(np.random.default_rng([seed, len(shape), int(as_map)]), shape)
        expected = {}
        for name, (matcher, threshold) in MATCHERS.items():
            evaluator = Panoptica_Evaluator(
                expected_input=InputType.UNMATCHED_INSTANCE if as_map else InputType.SEMANTIC,
                instance_approximator=None if as_map else ConnectedComponentsInstanceApproximator(),
                instance_matcher=getattr(instance_matcher, matcher)(
                    matching_metric=Metric.IOU, matching_threshold=threshold, strict_threshold=True
                ),
                instance_metrics=[Metric.DSC, Metric.IOU],
            )
            result = evaluator.evaluate(paint(shape, pred, as_map), paint(shape, true, as_map))["ungrouped"]
            expected[name] = {score: float(getattr(result, score)) for score in SCORES}
        cases.append({"shape": shape, "is_instances": as_map, "true": true, "pred": pred, "expected": expected})
    path = Path(__file__).with_suffix(".json")
    content = {"panoptica": version("panoptica"), "cases": cases}
    path.write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
