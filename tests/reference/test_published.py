"""The published signatures, tuple returns and numbers."""

from __future__ import annotations

import inspect
import json
import pickle
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss

from monai_instance_loss import label_instances, losses, reference

DATA = Path(__file__).parents[1] / "losses" / "data"
CASES = json.loads((DATA / "reference_cases.json").read_text())["cases"]
CLASSES = ["InstanceLoss", "InstanceCenterLoss", "ICILoss"]


@pytest.fixture(scope="module")
def arrays():
    with np.load(DATA / "reference_cases.npz") as archive:
        return dict(archive)


def unpacked(arrays, key, shape):
    bits = np.unpackbits(arrays[key], count=int(np.prod(shape))).reshape(shape)
    return torch.from_numpy(bits.astype(np.float32))


def make(name, **options):
    dice = DiceLoss()
    return getattr(reference, name)(dice, dice, dice, **options)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_numbers_are_the_published_ones(name, case, arrays):
    y, p = (unpacked(arrays, f"{side}{case['id']}", case["shape"]) for side in "yp")
    loss = make(name, activation="none", spatial_dims=case["spatial_dims"], **case["params"])
    expected = list(case["expected"][name].values())
    for got, wanted in zip(loss(p, y), expected, strict=True):
        assert abs(float(got) - wanted) <= 1e-4 * max(1, abs(wanted))
    labels = label_instances(y).labels.float()
    for got, wanted in zip(loss(p, y, cc_label_batch=labels), expected, strict=True):
        assert abs(float(got) - wanted) <= 1e-4 * max(1, abs(wanted))


# read off the published code
ORDER = {
    "InstanceLoss": "max_cc_out min_instance_size segmentation_threshold centroid_offset mul_too_many smoother",
    "InstanceCenterLoss": "segmentation_threshold max_cc_out mul_too_many min_instance_size centroid_offset smoother",
    "ICILoss": "segmentation_threshold max_cc_out mul_too_many min_instance_size centroid_offset smoother",
}


@pytest.mark.parametrize("name", CLASSES)
def test_signatures_are_the_published_ones(name):
    parameters = inspect.signature(getattr(reference, name)).parameters
    first = "activation num_out_chn object_chn spatial_dims reduce_segmentation instance_wise_reduce num_iterations"
    last = "instance_wise_loss_no_tp rate_instead_number weighted_instance_wise weighted_fdr"
    losses_of = [f"loss_function_{part}" for part in ("pixel", "instance", "center")]
    assert list(parameters) == [*losses_of, *first.split(), *ORDER[name].split(), *last.split()]
    defaults = {key: value.default for key, value in parameters.items() if key not in losses_of}
    assert defaults == {
        "activation": "sigmoid",
        "num_out_chn": 1,
        "object_chn": 1,
        "spatial_dims": 3,
        "reduce_segmentation": "mean",
        "instance_wise_reduce": "instance",
        "num_iterations": 350,
        "segmentation_threshold": 0.5,
        "max_cc_out": 50,
        "mul_too_many": 50,
        "min_instance_size": 0,
        "centroid_offset": 5,
        "smoother": 1e-07,
        "instance_wise_loss_no_tp": True,
        "rate_instead_number": False,
        "weighted_instance_wise": False,
        "weighted_fdr": False,
    }


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("InstanceLoss", "pixel instance instance_pred center false missed proximity"),
        ("InstanceCenterLoss", "pixel instance instance_pred center false missed"),
        ("ICILoss", "pixel instance center fdr false missed"),
    ],
)
@pytest.mark.parametrize("min_instance_size", [0, 1])
def test_new_terms_do_not_change_what_is_returned(monkeypatch, name, published, min_instance_size):
    names = published.split()
    grown = NamedTuple("Grown", [(term, float) for term in ("added", *reversed(names), "more")])
    values = {term: float(i) for i, term in enumerate(names)}
    monkeypatch.setattr(getattr(losses, name), "terms", lambda *_: grown(added=-1.0, more=-1.0, **values))
    labels = torch.ones(1, 1, 4, 4)
    got = make(name, activation="none", spatial_dims=2, min_instance_size=min_instance_size)(labels, labels)
    assert got == tuple(values.values())


def scene():
    generator = torch.Generator().manual_seed(1)
    field = torch.nn.functional.avg_pool2d(torch.rand(2, 1, 20, 21, generator=generator), 3, 1, 1)
    return 20 * (field - 0.6), (field.roll(1, 3) > 0.6).float()


@pytest.mark.parametrize("name", CLASSES)
def test_sigmoid_leaves_the_pixel_loss_its_activation(name):
    logits, labels = scene()
    pixel = DiceCELoss(sigmoid=True)
    loss = getattr(reference, name)(pixel, DiceLoss(), DiceLoss(), spatial_dims=2, centroid_offset=2)
    x = logits.requires_grad_()
    terms = loss(x, labels)
    same = getattr(losses, name)(
        sigmoid=True, pixel_loss=pixel, threshold=0.5, center_radius=2, count_as_rate=False
    ).terms(x, labels)
    assert all(torch.equal(a, b) for a, b in zip(terms, same, strict=True))
    for term in terms[:3]:
        (grad,) = torch.autograd.grad(term, x, retain_graph=True)
        assert grad.any()


def test_softmax_scores_one_channel_of_several():
    logits, labels = scene()
    both = torch.cat([torch.zeros_like(logits), logits], 1)
    softmax = make("InstanceLoss", activation="softmax", num_out_chn=2, object_chn=1, spatial_dims=2)
    alone = make("InstanceLoss", activation="none", spatial_dims=2)
    for one_hot in (labels, torch.cat([1 - labels, labels], 1)):
        for got, wanted in zip(softmax(both, one_hot), alone(logits.sigmoid(), labels), strict=True):
            torch.testing.assert_close(got, wanted)
    # three equal classes: a third is an even share, and enough
    loss = make("ICILoss", activation="softmax", num_out_chn=3, object_chn=2, spatial_dims=2, rate_instead_number=True)
    full = torch.zeros(1, 3, 4, 4)
    full[:, 2] = 0.01
    assert float(loss(full, torch.zeros(1, 1, 4, 4))[4]) == pytest.approx(1 / 3, abs=0.01)


def test_parameters_can_be_printed_and_edited(capsys):
    logits, labels = scene()
    loss = make("InstanceLoss", spatial_dims=2)
    loss.print_parameters()
    printed = capsys.readouterr().out
    assert "VALUES OF PARAMETERS" in printed
    assert " -> max_cc_out: 50" in printed
    assert " -> loss_function_pixel: DiceLoss()" in printed
    before = loss(logits, labels)
    loss.edit_parameters(rate_instead_number=True, centroid_offset=1, activation=None)
    assert (loss.rate_instead_number, loss.centroid_offset, loss.activation) == (True, 1, "sigmoid")
    after = loss(logits, labels)
    assert float(after[4]) <= 1
    assert not torch.equal(before[3], after[3])
    with pytest.raises(TypeError, match=r"but got \['radius'\]"):
        loss.edit_parameters(radius=3)
    with pytest.raises(ValueError, match=r"`reduce_segmentation` .*but got 'median'"):
        loss.edit_parameters(centroid_offset=7, reduce_segmentation="median")
    assert loss.centroid_offset == 1
    assert pickle.loads(pickle.dumps(loss))(logits, labels) == after


def test_time_savers_have_no_effect():
    labels = torch.zeros(1, 1, 12, 12)
    labels[0, 0, 0, 0] = 1
    outputs = torch.zeros_like(labels)
    outputs[0, 0, ::2, ::2] = 1
    # 36 predicted components, 35 of them false
    for options in ({}, {"max_cc_out": 3, "mul_too_many": 2, "num_iterations": 1}):
        loss = make("InstanceLoss", activation="none", spatial_dims=2, **options)
        assert float(loss(outputs, labels)[4]) == 35


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "relu"}, "`activation` to be one of .*but got 'relu'"),
        ({"reduce_segmentation": "max"}, "`reduce_segmentation` .*but got 'max'"),
        ({"instance_wise_reduce": "sample"}, "`instance_wise_reduce` .*but got 'sample'"),
        ({"spatial_dims": 4}, "`spatial_dims` .*but got 4"),
        ({"weighted_fdr": True}, "`weighted_fdr` .*but got True"),
        ({"activation": "softmax"}, "`num_out_chn` to be 2 or more .*but got 1"),
        ({"num_out_chn": 2, "object_chn": 2}, r"`object_chn` to be in 0..1, but got 2"),
    ],
)
def test_bad_parameters_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make("ICILoss", **options)


def test_shapes_are_checked():
    loss = make("InstanceLoss")
    with pytest.raises(ValueError, match=r"`outputs` to have 5 dimensions .*but got shape \(1, 1, 4, 4\)"):
        loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="`outputs` to have num_out_chn=1 channels, but got 2"):
        loss(torch.zeros(1, 2, 4, 4, 4), torch.zeros(1, 1, 4, 4, 4))
