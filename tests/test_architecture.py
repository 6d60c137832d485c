"""The package's storeys: who may import whom, and what is done in one place only."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import monai_instance_loss

PACKAGE = Path(monai_instance_loss.__file__).parent

# each part of the package, lower ones first, and the parts that it may import; "_" are the modules _*.py of the package
MAY_IMPORT = {
    "_": set(),
    "instances": {"_"},
    "losses/engine": {"_", "instances"},
    "losses/pixel": {"_", "instances", "losses/engine"},
    "losses/terms": {"_", "instances", "losses/engine", "losses/pixel"},
    "losses": {"_", "instances", "losses/engine", "losses/pixel", "losses/terms"},
    "metrics": {"_", "instances"},
    "operating_points": {"_", "instances", "metrics"},
    "transforms": {"_", "instances", "operating_points"},
    "data": {"_"},
    "reference": {"_", "instances", "losses"},
    "evaluation": {"_", "instances", "metrics", "operating_points", "transforms", "data"},
    "handlers": {"_", "instances", "losses", "metrics", "transforms", "data", "evaluation"},
    "analysis": {"_", "instances", "losses"},
    "nnunet": {"_", "instances", "losses", "metrics"},
    "__init__": {"_", "instances"},
    "__main__": {"evaluation"},
}

# names that several modules have, for what they have in common
SAME_MEANING = {
    "__main__": "what `python -m` runs",
    "base": "the base class of what is in the folder",
    "inputs": "how the folder takes what users give it",
    "labelling": "from masks to instance maps, and the transform that does it",
    "lesions": "lesions: made, and measured",
    "metrics": "the metrics, and their handlers",
    "reading": "how input is read: masks by transforms, logits by losses",
    "reduction": "from many numbers to one",
    "regions": "sets of voxels: their sums, and what scores them",
    "spacing": "the size of a voxel",
    "tables": "rows of numbers: results in files, sums of fixed length on a GPU",
    "voxels": "voxels as lists: of masks, of instances, of network outputs",
}

ACTIVATIONS = {"sigmoid", "softmax", "log_softmax", "softplus", "logsigmoid", "one_hot"}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(module: str, nodes: list[ast.AST]) -> Iterator[str]:
    """The package's own modules that import statements of a module name."""
    for node in nodes:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                # of a package's __init__ one dot is the package itself, of any other module its parent
                up = node.level - (MODULES[module].stem == "__init__")
                base = ".".join([*module.split(".")[: -up or None], *([base] if base else [])])
            # a submodule, or a name in a module
            names = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else base for name in names]
        for name in names:
            if name.partition(".")[0] == PACKAGE.name:
                assert name in MODULES, f"{module} imports {name}, which is no module"
                yield name


def part_of(module: str) -> str:
    parts = module.split(".")[1:]
    if not parts:
        return "__init__"
    if parts[0] == "losses" and len(parts) > 1 and f"losses/{parts[1]}" in MAY_IMPORT:
        return f"losses/{parts[1]}"
    return "_" if parts[0].startswith("_") and not parts[0].startswith("__") else parts[0]


def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_run_downwards_only(part):
    found = {
        (module, target)
        for module in MODULES
        if part_of(module) == part
        for target in imported(module, list(ast.walk(tree(module))))
        if part_of(target) not in MAY_IMPORT[part] | {part}
    }
    assert found == set()


def test_the_parts_are_those_that_there_are_and_lower_ones_come_first():
    assert {part_of(module) for module in MODULES} == set(MAY_IMPORT)
    known: set[str] = set()
    for part, allowed in MAY_IMPORT.items():
        assert allowed <= known
        known.add(part)


def test_no_module_imports_itself_through_others():
    graph = {module: sorted(set(imported(module, list(tree(module).body)))) for module in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for target in graph[module]:
                visit(target, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_modules_of_one_name_mean_one_thing():
    by_name = defaultdict(list)
    for module, path in MODULES.items():
        if path.stem != "__init__" or path.parent != PACKAGE:
            by_name[module.rpartition(".")[2]].append(module)
    assert {name: modules for name, modules in by_name.items() if len(modules) > 1 and name not in SAME_MEANING} == {}


def called(node: ast.AST) -> str | None:
    """The last name of what a call calls."""
    if not isinstance(node, ast.Call):
        return None
    return getattr(node.func, "attr", getattr(node.func, "id", None))


def test_losses_activate_and_encode_in_the_engine_alone():
    homes = {
        module
        for module in MODULES
        if part_of(module).startswith("losses") and any(called(node) in ACTIVATIONS for node in ast.walk(tree(module)))
    }
    assert homes
    assert {part_of(module) for module in homes} == {"losses/engine"}


def test_one_module_compares_with_the_ignore_index():
    def compares(node: ast.AST) -> bool:
        sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        values = [side for side in sides if not isinstance(side, ast.Constant)]
        # with a constant, or with another loss's, it is a comparison of options
        return len(values) > 1 and any(getattr(side, "id", "") == "ignore_index" for side in values)

    homes = {module for module in MODULES if any(map(compares, ast.walk(tree(module))))}
    assert homes == {"monai_instance_loss._ignored"}


def test_components_are_labelled_in_the_backends_alone():
    def labels(module: str) -> bool:
        for node in ast.walk(tree(module)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if "cc3d" in names or getattr(node, "module", None) == "cc3d" or called(node) == "label":
                return True
        return False

    # synthetic volumes are made with scipy alone
    homes = {module for module in MODULES if part_of(module) != "data" and labels(module)}
    assert homes
    assert all(module.startswith("monai_instance_loss.instances.backends") for module in homes)


def test_the_engine_names_its_modules():
    engine = PACKAGE / "losses" / "engine"
    modules = {path.stem for path in engine.glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in engine.glob("*/__init__.py")}
    told = ast.get_docstring(tree("monai_instance_loss.losses.engine"))
    assert modules | folders <= set(re.findall(r"``(\w+)", told))
