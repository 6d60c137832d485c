from __future__ import annotations

import math
import os
import weakref

import numpy as np
import pytest

from monai_instance_loss.evaluation.case import CaseResult
from monai_instance_loss.evaluation.case_log import LOG, CaseLog, inputs_of, result_of_line
from monai_instance_loss.evaluation.pairing import CaseFiles, Failure

INPUTS = {"a": "1", "b": "2", "c": "3"}


@pytest.fixture
def result(scores):
    def make(case: str, **more) -> CaseResult:
        row = scores(case, dice=1 / 3, h95_mm=math.nan, n_true=2)
        return CaseResult(case, scores=[row], lesions=[{"case": case, "volume_mm3": 0.1}], **more)

    return make


def test_a_result_is_its_line(tmp_path, result):
    log = CaseLog(tmp_path)
    froc = np.array([[0, 1, 0, 0.1]], np.float32)
    written = result("a", froc=froc, failures=[Failure("a", "net", "lost \udcff", True)], labels=[3], white=["²"])
    log.append([written], INPUTS, rank=0)
    (line,) = log.lines(["a"])
    read, inputs = result_of_line(line)
    assert inputs == "1"
    np.testing.assert_array_equal(read.froc, froc)
    assert read.froc.dtype == np.float32
    assert repr(read.scores) == repr(written.scores)  # NaN is not equal to itself
    assert (read.lesions, read.failures, read.labels, read.white) == (
        written.lesions, written.failures, [3], ["²"],
    )  # fmt: skip
    assert read.failures[0].missing


def test_lines_of_all_ranks_in_the_order_of_the_cases(tmp_path, result):
    log = CaseLog(tmp_path)
    log.append([result("c"), result("a")], INPUTS, rank=0)
    log.append([result("b")], INPUTS, rank=1)
    assert [read.case for read in log.results(["a", "b", "c", "d"])] == ["a", "b", "c"]
    log.clear()
    assert os.listdir(tmp_path) == []


def test_each_case_is_on_the_disk_when_it_is_done(tmp_path, result):
    log = CaseLog(tmp_path)

    def scored():
        yield result("a")
        assert [read.case for read in CaseLog(tmp_path).results(INPUTS)] == ["a"]
        yield result("b")

    log.append(scored(), INPUTS, rank=0)
    assert [read.case for read in log.results(INPUTS)] == ["a", "b"]


def test_memory_does_not_grow_with_the_number_of_cases(tmp_path, result):
    log, made, most = CaseLog(tmp_path), [], 0

    def scored():
        nonlocal most
        for number in range(20):
            one = result(str(number))
            made.append(weakref.ref(one))
            most = max(most, sum(reference() is not None for reference in made))
            yield one

    log.append(scored(), {str(number): "" for number in range(20)}, rank=0)
    # the one that is written, and the next
    assert most == 2


def test_resuming_keeps_whole_lines_of_the_same_inputs(tmp_path, result):
    log = CaseLog(tmp_path)
    log.append([result("a")], INPUTS, rank=0)
    log.append([result("b", failures=[Failure("b", None, "lost")]), result("c")], INPUTS, rank=1)
    # killed while it wrote
    with open(tmp_path / "cases.partial-0.jsonl", "ab") as file:
        file.write(b'{"case": "b", "inputs": "2"')
    assert log.start(INPUTS | {"c": "changed"}, resume=True) == ({"a"}, 0)
    assert os.listdir(tmp_path) == ["cases.partial-kept.jsonl"]
    log.append([result("c"), result("b")], INPUTS, rank=0)
    assert [read.case for read in log.results(INPUTS)] == ["a", "b", "c"]
    # and once more, over what was kept
    assert log.start(INPUTS, resume=True)[0] == {"a", "b", "c"}


def test_a_run_that_ended_can_be_resumed(tmp_path, result):
    log = CaseLog(tmp_path)
    log.append([result("a"), result("b")], INPUTS, rank=0)
    (tmp_path / LOG).write_bytes(b"".join(log.lines(["a", "b"])))
    log.clear()
    assert log.start(INPUTS, resume=True) == ({"a", "b"}, 0)
    assert [read.case for read in log.results(INPUTS)] == ["a", "b"]


def test_what_is_not_resumed_is_dropped_and_counted(tmp_path, result):
    log = CaseLog(tmp_path)
    log.append([result("a"), result("b")], INPUTS, rank=0)
    assert log.start(INPUTS, resume=False) == (set(), 2)
    assert os.listdir(tmp_path) == []
    assert log.start(INPUTS, resume=True) == (set(), 0)
    assert os.listdir(tmp_path) == []


def test_inputs_are_files_and_settings(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(b"1")
    case = CaseFiles("a", path, {"net": path})
    before = inputs_of(case, {"min_size": 0})
    assert inputs_of(case, {"min_size": 0}) == before
    assert inputs_of(case, {"min_size": 1}) != before
    assert inputs_of(CaseFiles("a", path, {"other": path}), {"min_size": 0}) != before
    path.write_bytes(b"12")
    assert inputs_of(case, {"min_size": 0}) != before


def test_lines_that_are_none():
    for line in (b"{", b"[]", b'{"case": "a"}\n'):
        with pytest.raises(ValueError, match="Expected the line of a case, but got: "):
            result_of_line(line)
