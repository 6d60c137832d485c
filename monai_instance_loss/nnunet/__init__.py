"""Trainers for nnU-Net v2: an unmodified ``nnunetv2`` finds them by name and trains with a loss that counts lesions.

nnunetv2 asks for any torch and would replace the one that is installed; so name it, from the same index as before::

    pip install -c tests/constraints.txt "monai_instance_loss[nnunet]" "torch==2.13.0"
    export nnUNet_extTrainer=$(python -m monai_instance_loss.nnunet)
    nnUNetv2_train 1 3d_fullres 0 -tr nnUNetTrainerInstanceLoss

``nnUNet_extTrainer`` must be set for ``nnUNetv2_predict``, too. The trainers are ``nnUNetTrainerInstanceLoss``,
``nnUNetTrainerBlobLoss``, ``nnUNetTrainerCCLoss``, ``nnUNetTrainerBiCCLoss``, ``nnUNetTrainerSoftInstanceF1``, and
``nnUNetTrainerYAMLLoss`` for any other loss.

Before 2.8 nnU-Net does not read the variable. There, two lines put a module beside its own trainers::

    folder=$(python -c "import nnunetv2; print(nnunetv2.__path__[0])")/training/nnUNetTrainer
    echo "from monai_instance_loss.nnunet.trainers.lesion_trainers import *" > "$folder/lesion_trainers.py"

A trainer of one's own has ``LesionTrainer`` before a trainer of nnU-Net among its bases, and names a loss.
"""

from monai_instance_loss.nnunet.configured import loss_from_yaml
from monai_instance_loss.nnunet.labels import Labels, OwnLoss
from monai_instance_loss.nnunet.lesion_log import log_epoch
from monai_instance_loss.nnunet.levels import LevelsLoss
from monai_instance_loss.nnunet.shrinking import shrink_target
from monai_instance_loss.nnunet.trainer import LesionTrainer

__all__ = ["Labels", "LesionTrainer", "LevelsLoss", "OwnLoss", "log_epoch", "loss_from_yaml", "shrink_target"]
