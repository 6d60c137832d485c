"""Losses on random images: what must not change their value and gradient, and what must change them how."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_instance_loss import losses
from monai_instance_loss.instances import label_instances


def close(found: list[torch.Tensor], expected: list[torch.Tensor], rtol: float = 1e-7, atol: float = 1e-12) -> None:
    """Equal but for rounding, which is relative to the largest entry of a gradient."""
    for each, other in zip(found, expected, strict=True):
        scale = float(other.abs().max()) if other.numel() else 0.0
        torch.testing.assert_close(each, other, rtol=0, atol=rtol * scale + atol, check_dtype=False)


def same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for each, other in zip(found, expected, strict=True):
        assert each.dtype == other.dtype
        differing = int((each != other).sum())
        assert not differing


def draw_order(rng: np.random.Generator, count: int) -> torch.Tensor:
    return torch.from_numpy(rng.permutation(count))


def test_samples_change_places(examples, draw_case):
    def check(rng):
        case = draw_case(rng)
        order = draw_order(rng, len(case.input))
        value, grad = case.result()
        close(case.result(case.input[order], case.target[order]), [value, grad[order]])

    examples(check)


def test_independent_channels_change_places(examples, draw_case):
    def check(rng):
        case = draw_case(rng, activation="sigmoid").having(include_background=True)
        order = draw_order(rng, case.input.shape[1])
        value, grad = case.result()
        close(case.result(case.input[:, order], case.target[:, order]), [value, grad[:, order]])

    examples(check)


def test_flips_and_transposes(examples, draw_case):
    def check(rng):
        case = draw_case(rng)
        dims = case.input.ndim - 2
        if rng.random() < 0.5:
            # centres are rounded up, so that boxes around them do move with a flip
            case = case.weighing(center=0.0, proximity=0.0)
            axes = [axis for axis in range(2, dims + 2) if rng.random() < 0.5]
            turned, back = (lambda x: x.flip(axes),) * 2
            there = case
        else:
            order = rng.permutation(dims)
            spacing_mm = case.options.get("spacing_mm")
            there = case.having(spacing_mm=tuple(spacing_mm[k] for k in order)) if spacing_mm else case
            turned, back = (lambda x, axes=axes: x.permute(0, 1, *(axes + 2)) for axes in (order, np.argsort(order)))
        if case.depends_on_ties(case.target > 0, case.p >= case.options.get("threshold", 0.5)):
            return
        value, grad = case.result()
        found, turned_grad = there.result(turned(case.input), turned(case.target))
        close([found, back(turned_grad)], [value, grad])

    examples(check)


def test_a_batch_is_the_mean_of_its_samples(examples, draw_case):
    def check(rng):
        case = draw_case(rng, channels=1).having(reduction="mean")
        for name, value in {"average_over": "sample", "per_image": True}.items():
            if name in inspect.signature(case.kind).parameters:
                case = case.having(**{name: value})
        share = torch.ones(len(case.input), dtype=torch.float64)
        if case.kind is losses.SoftInstanceF1Loss:
            # of what has no instance on either side there is no F1
            case = case.weighing(pixel=0.0).having(min_instance_size=0)
            share = ((case.p >= case.options.get("threshold", 0.1)) | (case.target > 0)).flatten(1).any(1).double()
        singles = [case.result(x[None], y[None]) for x, y in zip(case.input, case.target, strict=True)]
        weights = share / share.sum().clamp(min=1)
        value = sum(weight * each for weight, (each, _) in zip(weights, singles, strict=True))
        grad = torch.cat([weight * each for weight, (_, each) in zip(weights, singles, strict=True)])
        close(case.result(), [value, grad])

    examples(check)


def test_backends_of_the_labelling_agree_bit_for_bit(examples, draw_case):
    def check(rng):
        case = draw_case(rng)
        expected = case.result()
        for backend in ("cc3d", "torch"):
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("MONAI_INSTANCE_LOSS_LABELLING", backend)
                same(case.result(), expected)

    examples(check)


def test_types_and_layouts_of_the_target_change_nothing(examples, draw_case, relaid):
    def check(rng):
        case = draw_case(rng).without_monai()
        same(case.result(target=relaid(rng, case.target.bool())), case.result())

    examples(check)


def test_layouts_of_the_input_change_nothing(examples, draw_case):
    def check(rng):
        case = draw_case(rng).without_monai()
        x = case.input
        layouts = [
            x.to(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d),
            x.transpose(0, -1).contiguous().transpose(0, -1),
            torch.stack([x, -x], -1)[..., 0],
            MetaTensor(x),
        ]
        value, grad = case.result(layouts[rng.integers(4)])
        assert type(value) is torch.Tensor
        same([value, grad.as_subclass(torch.Tensor)], case.result())

    examples(check)


def test_single_precision_is_close_to_double(examples, draw_case):
    def check(rng):
        # a probability near 1, as that of a center box is, has lost the digits of 1 - p, which a logit keeps
        case = draw_case(rng, activation=["sigmoid", "softmax"][rng.integers(2)])
        if "center_loss" in case.options:
            case = case.having(center_loss=None)
        # nor has a sum of probabilities the digits of what a full prediction lacks, of which some losses take a root
        case.input.clamp_(-8, 8)
        value, grad = case.result(case.input.float(), case.target.float())
        assert value.dtype == grad.dtype == torch.float32
        close([value, grad], case.result(case.input.float().double()), rtol=1e-4, atol=1e-6)

    examples(check)


def test_half_precision_is_computed_in_single(examples, draw_case):
    def check(rng):
        case = draw_case(rng, activation="sigmoid")
        half = case.input.to([torch.float16, torch.bfloat16][rng.integers(2)])
        target = case.target.float()
        value, grad = case.result(half, target)
        expected, expected_grad = case.result(half.float(), target)
        assert grad.isfinite().all()
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(grad, expected_grad.to(half.dtype))

    examples(check)


def test_ignored_voxels_have_no_influence(examples, draw_case):
    def check(rng):
        case = draw_case(rng)
        x, target = case.input, case.target
        ignored = torch.from_numpy(rng.random((len(x), 1, *x.shape[2:])) < rng.choice([0.05, 0.3, 1.0]))
        index = int(rng.choice([-1, 255]))
        marked = target.clone()
        channel = int(rng.integers(x.shape[1]))
        if rng.random() < 0.5:
            marked[:, channel : channel + 1].masked_fill_(ignored, index)
        else:
            marked.masked_fill_(ignored, index)
        if case.activation == "softmax" and rng.random() < 0.5:
            marked = target.argmax(1, keepdim=True).masked_fill(ignored, index)
            case = case.having(to_onehot_y=True)
        elif case.has_terms and rng.random() < 0.3:
            index = -1
            marked = label_instances(target > 0, case.options.get("connectivity")).labels
            marked[:, channel : channel + 1].masked_fill_(ignored, index)
            case = case.having(target_is_instances=True)
        case = case.having(ignore_index=index)
        value, grad = case.result(target=marked)
        everywhere = ignored.expand_as(x)
        assert not grad[everywhere].any()
        noise = torch.from_numpy(rng.random(x.shape) if case.activation == "none" else rng.normal(0, 20, x.shape))
        if rng.random() < 0.2:
            noise.fill_(torch.nan)
        same(case.result(torch.where(ignored, noise, x), marked), [value, grad])

    examples(check)


def test_a_map_of_instances_is_as_good_as_a_mask(examples, draw_case):
    def check(rng):
        case = draw_case(rng, instance=True)
        known = label_instances(case.target > 0, case.options.get("connectivity"))
        expected = case.result()
        on_map = case.having(target_is_instances=True)
        ids = np.concatenate([[0], rng.permutation(3 * known.count + 3)[: known.count] + 1])
        for numbered in (known.labels, torch.from_numpy(ids)[known.labels.long()]):
            # a tie goes to the smallest id
            if numbered is known.labels or not case.depends_on_ties(case.target > 0):
                close(on_map.result(target=numbered), expected)

    examples(check)


def test_labels_are_as_good_as_one_hot(examples, draw_case):
    def check(rng):
        case = draw_case(rng, activation="softmax", channels=int(rng.integers(2, 5)))
        labels = case.target.argmax(1, keepdim=True)
        labels = labels.to([torch.uint8, torch.int64, torch.float64][rng.integers(3)])
        close(case.having(to_onehot_y=True).result(target=labels), case.result())

    examples(check)


def test_two_classes_are_the_sigmoid_of_their_difference(examples, draw_case):
    def check(rng):
        case = draw_case(rng, activation="softmax", channels=2).having(include_background=False)
        value, grad = case.having(softmax=False, sigmoid=True, include_background=True).result(
            case.input[:, 1:] - case.input[:, :1], case.target[:, 1:]
        )
        close(case.result(), [value, torch.cat([-grad, grad], 1)])

    examples(check)


def test_softmax_is_an_activation_like_any_other(examples, draw_case):
    def check(rng):
        # the default pixel loss of logits is another one
        case = draw_case(rng, activation="softmax", channels=int(rng.integers(2, 5))).weighing(pixel=0.0)
        close(case.having(softmax=False, other_act=lambda x: x.softmax(1)).result(), case.result())

    examples(check)


def test_calls_leave_no_trace(examples, draw_case):
    def check(rng):
        case = draw_case(rng)
        loss = case.loss()
        kept = case.input.clone(), case.target.clone(), case.input._version, case.target._version
        x = case.input.requires_grad_()
        results = []
        for _ in range(2):
            value = loss(x, case.target)
            results.append([value.detach(), *torch.autograd.grad(value, x)])
        same(*results)
        for context in (torch.no_grad, torch.inference_mode):
            with context():
                assert torch.equal(loss(x.detach().clone(), case.target.clone()), results[0][0])
        assert torch.equal(x, kept[0])
        assert torch.equal(case.target, kept[1])
        assert (x._version, case.target._version) == kept[2:]

    examples(check)


def test_whatever_is_empty_or_full_is_finite_with_graph(examples, draw_case):
    def check(rng):
        case = draw_case(rng)
        shape = [*rng.integers(0, 3, 1), *case.input.shape[1:]]
        if rng.random() < 0.3:
            shape[2:] = [1] * len(shape[2:])
        target, prediction = torch.zeros(2, *shape, dtype=torch.float64)
        for volume in (target, prediction):
            filling = rng.integers(3)
            if filling and volume.numel():
                volume.view(-1)[rng.integers(volume.numel()) if filling == 1 else slice(None)] = 1
        if case.activation == "softmax":
            target[:, 1:] *= target[:, 1:].cumsum(1) == 1
            target[:, 0] = 1 - target[:, 1:].sum(1)
        if case.activation != "none":
            prediction = rng.choice([5.0, 100.0, 1e4]) * (2 * prediction - 1)
        value, grad = case.result(prediction.float(), target.float())
        assert value.shape == ()
        assert value.isfinite()
        assert grad.shape == prediction.shape
        assert grad.isfinite().all()
        if not len(prediction):
            assert value == 0

    examples(check)


def test_nan_gives_nan(examples, draw_case):
    def check(rng):
        case = draw_case(rng)
        x = case.input.clone()
        channels = x[:, 1:] if not case.options.get("include_background", True) else x
        channels[tuple(rng.integers(axis) for axis in channels.shape)] = torch.nan
        assert case.loss()(x, case.target).isnan()

    examples(check)


@pytest.mark.parametrize("options", [{"softmax": True}, {"other_act": torch.sigmoid}], ids=["softmax", "other_act"])
def test_nan_in_an_ignored_voxel_reaches_no_gradient(options):
    x = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    target = torch.zeros(1, 3, 4, 4)
    target[:, 1, 1:3, 1:3] = 1
    target[:, 0] = 1 - target[:, 1]
    x[0, :, 3, 3] = torch.nan
    target[0, :, 3, 3] = -1
    x.requires_grad_()
    losses.DiceRegionLoss(ignore_index=-1, **options)(x, target).backward()
    assert x.grad.isfinite().all()
    assert not x.grad[0, :, 3, 3].any()


@pytest.mark.parametrize("logit", [-90.0, -95.0, -100.0, -103.0])
def test_a_probability_whose_inverse_is_infinite_has_a_gradient(logit):
    x = torch.full((1, 1, 4, 4), logit, requires_grad=True)
    target = torch.zeros(1, 1, 4, 4)
    target[0, 0, 1, 1] = 1
    value = losses.ICILoss(sigmoid=True, weights={"pixel": 0, "instance": 0, "center": 0, "fdr": 1})(x, target)
    value.backward()
    assert value == 0
    assert x.grad.isfinite().all()
