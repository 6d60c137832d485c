"""Continue a training that was killed as if it had not been."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.utils import manual_seed
from monai.data.utils import set_rnd

from monai_instance_loss._checks import checked_count
from monai_instance_loss._whole_file import whole_file
from monai_instance_loss.handlers.checkpoint import SafeCheckpointLoader, check_finite, set_aside

__all__ = ["ResumeHandler"]


class ResumeHandler:
    """Save every few epochs what a training needs to continue, and continue from there, with the same result.

    Source: ours, on MONAI's ``CheckpointLoader`` and in step with its ``CheckpointSaver``. Differentiable: nothing.

    Convention: the checkpoint holds the states of ``save_dict``, of the trainer, of its gradient scaler and the best
    metric of ``validator``. Random numbers need no state: every epoch is seeded anew, from ``seed``, its number and the
    rank, and so are the random transforms of the trainer's data set. A training that is killed and resumed therefore
    ends with the weights of one that was not, where the device computes the same twice. Workers of a ``DataLoader``
    must not be persistent. Put it behind the handlers that change something when an epoch is over: validation and
    learning rate.

    The file is written beside its place and renamed, so that there is a whole one at any time. Without ``resume`` a
    file of an earlier run is kept as ``<name>_earlier_<n>``. With ``resume`` and no file, the training starts afresh.

    Args:
        path: the checkpoint.
        save_dict: name to object with ``state_dict`` and ``load_state_dict``: network, optimizer, learning rate
            schedule, and the ``SafeCheckpointSaver`` of the best model.
        interval: number of epochs from one checkpoint to the next; the last epoch has one too.
        resume: whether to continue from ``path``.
        seed: non-negative; of all epochs.
        validator: evaluator whose ``best_metric`` and ``best_metric_epoch`` are continued.
        map_location: as in ``torch.load``.

    Raises:
        ValueError: ``interval`` or ``seed`` is out of range; (when a training starts) ``path`` is no checkpoint of
            these objects, holds NaN, has more epochs than are asked for or another number of iterations an epoch.

    Example:
        >>> import tempfile
        >>> net = torch.nn.Linear(1, 1)
        >>> def train(epochs: int, folder: str, resume: bool) -> list[int]:
        ...     trainer, seen = Engine(lambda engine, batch: None), []
        ...     trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: seen.append(engine.state.epoch))
        ...     ResumeHandler(f"{folder}/last.pt", {"model": net}, resume=resume).attach(trainer)
        ...     _ = trainer.run([0], max_epochs=epochs)
        ...     return seen
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     train(2, folder, False), train(4, folder, True)
        ([1, 2], [3, 4])
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        save_dict: Mapping[str, Any],
        interval: int = 1,
        resume: bool = False,
        seed: int = 0,
        validator: Engine | None = None,
        map_location: Any = None,
    ) -> None:
        self.path = Path(path)
        self.save_dict = dict(save_dict)
        self.interval = checked_count("interval", interval, minimum=1)
        self.resume = resume
        self.seed = checked_count("seed", seed, minimum=0)
        self.validator = validator
        self.map_location = map_location
        self.logger = logging.getLogger(__name__)

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)

    def started(self, engine: Engine) -> None:
        """Load the checkpoint, or put the one of an earlier run aside."""
        exists, first = self.path.is_file(), idist.get_rank() == 0
        # no rank renames the file before all have looked for it
        idist.barrier()
        if self.resume and exists:
            self._load(engine)
            if first:
                self.logger.info(f"resumed from {self.path}, which has {engine.state.epoch} epochs")
        elif first and exists:
            self.logger.warning(f"{self.path} is from an earlier run: it is kept as {set_aside(self.path).name}.")
        elif first and self.resume:
            self.logger.warning(f"{self.path} does not exist: there is nothing to resume, the training starts afresh.")

    def epoch_started(self, engine: Engine) -> None:
        """Seed the epoch."""
        number = np.random.SeedSequence([self.seed, engine.state.epoch, idist.get_rank()]).generate_state(1).item()
        manual_seed(number)
        set_rnd(getattr(engine.state.dataloader, "dataset", None), number)

    def epoch_completed(self, engine: Engine) -> None:
        """Write the checkpoint, if it is its turn."""
        epoch = engine.state.epoch
        if (epoch % self.interval and epoch != engine.state.max_epochs) or idist.get_rank() != 0:
            return
        checkpoint = {name: _bare(item).state_dict() for name, item in self._objects(engine).items()}
        check_finite(checkpoint, f"to save as {self.path}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(self.path) as temporary:
            torch.save(checkpoint, temporary)

    def _load(self, engine: Engine) -> None:
        length = engine.state.epoch_length
        SafeCheckpointLoader(str(self.path), self._objects(engine), map_location=self.map_location)(engine)
        if engine.state.epoch_length != length:
            raise ValueError(
                f"Expected {self.path} to be of a training with {length} iterations an epoch, but got "
                f"{engine.state.epoch_length}: the data, the batch size or the number of processes differ."
            )

    def _objects(self, engine: Engine) -> dict[str, Any]:
        objects = {**self.save_dict, "trainer": engine}
        if getattr(engine, "scaler", None) is not None:
            objects["scaler"] = engine.scaler
        return objects if self.validator is None else {**objects, "validator": _BestMetric(self.validator)}


class _BestMetric:
    """The state of an evaluator that outlives its runs."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def state_dict(self) -> dict[str, float]:
        state = self.engine.state
        return {"best_metric": float(state.best_metric), "best_metric_epoch": state.best_metric_epoch}

    def load_state_dict(self, state_dict: Mapping[str, float]) -> None:
        for name, value in state_dict.items():
            setattr(self.engine.state, name, value)


def _bare(item: Any) -> Any:
    """The network inside what trains it on several devices."""
    return item.module if isinstance(item, torch.nn.parallel.DistributedDataParallel) else item
