"""Without extras: every part is imported, or says what to install, and so does every entry that needs more."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import monai_instance_loss
from monai_instance_loss._optional import require_extra

PACKAGE = Path(monai_instance_loss.__file__).parent
EXTRAS = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
PARTS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))

# what an entry needs, by its name; each is called as a user would
ENTRIES = {
    "handlers": ("pytorch-ignite", "import monai_instance_loss.handlers"),
    "a loss of distances": ("scipy", "losses.pixel.BoundaryLoss()(mask, mask)"),
    "one-to-one matching": (
        "scipy",
        "metrics.InstanceF1Metric(matching=metrics.Matching(assignment='optimal'))(mask, mask)",
    ),
    "challenge scores": ("scipy", "metrics.wmh_challenge_scores(mask[..., None], mask[..., None], (1, 1, 1))"),
    "border weights": ("scipy", "transforms.InstanceWeightMap(1.0, 1, mode='border', spacing_mm=(1, 1))(mask[0])"),
    "synthetic brains": ("nilearn", "data.synthesize_wmh_case(0, spacing_mm=(4, 4, 6))"),
    "a synthetic data set": ("nilearn, scipy, tqdm", "data.write_wmh_dataset('new')"),
    "the gradient figure": (
        "matplotlib",
        "analysis.plot_gradient_audit({'BCE': analysis.gradient_audit(losses.pixel.BCEWithLogitsLoss(),"
        " size_voxels=1, other_lesions=0, background_probability=0.1, spatial_size=(8, 8, 8))})",
    ),
    "a figure of lesions": (
        "matplotlib",
        "from types import SimpleNamespace; from monai_instance_loss.evaluation.lesion_drawing import draw_lesions;"
        "draw_lesions([SimpleNamespace(image=mask[0, 0].numpy(), spacing_mm=(1, 1))])",
    ),
    "the command": (
        "tqdm, matplotlib, scipy",
        "sys.argv[1:] = ['evaluate', '--pred', '.', '--ref', '.', '--out', 'new'];"
        "runpy.run_module('monai_instance_loss', run_name='__main__')",
    ),
}

PROGRAM = """
import contextlib, importlib.util, io, json, runpy, sys

hidden, parts, entries = sys.argv[1].split(","), *map(json.loads, sys.argv[2:4])

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

# what asks whether a module is there gets None, what imports it an error
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in hidden else found(name, package)
sys.meta_path.insert(0, Hide())

import torch
said = {}
for part in parts:
    try:
        globals()[part] = importlib.import_module(f"monai_instance_loss.{part}")
    except ImportError as error:
        said["import " + part] = str(error)
import monai_instance_loss.losses.pixel
mask = torch.eye(6)[None, None]
for name, entry in entries.items():
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            exec(entry, globals())
    except (Exception, SystemExit) as error:
        said[name] = printed.getvalue() + str(error)
print(json.dumps(said))
"""


def root(requirement: str) -> str:
    return re.split(r"[^\w-]", requirement)[0]


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bare")
    # what the extra brings, as modules, and what comes with it
    modules = "fire,ignite,jsonschema,matplotlib,nilearn,pandas,scipy,sklearn,tensorboard,tqdm,yaml"
    entries = {name: code for name, (_, code) in ENTRIES.items()}
    arguments = [modules, json.dumps(PARTS), json.dumps(entries)]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert not list(folder.iterdir()), "nothing is half made"
    return json.loads(run.stdout.splitlines()[-1])


def sentence(missing: str, extra: str = "bundle") -> str:
    return (
        f"Expected the extra `{extra}` to be installed, but got no {missing}: run "
        f'`pip install "monai_instance_loss[{extra}]"`'
    )


def test_all_parts_but_the_handlers_are_imported(said):
    assert [name for name in said if name.startswith("import ")] == ["import handlers"]


@pytest.mark.parametrize("name", ENTRIES)
def test_a_missing_extra_is_named(said, name):
    assert sentence(ENTRIES[name][0]) in said[name]


def test_another_extra_is_named():
    require_extra("torch", extra="docs")
    with pytest.raises(ImportError, match=re.escape(sentence("no_such_module", "docs") + ".")):
        require_extra("torch", "no_such_module", extra="docs")


def test_what_is_asked_of_an_extra_is_in_it():
    asked = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("import_extra", "require_extra"):
                extra = next((word.value.value for word in node.keywords if word.arg == "extra"), "bundle")
                modules = node.args[:1] if node.func.id == "import_extra" else node.args
                asked |= {(extra, module.value.partition(".")[0]) for module in modules}
    assert {("bundle", "ignite"), ("bundle", "matplotlib"), ("bundle", "nilearn"), ("bundle", "scipy")} <= asked
    names = {"ignite": "pytorch-ignite"}
    for extra, module in asked:
        assert names.get(module, module) in map(root, EXTRAS[extra]), (extra, module)
