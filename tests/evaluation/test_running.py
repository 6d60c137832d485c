from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from monai_instance_loss.evaluation import running
from monai_instance_loss.evaluation.command import main
from monai_instance_loss.evaluation.pairing import pair_files
from monai_instance_loss.evaluation.running import Ranks, joined_ranks, run_cases
from monai_instance_loss.evaluation.scoring import Scoring

CASES = 5
FILES = ("cases.csv", "cases.jsonl", "lesions.csv", "summary.json")


@pytest.fixture(scope="module")
def data(tmp_path_factory, save, mask) -> Path:
    """Five cases, of which one prediction is soft and one is missing."""
    root = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for k in range(CASES):
        for folder in ("ref", "net", "prob"):
            noise = generator.random((9, 8, 7))
            voxels = noise.astype(np.float32) if folder == "prob" else (noise > 0.9).astype(np.uint8)
            save(root / folder / f"{k}.nii.gz", voxels)
    save(root / "net" / "3.nii.gz", mask((1, 1, 1), value=0.999, dtype=np.float32))
    (root / "net" / "4.nii.gz").unlink()
    return root


def arguments(data: Path, out: Path) -> list[str]:
    options = {"--pred": data / "net", "--ref": data / "ref", "--prob": data / "prob", "--out": out, "--workers": 1}
    return ["evaluate", *(str(word) for option in options.items() for word in option)]


def written(out: Path) -> dict[str, str]:
    """The files of numbers, without what differs from run to run."""
    files = {name: (out / name).read_text() for name in FILES}
    summary = json.loads(files["summary.json"])
    del summary["command"], summary["finished"]
    return files | {"summary.json": json.dumps(summary)}


def test_two_processes_write_what_one_writes(data, tmp_path):
    launcher = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "monai_instance_loss", *arguments(data, tmp_path / "two")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    launched = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
    try:
        assert main(arguments(data, tmp_path / "one")) == 1
        output, errors = launched.communicate(timeout=120)
    finally:
        if launched.poll() is None:
            os.killpg(launched.pid, signal.SIGKILL)
    # one of the two processes speaks, and says that pairs failed
    assert launched.returncode == 1, errors
    assert [errors.count(f"NOT SCORED {case} (net)") for case in (3, 4)] == [1, 1]
    assert output.count("wrote ") == 1
    assert written(tmp_path / "two") == written(tmp_path / "one")
    assert sorted(os.listdir(tmp_path / "two")) == sorted([*FILES, "report.html"])


def test_worker_processes_give_what_this_one_gives(data):
    cases, _ = pair_files(data / "ref", {"net": data / "net"}, data / "prob")
    names = [case.case for case in cases]
    alone, pooled = (
        sorted(run_cases(cases, Scoring(), workers, progress=False), key=lambda result: names.index(result.case))
        for workers in (1, 2)
    )
    assert [result.case for result in pooled] == [str(k) for k in range(CASES)]
    for one, two in zip(alone, pooled, strict=True):
        assert [asdict(row) for row in two.scores] == [asdict(row) for row in one.scores]
        assert two.lesions == one.lesions
        assert two.failures == one.failures
        np.testing.assert_array_equal(two.froc, one.froc)


def test_an_unforeseen_error_costs_one_case(data, monkeypatch):
    (case, *_), _ = pair_files(data / "ref", {"net": data / "net"})

    def breaks(case, scoring):
        raise MemoryError("too large")

    monkeypatch.setattr(running, "score_files", breaks)
    result = running._score(case, Scoring())
    assert [failure.message for failure in result.failures] == ["MemoryError: too large"]


def test_a_log_tells_the_time_that_is_left(monkeypatch, capsys):
    clock = iter([0.0, 50.0, 70.0, 100.0])
    monkeypatch.setattr(running.time, "monotonic", lambda: next(clock))
    lines = running._progress(3, shown=True)
    for _ in range(3):
        lines.update()
    # 35 seconds a case, once a minute is over
    assert capsys.readouterr().err == "2 of 3 cases done, 00:35 left\n"


def test_shares_of_ranks():
    assert [Ranks(rank, 3).own(range(7)) for rank in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]
    with joined_ranks() as ranks:
        assert ranks == Ranks(0, 1)
        assert ranks.gather(ranks.own([1, 2, 3])) == [1, 2, 3]
        assert ranks.share("x") == "x"


def test_workers_share_the_cores_of_a_host(monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert running.available_workers() == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert running.available_workers() == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert running.available_workers() == 1
