"""The README's numbers are those of the stored results, and its example runs."""

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


def tables_module():
    path = ROOT / "tests" / "benchmarks" / "tables.py"
    spec = importlib.util.spec_from_file_location("readme_tables", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["speed_cpu.json", "costs_cpu.json", "metrics_cpu.json", "training.json"])
def test_tables_are_those_of_the_stored_results(name):
    module = tables_module()
    result = json.loads((module.RESULTS / name).read_text())
    for table in module.TABLES[name]:
        assert table(result) in README


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


def test_linked_files_are_there():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert all((ROOT / link).exists() for link in links), links
