"""An end to a training whose loss is no number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ignite import handlers
from ignite.engine import Engine, Events

__all__ = ["TerminateOnNan"]


def _identity(output: Any) -> Any:
    return output


class TerminateOnNan(handlers.TerminateOnNan):
    """End a training with an error as soon as its loss is NaN or infinite, as the network then is in the next step.

    Source: ignite's ``TerminateOnNan``, which cannot stand in the list of handlers of MONAI's engines, and ends a
    training as if it were complete.

    Args:
        output_transform: from ``engine.state.output`` to the loss: a number, a tensor or a collection of them.

    Raises:
        ValueError: when the loss is not finite.

    Example:
        >>> engine = Engine(lambda engine, batch: batch)
        >>> TerminateOnNan().attach(engine)
        >>> engine.run([0.5, 0.25]).output
        0.25
    """

    def __init__(self, output_transform: Callable = _identity) -> None:
        super().__init__(output_transform)

    def attach(self, engine: Engine) -> None:
        """Watch an engine.

        Args:
            engine: the trainer.
        """
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Look at the output of one iteration.

        Args:
            engine: the trainer.
        """
        ended = engine.should_terminate
        super().__call__(engine)
        if engine.should_terminate and not ended:
            raise ValueError(
                f"Expected the loss to be finite, but got {self._output_transform(engine.state.output)} in epoch "
                f"{engine.state.epoch}, iteration {engine.state.iteration}: the training ends, nothing is saved."
            )
