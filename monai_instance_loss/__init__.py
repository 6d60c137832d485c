"""Instance-level (lesion-level) losses, metrics and transforms for MONAI.

Every loss, in ``monai_instance_loss.losses`` (those from ``BinaryCELoss`` on in ``losses.pixel``). *Cost*: forward +
backward over MONAI's ``DiceCELoss``, 128^3 voxels with 60 lesions on two CPU cores. *Criterion*: also usable as
``instance_loss`` of the instance losses, in one pass over all regions.

| loss | source | needs | cost | criterion | from |
|---|---|---|---|---|---|
| `InstanceLoss`, `InstanceCenterLoss` | Rachmadi 2024 |  | 0.6 to 0.9 |  | ours |
| `ICILoss` | Rachmadi 2023 |  | 0.8 |  | ours |
| `SoftInstanceF1Loss` | ours |  | 0.4 |  | ours |
| `BlobLoss` | Kofler 2023 |  | 0.6 |  | ours |
| `CCLoss`, `BiCCLoss` | Bouteille 2026 | scipy, `spacing_mm` | 19 to 25 |  | ours |
| `BinaryCELoss`, `WeightedCELoss`, `BalancedCELoss` | Xie & Tu 2015 (balanced) |  | 0.3 to 0.5 | yes | ours |
| `FocalRegionLoss` | Lin 2017; asymmetric: Yeung 2022 |  | 2.0 | yes | ours |
| `DiceRegionLoss`, `JaccardLoss`, `GeneralizedDiceRegionLoss`, `LogCoshDiceLoss` | Milletari 2016, Rahman 2016, Sudre 2017, Jadon 2020 |  | 0.3 to 0.5 | yes | ours |
| `TverskyRegionLoss`, `FocalTverskyLoss`, `ModifiedFocalTverskyLoss` | Salehi 2017, Abraham & Khan 2019, Yeung 2022 |  | 0.5 to 0.6 | yes | ours |
| `SensitivitySpecificityLoss` | Brosch 2015 |  | 0.8 | yes | ours |
| `DiceCERegionLoss`, `ComboLoss`, `ExponentialLogarithmicLoss`, `UnifiedFocalLoss` | Isensee 2021, Taghanaki 2019, Wong 2018, Yeung 2022 |  | 0.6 to 2.5 | yes | ours |
| `TLoss` | Gonzalez-Jimenez 2023 | its `nu` in the optimizer | 0.8 | yes | ours |
| `LovaszHingeLoss`, `LovaszSoftmaxLoss` | Berman 2018 |  | 8.9 to 24 |  | ours |
| `BoundaryLoss`, `DistancePenalisedCELoss`, `ShapeAwareLoss`, `HausdorffDTLoss` | Kervadec 2019, Caliva 2019, Al Arif 2017, Karimi 2020 | scipy, `spacing_mm` | 18 to 95 |  | ours |
| `AveragedHausdorffLoss` | Ribera 2019 | time: voxels x lesions | 49 |  | ours |
| `InstanceBoxGIoULoss`, `InstanceBoxDIoULoss` | Rezatofighi 2019, Zheng 2020, on soft boxes (ours) |  | 1.1 to 1.2 |  | ours |
| `DiceLoss`, `GeneralizedDiceLoss`, `TverskyLoss`, `FocalLoss`, `DiceCELoss`, `DiceFocalLoss` | as above |  | 0.4 to 2.8 | yes | MONAI |
| `BCEWithLogitsLoss`, `CrossEntropyLoss` |  |  | 0.5 | yes | torch |
"""  # noqa: E501

from importlib.metadata import version

from monai_instance_loss.instances import Instances, label_instances

__version__ = version("monai_instance_loss")

__all__ = ["Instances", "__version__", "label_instances"]
