"""From the pairs that may match to those that do: all of them, or one partner each."""

from __future__ import annotations

import math

import numpy as np
import torch

from monai_instance_loss._optional import import_extra
from monai_instance_loss.metrics.overlaps import OverlapTable

__all__ = ["ASSIGNMENTS", "ONE_PARTNER", "assign"]

linear_sum_assignment = import_extra("scipy.optimize", "linear_sum_assignment")
coo_array = import_extra("scipy.sparse", "coo_array")
connected_components = import_extra("scipy.sparse.csgraph", "connected_components")

ONE_PARTNER = ("greedy", "optimal", "max_cardinality")
ASSIGNMENTS = ("many", "many_to_one", "first_choice", *ONE_PARTNER)

# small enough to leave the total score alone, large enough to be told from rounding
_TIE_BREAK = 2.0**-30


def assign(table: OverlapTable, score: torch.Tensor, assignment: str) -> OverlapTable:
    """Choose among the pairs that may match; ``Matching`` explains the assignments.

    Source: ours; the optimal ones are the Hungarian method of ``scipy.optimize.linear_sum_assignment`` on each
    connected part of the pairs, so that instances which share no candidate never meet in a matrix. Differentiable:
    nothing.

    Args:
        table: the pairs that may match.
        score: (P,), how good each pair is; 0 or more for ``"optimal"`` and ``"max_cardinality"``.
        assignment: one of ``ASSIGNMENTS``.

    Returns:
        The pairs that match. A predicted instance is in at most one of them for all but ``"many"``, a true one for all
        but ``"many"``, ``"many_to_one"`` and, where scores are equal, ``"first_choice"``.

    Raises:
        ImportError: the assignment is ``"optimal"`` or ``"max_cardinality"`` and scipy is not installed.

    Example:
        >>> from monai_instance_loss.instances import label_instances
        >>> from monai_instance_loss.metrics.overlaps import overlap_table
        >>> y, y_pred = torch.tensor([[[[1, 0, 1, 1]]]]), torch.tensor([[[[1, 1, 1, 1]]]])
        >>> table = overlap_table(label_instances(y), label_instances(y_pred))
        >>> [assign(table, table.measure("iou"), how).true_id.tolist() for how in ("many", "greedy")]
        [[1, 2], [2]]
    """
    if assignment == "many":
        return table
    if assignment in ("many_to_one", "first_choice"):
        chosen = _best_of_each_pred(table, score)
        return table.select(chosen if assignment == "many_to_one" else _best_of_each_true(table, score, chosen))
    if assignment == "greedy":
        return table.select(_greedy(table, score))
    # as many pairs as can be comes first once a pair is worth more than all scores together
    bonus = _TIE_BREAK if assignment == "optimal" else float(table.true_voxels.numel() + 1)
    weight = (score.double() + bonus).cpu().numpy()
    keep = _heaviest(table.true_id.cpu().numpy(), table.pred_id.cpu().numpy(), weight)
    return table.select(torch.from_numpy(keep).to(score.device))


def _best_of_each_pred(table: OverlapTable, score: torch.Tensor) -> torch.Tensor:
    """bool (P,): the best pair of each predicted instance, ties to the lower true id."""
    pairs = score.numel()
    own, order = table.pred_id - 1, torch.arange(pairs, device=score.device)
    best = score.new_full(table.pred_voxels.shape, -math.inf).scatter_reduce_(0, own, score, "amax")
    first = torch.full_like(table.pred_voxels, pairs)
    first.scatter_reduce_(0, own, torch.where(score == best[own], order, pairs), "amin")
    return order == first[own]


def _best_of_each_true(table: OverlapTable, score: torch.Tensor, offered: torch.Tensor) -> torch.Tensor:
    """bool (P,): of the pairs that are ``offered``, the best of each true instance, and all of equally good ones."""
    own, score = table.true_id - 1, torch.where(offered, score, -math.inf)
    best = score.new_full(table.true_voxels.shape, -math.inf).scatter_reduce_(0, own, score, "amax")
    return offered & (score == best[own])


def _greedy(table: OverlapTable, score: torch.Tensor) -> torch.Tensor:
    """bool (P,): the best pair, the best of those that share no instance with it, and so on; ties to the lower ids."""
    pairs = score.numel()
    rank = torch.empty_like(table.true_id)
    # pairs are sorted by their ids, and a stable sort leaves equals in place
    rank[torch.argsort(score, descending=True, stable=True)] = torch.arange(pairs, device=rank.device)
    chosen = torch.zeros_like(rank, dtype=torch.bool)
    left = torch.arange(pairs, device=rank.device)
    while left.numel():
        true, pred, place = table.true_id[left] - 1, table.pred_id[left] - 1, rank[left]
        best_true = torch.full_like(table.true_voxels, pairs).scatter_reduce_(0, true, place, "amin")
        best_pred = torch.full_like(table.pred_voxels, pairs).scatter_reduce_(0, pred, place, "amin")
        # a pair that is the best of both its instances is taken by the greedy order too, whatever lies elsewhere
        wins = (best_true[true] == place) & (best_pred[pred] == place)
        chosen[left[wins]] = True
        taken_true = torch.zeros_like(table.true_voxels, dtype=torch.bool)
        taken_pred = torch.zeros_like(table.pred_voxels, dtype=torch.bool)
        taken_true[true[wins]], taken_pred[pred[wins]] = True, True
        left = left[~(taken_true[true] | taken_pred[pred])]
    return chosen


def _heaviest(true_id: np.ndarray, pred_id: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """bool (P,): pairs with one partner each of the largest total weight; weights are above 0."""
    pairs = len(weight)
    true, true_row = np.unique(true_id, return_inverse=True)
    pred, pred_row = np.unique(pred_id, return_inverse=True)
    nodes = len(true) + len(pred)
    graph = coo_array((np.ones(pairs), (true_row, len(true) + pred_row)), shape=(nodes, nodes))
    part_of_node = connected_components(graph, directed=False)[1] if pairs else np.zeros(0, dtype=int)
    part = part_of_node[true_row]
    order = np.argsort(part, kind="stable")
    keep = np.zeros(pairs, dtype=bool)
    for members in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
        if len(members) < 2:
            keep[members] = True
            continue
        rows, row = np.unique(true_id[members], return_inverse=True)
        columns, column = np.unique(pred_id[members], return_inverse=True)
        matrix = np.zeros((len(rows), len(columns)))
        matrix[row, column] = weight[members]
        partner = np.full(len(rows), -1)
        matched_rows, matched_columns = linear_sum_assignment(matrix, maximize=True)
        partner[matched_rows] = matched_columns
        keep[members] = partner[row] == column
    return keep
