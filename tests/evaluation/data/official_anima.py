"""Anima's lesion detection: its own C++ functions, compiled without ITK, on components of ITK's filters."""

from __future__ import annotations

import math
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from preset_cases import Case

Rows = tuple[list[str], dict[str, list[list[Any]]]]


def msseg(checkout: Path, made: list[Case]) -> Rows:
    """PPVL, SensL and F1 by Anima's own functions, compiled, on components of the same ITK filters in SimpleITK."""
    names = ["getDetectionMarks", "getTruePositiveLesions", "falsePositiveRatioTester"]
    names += ["transposer", "removeOverlapTab"]
    source = checkout / "Anima/segmentation/validation_tools/segmentation_performance_analyzer"
    text = (source / "animaSegPerfCAnalyzer.cxx").read_text(encoding="latin-1")
    start = text.index("// Pair comparison functor")
    functor = text[start : text.index("};", start) + 2]
    bodies = [text[(at := text.rindex("\n", 0, text.index(f"SegPerfCAnalyzer::{name}"))) : text.index("\n}\n", at) + 3]
              for name in names]  # fmt: skip
    rows = []
    with tempfile.TemporaryDirectory() as root:
        Path(root, "anima.cpp").write_text(_ANIMA_FRAME.replace("// functions", "\n".join([functor, *bodies])))
        subprocess.run(["g++", "-O1", "-o", f"{root}/anima", f"{root}/anima.cpp"], check=True)
        for case in made:
            true, pred = (_components(mask, case.spacing_mm) for mask in (case.y > 0, case.y_pred > 0))
            table = np.zeros((true.max() + 1, pred.max() + 1), int)
            np.add.at(table, (true.ravel(), pred.ravel()), 1)
            lines = f"{table.shape[0]} {table.shape[1]} {' '.join(map(str, table.ravel()))}"
            # minimum overlap, false positive ratio and its moderator: defaults of animaSegPerfAnalyzer
            out = subprocess.run([f"{root}/anima"], input=f"0.1 0.7 0.65 {lines}", text=True, capture_output=True)
            both = 2 * np.count_nonzero((case.y > 0) & (case.y_pred > 0))
            total = np.count_nonzero(case.y) + np.count_nonzero(case.y_pred)
            # without a reference Anima writes number and volume of what is found, and else the scores
            found = [table.shape[1] - 1, np.count_nonzero(pred) * np.prod(case.spacing_mm)]
            scores = [both / total, *map(float, out.stdout.split())] if case.y.any() else [None] * 4
            rows.append([*scores, *([None] * 2 if case.y.any() else found)])
    return ["Dice", "PPVL", "SensL", "F1_score", "NbTestedLesions", "VolTestedLesions"], {"msseg": rows}


def _components(mask: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Components over faces of more than 3 mm3, largest first, as Anima sets the filters of ITK."""
    import SimpleITK

    smallest = math.floor(3.0 / np.prod(spacing_mm)) + 1
    labelled = SimpleITK.ConnectedComponent(SimpleITK.GetImageFromArray(mask.T.astype(np.uint16)), False)
    return SimpleITK.GetArrayFromImage(SimpleITK.RelabelComponent(labelled, minimumObjectSize=smallest)).T


_ANIMA_FRAME = """
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

struct SegPerfCAnalyzer {
    double m_dfDetectionThresholdAlpha, m_dfDetectionThresholdBeta, m_dfDetectionThresholdGamma;
    int rows, columns;
    int **table;
    void getOverlapTab(int &r, int &c, int **&t) { r = rows; c = columns; t = table; }
    bool getDetectionMarks(double &, double &, double &);
    int getTruePositiveLesions(int, int, int **);
    bool falsePositiveRatioTester(int, int, int, int **, int *, int *, double, double);
    void transposer(int, int, int **, int **&);
    void removeOverlapTab(int **, int);
};
// functions
int main() {
    SegPerfCAnalyzer a;
    scanf("%lf %lf %lf", &a.m_dfDetectionThresholdAlpha, &a.m_dfDetectionThresholdBeta, &a.m_dfDetectionThresholdGamma);
    scanf("%d %d", &a.rows, &a.columns);
    a.table = new int *[a.rows];
    for (int i = 0; i < a.rows; ++i) {
        a.table[i] = new int[a.columns];
        for (int j = 0; j < a.columns; ++j) scanf("%d", &a.table[i][j]);
    }
    double ppv, sensitivity, f1;
    a.getDetectionMarks(ppv, sensitivity, f1);
    printf("%.17g %.17g %.17g", ppv, sensitivity, f1);
}
"""
