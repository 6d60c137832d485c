from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

# one thread: the tensors here are small, and parallel workers would fight for the cores
torch.set_num_threads(1)

# the first example pays for imports and caches, and machines differ
settings.register_profile("monai_instance_loss", deadline=None)
settings.load_profile("monai_instance_loss")


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], list[Any]]:
    """Call `function(rank)` of a test file in two processes of a gloo group; give what each of them returns.

    Results are what `torch.save` and a safe `torch.load` know: tensors, numbers, strings, lists and dictionaries.
    """

    def call(file: str, function: str, timeout: float = 150) -> list[Any]:
        folder = tmp_path_factory.mktemp("gloo")
        script = str(Path(__file__).with_name("distributed.py"))
        # the same package in the children as here, installed or not
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        processes = [
            subprocess.Popen(
                [sys.executable, "-W", "ignore", script, file, function, str(rank), str(folder)],
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for rank in range(2)
        ]
        try:
            errors = [process.communicate(timeout=timeout)[1] for process in processes]
        finally:
            for process in processes:
                process.kill()
        for process, error in zip(processes, errors, strict=True):
            assert process.returncode == 0, error
        return [torch.load(folder / str(rank)) for rank in range(2)]

    return call


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--examples", type=int, default=15, help="how many examples each property is tried on")


@pytest.fixture
def examples(request: pytest.FixtureRequest) -> Callable[[Callable[[np.random.Generator], None]], None]:
    """Calls a check on as many generators as asked for; an error says which one it was."""

    def run(check: Callable[[np.random.Generator], None]) -> None:
        for seed in range(request.config.getoption("--examples")):
            try:
                check(np.random.default_rng(seed))
            except Exception as error:
                error.add_note(f"This was example {seed}.")
                raise

    return run
