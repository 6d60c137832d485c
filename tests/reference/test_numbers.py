"""The numbers of the published code, and what they mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss, FocalLoss, GeneralizedDiceLoss, TverskyLoss
from torch.nn import BCEWithLogitsLoss, MSELoss

from monai_instance_loss import label_instances, reference

# as they were when the numbers were stored
CRITERIA = {
    "dice": DiceLoss(),
    "jaccard_smooth": DiceLoss(jaccard=True, smooth_nr=1, smooth_dr=1),
    "dice_sigmoid": DiceLoss(sigmoid=True),
    "dice_ce": DiceCELoss(),
    "generalized_dice": GeneralizedDiceLoss(),
    "tversky": TverskyLoss(alpha=0, beta=1),
    "focal": FocalLoss(),
    "bce": BCEWithLogitsLoss(),
    "mse": MSELoss(),
}
# what the published code takes from the wrong components where it confuses regions
CONFUSED = {"instance", "proximity"}


def confused(case, naive):
    masks = (side[:, 0].numpy().astype(bool) for side in (case.prediction, case.target))
    return any(naive.confuses_regions(p, y, case.options["min_instance_size"]) for p, y in zip(*masks, strict=True))


def meaning(case, naive):
    """The oracle's terms."""
    p, y = (side[:, 0].numpy().astype(bool) for side in (case.prediction, case.target))
    criterion = CRITERIA[case.criterion]
    options = case.options
    return naive.terms(
        p,
        y,
        naive.Options(
            criterion=lambda *masks: float(criterion(*(torch.from_numpy(m)[None, None].float() for m in masks))),
            min_size=options["min_instance_size"],
            radius=options["centroid_offset"],
            no_tp=options["instance_wise_loss_no_tp"],
            as_rate=options["rate_instead_number"],
            sum_instances=options["reduce_segmentation"] == "sum",
            per_sample=options["instance_wise_reduce"] == "data",
        ),
    )


def agree(got, wanted):
    return abs(got - wanted) <= 1e-4 * max(1, abs(wanted))


def test_stored_cases_cover_what_they_should(published_cases, naive):
    kinds = [(case.options["min_instance_size"], confused(case, naive)) for case in published_cases]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        (0, False): 40, (2, False): 80, (5, False): 80, (2, True): 16, (5, True): 16
    }  # fmt: skip
    assert {case.criterion for case in published_cases} == set(CRITERIA)
    assert {case.prediction.ndim for case in published_cases} == {4, 5}


def test_meaning_of_the_published_numbers(published_cases, naive):
    for case in published_cases:
        terms = meaning(case, naive)
        wrong = CONFUSED if confused(case, naive) else set()
        for numbers in case.expected.values():
            for name in numbers.keys() - wrong - {"pixel"}:
                assert agree(terms[name], numbers[name]), (name, case)
            if wrong:
                assert not agree(terms["instance"], numbers["instance"]), case


@pytest.mark.parametrize("name", ["InstanceLoss", "InstanceCenterLoss", "ICILoss"])
def test_numbers_are_the_published_ones(name, published_cases, naive):
    # the classes share what they do: one sees every case, the others every sixth
    for case in published_cases[:: 1 if name == "InstanceLoss" else 6]:
        criterion = CRITERIA[case.criterion]
        loss = getattr(reference, name)(
            DiceLoss(),
            criterion,
            criterion,
            activation="none",
            spatial_dims=case.prediction.ndim - 2,
            **case.options,
        )
        expected = dict(case.expected[name])
        if confused(case, naive):
            terms = meaning(case, naive)
            expected |= {term: terms[term] for term in CONFUSED & expected.keys()}
        for got, (term, wanted) in zip(loss(case.prediction, case.target), expected.items(), strict=True):
            assert agree(float(got), wanted), (term, case)


def test_numbers_from_logits_and_an_instance_map(published_cases):
    # these saturate a sigmoid and a softmax
    for case in published_cases[::16]:
        options = {**case.options, "spatial_dims": case.prediction.ndim - 2}
        plain = reference.InstanceLoss(DiceLoss(), DiceLoss(), DiceLoss(), "none", **options)
        expected = [float(term) for term in plain(case.prediction, case.target)]
        logits = 200 * case.prediction - 100
        loss = reference.InstanceLoss(DiceLoss(sigmoid=True), DiceLoss(), DiceLoss(), "sigmoid", **options)
        instance_map = label_instances(case.target).labels
        for got in (loss(logits, case.target), loss(logits, case.target, instance_map)):
            np.testing.assert_allclose([float(term) for term in got], expected, atol=1e-5, rtol=1e-5)
        two = reference.InstanceLoss(DiceLoss(), DiceLoss(), DiceLoss(), "softmax", 2, 1, **options)
        got = two(torch.cat([torch.zeros_like(logits), logits], 1), case.target)
        np.testing.assert_allclose([float(term) for term in got], expected, atol=1e-5, rtol=1e-5)
