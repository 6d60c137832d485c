"""What must not vanish does not: terms of InstanceLoss on random lesions, elsewhere than an audit puts them."""

from __future__ import annotations

import pytest
from torch.nn.functional import pad

from monai_instance_loss.analysis import gradient_audit
from monai_instance_loss.analysis.scenes import Layout
from monai_instance_loss.losses import ICILoss, InstanceLoss, InstanceLossTerms

# which situations a term speaks of
SEES = {
    "pixel": ("false", "missed", "half_found"),
    "instance": ("missed", "half_found"),
    "instance_pred": ("false", "half_found"),
    "center": ("false", "missed", "half_found"),
    "false": ("false",),
    "missed": ("missed", "half_found"),
    # a box around half a lesion may be that around the lesion, and then it is at no distance
    "proximity": ("false", "missed"),
}


def loss_of(term: str) -> InstanceLoss:
    # the published form of proximity is a square of a difference, flat where both sides are equally bad
    weights = {name: float(name == term) for name in InstanceLossTerms._fields}
    return InstanceLoss(sigmoid=True, proximity="mean", weights=weights)


def test_every_term_is_looked_at():
    assert tuple(SEES) == InstanceLossTerms._fields


def draw(rng, situation):
    """A scene at a random place of a random volume, and what tells of it where a test fails."""
    shape = tuple(rng.integers(18, 23, 3).tolist()) if rng.random() < 0.7 else tuple(rng.integers(30, 50, 2).tolist())
    size, others = int(rng.integers(2 if situation == "half_found" else 1, 60)), int(rng.integers(0, 5))
    background, found = float(10 ** rng.uniform(-4, -1.1)), float(rng.uniform(0.3, 0.97))
    other_size = int(rng.integers(1, 28))
    scene = Layout(shape, size, other_size, others).scene(situation, size, others, background, found)
    # room on all sides, or none
    sides = rng.integers(0, 6, 2 * len(shape)).tolist()
    low = float(scene.input.min())
    input, target = pad(scene.input, sides, value=low), pad(scene.target, sides)
    return input, target, pad(scene.component, sides), others


@pytest.mark.parametrize(("term", "situation"), [(term, situation) for term in SEES for situation in SEES[term]])
def test_what_must_not_vanish_does_not(examples, term, situation):
    def check(rng):
        input, target, component, others = draw(rng, situation)
        input.requires_grad_()
        loss_of(term)(input, target).backward()
        on = input.grad[component]
        # a step of gradient descent raises what has a negative gradient
        helping = on if situation == "false" else -on
        assert (helping >= 0).all()
        if term == "center" and situation == "false" and not others:
            # Dice without a target is flat but for its smoothing
            return
        assert float(helping.sum()) > 1e-7

    examples(check)


def test_the_default_helps_whatever_the_size():
    for kind in (InstanceLoss, ICILoss):
        rows = gradient_audit(
            kind(sigmoid=True), size_voxels=(1, 8, 60), other_lesions=(0, 3), spatial_size=(24, 24, 24)
        )
        assert {row.direction for row in rows} == {"helps"}


@pytest.mark.parametrize(("term", "situation"), [("instance", "missed"), ("missed", "missed"), ("false", "false")])
def test_all_sizes_count_alike(examples, term, situation):
    """The L1 norm on one of n lesions is the same whatever its size, at any background and any number of others."""

    def check(rng):
        rows = gradient_audit(
            loss_of(term),
            size_voxels=rng.integers(1, 100, 3).tolist(),
            other_lesions=int(rng.integers(0, 4)),
            background_probability=float(10 ** rng.uniform(-3, -1.1)),
            other_size_voxels=8,
            spatial_size=(24, 24, 24),
        )
        norms = [row.gradient_l1 for row in rows if row.situation == situation]
        # Dice is smoothed by 1e-5 at one voxel and less on more
        assert max(norms) == pytest.approx(min(norms), rel=1e-4)

    examples(check)
