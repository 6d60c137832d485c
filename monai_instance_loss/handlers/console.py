"""What the console shows of a training and of an evaluation: what somebody who waits wants to know, in few lines."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.handlers import from_engine
from monai.utils import is_scalar

from monai_instance_loss._checks import checked_count

__all__ = ["EvaluationConsole", "TrainingConsole"]

logger = logging.getLogger(__name__)
_loss = from_engine(["loss"], first=True)


class TrainingConsole:
    """Log the loss that is minimised, its terms, the time left, each validation and, at the end, what was written.

    Source: ours, for ``monai.handlers.StatsHandler``. The logger is that of this module, at level INFO. Loss and terms
    are means over the iterations since the line before, on all ranks; rank 0 logs. A term stands with its weight where
    that is not 1. Differentiable: nothing.

    Args:
        loss: with ``last_terms`` and ``weights``, as ``InstanceLoss`` has them, to show the terms; None shows none.
        validator: evaluator whose scores are shown after each of its runs, the key metric first with the best so far.
        interval: number of epochs from one line to the next; the first and the last epoch have one too.
        written: what to name at the end: label to path. What does not exist is left out.
        output_transform: from ``engine.state.output`` to the loss.

    Raises:
        ValueError: ``interval`` is not at least 1.

    Example:
        >>> trainer = Engine(lambda engine, batch: [{"loss": batch}])
        >>> TrainingConsole().attach(trainer)
        >>> trainer.run([0.5, 0.25]).epoch  # logs "epoch 1/1: loss 0.375, 0 s left" and the end
        1
    """

    def __init__(
        self,
        loss: Any = None,
        validator: Engine | None = None,
        interval: int = 1,
        written: Mapping[str, str | os.PathLike[str]] | None = None,
        output_transform: Callable[[Any], Any] = _loss,
    ) -> None:
        self.loss = loss
        self.validator = validator
        self.interval = checked_count("interval", interval, minimum=1)
        self.written = dict(written or {})
        self.output_transform = output_transform
        self._sums: dict[str, Any] = {}
        self._count = 0
        self._epochs_before: int | None = None
        self._start = 0.0

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, and listen to the validator."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)
        if self.validator is not None:
            self.validator.add_event_handler(Events.EPOCH_COMPLETED, self.validated)

    def started(self, engine: Engine) -> None:
        """Start the clock."""
        self._start, self._epochs_before = time.monotonic(), None
        self._sums, self._count = {}, 0

    def epoch_started(self, engine: Engine) -> None:
        """Take note of where a training continues: its epochs took no time of this run."""
        if self._epochs_before is None:
            self._epochs_before = engine.state.epoch - 1

    def iteration_completed(self, engine: Engine) -> None:
        """Add the loss and its terms of this iteration."""
        values = {"loss": self.output_transform(engine.state.output), **(getattr(self.loss, "last_terms", None) or {})}
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1

    def epoch_completed(self, engine: Engine) -> None:
        """Log a line, if it is its turn."""
        epoch, epochs, before = engine.state.epoch, engine.state.max_epochs, self._epochs_before or 0
        if epoch % self.interval and epoch not in (before + 1, epochs):
            return
        means = self._means()
        weights = _weights(self.loss)
        terms = ", ".join(
            f"{name} {value:.4g}" if weights.get(name, 1) == 1 else f"{weights[name]:g} x {name} {value:.4g}"
            for name, value in means.items()
            if name != "loss"
        )
        left = (time.monotonic() - self._start) / (epoch - before) * (epochs - epoch)
        shown = f" ({terms})" if terms else ""
        _log(f"epoch {epoch}/{epochs}: loss {means['loss']:.4g}{shown}, {_duration(left)} left")

    def validated(self, validator: Engine) -> None:
        """Log the scores of one validation."""
        state = validator.state
        best, suffix = getattr(state, "best_metric_epoch", -1), ""
        if best > 0:
            suffix = "; the best so far" if best == state.epoch else f"; best {state.best_metric:.4g}, epoch {best}"
        _log(f"epoch {state.epoch}, validation: {_scores(validator)}{suffix}")

    def completed(self, engine: Engine) -> None:
        """Log the end: the time taken, the best score, and what was written where."""
        before = engine.state.epoch if self._epochs_before is None else self._epochs_before
        _log(f"done: {engine.state.epoch - before} epochs in {_duration(time.monotonic() - self._start)}")
        state = None if self.validator is None else self.validator.state
        if state is not None and getattr(state, "best_metric_epoch", -1) > 0:
            _log(f"best {state.key_metric_name}: {state.best_metric:.4g}, epoch {state.best_metric_epoch}")
        _log_written(self.written)

    def _means(self) -> dict[str, float]:
        # on the device until here, and one transfer then
        sums = torch.stack([torch.as_tensor(value, dtype=torch.float64).cpu() for value in self._sums.values()])
        total = idist.all_reduce(torch.cat([sums, torch.tensor([self._count], dtype=torch.float64)]))
        names, self._sums, self._count = list(self._sums), {}, 0
        return dict(zip(names, (total[:-1] / total[-1]).tolist(), strict=True))


class EvaluationConsole:
    """Log the scores of an evaluation in one line, the key metric first, and what was written where.

    Source: ours, for ``monai.handlers.StatsHandler``. The logger is that of this module, at level INFO; rank 0 logs.
    Differentiable: nothing.

    Args:
        written: as in ``TrainingConsole``.

    Example:
        >>> evaluator = Engine(lambda engine, batch: engine.state.metrics.update(dice=batch))
        >>> EvaluationConsole({"masks": "."}).attach(evaluator)
        >>> evaluator.run([0.5]).metrics  # logs "dice 0.5" and "masks: ."
        {'dice': 0.5}
    """

    def __init__(self, written: Mapping[str, str | os.PathLike[str]] | None = None) -> None:
        self.written = dict(written or {})

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def epoch_completed(self, engine: Engine) -> None:
        """Log the scores, if there are any."""
        if scores := _scores(engine):
            _log(scores)

    def completed(self, engine: Engine) -> None:
        """Log what was written where."""
        _log_written(self.written)


def _weights(loss: Any) -> Mapping[str, float]:
    """Weights of the terms, of the loss itself or of the one inside MONAI's deep supervision."""
    weights = getattr(loss, "weights", None)
    inner = getattr(loss, "loss", None)
    return weights if isinstance(weights, Mapping) else {} if inner is None else _weights(inner)


def _scores(engine: Engine) -> str:
    key = getattr(engine.state, "key_metric_name", None)
    scores = {name: float(value) for name, value in engine.state.metrics.items() if is_scalar(value)}
    ordered = sorted(scores, key=lambda name: name != key)
    return ", ".join(f"{name} {scores[name]:.4g}" for name in ordered)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds) if seconds > 0.5 else 0, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _log(line: str) -> None:
    if idist.get_rank() == 0:
        logger.info(line)


def _log_written(written: Mapping[str, str | os.PathLike[str]]) -> None:
    for label, path in written.items():
        if os.path.exists(path):
            _log(f"{label}: {path}")
