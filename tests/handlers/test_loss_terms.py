from __future__ import annotations

import logging

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents, SupervisedTrainer
from monai.handlers import StatsHandler, TensorBoardStatsHandler
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from monai_instance_loss.handlers import LossTermsHandler
from monai_instance_loss.losses import DeepSupervisionLoss, InstanceLoss


class Loss(torch.nn.Module):
    """A pixel and a missed term; counts its forwards."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.last_terms: dict[str, torch.Tensor] | None = None

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        value = ((input - target) ** 2).mean()
        self.last_terms = {"pixel": value.detach(), "missed": input.detach().double().mean()}
        return value


class Writer:
    def __init__(self) -> None:
        self.scalars: list[tuple[str, float, int]] = []

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.scalars.append((tag, value, step))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        raise AssertionError("a writer that was given must be left open")


def train(loss: torch.nn.Module, handlers: list, epochs: int = 2, batches: int = 3) -> SupervisedTrainer:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.Dropout(0.5))
    generator = torch.Generator().manual_seed(1)
    data = [
        {"image": torch.rand(2, 1, 3, 3, generator=generator), "label": torch.ones(2, 1, 3, 3)} for _ in range(batches)
    ]
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=data,
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), 0.1),
        loss_function=loss,
        train_handlers=handlers,
    )
    trainer.run()
    return trainer


def test_every_term_becomes_a_curve():
    loss, writer = Loss(), Writer()
    trainer = train(loss, [LossTermsHandler(loss, summary_writer=writer)])
    assert [(tag, step) for tag, _, step in writer.scalars] == [
        (f"train_loss/{term}", step) for step in range(1, 7) for term in ("pixel", "missed")
    ]
    pixel = [value for tag, value, _ in writer.scalars if tag == "train_loss/pixel"]
    # the last epoch is the iterations 4 to 6
    assert trainer.state.metrics["train_loss_epoch/pixel"] == pytest.approx(sum(pixel[3:]) / 3)
    assert trainer.state.output[0]["loss"] == pytest.approx(pixel[-1])


def test_nothing_is_computed_twice():
    loss = Loss()
    train(loss, [LossTermsHandler(loss, summary_writer=Writer())], epochs=1)
    assert loss.calls == 3


@pytest.mark.parametrize("interval", [1, 2, 7])
def test_interval(interval):
    loss, writer = Loss(), Writer()
    trainer = train(loss, [LossTermsHandler(loss, interval=interval, summary_writer=writer)])
    expected = [step for step in range(1, 7) if step % interval == 0]
    assert sorted({step for _, _, step in writer.scalars}) == expected
    # an epoch without a record shows no mean of an earlier one
    assert ("train_loss_epoch/pixel" in trainer.state.metrics) == (interval < 4)


def test_an_epoch_without_a_record_drops_the_old_mean():
    # of the iterations 1 to 9, three an epoch, only the fifth is recorded
    loss, means = Loss(), []
    handler = LossTermsHandler(loss, interval=5, summary_writer=Writer())

    class Spy:
        def attach(self, engine: Engine) -> None:
            engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: means.append(sorted(e.state.metrics)))

    train(loss, [Spy(), handler], epochs=3)
    names = ["train_loss_epoch/missed", "train_loss_epoch/pixel"]
    assert means == [[], names, []]


def test_training_is_the_same_with_and_without():
    loss = Loss()
    with_handler = train(loss, [LossTermsHandler(loss, summary_writer=Writer())])
    state = torch.get_rng_state()
    without = train(Loss(), [])
    assert torch.equal(state, torch.get_rng_state())
    for ours, plain in zip(with_handler.network.parameters(), without.network.parameters(), strict=True):
        assert torch.equal(ours, plain)


def test_stats_handler_prints_the_epoch_means_even_when_attached_first(caplog):
    loss = Loss()
    stats = StatsHandler(name="test_terms", iteration_log=False, output_transform=lambda x: None)
    with caplog.at_level(logging.INFO, logger="test_terms"):
        logging.getLogger("test_terms").propagate = True
        trainer = train(loss, [stats, LossTermsHandler(loss, summary_writer=Writer())], epochs=1)
    assert f"train_loss_epoch/missed: {trainer.state.metrics['train_loss_epoch/missed']:.4f}" in caplog.text


def test_real_tensorboard_files(tmp_path):
    loss = Loss()
    handler = LossTermsHandler(loss, log_dir=str(tmp_path), tag_name="terms")
    stats = TensorBoardStatsHandler(handler._writer, output_transform=lambda output: output[0]["loss"])
    train(loss, [handler, stats])
    handler.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {
        "Loss", "terms/pixel", "terms/missed", "terms_epoch/pixel", "terms_epoch/missed"
    }  # fmt: skip
    assert [event.step for event in events.Scalars("terms/pixel")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in events.Scalars("terms_epoch/pixel")] == [1, 2]


def test_half_precision_predictions_and_terms_of_mixed_dtype():
    writer, loss = Writer(), Loss()
    handler = LossTermsHandler(loss, summary_writer=writer)

    def step(engine: Engine, batch: torch.Tensor) -> None:
        loss(batch.requires_grad_(), torch.zeros(1, 1, 2, 2))
        engine.fire_event(IterationEvents.LOSS_COMPLETED)

    engine = Engine(step)
    engine.register_events(*IterationEvents)
    handler.attach(engine)
    for dtype in (torch.float16, torch.bfloat16):
        engine.run([torch.full((1, 1, 2, 2), 0.5, dtype=dtype)])
        # 0.5 squared, and 0.5
        assert engine.state.metrics == {"train_loss_epoch/pixel": 0.25, "train_loss_epoch/missed": 0.5}


@pytest.mark.parametrize("wrapped", [False, True])
def test_terms_of_the_instance_loss(wrapped):
    # those with a weight: what is minimised is their sum
    loss, writer = InstanceLoss(sigmoid=True, weights={"instance_pred": 0, "missed": 2}), Writer()
    outer = DeepSupervisionLoss(loss) if wrapped else loss
    trainer = train(outer, [LossTermsHandler(outer, summary_writer=writer)], epochs=1, batches=1)
    terms = {tag.removeprefix("train_loss/"): value for tag, value, _ in writer.scalars}
    assert list(terms) == ["pixel", "instance", "false", "missed"]
    total = terms["pixel"] + 0.5 * terms["instance"] + terms["false"] + 2 * terms["missed"]
    assert total == pytest.approx(trainer.state.output[0]["loss"])


def test_before_the_first_loss_nothing_is_written():
    writer = Writer()
    handler = LossTermsHandler(InstanceLoss(), summary_writer=writer)
    engine = Engine(lambda engine, batch: engine.fire_event(IterationEvents.LOSS_COMPLETED))
    engine.register_events(*IterationEvents)
    handler.attach(engine)
    engine.run([0])
    assert writer.scalars == []


def test_a_given_writer_is_left_open():
    LossTermsHandler(Loss(), summary_writer=Writer()).close()


def test_bad_arguments_are_refused():
    with pytest.raises(TypeError, match="Expected `loss` to have `last_terms`, but got MSELoss"):
        LossTermsHandler(torch.nn.MSELoss(), summary_writer=Writer())
    for interval in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match=f"Expected `interval` .* but got {interval}"):
            LossTermsHandler(Loss(), interval=interval, summary_writer=Writer())
