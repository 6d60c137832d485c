"""A process that labels masks under Triton's interpreter: requests come in as pickles, labels go out as pickles.

The interpreter has to be asked for before triton is imported, so that it cannot share a process with other tests.
"""

from __future__ import annotations

import pickle
import sys


def main() -> None:
    import torch

    from monai_instance_loss.instances.backends import triton_labels

    torch.set_num_threads(1)
    usual = {name: getattr(triton_labels, name) for name in ("_TILES", "_LANES", "_LONG")}
    while True:
        try:
            mask, connectivity, constants = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        for name, value in {**usual, **constants}.items():
            setattr(triton_labels, name, value)
        labels, counts = triton_labels.label_blocks_triton(mask, connectivity)
        pickle.dump((labels.dense(), counts), sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
