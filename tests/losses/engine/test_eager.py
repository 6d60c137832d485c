"""Outside of plain calls a loss works or says why not: compilers, export, function transforms, second derivatives."""

from __future__ import annotations

import pytest
import torch

from monai_instance_loss.losses import CCLoss, InstanceLoss
from monai_instance_loss.losses.pixel import DiceRegionLoss

LOSSES = {"instance": InstanceLoss(sigmoid=True), "cells": CCLoss(sigmoid=True), "pixel": DiceRegionLoss(sigmoid=True)}


@pytest.fixture(params=LOSSES)
def loss(request):
    return LOSSES[request.param]


def batch():
    target = torch.zeros(2, 1, 6, 6)
    target[:, :, 1:3, 1:3] = 1
    return torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(0)), target


class Step(torch.nn.Module):
    def __init__(self, loss):
        super().__init__()
        self.loss = loss

    def forward(self, input, target):
        return self.loss(2 * input, target)


def test_a_full_graph_is_refused_with_the_reason(loss):
    compiled = torch.compile(Step(loss), backend="eager", fullgraph=True)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="depends on the data"):
        compiled(*batch())


def test_tracing_is_refused(loss):
    with pytest.raises(RuntimeError, match=r"inside of torch\.jit\.trace: .* without its loss"):
        torch.jit.trace(Step(loss), batch())


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
def test_scripting_is_refused(loss):
    for module in (loss, Step(loss)):
        with pytest.raises(RuntimeError, match=r"inside of torch\.jit\.script: .* without its loss"):
            torch.jit.script(module)


@pytest.mark.parametrize("strict", [False, True])
def test_export_is_refused(loss, strict):
    with pytest.raises(Exception, match="depends on the data"):
        torch.export.export(Step(loss), batch(), strict=strict)


def test_function_transforms_are_refused(loss):
    input, target = batch()
    for transform in (torch.func.grad, lambda f: torch.func.vmap(f)):
        with pytest.raises(RuntimeError, match=r"inside of a transform of torch\.func"):
            transform(lambda x: loss(x[None] if x.ndim == 3 else x, target[: x.shape[0] if x.ndim == 4 else 1]))(input)


def test_function_transforms_of_keywords_are_refused(loss):
    input, target = batch()
    with pytest.raises(RuntimeError, match=r"inside of a transform of torch\.func"):
        torch.func.grad(lambda x: loss(input=x, target=target))(input)


def test_a_second_derivative_is_refused_and_not_taken_for_zero(loss):
    input, target = batch()
    input.requires_grad_()
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(loss(input, target), input, create_graph=True)


def test_inference_mode_gives_the_same_number(loss):
    input, target = batch()
    expected = float(loss(input, target))
    with torch.inference_mode():
        assert float(loss(input.clone(), target.clone())) == expected
