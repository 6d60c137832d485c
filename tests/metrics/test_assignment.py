from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from monai_instance_loss.metrics.assignment import assign
from monai_instance_loss.metrics.overlaps import OverlapTable

ONE_PARTNER = ["greedy", "optimal", "max_cardinality"]


def table_of(pairs: list[tuple[int, int]], n_true: int = 5, n_pred: int = 5) -> OverlapTable:
    true, pred = torch.tensor(sorted(pairs), dtype=torch.int64).view(-1, 2).unbind(1)
    sizes = [torch.ones(count, dtype=torch.int64) for count in (n_true, n_pred)]
    return OverlapTable(true, pred, torch.ones_like(true), *sizes)


def chosen(scores: dict[tuple[int, int], float], assignment: str) -> list[tuple[int, int]]:
    table = table_of(list(scores))
    score = torch.tensor([scores[pair] for pair in sorted(scores)], dtype=torch.float64)
    picked = assign(table, score, assignment)
    return list(zip(picked.true_id.tolist(), picked.pred_id.tolist(), strict=True))


def one_to_one(pairs: list[tuple[int, int]]) -> bool:
    return all(len(set(side)) == len(pairs) for side in zip(*pairs, strict=True))


graphs = st.dictionaries(
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1, width=16)),
    max_size=9,
)


def test_a_case_where_the_assignments_differ():
    # greedy takes 0.6 and is left with nothing; 0.5 + 0.5 is more
    scores = {(1, 1): 0.6, (1, 2): 0.5, (2, 1): 0.5}
    assert chosen(scores, "many") == [(1, 1), (1, 2), (2, 1)]
    assert chosen(scores, "greedy") == [(1, 1)]
    assert chosen(scores, "optimal") == [(1, 2), (2, 1)]
    # 0.9 is more than 0.2 + 0.2, but one pair less
    scores = {(1, 1): 0.9, (1, 2): 0.2, (2, 1): 0.2}
    assert chosen(scores, "optimal") == [(1, 1)]
    assert chosen(scores, "max_cardinality") == [(1, 2), (2, 1)]


def test_of_equal_totals_the_one_with_more_pairs_wins():
    scores = {(1, 1): 0.8, (1, 2): 0.4, (2, 1): 0.4}
    assert chosen(scores, "optimal") == [(1, 2), (2, 1)]
    assert chosen({(2, 3): 0.0}, "optimal") == [(2, 3)]


def test_of_as_many_pairs_the_best_total_wins():
    scores = {(1, 1): 0.1, (1, 2): 0.7, (2, 1): 0.7, (2, 2): 0.1}
    assert chosen(scores, "max_cardinality") == [(1, 2), (2, 1)]


def test_greedy_gives_ties_to_the_lower_ids():
    assert chosen({(1, 2): 0.5, (2, 2): 0.5, (2, 1): 0.5}, "greedy") == [(1, 2), (2, 1)]
    assert chosen({(1, 1): 0.5, (1, 2): 0.5}, "greedy") == [(1, 1)]
    # enough of them for a sort that is not stable to mix them up
    table = table_of([(i, j) for i in range(1, 41) for j in range(1, 41)], 40, 40)
    picked = assign(table, torch.full((1600,), 0.5), "greedy")
    assert picked.true_id.tolist() == picked.pred_id.tolist() == list(range(1, 41))


def test_first_choice_makes_no_second_one():
    # prediction 2 likes lesion 1 best, which prefers prediction 1: lesion 2, its second choice, is missed
    scores = {(1, 1): -1.0, (1, 2): -2.0, (2, 2): -3.0}
    assert chosen(scores, "first_choice") == [(1, 1)]
    assert chosen(scores, "greedy") == [(1, 1), (2, 2)]
    # equally good lesions: the lower id; equally good predictions: both
    assert chosen({(1, 1): 0.5, (2, 1): 0.5, (2, 2): 0.5}, "first_choice") == [(1, 1), (2, 2)]
    assert chosen({(1, 1): 0.5, (1, 2): 0.5}, "first_choice") == [(1, 1), (1, 2)]
    assert chosen({}, "first_choice") == []
    assert chosen(scores, "many_to_one") == [(1, 1), (1, 2)]


@settings(max_examples=100)
@given(graphs)
def test_first_choice_agrees_with_a_loop(scores):
    proposals: dict[int, list[tuple[int, int]]] = {}
    for j in {pair[1] for pair in scores}:
        best = min((pair for pair in scores if pair[1] == j), key=lambda pair: (-scores[pair], pair))
        proposals.setdefault(best[0], []).append(best)
    expected = [
        pair for mine in proposals.values() for pair in mine if scores[pair] == max(scores[other] for other in mine)
    ]
    assert chosen(scores, "first_choice") == sorted(expected)


@settings(max_examples=100)
@given(graphs)
def test_greedy_agrees_with_a_loop(scores):
    expected: list[tuple[int, int]] = []
    for pair in sorted(scores, key=lambda pair: (-scores[pair], pair)):
        if one_to_one([*expected, pair]):
            expected.append(pair)
    assert chosen(scores, "greedy") == sorted(expected)


@settings(max_examples=60)
@given(graphs)
def test_optimal_ones_agree_with_brute_force(scores):
    subsets = [list(some) for size in range(6) for some in combinations(scores, size) if one_to_one(list(some))]
    totals = [(len(subset), sum(scores[pair] for pair in subset)) for subset in subsets]
    best_total = max(total for _, total in totals)
    most = max(size for size, _ in totals)
    optimal, largest = chosen(scores, "optimal"), chosen(scores, "max_cardinality")
    assert one_to_one(optimal)
    assert one_to_one(largest)
    assert sum(scores[pair] for pair in optimal) == pytest.approx(best_total, abs=1e-8)
    assert len(optimal) >= max(size for size, total in totals if total >= best_total - 1e-12)
    assert len(largest) == most
    assert sum(scores[pair] for pair in largest) == pytest.approx(max(total for size, total in totals if size == most))


def test_many_instances_agree_with_scipy_on_the_largest_number_of_pairs():
    rng = np.random.default_rng(0)
    keys = np.unique(np.concatenate([rng.integers(0, 400, 700) * 400 + rng.integers(0, 400, 700)]))
    rows, columns = keys // 400, keys % 400
    graph = coo_array((np.ones(len(keys)), (rows, columns)), shape=(400, 400)).tocsr()
    expected = (maximum_bipartite_matching(graph) >= 0).sum()
    table = table_of(list(zip((rows + 1).tolist(), (columns + 1).tolist(), strict=True)), 400, 400)
    picked = assign(table, torch.from_numpy(rng.random(len(keys))), "max_cardinality")
    assert picked.true_id.unique().numel() == picked.pred_id.unique().numel() == picked.true_id.numel() == expected


@pytest.mark.parametrize("assignment", ["many", *ONE_PARTNER])
def test_no_pairs_stay_none(assignment):
    assert chosen({}, assignment) == []


@pytest.mark.parametrize("assignment", ONE_PARTNER)
def test_the_table_keeps_sizes_and_shared_voxels(assignment):
    table = table_of([(1, 1), (2, 1)], 3, 4)
    picked = assign(table, torch.tensor([0.1, 0.9]), assignment)
    assert (picked.true_id.tolist(), picked.shared.tolist()) == ([2], [1])
    assert (picked.true_voxels.numel(), picked.pred_voxels.numel()) == (3, 4)
