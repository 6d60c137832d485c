"""The terms of a loss as curves of their own."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from monai.handlers import TensorBoardHandler

__all__ = ["LossTermsHandler"]


class LossTermsHandler(TensorBoardHandler):
    """Write every term of a loss to TensorBoard and its mean over the epoch to the trainer's metrics.

    Source: ours. Every ``interval`` iterations, once the trainer has its loss, it takes ``loss.last_terms``: the terms
    that the loss has just computed, so that nothing is computed twice. These are the terms with a weight, unweighted.
    Each becomes the scalar ``<tag_name>/<term>`` at that iteration. The mean so far in the epoch is
    ``engine.state.metrics["<tag_name>_epoch/<term>"]``, which MONAI's StatsHandler prints and its
    TensorBoardStatsHandler writes. In distributed training each rank sees its own batches only; attach the handler on
    rank 0. Differentiable: nothing.

    Args:
        loss: has ``last_terms``, a dictionary of scalar tensors by name, as ``InstanceLoss`` has, and
            ``DeepSupervisionLoss`` around it.
        interval: number of iterations from one record to the next.
        summary_writer: TensorBoard writer; ``None`` makes one for ``log_dir``.
        log_dir: directory of the writer that is made when none is given.
        tag_name: first part of the names of the curves.

    Raises:
        TypeError: ``loss`` has no ``last_terms``.
        ValueError: ``interval`` is not a whole number of at least 1; (on attach) the engine is not a MONAI trainer.

    Example:
        >>> from monai.engines import SupervisedTrainer
        >>> def log_terms(trainer: SupervisedTrainer) -> None:
        ...     LossTermsHandler(trainer.loss_function, interval=10, log_dir="./runs").attach(trainer)
    """

    def __init__(
        self,
        loss: Any,
        interval: int = 1,
        summary_writer: Any = None,
        log_dir: str = "./runs",
        tag_name: str = "train_loss",
    ) -> None:
        if not hasattr(loss, "last_terms"):
            raise TypeError(f"Expected `loss` to have `last_terms`, but got {type(loss).__name__}.")
        if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
            raise ValueError(f"Expected `interval` to be an integer of at least 1, but got {interval!r}.")
        super().__init__(summary_writer=summary_writer, log_dir=log_dir)
        self.loss = loss
        self.interval = interval
        self.tag_name = tag_name
        self._sums: dict[str, float] = {}
        self._records = 0

    def attach(self, engine: Engine) -> None:
        """Register with a MONAI trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self.loss_completed)

    def epoch_started(self, engine: Engine) -> None:
        """Forget the means of the last epoch."""
        for term in self._sums:
            engine.state.metrics.pop(self._mean_name(term), None)
        self._sums, self._records = {}, 0

    def loss_completed(self, engine: Engine) -> None:
        """Record the terms of this iteration, if it is its turn."""
        step = engine.state.iteration
        if step % self.interval:
            return
        self._records += 1
        for term, value in self._terms().items():
            self._writer.add_scalar(f"{self.tag_name}/{term}", value, step)
            self._sums[term] = self._sums.get(term, 0.0) + value
            # kept up to date, since handlers that read it may run before ours when the epoch is over
            engine.state.metrics[self._mean_name(term)] = self._sums[term] / self._records
        self._writer.flush()

    def _terms(self) -> dict[str, float]:
        terms = self.loss.last_terms or {}
        # stacked, they take one transfer from the device
        return dict(zip(terms, torch.stack(list(terms.values())).tolist(), strict=True)) if terms else {}

    def _mean_name(self, term: str) -> str:
        return f"{self.tag_name}_epoch/{term}"
