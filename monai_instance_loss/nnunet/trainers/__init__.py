"""The folder that ``nnUNet_extTrainer`` names. Nothing else lies here: nnU-Net imports every module that it finds."""
