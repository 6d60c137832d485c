"""Values that the published code printed, on binary predictions."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.losses import DiceLoss

from monai_instance_loss.losses import InstanceLoss

CRITERIA = {"default": lambda: None, "DiceLoss": DiceLoss, "any callable": lambda: lambda a, b: DiceLoss()(a, b)}


@pytest.mark.parametrize("threshold", [0.5, 0.1])
@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("index", range(36))
def test_every_term_is_the_published_one(golden_case, index, criterion, threshold):
    case = golden_case(index)
    loss = InstanceLoss(
        pixel_loss=DiceLoss(),
        instance_loss=CRITERIA[criterion](),
        center_loss=CRITERIA[criterion](),
        threshold=threshold,
        **case.options,
    )
    terms = loss.terms(case.prediction, case.target)._asdict()
    assert terms.keys() == case.expected.keys()
    for name, value in terms.items():
        assert abs(float(value) - case.expected[name]) <= 1e-4 * max(1, abs(case.expected[name])), name


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
    expected = (0.4587, 0.4786, 0.6545, 0.5793, 0.25, 0.20, 6.9283)
    for name, value, printed in zip(terms._fields, terms, expected, strict=True):
        assert float(value) == pytest.approx(printed, abs=1e-4), name
