from __future__ import annotations

import csv
import io
import json
import math
import os

import pytest

from monai_instance_loss.evaluation.tables import check_writable, to_csv, to_json, write_files


def test_csv():
    rows = [
        {"case": "a, b", "dice": 2 / 3, "n": 12345678, "model": None},
        {"case": "c", "dice": math.nan, "n": 0, "model": "net"},
    ]
    assert to_csv(["case", "model", "dice", "n"], rows) == ('case,model,dice,n\n"a, b",,0.6666667,12345678\nc,net,,0\n')


def test_no_cell_is_a_formula():
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "a=1", "'"]
    rows = [{"text": text, "number": number} for text, number in zip(texts, [-1, -0.5, 0, 1, 2, 3, 4, 5], strict=True)]
    cells = list(csv.DictReader(io.StringIO(to_csv(["text", "number"], rows), newline="")))
    assert [cell["text"] for cell in cells] == [f"'{text}" for text in texts[:5]] + ["\\rx", "a=1", "'"]
    assert [float(cell["number"]) for cell in cells] == [-1, -0.5, 0, 1, 2, 3, 4, 5]


def test_names_that_are_no_text_are_spelt_out(tmp_path):
    odd = os.fsdecode(b"p\xff")
    write_files(tmp_path, {"a.csv": f"{odd}\n", "b.json": to_json({"path": odd})})
    assert (tmp_path / "a.csv").read_text() == "p\\udcff\n"
    # which is how JSON writes it, too
    assert json.loads((tmp_path / "b.json").read_text()) == {"path": odd}


def test_json_knows_no_nan():
    value = {"a": [math.nan, 1.5, (math.inf, None)], "b": {"c": -math.inf, "d": "µ"}}
    assert json.loads(to_json(value)) == {"a": [None, 1.5, [None, None]], "b": {"c": None, "d": "µ"}}


def test_files_are_replaced_together(tmp_path):
    write_files(tmp_path, {"a.csv": "old", "b.json": "old"})
    write_files(tmp_path, {"a.csv": "new", "b.json": "µ\n"})
    assert (tmp_path / "a.csv").read_text() == "new"
    assert (tmp_path / "b.json").read_bytes() == "µ\n".encode()
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "b.json"]


def test_nothing_changes_when_the_disk_is_full(tmp_path, monkeypatch):
    write_files(tmp_path, {"a.csv": "old", "b.json": "old"})
    written = []

    def full_at_the_second(descriptor):
        written.append(descriptor)
        if len(written) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_at_the_second)
    with pytest.raises(OSError, match="No space left"):
        write_files(tmp_path, {"a.csv": "new", "b.json": "new"})
    assert {name: (tmp_path / name).read_text() for name in os.listdir(tmp_path)} == {"a.csv": "old", "b.json": "old"}


def test_writable(tmp_path):
    check_writable(tmp_path / "x" / "y")
    assert os.listdir(tmp_path / "x" / "y") == []
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Expected a folder that can be written to, but got .*file"):
        check_writable(tmp_path / "file")


def test_read_only_folder(tmp_path, monkeypatch):
    # tests may run as root, whom permissions do not stop
    def denied(**arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", denied)
    with pytest.raises(OSError, match=r"can be written to, but got .*: .*Permission denied"):
        check_writable(tmp_path)
