"""``python -m monai_instance_loss.nnunet``: the folder that nnU-Net is to look in, or one sentence."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import monai_instance_loss
from monai_instance_loss.nnunet import __main__ as command

FOLDER = Path(monai_instance_loss.__file__).parent / "nnunet" / "trainers"


def with_paths(monkeypatch, **names):
    """An nnunetv2 whose module `paths` has these names."""
    paths = ModuleType("nnunetv2.paths")
    vars(paths).update(names)
    monkeypatch.setitem(sys.modules, "nnunetv2", ModuleType("nnunetv2"))
    monkeypatch.setitem(sys.modules, "nnunetv2.paths", paths)


def test_the_folder(monkeypatch, capsys):
    with_paths(monkeypatch, nnUNet_extTrainer=None)
    assert command.main() == 0
    assert capsys.readouterr().out == f"{FOLDER}\n"
    # nnU-Net imports every module there, and forgets it afterwards
    assert [path.name for path in sorted(FOLDER.glob("*.py"))] == ["__init__.py", "lesion_trainers.py"]


def test_a_version_that_does_not_look_there(monkeypatch, capsys):
    with_paths(monkeypatch)
    monkeypatch.setattr(command, "version", lambda name: "2.5.2")
    assert command.main() == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith(
        "Expected an nnunetv2 that finds trainers through `nnUNet_extTrainer` (2.8), but got 2.5.2: "
    )
    assert error.count("\n") == 1


def test_no_nnunet(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "nnunetv2", None)
    assert command.main() == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert error == "Expected nnunetv2, but got none: pip install 'monai_instance_loss[nnunet]'.\n"


def test_the_package_is_imported_without_nnunet(monkeypatch):
    monkeypatch.setitem(sys.modules, "nnunetv2", None)
    importlib.reload(importlib.import_module("monai_instance_loss.nnunet.trainer"))
