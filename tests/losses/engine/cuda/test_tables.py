"""The tables of fixed length give the numbers and gradients of the lists of what is there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from monai.losses import DiceCELoss

from monai_instance_loss import label_instances
from monai_instance_loss.instances.backends import DenseLabels
from monai_instance_loss.losses import ICILoss, InstanceLoss, SoftInstanceF1Loss, pixel
from monai_instance_loss.losses.engine import target as target_module
from monai_instance_loss.losses.engine.cuda import TableOverlap, table_maps, tables
from monai_instance_loss.losses.engine.cuda.tables import most_components
from monai_instance_loss.losses.engine.options import InputOptions
from monai_instance_loss.losses.terms import base

TERMS = ("instance", "instance_pred", "false", "missed")


@pytest.fixture
def on_tables(monkeypatch):
    """Take the way of a GPU on the CPU; returns the overlaps that are made."""
    made = []

    def recorded(*args):
        made.append(TableOverlap(*args))
        return made[-1]

    def switch(on):
        monkeypatch.setattr(tables, "_DEVICES", ("cpu",) if on else ())
        monkeypatch.setattr(base, "TableOverlap", recorded)
        return made

    return switch


def results(loss, input, target, weights):
    x = input.clone().requires_grad_()
    loss.weights = weights
    value = loss(x, target)
    (grad,) = torch.autograd.grad(value, x)
    return value.detach(), grad


def batch(shape, seed, share=0.12):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.nn.functional.avg_pool2d if len(shape) == 4 else torch.nn.functional.avg_pool3d
    target = (noise(torch.rand(shape, generator=generator), 3, 1, 1) > 0.5 + share).float()
    input = 6 * (noise(target + torch.rand(shape, generator=generator), 3, 1, 1) - 0.7)
    return input.double(), target


def lesions_without(shape, which):
    input, target = batch(shape, 3)
    if "a class" in which:
        target[:, 1] = 0
    if which == "a class":
        input[:, 1] = -20
    if which == "target":
        target[:1] = 0
    if "prediction" in which:
        input[-1:] = -20
    if "anything" in which:
        target, input = target * 0, input * 0 - 20
    return input, target


def two_predictions_a_lesion():
    target = torch.zeros(1, 1, 5, 9)
    target[0, 0, 1, 1:8] = target[0, 0, 3, 8] = 1
    input = torch.full((1, 1, 5, 9), -4.0, dtype=torch.float64)
    input[0, 0, 0:2, 0:3] = 1
    input[0, 0, 1:4, 6:9] = 2
    return input, target


CASES = {
    "a lesion of two predictions": two_predictions_a_lesion,
    "a class without target": lambda: lesions_without((2, 2, 12, 13), "target of a class"),
    "2D": lambda: batch((2, 2, 15, 18), 0),
    "3D": lambda: batch((2, 1, 9, 10, 7), 1),
    "dense": lambda: batch((2, 2, 15, 18), 2, 0.0),
    "a sample without target": lambda: lesions_without((2, 1, 12, 13), "target"),
    "a sample without prediction": lambda: lesions_without((2, 2, 12, 13), "prediction"),
    "a class with nothing": lambda: lesions_without((2, 2, 12, 13), "a class"),
    "nothing": lambda: lesions_without((2, 1, 12, 13), "anything"),
    "one voxel": lambda: (torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, 1)),
}


OPTIONS = [
    {},
    {"exclude_other_tp": False},
    {"connectivity": 1},
    {"min_instance_size": 2},
    {"average_over": "sample", "instance_reduction": "sum", "count_as_rate": False},
    {"reduction": "sum"},
    {"instance_loss": pixel.DiceCERegionLoss()},
    {"include_background": False},
]


# the defaults on all cases, and every other case with each of the other options
@pytest.mark.parametrize(
    ("case", "options"),
    [(case, options) for i, case in enumerate(CASES) for j, options in enumerate(OPTIONS) if j == 0 or (i + j) % 2],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:single channel prediction")
def test_terms_are_those_of_the_lists(case, options, on_tables):
    input, target = CASES[case]()
    for name in TERMS:
        weights = dict.fromkeys(InstanceLoss().weights, 0.0) | {name: 1.0}
        on_tables(False)
        expected = results(InstanceLoss(sigmoid=True, **options), input, target, weights)
        made = on_tables(True)
        found = results(InstanceLoss(sigmoid=True, **options), input, target, weights)
        assert len(made) == 1
        made.clear()
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("include_background", [True, False])
def test_terms_of_two_exclusive_classes_are_those_of_the_lists(include_background, on_tables):
    input, target = CASES["2D"]()
    target = torch.cat([1 - target[:, 1:], target[:, 1:]], 1)
    weights = dict.fromkeys(InstanceLoss().weights, 0.0) | dict.fromkeys(TERMS, 1.0)
    loss = InstanceLoss(softmax=True, include_background=include_background, instance_loss=pixel.DiceCERegionLoss())
    on_tables(False)
    expected = results(loss, input, target, weights)
    made = on_tables(True)
    torch.testing.assert_close(results(loss, input, target, weights), expected, rtol=1e-7, atol=1e-9)
    assert len(made) == 1


@pytest.mark.parametrize("case", CASES)
def test_soft_f1_is_that_of_the_lists(case, on_tables):
    input, target = CASES[case]()
    weights = {"pixel": 0.5, "instance": 1.0}
    on_tables(False)
    expected = results(SoftInstanceF1Loss(sigmoid=True), input, target, weights)
    assert on_tables(True) == []
    torch.testing.assert_close(
        results(SoftInstanceF1Loss(sigmoid=True), input, target, weights), expected, rtol=1e-7, atol=1e-9
    )
    assert len(on_tables(True)) == 1


def test_a_pair_that_touches_in_two_places_counts_once(on_tables):
    # a lesion with the shape of a U, and a prediction that lies across both of its arms
    target = torch.zeros(1, 1, 4, 5)
    target[0, 0, :3, 1] = target[0, 0, :3, 3] = target[0, 0, 3, 1:4] = 1
    input = torch.full((1, 1, 4, 5), -20.0)
    input[0, 0, 0] = 20
    on_tables(True)
    weights = {"pixel": 0, "instance": 1, "instance_pred": 1, "false": 0, "missed": 0}
    # 2 of 5 predicted voxels lie on the 9 of the lesion: 1 - 2 * 2 / (5 + 9) on both sides
    for exclude_other_tp in (True, False):
        loss = InstanceLoss(sigmoid=True, weights=weights, exclude_other_tp=exclude_other_tp)
        assert float(loss(input, target)) == pytest.approx(2 * (1 - 4 / 14), abs=1e-5)


def test_nan_in_an_instance_too_small_to_be_scored_is_seen(on_tables):
    input = torch.full((1, 1, 4, 5), -9.0)
    input[0, 0, 2, 3] = torch.nan
    weights = dict.fromkeys(InstanceLoss().weights, 0.0) | {"false": 1.0}
    assert on_tables(True) == []
    value, grad = results(InstanceLoss(sigmoid=True, min_instance_size=1), input, torch.zeros(1, 1, 4, 5), weights)
    assert len(on_tables(True)) == 1
    assert value.isnan()
    assert grad.isnan().any()


def test_nan_is_seen(on_tables):
    input, target = CASES["2D"]()
    input[1, 1, 3, 4] = torch.nan
    on_tables(True)
    value, grad = results(InstanceLoss(sigmoid=True), input, target, dict(InstanceLoss().weights))
    assert value.isnan()
    assert grad.isnan().any()


def test_ignored_voxels_have_no_say(on_tables):
    input, target = CASES["3D"]()
    target[:, :, 4:7] = 2
    on_tables(False)
    weights = dict.fromkeys(InstanceLoss().weights, 0.0) | dict.fromkeys(TERMS, 1.0)
    expected = results(InstanceLoss(sigmoid=True, ignore_index=2), input, target, weights)
    made = on_tables(True)
    found = results(InstanceLoss(sigmoid=True, ignore_index=2), input, target, weights)
    assert len(made) == 1
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("loss", "target_of"),
    [
        (InstanceLoss(sigmoid=True, weights={"center": 1}), lambda target: target),
        (InstanceLoss(sigmoid=True, weights={"proximity": 1}), lambda target: target),
        (ICILoss(sigmoid=True), lambda target: target),
        (InstanceLoss(other_act=torch.sigmoid), lambda target: target),
        (InstanceLoss(sigmoid=True, target_is_instances=True), lambda target: label_instances(target).labels),
        (InstanceLoss(sigmoid=True, instance_loss=pixel.FocalRegionLoss()), lambda target: target),
        (InstanceLoss(sigmoid=True, instance_loss=lambda a, b: ((a - b) ** 2).mean()), lambda target: target),
    ],
)
def test_what_needs_more_than_sums_takes_the_lists(loss, target_of, on_tables):
    input, target = CASES["2D"]()
    made = on_tables(True)
    assert loss(input, target_of(target)).isfinite()
    assert made == []


def test_tables_are_offered_where_they_can_be_made(monkeypatch):
    input, target = CASES["2D"]()
    prepared = InputOptions(sigmoid=True).prepare(input, target, 0.5)
    dice_ce = pixel.DiceCERegionLoss()
    assert table_maps(prepared, [dice_ce]) is None
    monkeypatch.setattr(tables, "_DEVICES", ("cpu",))
    assert set(table_maps(prepared, [dice_ce])) == {"p", "ce_on", "ce_off"}
    # each map once, whoever asks for it; none without a criterion
    assert table_maps(prepared, [pixel.DiceRegionLoss(), pixel.DiceRegionLoss()]) == ("p",)
    assert table_maps(prepared, []) == ()
    assert table_maps(prepared, [dice_ce, pixel.DiceRegionLoss(squared_pred=True)]) is None
    assert table_maps(prepared, [torch.nn.L1Loss()]) is None
    assert table_maps(InputOptions(other_act=torch.sigmoid).prepare(input, target, 0.5), [dice_ce]) is None
    # of two exclusive classes each has a logit against the other, of three none has one
    for classes in (2, 3):
        input, target = batch((2, classes, 15, 18), 0)
        prepared = InputOptions(softmax=True).prepare(input, target, 0.5)
        assert (table_maps(prepared, [dice_ce]) is None) == (classes == 3)


def test_tables_are_of_logits():
    batch = InputOptions().prepare(torch.rand(1, 1, 4, 5), torch.zeros(1, 1, 4, 5), 0.5)
    with pytest.raises(TypeError, match="Expected `batch` to have logits of a sigmoid, but got ProbabilityVoxels"):
        TableOverlap(batch, None, ("p",))


def test_sums_of_an_unknown_map_are_refused():
    input, target = CASES["2D"]()
    overlap = TableOverlap(InputOptions(sigmoid=True).prepare(input, target, 0.5), None, ("ce_on",))
    # presence needs the first three, whatever the criteria ask for
    for name in ("voxels", "p", "p_fixed", "ce_on"):
        assert list(overlap.sums((name,))) == [name]
    with pytest.raises(
        ValueError, match=r"among the maps summed, \['voxels', 'p', 'p_fixed', 'ce_on'\], .*\['ce_off'\]"
    ):
        overlap.sums(("p", "ce_off"))


@pytest.mark.parametrize(
    ("shape", "connectivity"),
    [((2, 5, 5), 1), ((1, 5, 5), 2), ((1, 3, 4, 5), 1), ((1, 3, 4, 5), 2), ((2, 3, 3, 3), 3), ((1, 1, 1, 1), 1)],
)
def test_no_mask_has_more_components_than_the_tables_have_rows(shape, connectivity):
    bound = most_components(shape, connectivity)
    steps = sum(torch.meshgrid(*(torch.arange(n) for n in shape[1:]), indexing="ij"))
    even = torch.stack(torch.meshgrid(*(torch.arange(n) % 2 == 0 for n in shape[1:]), indexing="ij")).all(0)
    # what leaves most voxels alone: every second voxel, or every second along each axis
    fullest = {1: steps % 2 == 0, len(shape) - 1: even}.get(connectivity, even)
    for mask in (fullest, torch.rand(shape[1:], generator=torch.Generator().manual_seed(0)) < 0.4):
        mask = mask.expand(shape)[:, None]
        assert label_instances(mask, connectivity).count <= bound


def test_the_host_waits_for_nothing(monkeypatch):
    """Forward and backward on tensors without data, where whatever depends on data raises."""

    def labels_without_data(mask, connectivity):
        counts = torch.empty(mask.shape[0], dtype=torch.int64, device="meta")
        return DenseLabels(torch.empty(mask.shape, dtype=torch.int32, device="meta")), counts

    # the kernels have tests of their own
    monkeypatch.setattr(tables, "label_blocks", labels_without_data)
    for module in (tables, target_module):
        monkeypatch.setattr(module, "_DEVICES", ("meta",))
    with pytest.raises(NotImplementedError):
        torch.empty(3, device="meta").nonzero()
    terms = {"instance": 1, "instance_pred": 1, "false": 1, "missed": 1}
    for loss in (
        InstanceLoss(sigmoid=True, weights=terms),
        InstanceLoss(sigmoid=True, pixel_loss=DiceCELoss(sigmoid=True), instance_loss=pixel.DiceCERegionLoss()),
        SoftInstanceF1Loss(sigmoid=True, weights={"pixel": 1}),
    ):
        for shape in ((2, 1, 12, 10, 9), (3, 2, 16, 11)):
            for dtype in (torch.float32, torch.bfloat16):
                input = torch.empty(shape, dtype=dtype, device="meta").requires_grad_()
                loss(input, torch.empty(shape, device="meta")).backward()
                assert input.grad.shape == shape


_IN_TRITON = """
import os
import torch
import torch.nn.functional as F
from monai_instance_loss.losses import InstanceLoss
from monai_instance_loss.losses.engine.cuda import tables

generator = torch.Generator().manual_seed(0)
for shape, pool in (((2, 1, 17, 37), F.avg_pool2d), ((1, 1, 3, 8, 33), F.avg_pool3d)):
    target = (pool(torch.rand(shape, generator=generator), 3, 1, 1) > 0.6).float()
    input = 6 * (pool(target + torch.rand(shape, generator=generator), 3, 1, 1) - 0.7)
    loss, results = InstanceLoss(sigmoid=True, weights={"false": 1, "missed": 1}), []
    for devices, backend in (((), "cc3d"), (("cpu",), "triton")):
        tables._DEVICES, os.environ["MONAI_INSTANCE_LOSS_LABELLING"] = devices, backend
        x = input.clone().requires_grad_()
        value = loss(x, target)
        results.append((value.detach(), *torch.autograd.grad(value, x)))
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-8)
"""


def test_a_whole_loss_in_interpreted_kernels():
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _IN_TRITON], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
