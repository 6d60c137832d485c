"""Probabilities of voxels are those of the activation, whatever form the network's output has."""

from __future__ import annotations

import pytest
import torch

from monai_instance_loss.losses.engine.options import InputOptions
from monai_instance_loss.losses.engine.voxels import (
    MAPS,
    LogitVoxels,
    ProbabilityVoxels,
    SoftmaxVoxels,
    Voxels,
    one,
    one_minus_squared_error,
    squared,
)

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 4 * torch.randn(2, 3, 4, 5, generator=GENERATOR)
# options, input and probabilities in double precision
FORMS = {
    "sigmoid": (InputOptions(sigmoid=True), LOGITS, torch.sigmoid(LOGITS.double())),
    "softmax": (InputOptions(softmax=True), LOGITS, torch.softmax(LOGITS.double(), 1)),
    "two classes": (InputOptions(softmax=True), LOGITS[:, :2], torch.softmax(LOGITS[:, :2].double(), 1)),
    "probability": (InputOptions(), torch.sigmoid(LOGITS), torch.sigmoid(LOGITS).double()),
}


def voxels_of(form: str, include_background: bool = True, dtype: torch.dtype = torch.float32) -> Voxels:
    options, input, _ = FORMS[form]
    flags = {"sigmoid": options.sigmoid, "softmax": options.softmax, "include_background": include_background}
    return InputOptions(**flags).prepare(input.to(dtype), torch.zeros_like(input)).voxels


def changed(voxels: Voxels) -> dict[str, Voxels]:
    """Voxels made of others, and of those."""
    # the first one lies in the second sample
    position = torch.tensor([voxels.p.numel() * 5 // 8, 0, 7, 7])
    mask = torch.zeros(voxels.p.shape, dtype=torch.bool)
    mask[1, 1:3] = mask[-1, 0] = True
    picked, zeroed = voxels.at(position), voxels.zeroed(mask)
    few = torch.tensor([True, False, True, False])
    return {
        "at": picked,
        "zeroed": zeroed,
        "at of at": picked.at(torch.tensor([3, 0])),
        "zeroed of at": picked.zeroed(few),
        "at of zeroed": zeroed.at(position),
        "zeroed of zeroed": zeroed.zeroed(~mask),
        "at of zeroed of at": picked.zeroed(few).at(torch.tensor([2, 1])),
    }


@pytest.mark.parametrize("include_background", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_maps_are_those_of_the_probability(form, include_background):
    p = FORMS[form][2][:, 0 if include_background else 1 :].flatten(0, 1)
    voxels = voxels_of(form, include_background)
    expected = {"p": p, "p_fixed": p**2, "ce_on": -p.log(), "ce_off": -torch.log1p(-p)}
    assert tuple(expected) == MAPS
    for name, values in expected.items():
        torch.testing.assert_close(voxels.map(name).double(), values, rtol=1e-5, atol=1e-7)
    for name, values in ((squared, p**2), (one, torch.ones_like(p)), (one_minus_squared_error, 1 - (1 - p) ** 2)):
        torch.testing.assert_close(voxels.map(name).double(), values, rtol=1e-5, atol=1e-7)
    for threshold in (0.1, 0.5, 0.9):
        assert torch.equal(voxels.at_least(threshold), p >= threshold)


@pytest.mark.parametrize("include_background", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_voxels_made_of_others_have_their_maps(form, include_background):
    whole = changed(voxels_of(form, include_background))
    # the same changes of the plain probabilities
    plain = changed(ProbabilityVoxels(FORMS[form][2][:, 0 if include_background else 1 :].flatten(0, 1)))
    for change, voxels in whole.items():
        torch.testing.assert_close(voxels.p.double(), plain[change].p, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(voxels.ce_off.double(), plain[change].ce_off, rtol=1e-5, atol=1e-7)
        # where the probability is 0, the cross-entropy of a target voxel is nothing to rely on
        there = plain[change].p > 0
        torch.testing.assert_close(voxels.ce_on[there].double(), plain[change].ce_on[there], rtol=1e-5, atol=1e-7)


def test_zeroed_voxels_have_a_probability_of_0():
    mask = torch.tensor([[False, False], [True, False]])
    for voxels in (LogitVoxels(torch.tensor([[0.2, 0.9], [0.4, 0.6]])), ProbabilityVoxels(torch.rand(2, 2))):
        zeroed = voxels.zeroed(mask)
        for name in ("p", "p_fixed", "ce_off"):
            torch.testing.assert_close(zeroed.map(name), voxels.map(name).masked_fill(mask, 0))
        # the cross-entropy of a target voxel with a probability of 0 is as large as it gets
        assert float(zeroed.ce_on[1, 0]) > 80
        torch.testing.assert_close(zeroed.ce_on[~mask], voxels.ce_on[~mask])


def test_certain_probabilities_have_finite_cross_entropies_and_gradients():
    p = torch.tensor([0.0, 1.0], requires_grad=True)
    voxels = ProbabilityVoxels(p)
    # -log of the smallest normal float32
    torch.testing.assert_close(voxels.ce_on, torch.tensor([87.3365, 0.0]))
    torch.testing.assert_close(voxels.ce_off, torch.tensor([0.0, 87.3365]))
    (voxels.ce_on + voxels.ce_off).sum().backward()
    assert p.grad.isfinite().all()


def test_an_unknown_map_is_named():
    with pytest.raises(ValueError, match=r"Expected a map to be a function or one of .*'ce_on'.*, but got 'ce'"):
        voxels_of("sigmoid").map("ce")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_precision(form, dtype):
    voxels = voxels_of(form, dtype=dtype)
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert {voxels.map(name).dtype for name in MAPS} == {expected}
    assert voxels.at(torch.arange(3)).p.dtype == expected


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.9])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_near_the_threshold_are_cut_as_in_float32(dtype, threshold):
    # the 40 halves on either side of the logit of the threshold
    edge = torch.logit(torch.tensor(threshold, dtype=torch.float64)).to(dtype)
    logits = (edge.view(torch.int16) + torch.arange(-20, 21, dtype=torch.int16)).view(dtype).view(1, 1, 1, -1)
    voxels = InputOptions(sigmoid=True).prepare(logits, torch.zeros(logits.shape)).voxels
    assert torch.equal(voxels.at_least(threshold), (torch.sigmoid(logits.double()) >= threshold).flatten(0, 1))


def test_exactly_the_threshold_is_in():
    halves = torch.full((1, 1, 2, 2), 0.5)
    assert InputOptions().prepare(halves, 0 * halves).voxels.at_least(0.5).all()
    assert InputOptions(sigmoid=True).prepare(0 * halves, 0 * halves).voxels.at_least(0.5).all()


@pytest.mark.parametrize("form", FORMS)
def test_nan_is_in(form):
    options, input, _ = FORMS[form]
    input = input.clone()
    input[1, 1, 2, 3] = torch.nan
    at_least = options.prepare(input, torch.zeros_like(input)).voxels.at_least(0.999)
    assert at_least.view(input.shape)[1, 1, 2, 3]


@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_maps_and_of_what_is_made_of_them(form):
    options, input, _ = FORMS[form]
    x = input[:, :, :2, :2].double().requires_grad_()
    position = torch.tensor([0, 7, 7, x.numel() - 1])

    def maps(values):
        voxels = options.prepare(values, torch.zeros_like(values)).voxels
        mask = torch.zeros(voxels.p.shape, dtype=torch.bool)
        mask[1, 1] = True
        zeroed = voxels.zeroed(mask)
        made = [part for each in (voxels, voxels.at(position)) for part in (each.p, each.ce_on, each.ce_off)]
        return [*made, zeroed.at(position).p, zeroed.ce_off]

    assert torch.autograd.gradcheck(maps, x)
    assert not options.prepare(x, torch.zeros_like(x)).voxels.at_least(0.5).requires_grad


def test_the_weight_of_presence_is_held_fixed():
    p = torch.tensor([0.2, 0.9], requires_grad=True)
    ProbabilityVoxels(p).p_fixed.sum().backward()
    # d(p * fixed p) = fixed p, half of the square's 2p
    torch.testing.assert_close(p.grad, p.detach())


@pytest.mark.parametrize("infinite", [-torch.inf, torch.inf])
def test_an_infinite_logit_of_two_classes_has_a_finite_gradient(infinite):
    logits = torch.tensor([[[[infinite, 2.0]], [[0.5, 1.0]]]], requires_grad=True)
    voxels = InputOptions(softmax=True).prepare(logits, torch.zeros(1, 2, 1, 2)).voxels
    # p of class 0 is 0 or 1 with an infinite logit and sigmoid(2 - 1) beside it, and that of class 1 the rest
    first = torch.tensor([1.0 if infinite > 0 else 0.0, 0.7310586])
    expected = torch.cat([first, 1 - first])
    for p in (voxels.at(torch.arange(4)).p, voxels.p.flatten()):
        torch.testing.assert_close(p, expected)
        (grad,) = torch.autograd.grad((p * torch.arange(4)).sum(), logits)
        # dp/dx = p (1 - p), p and 1 - p of the two classes weighted by 1 and 3
        slope = 0.7310586 * 0.2689414 * (1 - 3)
        torch.testing.assert_close(grad, torch.tensor([[[[0.0, slope]], [[0.0, -slope]]]]))


def test_extreme_logits_have_finite_cross_entropies_and_gradients():
    x = torch.tensor([-1e4, -90.0, -20.0, 0.0, 20.0, 39.0, 41.0, 90.0, 1e4], requires_grad=True)
    for mask in (torch.zeros(9, dtype=torch.bool), torch.arange(9) == 4):
        off = LogitVoxels(x).zeroed(mask)
        (off.ce_off.sum() + off.p.sum()).backward()
    assert x.grad.isfinite().all()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        x.double(), torch.zeros(9).double(), reduction="none"
    )
    torch.testing.assert_close(LogitVoxels(x).ce_off, expected.float())


def test_one_of_many_classes_keeps_the_digits_of_what_is_left():
    # class 0 is certain: 1 - p is the sum of the others' e^-30 and e^-40, which 1 - p in float32 is not
    logits = torch.tensor([30.0, 0.0, -10.0]).view(1, 3, 1, 1).requires_grad_()
    voxels = SoftmaxVoxels(logits)
    rest = torch.tensor([-30.0, -40.0], dtype=torch.float64).exp().sum()
    # -log(1 - p) of class 0, and p of the others, which is -log(1 - p) at this size
    others = torch.tensor([-30.0, -40.0], dtype=torch.float64).exp()
    expected = torch.cat([-rest.log()[None], others]).float().view(3, 1, 1)
    torch.testing.assert_close(voxels.ce_off, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(voxels.at(torch.arange(3)).ce_off, expected.flatten(), rtol=1e-5, atol=0)
    (grad,) = torch.autograd.grad(voxels.ce_off[0].sum(), logits)
    # -log(1 - p0) is logsumexp(all) - logsumexp(others): slope 1 in x0, minus the softmax of the others
    share = torch.softmax(torch.tensor([0.0, -10.0]), 0)
    torch.testing.assert_close(grad.flatten(), torch.cat([torch.ones(1), -share]), rtol=1e-5, atol=1e-6)


def test_a_view_that_is_negated_when_it_is_read():
    values = torch.complex(torch.zeros(1, 1, 2), torch.tensor([[[-0.2, -0.7]]])).conj().imag
    assert values.is_neg()
    assert ProbabilityVoxels(values).at_least(0.5).tolist() == [[[False, True]]]
