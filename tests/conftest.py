from __future__ import annotations

import torch
from hypothesis import settings

# one thread: the tensors here are small, and parallel workers would fight for the cores
torch.set_num_threads(1)

# the first example pays for imports and caches, and machines differ
settings.register_profile("monai_instance_loss", deadline=None)
settings.load_profile("monai_instance_loss")
