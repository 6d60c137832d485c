"""Checkpoints that are whole, finite and never lost: MONAI's saver and loader with these promises."""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine
from ignite.handlers import DiskSaver
from monai.handlers import CheckpointLoader, CheckpointSaver

from monai_instance_loss._whole_file import whole_file

__all__ = ["SafeCheckpointLoader", "SafeCheckpointSaver"]


class SafeCheckpointSaver(CheckpointSaver):
    """MONAI's ``CheckpointSaver`` that never saves NaN, never leaves half a file and never loses an earlier one.

    Source: ours, on ``monai.handlers.CheckpointSaver``, which lists the options. MONAI's deletes the best checkpoint
    before it writes the next one, and writes that in place.

    Convention: a checkpoint is written beside its place and renamed, so that a killed process leaves the one before. A
    file that this handler finds and did not write, as that of an earlier run, is renamed to ``<name>_earlier_<n>`` when
    the first checkpoint takes its place, and a warning says so. A key metric of NaN is worse than any number. The best
    checkpoint that a state names is no earlier run's: a run that is resumed goes on with its own file.

    Raises:
        ValueError: when a tensor to save holds NaN or infinity; nothing is written.

    Example:
        >>> import tempfile
        >>> from ignite.engine import Engine
        >>> net, engine = torch.nn.Linear(1, 1), Engine(lambda engine, batch: None)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     saver = SafeCheckpointSaver(folder, {"model": net}, save_final=True, final_filename="model.pt")
        ...     saver.attach(engine)
        ...     _ = engine.run([0])
        ...     os.listdir(folder)
        ['model.pt']
    """

    @wraps(CheckpointSaver.__init__)  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        best, written = self._key_metric_checkpoint, set[Path]()
        self._written = written
        for checkpoint in (self._final_checkpoint, best, self._interval_checkpoint):
            if checkpoint is not None:
                checkpoint.save_handler = _WholeFiles(checkpoint.save_handler, written, self._warn)
        if best is not None:
            best.score_function = _nan_is_worst(best.score_function)

    def state_dict(self) -> dict[str, Any]:
        """The best checkpoint so far, its score and its file; empty without ``save_key_metric``."""
        best = self._key_metric_checkpoint
        return {} if best is None else dict(best.state_dict())

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave.

        Args:
            state_dict: the state of the saver of the run that is resumed.
        """
        best = self._key_metric_checkpoint
        if best is not None:
            best.load_state_dict(state_dict)
            self._written.update(best.save_handler.path_of(item.filename) for item in best._saved)

    def _warn(self, message: str) -> None:
        # the logger is the engine's from `attach` on
        self.logger.warning(message)


class SafeCheckpointLoader(CheckpointLoader):
    """MONAI's ``CheckpointLoader`` that never loads NaN.

    Source: ours, on ``monai.handlers.CheckpointLoader``, which lists the options.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is no checkpoint, or a tensor in it holds NaN or infinity; nothing is loaded.

    Example:
        >>> from ignite.engine import Engine
        >>> net = torch.nn.Linear(1, 1)
        >>> SafeCheckpointLoader("nowhere.pt", {"model": net})(Engine(lambda engine, batch: None))
        Traceback (most recent call last):
        FileNotFoundError: Expected `load_path` to be a checkpoint, but got nowhere.pt, which does not exist.
    """

    def __call__(self, engine: Engine) -> None:
        """Load the checkpoint into the objects of ``load_dict``.

        Args:
            engine: Ignite Engine, it can be a trainer, validator or evaluator.
        """
        if not Path(self.load_path).is_file():
            raise FileNotFoundError(
                f"Expected `load_path` to be a checkpoint, but got {self.load_path}, which does not exist."
            )
        try:
            checkpoint = torch.load(self.load_path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(f"Expected `load_path` to be a checkpoint, but got {self.load_path}: {error}") from error
        check_finite(checkpoint, f"in {self.load_path}")
        super().__call__(engine)


class _WholeFiles(DiskSaver):
    """Ignite's saver to disk: finite, whole, and the earlier file kept."""

    def __init__(self, original: Any, written: set[Path], warn: Callable[[str], None]) -> None:
        super().__init__(original.dirname, atomic=True, require_empty=False)
        self.filename = original.filename
        self.written = written
        self.warn = warn
        self.outdated: list[Path] = []

    def __call__(self, checkpoint: Mapping, filename: str, metadata: Mapping | None = None) -> None:
        path = self.path_of(filename)
        check_finite(checkpoint, f"to save as {path}")
        if idist.get_rank() != self.save_on_rank:
            return
        with whole_file(path) as temporary:
            torch.save(checkpoint, temporary)
            if path.exists() and path not in self.written:
                kept = set_aside(path)
                self.warn(f"{path} is from an earlier run, whose model may be better: it is kept as {kept.name}.")
        self.written.add(path)
        for other in self.outdated:
            if other != path:
                other.unlink(missing_ok=True)
        self.outdated = []

    def remove(self, filename: str) -> None:
        """Take note of a file to delete: ignite asks for it before the one that follows is written."""
        if idist.get_rank() == self.save_on_rank:
            self.outdated.append(self.path_of(filename))

    def path_of(self, filename: str) -> Path:
        """Where a checkpoint of this name is."""
        return Path(self.dirname, self.filename or filename)


def set_aside(path: Path) -> Path:
    """Rename a file to the first free ``<name>_earlier_<n>`` and give the new path."""
    number = 1
    while (kept := path.with_name(f"{path.stem}_earlier_{number}{path.suffix}")).exists():
        number += 1
    os.replace(path, kept)
    return kept


def _nan_is_worst(score: Callable[[Engine], float]) -> Callable[[Engine], float]:
    def compared(engine: Engine) -> float:
        # no number is above NaN: ignite would keep a first NaN for good
        value = score(engine)
        return -math.inf if math.isnan(value) else value

    return compared


def check_finite(checkpoint: Any, where: str) -> None:
    """Refuse a checkpoint that holds NaN or infinity in a tensor, however deep."""
    tensors = dict(_tensors(checkpoint, ""))
    odd = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if odd:
        raise ValueError(
            f"Expected the weights {where} to be finite, but got NaN or infinity in {len(odd)} of {len(tensors)} "
            f"tensors, {odd[0]!r} the first."
        )


def _tensors(value: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor in nested dictionaries and lists, with its dotted name."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, (Mapping, list, tuple)):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            yield from _tensors(item, f"{name}.{key}" if name else str(key))
