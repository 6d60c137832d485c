from __future__ import annotations

import inspect
import logging
import math
import os
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from monai.handlers import CheckpointSaver

from monai_instance_loss import _whole_file
from monai_instance_loss.handlers import SafeCheckpointLoader, SafeCheckpointSaver


def net(value: float = 0.0) -> torch.nn.Module:
    module = torch.nn.Linear(2, 1)
    torch.nn.init.constant_(module.weight, value)
    torch.nn.init.constant_(module.bias, 0.5)
    return module


def run(folder: Path, scores: list[float], model: torch.nn.Module | None = None, **options) -> None:
    """Validate once a score; the weights are the number of the epoch unless a model is given."""
    module = net() if model is None else model
    engine = Engine(lambda engine, batch: None)

    @engine.on(Events.EPOCH_COMPLETED)
    def validate(engine: Engine) -> None:
        if model is None:
            torch.nn.init.constant_(module.weight, engine.state.epoch)
        engine.state.metrics["f1"] = scores[engine.state.epoch - 1]

    options = {"save_key_metric": True, "key_metric_name": "f1", "key_metric_filename": "model.pt"} | options
    SafeCheckpointSaver(str(folder), {"model": module}, **options).attach(engine)
    engine.run([0], max_epochs=len(scores))


def weight(path: Path) -> float:
    return float(torch.load(path, weights_only=True)["weight"][0, 0])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_best_is_kept(tmp_path):
    run(tmp_path, [0.25, 0.75, 0.5])
    assert names(tmp_path) == ["model.pt"]
    assert weight(tmp_path / "model.pt") == 2


def test_any_score_is_better_than_none(tmp_path):
    # a validation in which nothing can be scored gives NaN
    run(tmp_path, [math.nan, 0.0, math.nan])
    assert weight(tmp_path / "model.pt") == 2
    run(tmp_path / "never", [math.nan, math.nan])
    assert weight(tmp_path / "never" / "model.pt") == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, value):
    run(tmp_path, [0.5])
    before = (tmp_path / "model.pt").read_bytes()
    message = f"weights to save as {tmp_path}/model.pt to be finite, but got .* in 1 of 2 tensors, 'weight' the first"
    with pytest.raises(ValueError, match=message):
        run(tmp_path, [0.9], net(value))
    assert names(tmp_path) == ["model.pt"]
    assert (tmp_path / "model.pt").read_bytes() == before


def test_nested_states_are_looked_into(tmp_path):
    module = net()
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.full((1, 2), math.inf)).sum().backward()
    optimizer.step()
    torch.nn.init.constant_(module.weight, 0.0)
    torch.nn.init.constant_(module.bias, 0.0)
    engine = Engine(lambda engine, batch: None)
    saver = SafeCheckpointSaver(str(tmp_path), {"model": module, "optimizer": optimizer}, save_final=True)
    saver.attach(engine)
    # AdamW keeps the moments of the infinite gradient
    with pytest.raises(ValueError, match=r"'optimizer\.state\.0\.exp_avg' the first"):
        engine.run([0])
    assert names(tmp_path) == []


def test_a_failed_write_leaves_the_best_of_before(tmp_path, monkeypatch):
    save, calls = torch.save, []

    def save_half(checkpoint, path):
        calls.append(path)
        if len(calls) == 2:
            Path(path).write_bytes(b"half")
            raise OSError("disk full")
        save(checkpoint, path)

    monkeypatch.setattr(torch, "save", save_half)
    with pytest.raises(OSError, match="disk full"):
        run(tmp_path, [0.25, 0.75])
    assert names(tmp_path) == ["model.pt"]
    assert weight(tmp_path / "model.pt") == 1


def test_there_is_a_checkpoint_at_any_time(tmp_path, monkeypatch):
    seen, save = [], torch.save

    def save_and_look(checkpoint, path):
        seen.append(names(tmp_path))
        save(checkpoint, path)

    monkeypatch.setattr(torch, "save", save_and_look)
    run(tmp_path, [0.25, 0.75], key_metric_filename=None)
    assert seen == [[], ["model_key_metric=0.2500.pt"]]
    assert names(tmp_path) == ["model_key_metric=0.7500.pt"]


def test_the_model_of_an_earlier_run_is_kept_and_said(tmp_path, caplog):
    run(tmp_path, [0.25, 0.75])
    for number in (1, 2):
        with caplog.at_level(logging.WARNING):
            run(tmp_path, [0.1], net(10.0 * number))
        assert f"{tmp_path}/model.pt is from an earlier run, whose model may be better" in caplog.text
        assert f"it is kept as model_earlier_{number}.pt" in caplog.text
    assert names(tmp_path) == ["model.pt", "model_earlier_1.pt", "model_earlier_2.pt"]
    assert [weight(tmp_path / name) for name in names(tmp_path)] == [20, 2, 10]


def test_a_second_saver_of_one_run_is_not_an_earlier_run(tmp_path):
    run(tmp_path, [0.25, 0.75], save_final=True, final_filename="model.pt")
    assert names(tmp_path) == ["model.pt"]


def test_interval_checkpoints_are_kept_as_monai_keeps_them(tmp_path):
    run(tmp_path, [0.1] * 5, save_interval=1, n_saved=2, save_key_metric=False)
    assert names(tmp_path) == ["model_epoch=4.pt", "model_epoch=5.pt"]


def test_others_may_read_it(tmp_path):
    run(tmp_path, [0.5])
    (tmp_path / "plain").touch()
    assert os.stat(tmp_path / "model.pt").st_mode == os.stat(tmp_path / "plain").st_mode


def test_the_options_are_those_of_monai():
    assert inspect.signature(SafeCheckpointSaver) == inspect.signature(CheckpointSaver)


def test_loading(tmp_path):
    run(tmp_path, [0.25, 0.75])
    module = net(7.0)
    SafeCheckpointLoader(str(tmp_path / "model.pt"), {"model": module})(Engine(lambda engine, batch: None))
    assert module.weight[0, 0] == 2


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_weights_that_are_not_finite_are_not_loaded(tmp_path, value):
    path, module = tmp_path / "bad.pt", net(7.0)
    torch.save(net(value).state_dict(), path)
    loader = SafeCheckpointLoader(str(path), {"model": module})
    engine = Engine(lambda engine, batch: None)
    loader.attach(engine)
    with pytest.raises(
        ValueError, match=f"Expected the weights in {path} to be finite, .* in 1 of 2 tensors, 'weight'"
    ):
        engine.run([0])
    assert module.weight[0, 0] == 7


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_what_is_no_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "model.pt"
    torch.save(net().state_dict(), path)
    path.write_bytes(path.read_bytes()[:200] if content is None else content)
    with pytest.raises(ValueError, match=f"Expected `load_path` to be a checkpoint, but got {path}: "):
        SafeCheckpointLoader(str(path), {"model": net()})(Engine(lambda engine, batch: None))


def test_whole_files_are_the_means(tmp_path, monkeypatch):
    # the one way to write that leaves no half file, also where a signal comes: tests/test_whole_file.py
    replaced = []
    replace = os.replace
    monkeypatch.setattr(_whole_file.os, "replace", lambda a, b: (replaced.append(Path(b).name), replace(a, b)))
    run(tmp_path, [0.25, 0.75])
    assert replaced == ["model.pt", "model.pt"]
