from __future__ import annotations

import logging
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, MeanDice, ValidationHandler, from_engine
from monai.transforms import Compose, RandGaussianNoised
from monai.utils import set_determinism
from torch.nn.parallel import DistributedDataParallel

from monai_instance_loss.handlers import ResumeHandler, SafeCheckpointSaver

# a pause of one epoch between checkpoints: epochs 2, 4, 6 and the last one have them
INTERVAL = 2


@pytest.fixture(autouse=True)
def _no_seed_left() -> Any:
    yield
    set_determinism(None)


class ProcessEndError(Exception):
    """What stands for the end of a process."""


def train(
    folder: Path, epochs: int = 7, resume: bool = False, kill_at: int = 0, cases: int = 3, path: str = "last.pt"
) -> SupervisedTrainer:
    """Train with all that draws random numbers: order of the cases, augmentation, dropout."""
    set_determinism(5 if kill_at or not resume else 99)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 1), torch.nn.Dropout(0.5), torch.nn.Conv2d(4, 1, 1))
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(cases, 1, 4, 4, generator=generator)
    data = [{"image": image, "label": (image > 0.5).float()} for image in images]
    dataset = CacheDataset(data, Compose([RandGaussianNoised("image", prob=0.5, std=0.5)]), progress=False)
    saver = SafeCheckpointSaver(
        str(folder), {"model": network}, save_key_metric=True, key_metric_filename="model.pt", key_metric_n_saved=1
    )
    validator = SupervisedEvaluator(
        torch.device("cpu"), DataLoader(dataset, batch_size=1), network,
        postprocessing=lambda data: {**data, "pred": (data["pred"] > 0).float()},
        key_val_metric={"dice": MeanDice(output_transform=from_engine(["pred", "label"]))}, val_handlers=[saver],
    )  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters(), 0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 7)
    states = {"model": network, "optimizer": optimizer, "lr_scheduler": schedule, "saver": saver}
    trainer = SupervisedTrainer(
        device=torch.device("cpu"), max_epochs=epochs, network=network, optimizer=optimizer,
        loss_function=torch.nn.BCEWithLogitsLoss(),
        train_data_loader=DataLoader(dataset, batch_size=1, shuffle=True),
        train_handlers=[
            LrScheduleHandler(schedule, print_lr=False), ValidationHandler(INTERVAL, validator),
            ResumeHandler(folder / path, states, INTERVAL, resume, seed=3, validator=validator),
        ],
    )  # fmt: skip
    if kill_at:

        @trainer.on(Events.ITERATION_COMPLETED(once=kill_at))
        def kill(engine: SupervisedTrainer) -> None:
            raise ProcessEndError

    trainer.run()
    trainer.validator = validator
    return trainer


def outcome(folder: Path, trainer: SupervisedTrainer) -> list[Any]:
    """All that the training leaves: weights, optimizer and schedule, the best model and its score."""
    last = torch.load(folder / "last.pt", weights_only=True)
    ((score, name),) = last.pop("saver")["_saved"]
    assert name == f"model_key_metric={score:.4f}.pt"
    best = torch.load(folder / "model.pt", weights_only=True)
    state = trainer.validator.state
    return [trainer.state.epoch, trainer.state.iteration, last, best, score, state.best_metric, state.best_metric_epoch]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("whole")
    return outcome(folder, train(folder))


# of 3 iterations an epoch: in the third epoch, and between the validation of epoch 4 and the next
@pytest.mark.parametrize(("kill_at", "left"), [(8, 2), (13, 4)])
def test_a_killed_training_ends_as_one_that_was_not(tmp_path, whole, kill_at, left):
    with pytest.raises(ProcessEndError):
        train(tmp_path, kill_at=kill_at)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["trainer"]["iteration"] == 3 * left
    resumed = outcome(tmp_path, train(tmp_path, resume=True))
    assert whole[:2] == [7, 21]
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)
    # the best model is this run's own, and no earlier run's
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "model.pt"]


def test_a_killed_first_epoch_starts_afresh(tmp_path, whole, caplog):
    with pytest.raises(ProcessEndError):
        train(tmp_path, kill_at=2)
    torch.manual_seed(0)
    with caplog.at_level(logging.WARNING):
        trainer = train(tmp_path, resume=True)
    assert f"{tmp_path}/last.pt does not exist: there is nothing to resume" in caplog.text
    assert outcome(tmp_path, trainer)[:2] == whole[:2]


def test_more_epochs_can_be_asked_for_later(tmp_path):
    train(tmp_path, epochs=3)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["trainer"]["iteration"] == 9
    trainer = train(tmp_path, epochs=4, resume=True)
    assert (trainer.state.epoch, trainer.state.iteration) == (4, 12)


def test_a_complete_training_has_nothing_left_to_do(tmp_path):
    train(tmp_path, epochs=2)
    before = (tmp_path / "last.pt").read_bytes()
    assert train(tmp_path, epochs=2, resume=True).state.epoch == 2
    assert (tmp_path / "last.pt").read_bytes() == before


def test_the_checkpoint_of_an_earlier_run_is_kept_and_never_resumed(tmp_path, caplog):
    train(tmp_path, epochs=2)
    earlier = (tmp_path / "last.pt").read_bytes()
    with caplog.at_level(logging.WARNING), pytest.raises(ProcessEndError):
        train(tmp_path, kill_at=1)
    assert f"{tmp_path}/last.pt is from an earlier run: it is kept as last_earlier_1.pt" in caplog.text
    assert (tmp_path / "last_earlier_1.pt").read_bytes() == earlier
    assert not (tmp_path / "last.pt").exists()


def test_another_data_set_is_refused(tmp_path):
    train(tmp_path, epochs=2)
    with pytest.raises(ValueError, match=f"{tmp_path}/last.pt to be of a training with 4 iterations .* but got 3"):
        train(tmp_path, resume=True, cases=4)


def test_what_is_not_finite_is_not_written(tmp_path):
    network = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(network.weight, math.nan)
    trainer = SupervisedTrainer(
        torch.device("cpu"), 1, [0], network, torch.optim.SGD(network.parameters()), torch.nn.MSELoss(),
        iteration_update=lambda engine, batch: None, decollate=False,
        train_handlers=[ResumeHandler(tmp_path / "last.pt", {"model": network})],
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"last.pt to be finite, but got .* in 1 of 2 tensors, 'model.weight'"):
        trainer.run()
    assert not list(tmp_path.iterdir())


def test_the_gradient_scaler_is_continued(tmp_path):
    def scale(initial: float, epochs: int, resume: bool) -> float:
        engine = Engine(lambda engine, batch: None)
        engine.scaler = torch.amp.GradScaler("cpu", init_scale=initial)
        ResumeHandler(tmp_path / "last.pt", {}, resume=resume).attach(engine)
        engine.run([0], max_epochs=epochs)
        return engine.scaler.get_scale()

    assert scale(8.0, 1, False) == 8
    assert scale(2.0, 2, True) == 8


def continued(rank: int) -> list[Any]:
    """Two ranks train a network for one epoch, and then, as another run, for a second one; each draws a number."""
    folder = [tempfile.mkdtemp() if rank == 0 else None]
    torch.distributed.broadcast_object_list(folder)
    found: list[Any] = []
    for epochs in (1, 2):
        network = DistributedDataParallel(torch.nn.Linear(1, 1))
        torch.nn.init.constant_(network.module.weight, 0.0)
        engine = Engine(lambda engine, batch, network=network: network.module.weight.data.add_(1))
        ResumeHandler(f"{folder[0]}/last.pt", {"model": network}, resume=epochs > 1).attach(engine)
        engine.run([0], max_epochs=epochs)
        found += [network.module.weight.item(), torch.rand(1).item()]
    return [*found, list(torch.load(f"{folder[0]}/last.pt", weights_only=True)["model"])]


def test_two_ranks_continue_from_one_file(two_ranks):
    first, second = two_ranks(str(Path(__file__)), "continued")
    # one step before the end of the first run, and one after it
    assert (first[0], first[2]) == (second[0], second[2]) == (1, 2)
    # ranks and epochs draw different numbers
    assert len({first[1], first[3], second[1], second[3]}) == 4
    # the network's own names, so that a single process can go on from it
    assert first[4] == ["weight", "bias"]


def test_bad_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Expected `interval` to be 1 or more, but got 0"):
        ResumeHandler(tmp_path, {}, interval=0)
    with pytest.raises(ValueError, match="Expected `seed` to be 0 or more, but got -1"):
        ResumeHandler(tmp_path, {}, seed=-1)
