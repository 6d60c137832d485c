"""Seconds of a training step over one with DiceCE, side by side; on a quiet machine.

python tests/benchmarks/effectiveness/cost.py --work runs/effectiveness
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import torch
from contenders import CONTENDERS, MAIN
from monai.data import CacheDataset, DataLoader
from regimes import REGIMES
from run import RESULTS, ROOT, describe
from train_one import make_network, training

from monai.utils import set_determinism  # isort: skip
from timing import interleaved, over  # isort: skip

BASELINE = "DiceCE"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "effectiveness")
    parser.add_argument("--rows", nargs="+", choices=CONTENDERS, default=list(MAIN))
    parser.add_argument("--model", type=Path, help="weights of a trained network; untrained without")
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    set_determinism(0)
    cases = REGIMES["wmh"].cases(options.work)["train"][:4]
    batches = list(DataLoader(CacheDataset(cases, training("voxels"), progress=False), batch_size=1))
    network = make_network()
    if options.model:
        network.load_state_dict(torch.load(options.model, weights_only=True))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0)

    def step(loss: torch.nn.Module, turns: Iterator[int]) -> None:
        batch = batches[next(turns) % len(batches)]
        optimizer.zero_grad()
        loss(network(batch["image"]), batch["label"]).backward()
        optimizer.step()

    calls = {row: partial(step, CONTENDERS[row].loss(), count()) for row in options.rows}
    samples = interleaved(calls, options.repeats, torch.device("cpu"))
    ratios = {row: over(samples[row].total, samples[BASELINE].total) for row in options.rows}
    result = {"machine": describe(torch.device("cpu")), "repeats": options.repeats, "over_dicece": ratios}
    (RESULTS / "cost.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(ratios, indent=1))


if __name__ == "__main__":
    main()
