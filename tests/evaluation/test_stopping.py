"""The command as a process: workers that die, and signals that stop it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monai_instance_loss.evaluation import evaluate, outputs
from monai_instance_loss.evaluation.command import main

# what a case is called says what becomes of the worker that scores it; workers import this file too
SCRIPT = """
import os, signal, sys, time
from monai_instance_loss.evaluation import running

score_files = running.score_files

def score(case, scoring):
    if case.case.startswith("SIG"):
        signal.raise_signal(getattr(signal, case.case))
    if case.case == "slow":
        print("started", flush=True)
        time.sleep(120)
    return score_files(case, scoring)

running.score_files = score

if __name__ == "__main__":
    from monai_instance_loss.evaluation.command import main
    sys.exit(main(sys.argv[1:]))
"""


@contextmanager
def evaluating(folders: tuple[Path, Path, Path]) -> Iterator[subprocess.Popen]:
    """The evaluation as a process, in a session of its own, of which nothing is left in the end."""
    ref, pred, out = folders
    script = ref.parent / "script.py"
    script.write_text(SCRIPT)
    options = {"--ref": ref, "--pred": pred, "--out": out, "--workers": 2}
    command = [sys.executable, "-W", "ignore", str(script), "evaluate", *(str(w) for o in options.items() for w in o)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
    try:
        yield process
    finally:
        for pid in session(process.pid):
            os.kill(pid, signal.SIGKILL)
        # waits, and closes its pipes
        process.communicate()


def session(leader: int) -> list[int]:
    """Processes of a session that are alive."""
    alive = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # behind the name, which is in brackets: state, parent, group, session
            state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its_session) == leader and state != "Z":
            alive.append(int(stat.parent.name))
    return alive


def tables(out: Path) -> dict[str, str]:
    """What an evaluation wrote, without times and the command line."""
    files = {name: (out / name).read_text() for name in ("cases.csv", "cases.jsonl", "lesions.csv", "summary.json")}
    summary = json.loads(files["summary.json"])
    del summary["finished"], summary["command"]
    return files | {"summary.json": json.dumps(summary)}


def copies(folders, save, mask, *names: str) -> None:
    ref, pred, _ = folders
    for name in names:
        save(ref / f"{name}.nii.gz", mask((2, 2, 2)))
        save(pred / f"{name}.nii.gz", mask((2, 2, 2)))


def test_a_worker_that_dies_is_named_and_the_others_are_kept(folders, save, mask):
    copies(folders, save, mask, "SIGKILL", "SIGSEGV")
    with evaluating(folders) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    for name, hint in (("SIGKILL", " Where memory ran out, run again with fewer --workers."), ("SIGSEGV", "")):
        files = ", ".join(str(folder / f"{name}.nii.gz") for folder in folders[:2])
        message = f"Expected the process that scores {files} to finish, but got its end by {name}.{hint}\n"
        assert f"NOT SCORED {name}: {message}" in errors
    with open(folders[2] / "cases.csv", newline="") as file:
        assert [row["case"] for row in csv.DictReader(file)] == ["a", "b"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in Linux' /proc")
@pytest.mark.parametrize(("name", "to_all"), [("SIGTERM", False), pytest.param("SIGINT", True, marks=pytest.mark.slow)])
def test_a_signal_ends_every_process_and_leaves_no_half_file(folders, save, mask, name, to_all):
    copies(folders, save, mask, "slow")
    with evaluating(folders) as process:
        assert process.stdout.readline() == "started\n"
        assert len(session(process.pid)) >= 3  # the command, and two workers
        # Ctrl-C reaches all processes of a terminal
        (os.killpg if to_all else os.kill)(process.pid, getattr(signal, name))
        process.wait(timeout=5)
        deadline = time.monotonic() + 5
        while session(process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert session(process.pid) == []
        errors = process.stderr.read()
    # as for any process that a signal ends: shells make 128 + its number of it
    assert process.returncode == -getattr(signal, name)
    assert errors.splitlines()[-1] == f"error: stopped by {name}; every file in {folders[2]} is whole."
    # no table, and whole lines of the cases that were done
    assert {name for name in os.listdir(folders[2]) if "partial" not in name} == set()
    for path in folders[2].iterdir():
        assert [json.loads(line)["case"] for line in path.read_text().splitlines(True) if line.endswith("\n")]


def test_a_run_that_was_killed_is_resumed_and_writes_what_one_run_writes(folders, save, mask, monkeypatch):
    monkeypatch.setattr(outputs, "chart_drawings", lambda *_: [])
    monkeypatch.setattr(outputs, "key_drawings", lambda *_: [])
    ref, pred, out = folders
    copies(folders, save, mask, "slow")
    with evaluating(folders) as process:
        assert process.stdout.readline() == "started\n"
        deadline = time.monotonic() + 60
        part = out / "cases.partial-0.jsonl"
        # the other worker is done with both other cases
        while not (part.exists() and part.read_text().count("\n") == 2) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
        process.wait(timeout=10)
    assert sorted(os.listdir(out)) == ["cases.partial-0.jsonl"]
    # as if it had been writing
    with open(part, "a") as file:
        file.write('{"case": "slow", "inp')
    scored = []
    run_cases = evaluate.run_cases
    monkeypatch.setattr(
        evaluate, "run_cases", lambda cases, *args, **more: scored.append(cases) or run_cases(cases, *args, **more)
    )
    words = ["evaluate", "--ref", str(ref), "--pred", str(pred), "--workers", "1", "--out"]
    assert main([*words, str(out), "--resume"]) == 0
    assert main([*words, str(ref.parent / "once")]) == 0
    assert [[case.case for case in cases] for cases in scored] == [["slow"], ["a", "b", "slow"]]
    assert tables(out) == tables(ref.parent / "once")
    assert sorted(os.listdir(out)) == ["cases.csv", "cases.jsonl", "lesions.csv", "report.html", "summary.json"]
