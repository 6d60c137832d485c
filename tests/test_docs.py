"""The reference pages: made without a warning, every public name on them, and each page to be found from the first."""

from __future__ import annotations

import html
import importlib
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from torch import nn

import monai_instance_loss
from monai_instance_loss import losses
from monai_instance_loss.losses import pixel

ROOT = Path(__file__).parents[1]
PACKAGE = Path(monai_instance_loss.__file__).parent

README = (ROOT / "README.md").read_text()

(COMMAND,) = re.findall(r"python -W error::UserWarning -m pdoc (.*)", README)


# bases have no formula of their own, MONAI's and torch's losses have their own pages
LOSSES = {
    f"{home.__name__}.{name}": getattr(home, name)
    for home in (losses, pixel)
    for name in home.__all__
    if inspect.isclass(getattr(home, name))
    and issubclass(getattr(home, name), nn.Module)
    and getattr(home, name).__module__.startswith("monai_instance_loss")
    and not inspect.isabstract(getattr(home, name))
}


def command() -> tuple[list[str], list[str]]:
    """The options of the README's command without the output folder, and its modules."""
    *options, modules = shlex.split(COMMAND)
    name, listed = re.fullmatch(r"(\w+)\{(.*)\}", modules).groups()
    at = options.index("-o")
    return options[:at] + options[at + 2 :], [name + part for part in listed.split(",")]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("pdoc")
    folder = tmp_path_factory.mktemp("site")
    options, modules = command()
    # in a process of its own, where no test has changed a module
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-m", "pdoc", *options, "-o", str(folder), *modules],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return folder


def page(site: Path, module: str) -> Path:
    return site / (module.replace(".", "/") + ".html")


def test_the_command_names_every_public_package():
    packages = {f"monai_instance_loss.{path.parent.name}" for path in PACKAGE.glob("*/__init__.py")}
    parts = {"monai_instance_loss.losses.pixel", "monai_instance_loss.evaluation.preset_scores"}
    assert packages | parts | {"monai_instance_loss"} == set(command()[1])


@pytest.mark.slow
@pytest.mark.parametrize("module", command()[1])
def test_every_public_name_is_on_a_page(site, module):
    html = page(site, module).read_text()
    for name in getattr(importlib.import_module(module), "__all__", []):
        assert f'id="{name}"' in html, name


@pytest.mark.slow
def test_every_page_is_found_from_the_first(site):
    (start,) = re.findall(r"url=\./([^\"]+)", (site / "index.html").read_text())
    found, left = set(), {(site / start).resolve()}
    while left:
        current = left.pop()
        found.add(current)
        links = re.findall(r'href="([^"#?:$]+\.html)', current.read_text())
        left |= {(current.parent / link).resolve() for link in links} - found
    assert found == {path.resolve() for path in site.rglob("*.html")} - {(site / "index.html").resolve()}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_begins_with_its_formula(name):
    summary, after, *_ = inspect.getdoc(LOSSES[name]).split("\n\n")
    # an equation on a line of its own, or an expression in the summary
    assert re.fullmatch(r"\$\$.+\$\$", after) or re.search(r" [-+/*=] |\^|-\(", summary), summary


@pytest.mark.slow
def test_formulas_reach_the_page_as_they_are_written(site):
    checked = 0
    for name, loss in LOSSES.items():
        written = re.findall(r"^\$\$.+\$\$$", inspect.getdoc(loss), re.MULTILINE)
        shown = page(site, name.rpartition(".")[0]).read_text()
        assert "mathjax" in shown.lower()
        for formula in written:
            assert f"<p>{html.escape(formula, quote=False)}</p>" in shown, formula
        checked += len(written)
    assert checked >= 10


def test_the_front_page_cites_what_the_citation_file_lists():
    listed = yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]
    numbers = {item["value"] for paper in listed for item in paper.get("identifiers", [])}
    numbers |= {f"doi:{paper['doi']}" for paper in listed if "doi" in paper}
    cited = set(re.findall(r"\[((?:doi|arXiv):[^]]+)\]", README))
    assert cited
    assert cited <= numbers
