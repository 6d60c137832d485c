from __future__ import annotations

import pytest
import torch

from monai_instance_loss.losses.engine.options import InputOptions
from monai_instance_loss.losses.engine.voxels import Probability

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 4 * torch.randn(2, 3, 4, 5, generator=GENERATOR)
FORMS = {
    "sigmoid": (InputOptions(sigmoid=True), LOGITS, torch.sigmoid(LOGITS)),
    "softmax": (InputOptions(softmax=True), LOGITS, torch.softmax(LOGITS, 1)),
    "probability": (InputOptions(), torch.sigmoid(LOGITS), torch.sigmoid(LOGITS)),
}


def probability(form: str, include_background: bool = True, dtype: torch.dtype = torch.float32) -> Probability:
    options, input, _ = FORMS[form]
    flags = {"sigmoid": options.sigmoid, "softmax": options.softmax, "include_background": include_background}
    return InputOptions(**flags).prepare(input.to(dtype), torch.zeros_like(input)).probability


@pytest.mark.parametrize("include_background", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_some_voxels_are_those_of_all(form, include_background):
    p = FORMS[form][2][:, 0 if include_background else 1 :]
    lazy = probability(form, include_background)
    position = torch.randperm(p.numel(), generator=torch.Generator().manual_seed(1))[:30]
    torch.testing.assert_close(lazy.at(position).p, p.reshape(-1)[position])
    blocks = p.flatten(0, 1)
    for index in ([], [1], [0, len(blocks) - 1], range(len(blocks))):
        index = torch.tensor(list(index), dtype=torch.int64)
        torch.testing.assert_close(lazy.blocks(index).p, blocks[index])
    for threshold in (0.1, 0.5, 0.9):
        assert torch.equal(lazy.at_least(threshold), p >= threshold)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_precision(form, dtype):
    lazy = probability(form, dtype=dtype)
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert lazy.at(torch.arange(3)).p.dtype == expected
    assert lazy.blocks(torch.arange(3)).p.dtype == expected


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.9])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_near_the_threshold_are_cut_as_in_float32(dtype, threshold):
    # the 40 halves on either side of the logit of the threshold
    edge = torch.logit(torch.tensor(threshold, dtype=torch.float64)).to(dtype)
    logits = (edge.view(torch.int16) + torch.arange(-20, 21, dtype=torch.int16)).view(dtype).view(1, 1, 1, -1)
    lazy = InputOptions(sigmoid=True).prepare(logits, torch.zeros(logits.shape)).probability
    assert torch.equal(lazy.at_least(threshold), torch.sigmoid(logits.double()) >= threshold)


def test_exactly_the_threshold_is_in():
    halves = torch.full((1, 1, 2, 2), 0.5)
    assert InputOptions().prepare(halves, 0 * halves).probability.at_least(0.5).all()
    assert InputOptions(sigmoid=True).prepare(0 * halves, 0 * halves).probability.at_least(0.5).all()


@pytest.mark.parametrize("form", FORMS)
def test_nan_is_in(form):
    options, input, _ = FORMS[form]
    input = input.clone()
    input[1, 1, 2, 3] = torch.nan
    assert options.prepare(input, torch.zeros_like(input)).probability.at_least(0.999)[1, 1, 2, 3]


@pytest.mark.parametrize("form", FORMS)
def test_gradient_and_graph(form):
    options, input, _ = FORMS[form]
    x = input.double().requires_grad_()
    position = torch.tensor([0, 7, 7, 119, 60])

    def some(values: torch.Tensor) -> torch.Tensor:
        return options.prepare(values, torch.zeros_like(values)).probability.at(position).p

    assert torch.autograd.gradcheck(some, x)
    zero = options.prepare(x * torch.nan if form != "probability" else x, torch.zeros_like(x)).probability.zero()
    assert zero.requires_grad
    assert float(zero.detach()) == 0
    assert not options.prepare(x, torch.zeros_like(x)).probability.at_least(0.5).requires_grad


@pytest.mark.parametrize("infinite", [-torch.inf, torch.inf])
def test_an_infinite_logit_of_two_classes_has_a_finite_gradient(infinite):
    logits = torch.tensor([[[[infinite, 2.0]], [[0.5, 1.0]]]], requires_grad=True)
    lazy = Probability(logits, "softmax")
    # p of class 0 is 0 or 1 with an infinite logit and sigmoid(2 - 1) beside it, and that of class 1 the rest
    first = torch.tensor([1.0 if infinite > 0 else 0.0, 0.7310586])
    expected = torch.cat([first, 1 - first])
    for p in (lazy.at(torch.arange(4)).p, lazy.blocks(torch.arange(2)).p.flatten()):
        torch.testing.assert_close(p, expected)
        (grad,) = torch.autograd.grad((p * torch.arange(4)).sum(), logits)
        # dp/dx = p (1 - p), p and 1 - p of the two classes weighted by 1 and 3
        slope = 0.7310586 * 0.2689414 * (1 - 3)
        torch.testing.assert_close(grad, torch.tensor([[[[0.0, slope]], [[0.0, -slope]]]]))


def test_a_view_that_is_negated_when_it_is_read():
    values = torch.complex(torch.zeros(1, 1, 1, 2), torch.tensor([[[[-0.2, -0.7]]]])).conj().imag
    assert values.is_neg()
    assert Probability(values, "probability").at_least(0.5).tolist() == [[[[False, True]]]]
