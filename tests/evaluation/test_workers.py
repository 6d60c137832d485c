from __future__ import annotations

import multiprocessing
import os
import signal
import time

from monai_instance_loss.evaluation.workers import Death, run_in_workers


def test_results_come_with_their_number():
    assert dict(run_in_workers(abs, [-3, 2, -1, 0, -5], 2)) == {0: 3, 1: 2, 2: 1, 3: 0, 4: 5}
    assert list(run_in_workers(abs, [], 2)) == []


def test_a_worker_that_dies_costs_its_item_only():
    # 0 is no signal
    items = [0, signal.SIGKILL, 0, signal.SIGSEGV, 0]
    for workers in (1, 3):
        assert dict(run_in_workers(signal.raise_signal, items, workers)) == {
            0: None, 1: Death("SIGKILL"), 2: None, 3: Death("SIGSEGV"), 4: None,
        }  # fmt: skip
    assert dict(run_in_workers(os._exit, [3], 1)) == {0: Death("exit code 3")}


def test_workers_end_with_the_loop_over_them():
    done = run_in_workers(time.sleep, [0, 60], 2)
    assert next(done) == (0, None)
    processes = multiprocessing.active_children()
    assert len(processes) == 2
    started = time.monotonic()
    done.close()
    assert time.monotonic() - started < 5
    assert not any(process.is_alive() for process in processes)
