"""Run the notebooks of this folder, and write them back without what changes from run to run.

    python tutorials/run.py                                  # all of them
    python tutorials/run.py 01_what_the_loss_sees --fast     # one, at the reduced size of the tests; nothing is written

A cell with the tag `picture` gives the notebook its picture in the index, `pictures/<notebook>.png`.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).resolve().parent
FAST = "MONAI_INSTANCE_LOSS_FAST"


def executed(path: Path, fast: bool) -> nbformat.NotebookNode:
    """The notebook after a run from top to bottom in an empty folder, so that nothing is left beside it.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed; the message shows it.
    """
    notebook = nbformat.read(path, as_version=4)
    # a path by its folder's name would be another one on every machine; progress bars are noise in a stored output
    environment = {**os.environ, FAST: str(int(fast)), "TQDM_DISABLE": "1", "TUTORIALS": str(HERE)}
    with tempfile.TemporaryDirectory() as folder:
        where = {"metadata": {"path": folder}}
        client = NotebookClient(notebook, timeout=1800, kernel_name="python3", coalesce_streams=True, resources=where)
        client.execute(env=environment)
    return notebook


def clean(notebook: nbformat.NotebookNode) -> None:
    """Take out what differs from run to run: counters, times, versions of the interpreter."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}
        if cell.cell_type != "code":
            continue
        cell.execution_count = None
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = None
            if "data" in output:
                output.metadata = {}
                if "image/png" in output.data:
                    output.data = {"image/png": smaller(output.data["image/png"])}


def smaller(png: str) -> str:
    """The same picture in 256 colours, half the size; base64 in and out."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    buffer = io.BytesIO()
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        buffer, format="png", optimize=True
    )
    return base64.b64encode(buffer.getvalue()).decode()


def pngs(cell: nbformat.NotebookNode) -> list[bytes]:
    """The figures among a cell's outputs."""
    outputs = [output.get("data", {}) for output in cell.get("outputs", [])]
    return [base64.b64decode(data["image/png"]) for data in outputs if "image/png" in data]


def save(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write the notebook, and its picture for the index."""
    clean(notebook)
    nbformat.write(notebook, path)
    for cell in notebook.cells:
        if "picture" in cell.metadata.get("tags", []):
            picture = path.parent / "pictures" / f"{path.stem}.png"
            picture.parent.mkdir(exist_ok=True)
            picture.write_bytes(pngs(cell)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the notebooks and write them back, outputs included.")
    parser.add_argument("names", nargs="*", help="without .ipynb; all of them when left out")
    parser.add_argument("--fast", action="store_true", help="at the reduced size of the tests; nothing is written")
    options = parser.parse_args()
    paths = [HERE / f"{name}.ipynb" for name in options.names] or sorted(HERE.glob("*.ipynb"))
    for path in paths:
        start = time.perf_counter()
        notebook = executed(path, options.fast)
        if not options.fast:
            save(notebook, path)
        print(f"{path.stem}: {time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
