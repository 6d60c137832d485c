from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from monai_instance_loss.metrics.candidates import match_candidates

volumes = st.tuples(st.integers(1, 2), st.integers(1, 2), *[st.integers(1, 4)] * 3).flatmap(
    lambda shape: st.tuples(*[hnp.arrays(np.float32, shape, elements=st.sampled_from([0, 0.25, 0.5, 1]))] * 2)
)


def test_hand_derived_match():
    p = torch.tensor([[[[0.9, 0.2, 0.0, 0.8, 0.0, 0.3]]]])
    y = torch.tensor([[[[0, 1, 0, 0, 0, 1]]]]) > 0
    # candidates 0-1, 3 and 5, the second false; all of the first counts, not its touching voxel alone
    found = match_candidates(p, p > 0, y)
    assert found.score.tolist() == pytest.approx([0.9, 0.3])
    assert (found.false_score.tolist(), found.false_channel.tolist()) == (pytest.approx([0.8]), [0])
    assert found.true.count == 2


@settings(max_examples=50)
@given(volumes, st.sampled_from([None, 1, 2]))
def test_agrees_with_a_pairwise_loop(pair, connectivity):
    p, y = pair[0], pair[1] == 1
    found = match_candidates(*map(torch.from_numpy, (p, p >= 0.5, y)), connectivity)
    structure = ndimage.generate_binary_structure(3, connectivity or 3)
    true, false = [], []
    for b, c in np.ndindex(*y.shape[:2]):
        candidates, n_candidates = ndimage.label(p[b, c] >= 0.5, structure)
        lesions, n_lesions = ndimage.label(y[b, c], structure)
        peaks = {j: p[b, c][candidates == j].max() for j in range(1, n_candidates + 1)}
        # ids of labels follow the raster order of first voxels, in scipy as here
        true += [
            max((peaks[j] for j in set(candidates[lesions == i]) - {0}), default=0) for i in range(1, n_lesions + 1)
        ]
        false += [(c, peak) for j, peak in peaks.items() if not (y[b, c] & (candidates == j)).any()]
    assert found.score.tolist() == true
    assert list(zip(found.false_channel.tolist(), found.false_score.tolist(), strict=True)) == false


@pytest.mark.parametrize("shape", [(0, 1, 2, 2), (1, 0, 2, 2), (1, 2, 1, 1)])
def test_nothing_gives_nothing(shape):
    nothing = torch.zeros(shape)
    found = match_candidates(nothing, nothing > 0, nothing > 0)
    assert found.score.numel() == found.false_score.numel() == found.false_channel.numel() == 0
    assert (found.score.dtype, found.false_score.dtype) == (torch.float32, torch.float32)
