from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from monai_instance_loss._whole_file import whole_file


class EndedError(Exception):
    pass


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def number(request):
    def end(number, frame):
        raise EndedError

    before = signal.signal(request.param, end)
    yield request.param
    signal.signal(request.param, before)


def test_the_file_comes_in_one_step(tmp_path):
    path = tmp_path / "model.pt"
    path.write_text("old")
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "model.pt"
    path.write_text("old")

    def write() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_signals_wait_until_the_file_is_whole(tmp_path, number):
    handler = signal.getsignal(number)
    path = tmp_path / "model.pt"

    def write() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("ha")
            signal.raise_signal(number)
            with temporary.open("a") as file:
                file.write("lf and half")

    with pytest.raises(EndedError):
        write()
    assert path.read_text() == "half and half"
    assert list(tmp_path.iterdir()) == [path]
    assert signal.getsignal(number) is handler


def test_other_threads_write_as_well(tmp_path):
    def write(path: Path) -> None:
        with whole_file(path) as temporary:
            temporary.write_text("whole")

    thread = threading.Thread(target=write, args=(tmp_path / "a",))
    thread.start()
    thread.join()
    assert (tmp_path / "a").read_text() == "whole"
