"""Write preset_*.json: what the official scorers say of the cases of preset_cases.py.

The scorers are no dependency of the tests, and their code is not in this repository. Each is a git checkout of its own,
given as an argument, and runs in an environment with the versions that it asks for or the nearest ones that still
install:

    pip install numpy==1.23.5 scipy==1.10.1 pandas==1.5.3 connected-components-3d==3.12.1 nibabel==5.1.0 "SimpleITK<2.4"
    python make_preset_cases.py brats BraTS-2023-Metrics   # github.com/rachitsaluja/BraTS-2023-Metrics
    python make_preset_cases.py isles22 isles22            # github.com/ezequieldlrosa/isles22
    python make_preset_cases.py autopet autoPET            # github.com/lab-midas/autoPET
    python make_preset_cases.py wmh wmhchallenge           # github.com/hjkuijf/wmhchallenge
    python make_preset_cases.py valdo valdo-eval-2021      # github.com/WhereIsValdo/valdo-eval-2021
    python make_preset_cases.py nndetection nnDetection    # github.com/MIC-DKFZ/nnDetection, for average precision
    python make_preset_cases.py msseg Anima-Public         # github.com/Inria-Empenn/Anima-Public; needs g++

    pip install panoptica==1.0.1
    python make_preset_cases.py isles24 isles24            # github.com/ezequieldlrosa/isles24

    pip install panoptica==2.1.7 networkx==3.6.1
    python make_preset_cases.py panoptica                  # the package itself
    python make_preset_cases.py bicc                       # no official scorer is public: a restatement, below
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from preset_cases import cases, checksum

SCORERS: dict[str, tuple[str, str, list[str]]] = {
    "brats": ("official_challenges", "", ["numpy", "scipy", "pandas", "connected-components-3d"]),
    "isles22": ("official_challenges", "utils", ["numpy", "connected-components-3d"]),
    "isles24": ("official_challenges", "utils", ["numpy", "panoptica", "connected-components-3d"]),
    "autopet": ("official_challenges", "", ["numpy", "connected-components-3d"]),
    "wmh": ("official_challenges", "", ["numpy", "scipy", "SimpleITK"]),
    "valdo": ("official_challenges", "", ["numpy", "scipy", "pandas"]),
    "msseg": ("official_anima", "", ["SimpleITK"]),
    "panoptica": ("official_packages", "", ["numpy", "panoptica", "connected-components-3d"]),
    "nndetection": ("official_packages", "", ["numpy"]),
    "bicc": ("official_packages", "", ["numpy", "scipy", "networkx"]),
}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if value is None or math.isnan(value):
        return None if value is None else "nan"
    # as many digits as a comparison to 1e-6 needs
    return int(value) if float(value).is_integer() else float(f"{float(value):.10g}")


def main(name: str, path: str | None = None) -> None:
    """Score every case with one scorer."""
    module, folder, packages = SCORERS[name]
    score = getattr(import_module(module), name)
    source = {package: version(package) for package in packages}
    checkout = None if path is None else Path(path).resolve()
    if checkout is not None:
        sys.path.insert(0, str(checkout / folder))
        for key, command in (("repository", "remote get-url origin"), ("commit", "rev-parse HEAD")):
            source[key] = subprocess.check_output(["git", "-C", str(checkout), *command.split()], text=True).strip()
    made = cases()
    with _quiet():
        columns, rows = score(checkout, made)
    for preset, values in rows.items():
        head = {"source": source, "checksum": checksum(made), "columns": columns}
        lines = ",\n".join(json.dumps(_plain(row), separators=(",", ":")) for row in values)
        text = json.dumps(head, indent=1)[:-2] + f',\n "values": [\n{lines}\n]\n}}\n'
        Path(__file__).with_name(f"preset_{preset}.json").write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
