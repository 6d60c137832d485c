"""Official scorers of challenges: (columns, rows of each preset) from a checkout that is on the path."""

from __future__ import annotations

import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np
from preset_cases import Case

Rows = tuple[list[str], dict[str, list[list[Any]]]]

REGIONS = ["WT", "TC", "ET"]


def brats(checkout: Path, made: list[Case]) -> Rows:
    """Rows of the three regions of each case, for each challenge."""
    import metrics
    import nibabel as nib
    import pandas

    class Table(pandas.DataFrame):
        """A pandas that replaces in numbers only: later ones than the scorer's stop at columns of arrays."""

        _constructor = property(lambda self: Table)

        def replace(self, old: Any, new: Any, inplace: bool = False) -> Any:
            numbers = self.select_dtypes("number")
            target = self if inplace else self.copy()
            target[numbers.columns] = pandas.DataFrame.replace(numbers, old, new)
            return None if inplace else target

    metrics.pd = types.SimpleNamespace(DataFrame=Table)
    columns = ["Num_TP", "Num_FP", "Num_FN", "Legacy_Dice", "Legacy_HD95"]
    columns += ["LesionWise_Score_Dice", "LesionWise_Score_HD95"]
    rows: dict[str, list[list[Any]]] = {}
    with tempfile.TemporaryDirectory() as root:
        for case in made:
            affine = np.diag([*case.spacing_mm, 1])
            nib.save(nib.Nifti1Image(case.y_pred, affine), f"{root}/pred.nii.gz")
            nib.save(nib.Nifti1Image(case.y, affine), f"{root}/true.nii.gz")
            for challenge in ("GLI", "SSA", "PED", "MEN", "MET"):
                table = metrics.get_LesionWiseResults(
                    f"{root}/pred.nii.gz", f"{root}/true.nii.gz", f"BraTS-{challenge}"
                ).set_index("Labels")
                scores = [[float(table.loc[region, column]) for column in columns] for region in REGIONS]
                rows.setdefault(f"brats-{challenge.lower()}", []).append(scores)
    # the three share their settings
    assert rows["brats-gli"] == rows.pop("brats-ssa") == rows.pop("brats-ped")
    return columns, rows


def isles22(checkout: Path, made: list[Case]) -> Rows:
    """The four scores of eval_utils.py."""
    import eval_utils

    rows = []
    for case in made:
        masks = case.y > 0, case.y_pred > 0
        voxel_ml = np.prod(case.spacing_mm) / 1000
        rows.append(
            [
                eval_utils.compute_dice(*masks),
                eval_utils.compute_lesion_f1_score(*masks),
                eval_utils.compute_absolute_lesion_difference(*masks),
                eval_utils.compute_absolute_volume_difference(*masks, voxel_ml),
            ]
        )
    return ["dice", "lesion_f1", "lesion_count_difference", "volume_difference_ml"], {"isles22": rows}


def isles24(checkout: Path, made: list[Case]) -> Rows:
    """The four scores of eval_utils.py, three of them panoptica's."""
    import eval_utils

    rows = []
    for case in made:
        masks = case.y > 0, case.y_pred > 0
        voxel_ml = np.prod(case.spacing_mm) / 1000
        f1, count_difference, dice = eval_utils.compute_dice_f1_instance_difference(*masks)
        volume_difference = eval_utils.compute_absolute_volume_difference(*masks, voxel_ml)
        rows.append([dice, f1, count_difference, volume_difference])
    return ["dice", "lesion_f1", "lesion_count_difference", "volume_difference_ml"], {"isles24": rows}


def autopet(checkout: Path, made: list[Case]) -> Rows:
    """The three scores of val_script.py."""
    import nibabel as nib
    import val_script

    rows = []
    with tempfile.TemporaryDirectory() as root:
        for case in made:
            affine = np.diag([*case.spacing_mm, 1])
            nib.save(nib.Nifti1Image((case.y_pred > 0).astype(np.uint8), affine), f"{root}/pred.nii.gz")
            nib.save(nib.Nifti1Image((case.y > 0).astype(np.uint8), affine), f"{root}/true.nii.gz")
            rows.append(list(val_script.compute_metrics(f"{root}/true.nii.gz", f"{root}/pred.nii.gz")))
    return ["dice", "false_positive_volume_ml", "false_negative_volume_ml"], {"autopet": rows}


def wmh(checkout: Path, made: list[Case]) -> Rows:
    """The five scores of evaluation.py; label 2 is other pathology. None where it stops with an error."""
    import evaluation
    import SimpleITK

    def image(volume: np.ndarray, case: Case) -> Any:
        # SimpleITK has the axes the other way round; later versions cut the scorer's threshold of 0.5 to 0 for integers
        made_image = SimpleITK.GetImageFromArray(volume.T.astype(np.float32))
        made_image.SetSpacing(case.spacing_mm)
        return made_image

    rows = []
    with tempfile.TemporaryDirectory() as root:
        for case in made:
            SimpleITK.WriteImage(image(np.where(case.y == 3, 1, case.y), case), f"{root}/wmh.nii.gz")
            SimpleITK.WriteImage(image(case.y_pred > 0, case), f"{root}/result.nii.gz")
            images = evaluation.getImages(f"{root}/wmh.nii.gz", f"{root}/result.nii.gz")
            recall, f1 = evaluation.getLesionDetection(*images)
            others = []
            for score in (evaluation.getDSC, evaluation.getHausdorff, evaluation.getAVD):
                try:
                    others.append(score(*images))
                except (ValueError, ZeroDivisionError, IndexError):
                    others.append(None)
            rows.append([*others, recall, f1])
    return ["dsc", "h95", "avd", "recall", "f1"], {"wmh": rows}


def valdo(checkout: Path, made: list[Case]) -> Rows:
    """The four ranked scores of microbleeds, with centres less than 5 mm apart."""
    from evaluation_comparison.pairwise_measures import PairwiseMeasures

    rows = []
    for case in made:
        pair = PairwiseMeasures(
            (case.y > 0).astype(float),
            (case.y_pred > 0).astype(float),
            "microbleeds",
            pixdim=case.spacing_mm,
            thresh_assign=5.0,
        )
        scores = [pair.f1_count_element(), pair.mean_dsc_whenoverlap()]
        rows.append([*scores, pair.absolute_difference(), pair.absolute_vol_difference()])
    columns = ["f1_score", "mean_diceover", "absolute_count_difference", "absolute_volume_difference"]
    return columns, {"valdo": rows}
