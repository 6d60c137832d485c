"""The tutorial notebooks: as they are stored, and (marker `notebooks`) as they run."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

TUTORIALS = Path(__file__).parents[1] / "tutorials"
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))
INDEX = TUTORIALS / "README.md"
# folders of one machine, and times of one run
PRIVATE = re.compile(r"/(?:tmp|root|home|work|Users|var|mnt|private)/|[A-Z]:\\\\|\b20\d\d-\d\d-\d\d[T ]\d\d:")
LARGEST_PNG = 150_000

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def runner() -> Any:
    spec = importlib.util.spec_from_file_location("run_tutorials", TUTORIALS / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stored(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def outputs(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def pngs(notebook: dict[str, Any]) -> list[bytes]:
    data = [output.get("data", {}) for output in outputs(notebook)]
    return [base64.b64decode(each["image/png"]) for each in data if "image/png" in each]


def assert_drawn(png: bytes) -> None:
    """A picture shows something besides a frame and its text."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    # an empty frame is black lines on white: a picture fills it, and a chart has colours
    filled, coloured = (pixels.min(-1) < 250).mean(), (np.ptp(pixels, -1) > 60).mean()
    assert filled > 0.05 or coloured > 0.001, (filled, coloured)


def test_there_are_notebooks():
    assert NOTEBOOKS


def drawn_png() -> bytes:
    """Noise in grey with one thin line in colour, as a lesion drawn on a scan."""
    figure = Figure(figsize=(4, 3))
    axis = figure.subplots()
    axis.imshow(np.random.default_rng(0).random((60, 80)), cmap="gray")
    axis.plot([10, 40], [10, 30], color="#6cc8ff")
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


@pytest.mark.parametrize("columns", [1, 3])
def test_an_empty_frame_is_not_a_figure(columns):
    figure = Figure(figsize=(4 * columns, 3))
    for axis in figure.subplots(1, columns, squeeze=False).flat:
        axis.set_title("Lesions")
    png = io.BytesIO()
    figure.savefig(png, format="png")
    with pytest.raises(AssertionError):
        assert_drawn(png.getvalue())


@every_notebook
def test_stored_outputs_are_there_and_clean(path):
    notebook = stored(path)
    assert pngs(notebook), "run tutorials/run.py: the notebook is stored without its figures"
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    for cell in notebook["cells"]:
        assert set(cell["metadata"]) <= {"tags"}
        assert cell.get("execution_count") is None
    for output in outputs(notebook):
        assert output["output_type"] != "error"
        assert output.get("name") != "stderr", output["text"]
        text = "".join(output.get("text", "")) + json.dumps(output.get("data", {}).get("text/plain", ""))
        assert not PRIVATE.search(text), text


@every_notebook
def test_stored_figures_are_small_and_not_empty(path):
    for png in pngs(stored(path)):
        assert len(png) <= LARGEST_PNG
        assert_drawn(png)


@every_notebook
def test_a_notebook_is_in_the_index_with_its_picture(path):
    index = INDEX.read_text(encoding="utf-8")
    assert f"({path.name})" in index
    assert f"pictures/{path.stem}.png" in index
    (cell,) = [cell for cell in stored(path)["cells"] if "picture" in cell["metadata"].get("tags", [])]
    # the picture in the index is that of the notebook
    assert (TUTORIALS / "pictures" / f"{path.stem}.png").read_bytes() == pngs({"cells": [cell]})[0]


@pytest.mark.parametrize("path", [INDEX, *NOTEBOOKS], ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    if path.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in stored(path)["cells"] if cell["cell_type"] == "markdown")
    else:
        text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)|src=\"([^\":]+)\"", text)
    missing = [link for pair in links for link in pair if link and not (TUTORIALS / link).exists()]
    assert not missing


@pytest.mark.notebooks
def test_what_differs_from_run_to_run_is_taken_out():
    import nbformat

    picture = base64.b64encode(drawn_png()).decode()
    cell = nbformat.v4.new_code_cell(
        "1", execution_count=7, metadata={"tags": ["picture"], "execution": {"at": "10:00"}}
    )
    cell.outputs = [
        nbformat.v4.new_output("display_data", {"image/png": picture, "text/plain": "<Figure at 0x7f>"}),
        nbformat.v4.new_output("execute_result", {"text/plain": "1"}, execution_count=7),
    ]
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"language_info": {"name": "python", "version": "3.11"}})
    runner().clean(notebook)
    assert "version" not in notebook.metadata.language_info
    assert cell.metadata == {"tags": ["picture"]}
    assert cell.execution_count is None
    shown, result = cell.outputs
    assert set(shown.data) == {"image/png"}
    assert result.execution_count is None
    before, after = (
        np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
        for png in (drawn_png(), base64.b64decode(shown.data["image/png"]))
    )
    # fewer colours, which nobody sees: a few steps of 255
    assert np.abs(before - after).max() <= 8


@pytest.mark.notebooks
# what the notebook library warns of is not ours
@pytest.mark.filterwarnings("ignore")
@every_notebook
def test_a_notebook_runs_from_top_to_bottom(path):
    notebook = runner().executed(path, fast=True)
    figures = pngs(notebook)
    assert len(figures) == len(pngs(stored(path)))
    for png in figures:
        assert_drawn(png)
