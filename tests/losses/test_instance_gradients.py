"""Where InstanceLoss sends its gradient, and that it is the derivative of the value."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from monai.losses import DiceLoss

from monai_instance_loss.losses import InstanceLoss, InstanceLossTerms

TERMS = ("instance", "instance_pred", "center", "false", "missed", "proximity")


@pytest.fixture
def scene() -> dict[str, torch.Tensor]:
    """A missed, a false and a matched lesion (20, 12 and 4 + 16 + 4 voxels), boxes apart, no two presences the same."""
    target, p = torch.zeros(1, 1, 30, 30, dtype=torch.float64), torch.full((1, 1, 30, 30), 0.01, dtype=torch.float64)
    where = {name: torch.zeros(1, 1, 30, 30, dtype=torch.bool) for name in ("missed", "false", "matched", "surplus")}
    where["missed"][0, 0, 3:7, 4:9] = True
    where["false"][0, 0, 22:25, 5:9] = True
    where["matched"][0, 0, 20:24, 20:25] = True
    where["surplus"][0, 0, 20:24, 25] = True
    target[where["missed"] | where["matched"]] = 1
    noise = torch.rand(p.shape, generator=torch.Generator().manual_seed(0), dtype=p.dtype) * 0.05
    for name, value in (("missed", 0.02), ("false", 0.7), ("matched", 0.85), ("surplus", 0.6)):
        p[where[name]] = value
    return {"p": p + noise, "target": target, **where}


def gradient(term: str, scene: dict[str, torch.Tensor], **options: object) -> torch.Tensor:
    p = scene["p"].clone().requires_grad_()
    getattr(InstanceLoss(pixel_loss=DiceLoss(), **options).terms(p, scene["target"]), term).backward()
    return p.grad


@pytest.mark.parametrize("threshold", [0.1, 0.5])
@pytest.mark.parametrize("term", ["instance", "missed", "center"])
def test_every_voxel_of_a_missed_lesion_is_pulled_up(scene, term, threshold):
    grad = gradient(term, scene, threshold=threshold)
    assert (grad[scene["missed"]] < 0).all()


@pytest.mark.parametrize("threshold", [0.1, 0.5])
@pytest.mark.parametrize("term", ["instance_pred", "false", "center"])
def test_every_voxel_of_a_false_component_is_pushed_down(scene, term, threshold):
    grad = gradient(term, scene, threshold=threshold)
    assert (grad[scene["false"]] > 0).all()


@pytest.mark.parametrize(
    ("term", "zero_at"),
    [
        ("instance", ["false"]),
        ("instance_pred", ["missed"]),
        ("missed", ["false", "surplus"]),
        ("false", ["missed", "matched", "surplus"]),
    ],
)
def test_terms_leave_alone_what_they_do_not_speak_of(scene, term, zero_at):
    grad = gradient(term, scene)
    for name in zero_at:
        assert (grad[scene[name]] == 0).all(), name
    background = ~(scene["missed"] | scene["false"] | scene["matched"] | scene["surplus"])
    assert (grad[background] == 0).all()


@pytest.mark.parametrize("term", ["instance", "instance_pred"])
def test_a_matched_lesion_gains_its_voxels_and_loses_its_surplus(scene, term):
    grad = gradient(term, scene)
    assert (grad[scene["matched"]] < 0).all()
    assert (grad[scene["surplus"]] > 0).all()


def test_proximity_has_the_gradient_of_its_scores(scene):
    mean = gradient("proximity", scene, proximity="mean")
    assert (mean[scene["missed"] | scene["matched"]] < 0).all()
    assert (mean[scene["false"] | scene["surplus"]] > 0).all()
    # a lesion under its only prediction has one score and one distance on both sides, and cancels
    published = gradient("proximity", scene)
    assert (published[scene["missed"] | scene["false"]] != 0).all()
    assert published[scene["matched"] | scene["surplus"]].abs().max() < 1e-12


def test_counts_pull_with_one_whatever_the_size_of_the_lesion(scene):
    # the presence weights of a segment sum to one, and so does the gradient: -1 for each lesion, 1 for the false one
    missed = gradient("missed", scene, count_as_rate=False)
    false = gradient("false", scene, count_as_rate=False)
    for grad, name, total in ((missed, "missed", -1), (missed, "matched", -1), (false, "false", 1)):
        assert float(grad[scene[name]].sum()) == pytest.approx(total, abs=1e-12)
    p = scene["p"][scene["missed"]]
    torch.testing.assert_close(missed[scene["missed"]], -p / p.sum())


def test_steps_down_the_gradient_find_the_missed_lesion_and_drop_the_false_one(scene):
    logits = torch.logit(scene["p"]).requires_grad_()
    loss = InstanceLoss(sigmoid=True, weights={"missed": 1, "false": 1, "center": 1})
    optimizer = torch.optim.Adam([logits], lr=0.5)
    for _ in range(40):
        optimizer.zero_grad()
        loss(logits, scene["target"]).backward()
        optimizer.step()
    found = logits.detach() > 0
    assert found[scene["missed"]].all()
    assert not found[scene["false"]].any()
    assert found[scene["matched"]].all()
    assert not found[scene["surplus"]].any()


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 0.5},
        {"threshold": 0.1, "exclude_other_tp": False, "average_over": "sample", "instance_reduction": "sum"},
        {"threshold": 0.3, "proximity": "mean", "count_as_rate": False, "reduction": "sum", "min_instance_size": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(2, 2, 12, 13), (2, 1, 7, 8, 9)], ids=str)
def test_gradients_are_those_of_the_oracle(naive, soft_batch, shape, options):
    logits, target = soft_batch(shape, 11)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    terms = InstanceLoss(sigmoid=True, **options).terms(ours, target)
    expected = naive.terms(torch.sigmoid(theirs), target, naive.Options(**options))
    for name in TERMS:
        torch.testing.assert_close(
            torch.autograd.grad(getattr(terms, name), ours, retain_graph=True)[0],
            torch.autograd.grad(expected[name], theirs, retain_graph=True)[0],
            rtol=1e-5,
            atol=1e-9,
            msg=lambda message, name=name: f"{name}: {message}",
        )


def finite_differences(f: Callable[[torch.Tensor], dict], p: torch.Tensor) -> dict[str, torch.Tensor]:
    step = 1e-5
    gradients = {name: torch.zeros_like(p) for name in TERMS}
    for k in range(p.numel()):
        moved = []
        for sign in (1, -1):
            q = p.clone()
            q.view(-1)[k] += sign * step
            moved.append(f(q))
        for name in TERMS:
            gradients[name].view(-1)[k] = (moved[0][name] - moved[1][name]) / (2 * step)
    return gradients


@pytest.mark.parametrize(("spatial", "proximity"), [((7, 8), "published"), ((4, 4, 4), "mean")])
def test_gradients_are_finite_differences_with_presence_weights_held_fixed(
    naive: ModuleType, soft_batch, spatial, proximity
):
    """The oracle holds the weights at p while it moves p; no automatic differentiation on its side."""
    logits, target = soft_batch((1, 1, *spatial), 2)
    p = torch.sigmoid(logits)
    options = {"threshold": 0.5, "proximity": proximity, "center_radius": 1}
    numeric = finite_differences(lambda q: naive.terms(q, target, naive.Options(**options), weights_of=p), p)
    variable = p.clone().requires_grad_()
    terms = InstanceLoss(**options).terms(variable, target)
    for name in TERMS:
        grad = torch.autograd.grad(getattr(terms, name), variable, retain_graph=True)[0]
        torch.testing.assert_close(grad, numeric[name], rtol=1e-5, atol=1e-7)
        assert numeric[name].any() or name in ("false", "missed")


@pytest.mark.parametrize("options", [{}, {"exclude_other_tp": False}, {"average_over": "sample"}], ids=str)
def test_gradcheck_of_the_terms_without_presence(options):
    # two matched lesions, one of them under two predictions, no false component; a sample without any lesion
    target, p = torch.zeros(2, 1, 5, 6, dtype=torch.float64), torch.full((2, 1, 5, 6), 0.2, dtype=torch.float64)
    target[0, 0, 0:2, 0:5], target[0, 0, 4, 4:] = 1, 1
    p[0, 0, 0, 0:2], p[0, 0, 1, 4:], p[0, 0, 3:, 4] = 0.8, 0.7, 0.9
    p += torch.rand(p.shape, generator=torch.Generator().manual_seed(0), dtype=p.dtype) * 0.05
    published, mean = (
        InstanceLoss(pixel_loss=DiceLoss(), threshold=0.5, proximity=form, **options) for form in ("published", "mean")
    )

    def without_presence(x: torch.Tensor) -> torch.Tensor:
        terms = published.terms(x, target)
        return torch.stack([*terms[:3], terms.proximity, mean.terms(x, target).proximity])

    assert float(published.terms(p, target).false) == 0
    assert torch.autograd.gradcheck(without_presence, p.requires_grad_())


@pytest.mark.parametrize("average_over", ["instance", "sample"])
def test_predicting_nothing_is_not_a_way_out(average_over):
    """With no prediction above the threshold the prediction side scores the sample, and still pulls lesions up."""
    target = torch.zeros(2, 1, 10, 10, dtype=torch.float64)
    target[:, :, 2:5, 2:6] = 1
    p = torch.full_like(target, 0.02).requires_grad_()
    value = InstanceLoss(average_over=average_over).terms(p, target).instance_pred
    value.backward()
    assert float(value.detach()) > 0.9
    assert (p.grad[target > 0] < 0).all()
    assert (p.grad[target == 0] > 0).all()


@pytest.mark.parametrize("name", InstanceLossTerms._fields)
def test_every_term_has_a_graph_whatever_is_there(name):
    zeros, ones = torch.zeros(1, 1, 6, 6), torch.ones(1, 1, 6, 6)
    for p in (zeros, ones, 0.3 * ones):
        for target in (zeros, ones):
            x = p.clone().requires_grad_()
            getattr(InstanceLoss().terms(x, target), name).backward()
            assert x.grad.isfinite().all()
