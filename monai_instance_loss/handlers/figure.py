"""What the model found, missed and made up, as a figure for radiologists. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from monai_instance_loss.evaluation.lesion_drawing import draw_lesions
from monai_instance_loss.evaluation.lesion_slice import LesionSlice, most_informative_slice

__all__ = ["LesionFigureHandler"]


class LesionFigureHandler:
    """Write PNGs with one row a case, see ``draw_lesions``, when an epoch of the evaluator is over.

    Args:
        output_dir: directory of the figures, made when missing; they are called ``lesions_1.png``, and so on.
        batch_transform: from ``engine.state.batch``, decollated, to ``(case, image)``: names and (1, H, W, D) images.
        output_transform: from ``engine.state.output`` to ``(y_pred, y)``, lists of (1, H, W, D) samples.
        connectivity: as in ``label_instances``.
        ignore_index: the value in ``y`` of voxels that are not scored.
        rows: number of cases a figure.

    Raises:
        ValueError: ``rows`` is not an integer of at least 1.

    Example:
        >>> from monai.handlers import from_engine
        >>> handler = LesionFigureHandler("figures", from_engine(["case", "flair"]), from_engine(["pred", "label"]))
        >>> handler.attach(Engine(lambda engine, batch: batch))
    """

    def __init__(
        self,
        output_dir: str | Path,
        batch_transform: Callable[[Any], Any],
        output_transform: Callable[[Any], Any],
        connectivity: int | None = None,
        ignore_index: int | None = None,
        rows: int = 4,
    ) -> None:
        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
            raise ValueError(f"Expected `rows` to be an integer of at least 1, but got {rows!r}.")
        self.output_dir = Path(output_dir)
        self.batch_transform = batch_transform
        self.output_transform = output_transform
        self.connectivity = connectivity
        self.ignore_index = ignore_index
        self.rows = rows
        self._slices: list[LesionSlice] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)

    def epoch_started(self, engine: Engine) -> None:
        """Forget the cases of the last epoch."""
        self._slices = []

    def iteration_completed(self, engine: Engine) -> None:
        """Keep the most informative slice of each case of this iteration."""
        cases, images = self.batch_transform(engine.state.batch)
        y_preds, ys = self.output_transform(engine.state.output)
        self._slices += [
            most_informative_slice(case, image, y_pred, y, self.connectivity, self.ignore_index)
            for case, image, y_pred, y in zip(cases, images, y_preds, ys, strict=True)
        ]

    def epoch_completed(self, engine: Engine) -> None:
        """Draw and write the figures."""
        self.output_dir.mkdir(parents=True, exist_ok=True)
        for page, start in enumerate(range(0, len(self._slices), self.rows), start=1):
            draw_lesions(self._slices[start : start + self.rows]).savefig(self.output_dir / f"lesions_{page}.png")
