from __future__ import annotations

import math
import os

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from monai_instance_loss.evaluation.drawing import Drawing, chart_drawings, key_drawings
from monai_instance_loss.evaluation.pairing import CaseFiles
from monai_instance_loss.evaluation.report import Picture
from monai_instance_loss.evaluation.scoring import Scoring
from monai_instance_loss.evaluation.summary import summarise_model
from monai_instance_loss.evaluation.tables import printable

BLANK = Picture(None, "a chart", "How to read it.")


def test_a_figure_becomes_an_image_and_a_remark_is_added():
    picture = Drawing(lambda: (Figure(), "No scan."), BLANK).drawn()
    assert picture.png.startswith(b"\x89PNG")
    assert (picture.alt, picture.caption) == ("a chart", "How to read it. No scan.")


@pytest.mark.parametrize("error", [ValueError("no ink"), MemoryError("no ink"), RuntimeError("no ink")])
def test_a_figure_that_fails_is_a_blank_with_its_error(error):
    def broken():
        raise error

    picture = Drawing(broken, BLANK).drawn()
    assert (picture.png, picture.alt, picture.error) == (None, "a chart", f"{type(error).__name__}: no ink")


def test_to_be_stopped_is_no_failure_of_a_figure():
    def stopped():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Drawing(stopped, BLANK).drawn()


@pytest.mark.parametrize("name", ["$\\foo{$", "$", "a_$x^{2", "²", "\\n{", printable(os.fsdecode(b"p\xff"))])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_names_are_text_and_no_formula(scores, save, mask, tmp_path, name):
    cases = [scores(name, n_true=1, n_missed=1, f1=0.0), scores("b")]
    froc = {
        "cases": 2, "threshold": 0.1, "score": 0.5, "fp_per_case": [0.5, 8.0], "sensitivity": [0.25, 0.75],
        "curve_fp_per_case": [2.0, 0.5, 0.0], "curve_sensitivity": [0.75, 0.25, 0.0],
        "curve_threshold": [0.2, 0.4, math.nan],
    }  # fmt: skip
    lesions = [{"side": "reference", "case": name, "volume_mm3": 5.0, "status": "missed", "partners": ""}]
    summary = {"models": {name: summarise_model(cases, lesions, (10.0,))}, "froc": froc}
    files = CaseFiles(name, save(tmp_path / "y.nii", mask((1, 1, 1))), {name: save(tmp_path / "x.nii", mask())})
    drawings = [*chart_drawings({name: cases}, summary), *key_drawings(name, cases, {name: files}, Scoring())]
    assert len(drawings) == 4
    # settings of the user change nothing
    with mpl.rc_context({"text.parse_math": True}):
        assert [(drawing.drawn().png or b"")[:4] for drawing in drawings] == [b"\x89PNG"] * 4
