from __future__ import annotations

import dataclasses
import json
import os
import re

import pytest

from monai_instance_loss.operating_points import OperatingPoint

POINT = OperatingPoint(0.25, 10.5, 0.75, 2, {"objective": "most F1", "names": ["ä", "b"]})


def test_what_is_saved_is_loaded(tmp_path):
    POINT.save(tmp_path / "point.json")
    loaded = OperatingPoint.load(str(tmp_path / "point.json"))
    assert loaded == POINT
    assert loaded.chosen == POINT.chosen
    assert list(json.loads((tmp_path / "point.json").read_text())) == [
        "threshold", "min_volume_mm3", "high_threshold", "connectivity", "chosen"
    ]  # fmt: skip


def test_a_point_written_by_hand_needs_its_threshold_only(tmp_path):
    (tmp_path / "point.json").write_text('{"threshold": 1}')
    assert OperatingPoint.load(tmp_path / "point.json") == OperatingPoint(1)


def test_points_that_make_equal_masks_are_equal():
    assert OperatingPoint(0.5, chosen={"a": 1}) == OperatingPoint(0.5)
    assert len({OperatingPoint(0.5, chosen={"a": 1}), OperatingPoint(0.5), OperatingPoint(0.4)}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        POINT.threshold = 0.5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threshold": 0}, ValueError, r"Expected `threshold` to be in \(0, 1\], but got 0"),
        ({"threshold": 1.01}, ValueError, r"Expected `threshold` to be in \(0, 1\], but got 1.01"),
        ({"threshold": float("nan")}, ValueError, r"Expected `threshold` to be in \(0, 1\], but got nan"),
        ({"threshold": "0.5"}, TypeError, "Expected `threshold` to be a number, but got '0.5'"),
        (
            {"threshold": 0.5, "min_volume_mm3": -1},
            ValueError,
            "`min_volume_mm3` to be finite and 0 or more, but got -1",
        ),
        ({"threshold": 0.5, "high_threshold": 0.5}, ValueError, r"`high_threshold` to be in \(0.5, 1\], but got 0.5"),
        ({"threshold": 0.5, "connectivity": 4}, ValueError, "`connectivity` to be None or in 1..3, but got 4"),
        ({"threshold": 0.5, "connectivity": 0}, ValueError, "`connectivity` to be 1 or more, but got 0"),
        ({"threshold": 0.5, "chosen": []}, TypeError, "`chosen` to be a mapping, but got list"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        OperatingPoint(**options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expected {} to be the JSON of an operating point, but got: Expecting value"),
        ('{"threshold": 0.5', "Expected {} to be the JSON of an operating point, but got: Expecting"),
        ("[0.5]", "Expected {} to hold `threshold` and no others than ['threshold', "),
        ('{"min_volume_mm3": 3}', "but got ['min_volume_mm3']."),
        ('{"threshold": 0.5, "min_volume": 3}', "but got ['threshold', 'min_volume']."),
        ('{"threshold": NaN}', "Expected {} to hold an operating point, but got: Expected `threshold` to be in (0, 1]"),
        (
            '{"threshold": "0.5"}',
            "Expected {} to hold an operating point, but got: Expected `threshold` to be a number",
        ),
    ],
)
def test_a_file_that_is_no_point(tmp_path, text, message):
    path = tmp_path / "point.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(message.format(path))):
        OperatingPoint.load(path)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "point.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"point\.json to be the JSON of an operating point, but got: 'utf-8'"):
        OperatingPoint.load(tmp_path / "point.json")


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json"):
        OperatingPoint.load(tmp_path / "nowhere.json")


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "point.json"
    POINT.save(path)
    with pytest.raises(ValueError, match="nan"):
        OperatingPoint(0.5, chosen={"f1": float("nan")}).save(path)
    assert OperatingPoint.load(path) == POINT
    assert os.listdir(tmp_path) == ["point.json"]


def test_a_file_name_that_is_no_text_is_spelt_out(tmp_path):
    OperatingPoint(0.5, chosen={"cases": [os.fsdecode(b"p\xff")]}).save(tmp_path / "point.json")
    assert OperatingPoint.load(tmp_path / "point.json").threshold == 0.5
