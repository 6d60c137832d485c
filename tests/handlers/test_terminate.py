from __future__ import annotations

import math

import pytest
import torch
from ignite.engine import Engine, Events

from monai_instance_loss.handlers import TerminateOnNan


@pytest.mark.parametrize("loss", [math.nan, math.inf, torch.tensor(math.nan), [0.5, -math.inf]])
def test_a_loss_that_is_no_number_ends_the_training_with_an_error(loss):
    engine = Engine(lambda engine, batch: batch)
    TerminateOnNan().attach(engine)
    with pytest.raises(ValueError, match=r"Expected the loss to be finite, but got .* in epoch 1, iteration 2"):
        engine.run([0.5, loss, 0.25])
    assert engine.state.iteration == 2


def test_another_end_is_none_of_its_business():
    engine = Engine(lambda engine, batch: batch)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: engine.terminate())
    TerminateOnNan().attach(engine)
    assert engine.run([0.5, 0.25]).iteration == 1
