from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import settings

# one thread: the tensors here are small, and parallel workers would fight for the cores
torch.set_num_threads(1)

# the first example pays for imports and caches, and machines differ
settings.register_profile("monai_instance_loss", deadline=None)
settings.load_profile("monai_instance_loss")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--examples", type=int, default=25, help="how many examples each property is tried on")


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
