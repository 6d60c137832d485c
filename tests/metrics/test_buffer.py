from __future__ import annotations

import pytest
import torch

from monai_instance_loss.metrics.buffer import BufferedMetric


class Voxels(BufferedMetric):
    """Buffers the number of true voxels of each sample."""

    def _rows_of_nothing(self):
        return torch.zeros(0, 1)

    def _compute_tensor(self, y_pred, y=None):
        return y.flatten(1).sum(1, keepdim=True).float()

    def aggregate(self):
        return self._rows().sum()


MASK = torch.ones(2, 1, 2, 2)


@pytest.mark.parametrize("empty", [MASK[:0], []], ids=["tensor", "list"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 0)])
def test_a_batch_of_none_adds_nothing(empty, order):
    metric = Voxels()
    for which in order:
        metric(*([MASK, MASK] if which else [empty, empty]))
    assert metric.aggregate().item() == 8
    assert len(metric) == 2


def test_a_later_call_is_seen_by_a_later_aggregate():
    metric = Voxels()
    metric(MASK[:0], MASK[:0])
    assert (metric.aggregate().item(), len(metric)) == (0, 0)
    metric(MASK, MASK)
    assert metric.aggregate().item() == 8
    metric(list(MASK), tuple(MASK))
    assert metric.aggregate().item() == 16


def test_reset_forgets_everything():
    metric = Voxels()
    metric(MASK[:0], MASK[:0])
    metric(MASK, MASK)
    metric.reset()
    assert metric.get_buffer() is None
    with pytest.raises(ValueError, match="Expected Voxels to be called before `aggregate`, but got no data"):
        metric.aggregate()


@pytest.mark.parametrize("samples", [0, 1, 3])
def test_lists_of_another_length_are_refused(samples):
    with pytest.raises(ValueError, match=rf"Expected `y` .*as many samples as `y_pred`, 2, but got {samples}"):
        Voxels()(list(MASK), [MASK[0]] * samples)
