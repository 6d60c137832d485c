from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Activationsd, AsDiscreted, Compose

from monai_instance_loss.operating_points import OperatingPoint, apply_operating_point
from monai_instance_loss.transforms import InstanceOperatingPoint, InstanceOperatingPointd

POINT = OperatingPoint(0.3, min_volume_mm3=4, high_threshold=0.6)


def test_it_is_the_function(speckle):
    p = np.random.default_rng(0).random(speckle.shape) * speckle
    np.testing.assert_array_equal(
        InstanceOperatingPoint(POINT, (1, 1, 2))(p), apply_operating_point(p, POINT, (1, 1, 2))
    )


def test_the_point_of_a_file_is_read_at_once(tmp_path):
    POINT.save(tmp_path / "point.json")
    for path in (tmp_path / "point.json", str(tmp_path / "point.json")):
        transform = InstanceOperatingPoint(path)
        assert transform.point == POINT
    (tmp_path / "point.json").unlink()
    p = MetaTensor(torch.tensor([[[0.4, 0.9, 0.0, 0.7]]]), affine=torch.diag(torch.tensor([2.0, 1.0, 1.0])))
    # 2 voxels of 2 mm2, and 1 voxel
    assert transform(p).tolist() == [[[1, 1, 0, 0]]]


def test_a_plain_threshold_is_that_of_as_discrete():
    logits = {"pred": torch.tensor([[[-1.0, 2.0, 0.3, 0.0]]])}
    masks = [
        Compose([Activationsd("pred", sigmoid=True), last])(logits)["pred"]
        for last in (AsDiscreted("pred", threshold=0.5), InstanceOperatingPointd("pred", OperatingPoint(0.5)))
    ]
    assert masks[0].tolist() == masks[1].tolist() == [[[0, 1, 1, 1]]]


def test_a_dictionary(tmp_path):
    POINT.save(tmp_path / "point.json")
    data = {"a": np.array([[[0.4, 0.9, 0.0, 0.7]]]), "b": np.array([[[0.7, 0.7, 0.7, 0.7]]]), "c": "untouched"}
    transform = InstanceOperatingPointd(["a", "b", "absent"], tmp_path / "point.json", (1, 2), allow_missing_keys=True)
    out = transform(data)
    assert [out[key].tolist() for key in "ab"] == [[[[1, 1, 0, 0]]], [[[1, 1, 1, 1]]]]
    assert list(out) == ["a", "b", "c"]
    assert data["a"].max() == 0.9


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"point": 0.5}, TypeError, "Expected `point` to be an OperatingPoint or a path, but got float"),
        ({"point": None}, TypeError, "Expected `point` to be an OperatingPoint or a path, but got NoneType"),
        ({"point": "nowhere.json"}, FileNotFoundError, r"nowhere\.json"),
        ({"point": POINT, "spacing_mm": (1, -1)}, ValueError, "`spacing_mm` to be 2 or 3 positive finite numbers"),
        ({"point": POINT, "spacing_mm": 1}, TypeError, "`spacing_mm` to be None or a sequence, but got int"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        InstanceOperatingPoint(**options)


def test_a_file_that_is_no_point(tmp_path):
    (tmp_path / "point.json").write_text("{}")
    with pytest.raises(ValueError, match=r"point\.json to hold `threshold`"):
        InstanceOperatingPointd("pred", tmp_path / "point.json")


def test_probabilities_are_checked():
    with pytest.raises(ValueError, match=r"`probability` to hold probabilities in \[0, 1\], but got -1"):
        InstanceOperatingPoint(OperatingPoint(0.5))(np.array([[[-1.0]]]))
