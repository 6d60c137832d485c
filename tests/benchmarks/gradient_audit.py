"""The gradient that a false, a missed and a half-found lesion receive from every loss, as a table and three figures.

    python tests/benchmarks/gradient_audit.py --out tests/benchmarks/results/gradient_audit.csv \
        --figure tests/benchmarks/results/gradient_audit.png

The figure is over the size of the lesion, of all losses. Beside it lie, with `_other_lesions` and
`_background_probability` in the name, those over the number of other lesions and over the background, of all but the
pixel losses. `gradient_audit` of the package says what is measured.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from monai_instance_loss.analysis import GradientRow, gradient_audit, plot_gradient_audit
from monai_instance_loss.losses import InstanceLoss, InstanceLossTerms, pixel
from monai_instance_loss.metrics import FalseInstancesMetric, MissedInstancesMetric

sys.path.insert(0, str(Path(__file__).parent))
from costs import every_loss

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def audited() -> dict[str, Loss]:
    """Name to loss: those of the table of losses, each term of InstanceLoss alone, and counts on binary masks."""
    terms: dict[str, Loss] = {f"only {name}": only(name) for name in InstanceLossTerms._fields}
    terms["only proximity, mean"] = only("proximity", proximity="mean")
    # what the published code takes for its counts: components of a thresholded prediction, which has no graph
    counts: dict[str, Loss] = {
        "false, counted": counted(FalseInstancesMetric()),
        "missed, counted": counted(MissedInstancesMetric()),
    }
    return {**every_loss(), **terms, **counts}


def only(term: str, **options: object) -> InstanceLoss:
    """InstanceLoss with one term."""
    return InstanceLoss(
        sigmoid=True, weights={name: float(name == term) for name in InstanceLossTerms._fields}, **options
    )


def counted(metric: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Loss:
    """A number of instances as a loss."""
    return lambda input, target: metric((input >= 0).float(), target).sum()


def write_table(path: Path, tables: dict[str, list[GradientRow]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["loss", *GradientRow._fields])
        for name, rows in tables.items():
            writer.writerows([name, *(f"{x:.4g}" if isinstance(x, float) else x for x in row)] for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="CSV file to write")
    parser.add_argument("--figure", type=Path, help="picture to write")
    options = parser.parse_args()
    # one thread, as sums over more have other last digits
    torch.set_num_threads(1)
    tables = {}
    for name, loss in audited().items():
        print(name, flush=True)
        tables[name] = gradient_audit(loss)
    write_table(options.out, tables)
    if options.figure:
        for along in ("size_voxels", "other_lesions", "background_probability"):
            end = "" if along == "size_voxels" else f"_{along}"
            path = options.figure.with_name(f"{options.figure.stem}{end}{options.figure.suffix}")
            shown = {name: rows for name, rows in tables.items() if not end or name not in pixel.__all__}
            plot_gradient_audit(shown, along).savefig(path, dpi=100)


if __name__ == "__main__":
    main()
