"""The numbers of the documentation are those of the stored results, its links lead somewhere, and its examples run."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch

import monai_instance_loss
from monai_instance_loss import losses

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob(".github/**/*.md"), *ROOT.glob("tests/**/*.md"), *ROOT.glob("tutorials/**/*.md")]
)


def tables_module():
    path = ROOT / "tests" / "benchmarks" / "tables.py"
    spec = importlib.util.spec_from_file_location("readme_tables", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["speed_cpu.json", "costs_cpu.json", "metrics_cpu.json"])
def test_tables_are_those_of_the_stored_results(name):
    module = tables_module()
    assert name in module.TABLES
    result = json.loads((module.RESULTS / name).read_text())
    stated = "\n".join(page.read_text() for page in PAGES)
    for table in module.TABLES[name]:
        assert table(result) in stated, table.__name__


def test_the_step_on_the_front_page_is_the_stored_one():
    result = json.loads((tables_module().RESULTS / "speed_cpu.json").read_text())
    (step,) = (row for row in result["step"] if (row["step"], row["moment"]) == ("bundle's patch", "mid-training"))
    ratio = step["losses"]["InstanceLoss as the bundle has it"]["over_dicece"]["median"]
    assert f"takes {ratio:.2f} of one with `DiceCELoss`" in " ".join(README.split())


def test_the_package_docstring_has_the_table_of_every_loss():
    module = tables_module()
    assert module.loss_table() in monai_instance_loss.__doc__
    classes = {
        name
        for home in (losses, losses.pixel)
        for name in home.__all__
        if isinstance(getattr(home, name), type) and issubclass(getattr(home, name), torch.nn.Module)
    }
    # bases and wrappers are no losses of their own
    listed = classes - {"ImageLoss", "RegionLoss", "CompoundRegionLoss", "DeepSupervisionLoss", "WeightMapLoss"}
    assert {name for row in module.LOSSES for name in row.names} == listed


def test_the_python_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert "InstanceLossTerms(pixel=" in capsys.readouterr().out


def test_the_contributions_work_as_written():
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text()
    names: dict = {}
    for example in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(example, "CONTRIBUTING.md", "exec"), names)
    p, target = torch.rand(2, 1, 6, 7), (torch.rand(2, 1, 6, 7) > 0.7).float()
    torch.testing.assert_close(names["MeanSquaredLoss"]()(p, target), torch.nn.functional.mse_loss(p, target))
    metric = names["DetectedInstancesMetric"]()
    metric(torch.tensor([[[[1, 1, 0, 0]]]]), torch.tensor([[[[0, 1, 0, 1]]]]))
    assert float(metric.aggregate()) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), link
        assert linked.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(linked), link


def anchors(page: Path) -> set[str]:
    """The headings as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
