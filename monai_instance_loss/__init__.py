"""Instance-level (lesion-level) losses, metrics and transforms for MONAI.

Where things are: ``monai_instance_loss.losses`` and, on voxels, ``monai_instance_loss.losses.pixel``;
``monai_instance_loss.metrics``, with ``monai_instance_loss.handlers`` for engines; ``monai_instance_loss.transforms``;
``monai_instance_loss.evaluation`` of folders of masks; ``monai_instance_loss.analysis`` of a loss before any training;
``monai_instance_loss.instances``, which labels and sums for all of them; ``monai_instance_loss.data``, synthetic
brains; ``monai_instance_loss.nnunet``, trainers that nnU-Net finds; ``monai_instance_loss.reference``, the published
signatures.

Every loss, in ``monai_instance_loss.losses`` (those from ``BinaryCELoss`` on in ``losses.pixel``). *Criterion*:
also usable as ``instance_loss`` of the instance losses, in one pass over all regions.

| loss | source | needs | criterion | from |
|---|---|---|---|---|
| `InstanceLoss`, `InstanceCenterLoss` | Rachmadi 2024 |  |  | ours |
| `ICILoss` | Rachmadi 2023 |  |  | ours |
| `SoftInstanceF1Loss` | ours |  |  | ours |
| `BlobLoss` | Kofler 2023 |  |  | ours |
| `CCLoss`, `BiCCLoss` | Bouteille 2026 | `spacing_mm` |  | ours |
| `BinaryCELoss`, `WeightedCELoss`, `BalancedCELoss` | Xie & Tu 2015 (balanced) |  | yes | ours |
| `FocalRegionLoss` | Lin 2017; asymmetric: Yeung 2022 |  | yes | ours |
| `DiceRegionLoss`, `JaccardLoss`, `GeneralizedDiceRegionLoss`, `LogCoshDiceLoss` | Milletari 2016, Rahman 2016, Sudre 2017, Jadon 2020 |  | yes | ours |
| `TverskyRegionLoss`, `FocalTverskyLoss`, `ModifiedFocalTverskyLoss` | Salehi 2017, Abraham & Khan 2019, Yeung 2022 |  | yes | ours |
| `SensitivitySpecificityLoss` | Brosch 2015 |  | yes | ours |
| `DiceCERegionLoss`, `ComboLoss`, `ExponentialLogarithmicLoss`, `UnifiedFocalLoss` | Isensee 2021, Taghanaki 2019, Wong 2018, Yeung 2022 |  | yes | ours |
| `TLoss` | Gonzalez-Jimenez 2023 | its `nu` in the optimizer | yes | ours |
| `LovaszHingeLoss`, `LovaszSoftmaxLoss` | Berman 2018 |  |  | ours |
| `BoundaryLoss`, `DistancePenalisedCELoss`, `ShapeAwareLoss`, `HausdorffDTLoss` | Kervadec 2019, Caliva 2019, Al Arif 2017, Karimi 2020 | scipy, `spacing_mm` |  | ours |
| `AveragedHausdorffLoss` | Ribera 2019 | time: voxels x lesions |  | ours |
| `InstanceBoxGIoULoss`, `InstanceBoxDIoULoss` | Rezatofighi 2019, Zheng 2020, on soft boxes (ours) |  |  | ours |
| `DiceLoss`, `GeneralizedDiceLoss`, `TverskyLoss`, `FocalLoss`, `DiceCELoss`, `DiceFocalLoss` | as above |  | yes | MONAI |
| `BCEWithLogitsLoss`, `CrossEntropyLoss` |  |  | yes | torch |
"""  # noqa: E501

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_instance_loss.instances import Instances as Instances
    from monai_instance_loss.instances import label_instances as label_instances

__version__ = version("monai_instance_loss")

# those that wait for torch are not among them: whoever goes through the list would import it
__all__ = ["__version__"]
_LATE = ("Instances", "label_instances")


def __getattr__(name: str) -> Any:
    # on first use, as torch takes seconds to import, which `--help` need not wait for
    if name in _LATE:
        from monai_instance_loss import instances

        return getattr(instances, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})
