"""Synthetic brain MRI with lesions, and the cases of data sets on disk."""

from __future__ import annotations

from .cases import find_wmh_cases
from .dataset import wmh_cases
from .diseases import DISEASES, Disease
from .finding import find_cases
from .nnunet_folder import write_nnunet_dataset
from .sites import SITES, Site
from .split import split_cases
from .synthesis import WMHCase, synthesize_wmh_case
from .writing import write_wmh_dataset

__all__ = [
    "DISEASES",
    "SITES",
    "Disease",
    "Site",
    "WMHCase",
    "find_cases",
    "find_wmh_cases",
    "split_cases",
    "synthesize_wmh_case",
    "wmh_cases",
    "write_nnunet_dataset",
    "write_wmh_dataset",
]
