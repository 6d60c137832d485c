"""The per-lesion table of a validation run."""

from __future__ import annotations

import csv

import pytest
import torch
from ignite.engine import Engine
from monai.bundle import ConfigParser
from monai.data import MetaTensor

from monai_instance_loss.handlers import LesionTableSaver

# lesions at 0, 2 and 4, predictions at 0-2 and 6
Y = torch.tensor([1.0, 0, 1, 0, 1, 0, 0]).view(1, 1, 1, 7)
Y_PRED = torch.tensor([1.0, 1, 1, 0, 0, 0, 1]).view(1, 1, 1, 7)


def rows_of(folder, batches, **options):
    engine = Engine(lambda engine, batch: batch)
    LesionTableSaver(folder, **options).attach(engine)
    engine.run(batches)
    with (folder / options.get("filename", "lesions.csv")).open() as file:
        return list(csv.DictReader(file))


def test_one_row_a_lesion_of_either_side(tmp_path):
    rows = rows_of(tmp_path / "new" / "folder", [(Y_PRED, Y), (list(Y_PRED), list(Y * 0))])
    assert [(row["case"], row["side"], row["id"], row["status"], row["partners"]) for row in rows] == [
        ("1", "reference", "1", "detected", "1"),
        ("1", "reference", "2", "detected", "1"),
        ("1", "reference", "3", "missed", ""),
        ("1", "prediction", "1", "matched", "1 2"),
        ("1", "prediction", "2", "false", ""),
        ("2", "prediction", "1", "false", ""),
        ("2", "prediction", "2", "false", ""),
    ]
    assert [row["voxels"] for row in rows] == ["1", "1", "1", "3", "1", "3", "1"]
    assert rows[3]["overlap_voxels"] == "2"


def test_the_samples_metadata_names_and_measures(tmp_path):
    affine = torch.diag(torch.tensor([2.0, 1.0, 3.0, 1.0]))
    volume = torch.zeros(1, 4, 4, 4)
    volume[0, 1, 2, 3] = 1
    sample = MetaTensor(volume, affine=affine, meta={"filename_or_obj": "case-7.nii.gz"})
    (row, _) = rows_of(tmp_path, [([sample], [sample])])
    assert row["case"] == "case-7.nii.gz"
    assert float(row["volume_mm3"]) == 6
    assert [float(row[f"centroid_mm_{axis}"]) for axis in "xyz"] == [2, 2, 9]
    assert [row[f"box_start_{axis}"] for axis in range(3)] == ["1", "2", "3"]


def test_channels_are_told_apart(tmp_path):
    rows = rows_of(tmp_path, [(torch.cat([Y_PRED, Y_PRED * 0], 1), torch.cat([Y, Y], 1))])
    missed = [(row["channel"], row["id"]) for row in rows if row["status"] == "missed"]
    assert missed == [("0", "3"), ("1", "4"), ("1", "5"), ("1", "6")]


def test_a_run_without_lesions_leaves_a_header_and_a_new_run_starts_afresh(tmp_path):
    engine = Engine(lambda engine, batch: batch)
    LesionTableSaver(tmp_path, filename="table.csv").attach(engine)
    engine.run([(Y, Y)])
    engine.run([(Y * 0, Y * 0)])
    assert (tmp_path / "table.csv").read_text() == "case,channel,side,id,status\n"
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_a_bundle_config_can_name_it(tmp_path):
    config = {
        "saver": {
            "_target_": "monai_instance_loss.handlers.LesionTableSaver",
            "save_dir": str(tmp_path),
            "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
            "connectivity": 1,
        },
        "imports": ["$import monai"],
    }
    saver = ConfigParser(config).get_parsed_content("saver")
    engine = Engine(lambda engine, batch: [{"pred": batch[0][0], "label": batch[1][0]}])
    saver.attach(engine)
    engine.run([(torch.eye(3)[None, None], torch.eye(3)[None, None])])
    assert len((tmp_path / "lesions.csv").read_text().splitlines()) == 1 + 6


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        rows_of(tmp_path / "file" / "folder", [(Y, Y)])
