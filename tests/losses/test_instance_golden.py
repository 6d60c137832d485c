"""Values that the published code printed, on binary predictions."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.losses import DiceLoss

from monai_instance_loss.losses import InstanceLoss

CRITERIA = {"default": lambda: None, "DiceLoss": DiceLoss, "any callable": lambda: lambda a, b: DiceLoss()(a, b)}
# on binary predictions the threshold changes nothing, and DiceLoss is scored as the default is: each has its turn
CASES = [
    (index, criterion, (0.5, 0.1)[index % 2])
    for index in range(36)
    for criterion in CRITERIA
    if criterion != "DiceLoss" or index % 4 < 2
]


@pytest.mark.parametrize(("index", "criterion", "threshold"), CASES)
def test_every_term_is_the_published_one(golden_case, index, criterion, threshold):
    case = golden_case(index)
    loss = InstanceLoss(
        pixel_loss=DiceLoss(),
        instance_loss=CRITERIA[criterion](),
        center_loss=CRITERIA[criterion](),
        threshold=threshold,
        **case.options,
    )
    terms = loss.terms(case.prediction, case.target)
    assert len(case.expected) == 7
    for name, expected in case.expected.items():
        assert abs(float(getattr(terms, name)) - expected) <= 1e-4 * max(1, abs(expected)), name


@pytest.mark.parametrize("index", range(0, 36, 5))
def test_the_oracle_of_these_tests_has_the_published_values_too(golden_case, naive, index):
    case = golden_case(index)
    terms = naive.terms(case.prediction.double(), case.target, naive.Options(**case.options))
    for name, value in terms.items():
        assert abs(float(value) - case.expected[name]) <= 1e-4 * max(1, abs(case.expected[name])), name


def test_published_example_of_blobs(data_dir):
    target, prediction = (
        torch.from_numpy(np.asarray(nib.load(data_dir / name).dataobj, dtype=np.float32))[None, None]
        for name in ("label-0.nii.gz", "output-0.nii.gz")
    )
    terms = InstanceLoss(pixel_loss=DiceLoss(), center_radius=3, count_as_rate=True).terms(prediction, target)
    expected = {
        "pixel": 0.4587,
        "instance": 0.4786,
        "instance_pred": 0.6545,
        "center": 0.5793,
        "false": 0.25,
        "missed": 0.20,
        "proximity": 6.9283,
    }
    for name, printed in expected.items():
        assert float(getattr(terms, name)) == pytest.approx(printed, abs=1e-4), name
