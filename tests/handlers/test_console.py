from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.handlers import ValidationHandler

from monai_instance_loss.handlers import EvaluationConsole, TrainingConsole, console
from monai_instance_loss.losses import DeepSupervisionLoss, InstanceLoss


class Loss:
    """What a loss leaves behind: its weights, and the terms with a weight of its last call."""

    weights: ClassVar = {"pixel": 1.0, "missed": 0.5, "proximity": 0.0}
    last_terms: dict[str, torch.Tensor] | None = None


def trainer(loss: Loss | None = None) -> Engine:
    """One whose batches are losses; the terms are half of it and all of it."""

    def step(engine: Engine, batch: float) -> list[dict[str, float]]:
        if loss is not None:
            loss.last_terms = {"pixel": torch.tensor(batch / 2), "missed": torch.tensor(batch, dtype=torch.float64)}
        return [{"loss": batch}]

    return Engine(step)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines on the console; the clock gives 0, 10, 20... seconds, one for each look at it."""
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    caplog.set_level(logging.INFO, logger="monai_instance_loss.handlers.console")
    shown: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.append(record.getMessage())

    handler = Lines()
    console.logger.addHandler(handler)
    yield shown
    console.logger.removeHandler(handler)


def test_the_loss_its_weighted_terms_and_the_time_left(lines):
    loss = Loss()
    engine = trainer(loss)
    TrainingConsole(loss).attach(engine)
    engine.run([1.0, 3.0], max_epochs=3)
    # the mean of 1 and 3; ten seconds after the start one of three epochs is over, so two take 20 more
    mean = "loss 2 (pixel 1, 0.5 x missed 2)"
    assert lines == [
        f"epoch 1/3: {mean}, 20 s left", f"epoch 2/3: {mean}, 10 s left", f"epoch 3/3: {mean}, 0 s left",
        "done: 3 epochs in 40 s",
    ]  # fmt: skip


def test_means_are_since_the_line_before(lines):
    engine = trainer()
    TrainingConsole(interval=3).attach(engine)
    losses = iter([4.0, 1.0, 3.0, 5.0])
    engine.add_event_handler(Events.ITERATION_STARTED, lambda e: setattr(e.state, "batch", next(losses)))
    engine.run([0.0], max_epochs=4)
    # the first epoch and the last have a line too: 4, (1 + 3) / 2 and 5
    assert [line.split(",")[0] for line in lines[:-1]] == [
        "epoch 1/4: loss 4", "epoch 3/4: loss 2", "epoch 4/4: loss 5"
    ]  # fmt: skip


def test_time_left_of_a_training_that_continues(lines):
    engine = trainer()

    def resume(engine: Engine) -> None:
        engine.state.epoch, engine.state.iteration = 7, 7

    TrainingConsole().attach(engine)
    engine.add_event_handler(Events.STARTED, resume)
    engine.run([1.0], max_epochs=10)
    # ten seconds for the eighth epoch, the first of this run: 20 s for two more, and not 10 / 8 * 2
    assert lines[0] == "epoch 8/10: loss 1, 20 s left"
    assert lines[-1].startswith("done: 3 epochs in")


class Scores:
    """A metric that gives what it was told to."""

    def __init__(self, *scores: Any) -> None:
        self.scores = iter(scores)

    def attach(self, engine: Engine, name: str) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: e.state.metrics.update({name: next(self.scores)}))


def validator(*scores: float) -> SupervisedEvaluator:
    image = torch.ones(1, 1, 2, 2)
    return SupervisedEvaluator(
        torch.device("cpu"), [{"image": image, "label": image}], torch.nn.Identity(),
        key_val_metric={"dice": Scores(*scores)},
        additional_metrics={"another": Scores(0.25, 3.0, 0.0), "a_vector": Scores(*[torch.ones(2)] * 3)},
    )  # fmt: skip


def test_one_line_a_validation_and_the_best_at_the_end(lines, tmp_path):
    (tmp_path / "model.pt").touch()
    engine, evaluator = trainer(), validator(0.5, 0.75, 0.625)
    written = {"best model": tmp_path / "model.pt", "curves": tmp_path / "none"}
    TrainingConsole(validator=evaluator, written=written).attach(engine)
    ValidationHandler(2, evaluator).attach(engine)
    engine.run([1.0], max_epochs=6)
    assert [line for line in lines if not line.startswith("epoch ") or "validation" in line] == [
        "epoch 2, validation: dice 0.5, another 0.25; the best so far",
        "epoch 4, validation: dice 0.75, another 3; the best so far",
        "epoch 6, validation: dice 0.625, another 0; best 0.75, epoch 4",
        lines[-3],
        "best dice: 0.75, epoch 4",
        f"best model: {tmp_path / 'model.pt'}",
    ]
    assert lines[-3].startswith("done: 6 epochs in")
    # the loss of an epoch stands before its validation
    assert lines[1].startswith("epoch 2/6: loss")
    assert lines[2].startswith("epoch 2, validation")


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_loss_shown_is_the_sum_of_the_terms_shown(lines, wrapped):
    inner = InstanceLoss(sigmoid=True, weights={"missed": 0.5, "instance_pred": 0})
    # MONAI's has `weights` too: of its levels
    loss = DeepSupervisionLoss(inner) if wrapped else inner
    target = torch.zeros(1, 1, 8, 8)
    target[0, 0, 2:4, 2:4] = 1
    engine = Engine(lambda engine, batch: [{"loss": loss(batch, target).item()}])
    TrainingConsole(loss).attach(engine)
    engine.run([torch.zeros(1, 1, 8, 8)])
    line = lines[0].replace("(", "").replace(")", "").replace(",", "").split()
    numbers = {name: float(value) for name, value in pairwise(line) if name in inner.weights or name == "loss"}
    assert list(numbers) == ["loss", "pixel", "instance", "false", "missed"]
    total = numbers["pixel"] + 0.5 * numbers["instance"] + numbers["false"] + 0.5 * numbers["missed"]
    assert numbers["loss"] == pytest.approx(total, abs=1e-3)


def test_an_evaluation_in_one_line_and_what_it_wrote(lines, tmp_path):
    engine = validator(0.5)
    EvaluationConsole({"masks": tmp_path, "tables": tmp_path / "none"}).attach(engine)
    engine.run()
    assert lines == ["dice 0.5, another 0.25", f"masks: {tmp_path}"]


def test_without_scores_there_is_no_line_of_scores(lines):
    engine = Engine(lambda engine, batch: None)
    EvaluationConsole().attach(engine)
    engine.run([0])
    assert lines == []


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.2, "0 s"), (0.6, "1 s"), (59.2, "1 min 00 s"), (61, "1 min 01 s"), (3725, "1 h 02 min")]
)
def test_durations(seconds, shown):
    assert console._duration(seconds) == shown


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="Expected `interval` to be 1 or more, but got 0"):
        TrainingConsole(interval=0)


def shown_by_rank(rank: int) -> list[str]:
    shown: list[str] = []
    console.logger.setLevel(logging.INFO)
    console.logger.info = shown.append
    engine = trainer()
    TrainingConsole().attach(engine)
    # ranks of uneven length: 1 on the first, 4 and 7 on the second
    engine.run([1.0] if rank == 0 else [4.0, 7.0])
    return [line.split(",")[0] for line in shown]


def test_two_ranks_show_the_mean_of_both_once(two_ranks: Any):
    first, second = two_ranks(str(Path(__file__)), "shown_by_rank")
    assert first[0] == "epoch 1/1: loss 4"
    assert second == []
