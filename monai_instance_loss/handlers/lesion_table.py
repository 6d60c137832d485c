"""LesionTableSaver: the per-lesion table of a validation run, beside what MONAI's MetricsSaver writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from monai.data import MetaTensor

from monai_instance_loss.evaluation.case import lesion_rows
from monai_instance_loss.evaluation.tables import to_csv, write_files
from monai_instance_loss.instances import label_instances

__all__ = ["LesionTableSaver"]


class LesionTableSaver:
    """Write ``lesions.csv``: one row a true and a predicted lesion of every sample, whole or not at all.

    Source: ours, in step with ``monai.handlers.MetricsSaver``. Columns: case, channel, and those of
    ``evaluation.case.lesion_rows``: side, id, status (detected, missed, matched or false), voxels, volume in mm3 and
    centroid in mm where the sample is a MetaTensor, box, partners, overlap. Rows of all ranks are gathered, and the
    first rank writes. Differentiable: nothing.

    Args:
        save_dir: folder of the file; made if it is missing.
        output_transform: from ``engine.state.output`` to ``(y_pred, y)``, batches (B, C, *spatial) or lists of samples
            without B, binarised.
        filename: name of the file.
        connectivity: as in ``label_instances``; None is full.

    Raises:
        OSError: (when a run completes) the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> mask = torch.zeros(1, 1, 4, 4)
        >>> mask[0, 0, 1, 1] = 1
        >>> engine = Engine(lambda engine, batch: batch)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     LesionTableSaver(folder).attach(engine)
        ...     _ = engine.run([(mask, mask)])
        ...     with open(f"{folder}/lesions.csv") as table:
        ...         print(table.readlines()[1].split(",")[:5])
        ['1', '0', 'reference', '1', 'detected']
    """

    def __init__(
        self,
        save_dir: str | os.PathLike[str],
        output_transform: Callable[[Any], Any] = lambda output: output,
        filename: str = "lesions.csv",
        connectivity: int | None = None,
    ) -> None:
        self.save_dir = save_dir
        self.output_transform = output_transform
        self.filename = filename
        self.connectivity = connectivity
        self._rows: list[dict[str, Any]] = []
        self._cases = 0

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        self._rows, self._cases = [], 0

    def _collect(self, engine: Engine) -> None:
        y_pred, y = self.output_transform(engine.state.output)
        for pred, true in zip(y_pred, y, strict=True):
            self._cases += 1
            true_side, pred_side = (label_instances(side[None], self.connectivity) for side in (true, pred))
            affine = true.affine if isinstance(true, MetaTensor) else None
            channel = {"reference": true_side.channel.tolist(), "prediction": pred_side.channel.tolist()}
            self._rows += [
                {"case": _name(true, pred) or self._cases, "channel": channel[row["side"]][row["id"] - 1], **row}
                for row in lesion_rows(true_side, pred_side, affine)
            ]

    def _write(self, engine: Engine) -> None:
        rows = _gathered(self._rows)
        if rows is None:
            return
        columns = list(dict.fromkeys(name for row in rows for name in row)) or [
            "case",
            "channel",
            "side",
            "id",
            "status",
        ]
        os.makedirs(self.save_dir, exist_ok=True)
        write_files(self.save_dir, {self.filename: to_csv(columns, rows)})


def _name(*samples: torch.Tensor) -> str | None:
    """The file that a sample was read from, if that is known."""
    for sample in samples:
        if isinstance(sample, MetaTensor) and sample.meta.get("filename_or_obj"):
            return str(sample.meta["filename_or_obj"])
    return None


def _gathered(rows: list[dict[str, Any]]) -> Sequence[dict[str, Any]] | None:
    """Rows of all ranks on the first one, None on the others."""
    if not (dist.is_available() and dist.is_initialized()):
        return rows
    every: list[list[dict[str, Any]]] | None = [[]] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(rows, every)
    return None if every is None else [row for part in every for row in part]
