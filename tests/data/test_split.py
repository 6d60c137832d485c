import re

import pytest

from monai_instance_loss.data import split_cases


def named(**n_cases: int) -> list[dict[str, str]]:
    return [{"case": f"{site}/{k}"} for site, n in n_cases.items() for k in range(n)]


def sites_of(cases):
    return {case["case"].rpartition("/")[0] for case in cases}


@pytest.mark.parametrize("val_fraction", [0.01, 0.25, 0.5, 0.99])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_parts_are_disjoint_and_hold_every_site(val_fraction, seed):
    cases = named(Utrecht=20, Singapore=5, GE3T=2)
    train, val = split_cases(cases, val_fraction, seed)
    assert sorted(c["case"] for c in train + val) == sorted(c["case"] for c in cases)
    assert sites_of(train) == sites_of(val) == {"Utrecht", "Singapore", "GE3T"}


def test_share_of_each_site():
    _, val = split_cases(named(Utrecht=20, Singapore=8))
    assert [sum(c["case"].startswith(site) for c in val) for site in ("Utrecht", "Singapore")] == [5, 2]


def test_nested_site():
    cases = [{"case": f"Amsterdam/{scanner}/{k}"} for scanner in ("GE3T", "GE1T5") for k in range(2)]
    train, val = split_cases(cases)
    assert sites_of(train) == sites_of(val) == {"Amsterdam/GE3T", "Amsterdam/GE1T5"}


@pytest.mark.parametrize("val_fraction", [0.01, 0.25, 0.99])
@pytest.mark.parametrize("cases", [named(A=1, B=1), named(A=2), named(A=1, B=2), named(A=1, B=1, C=1), named(A=1, B=9)])
def test_no_part_is_empty(cases, val_fraction):
    assert all(split_cases(cases, val_fraction))


def test_seeded():
    cases = named(Utrecht=12)
    assert split_cases(cases, seed=3) == split_cases(cases, seed=3)
    assert len({str(split_cases(cases, seed=seed)) for seed in range(5)}) > 1


def test_order_is_kept():
    cases = named(Utrecht=12, GE3T=12)
    for part in split_cases(cases):
        positions = [cases.index(case) for case in part]
        assert positions == sorted(positions)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"val_fraction": 0.0}, ValueError, "Expected `val_fraction` to be above 0 and below 1, but got 0.0."),
        ({"val_fraction": 1}, ValueError, "Expected `val_fraction` to be above 0 and below 1, but got 1."),
        ({"val_fraction": float("nan")}, ValueError, "Expected `val_fraction` to be above 0 and below 1, but got nan."),
        ({"val_fraction": "0.5"}, TypeError, "Expected `val_fraction` to be a number, but got '0.5'."),
        ({"seed": 0.5}, TypeError, "Expected `seed` to be an integer, but got 0.5"),
        ({"cases": named(A=1)}, ValueError, "Expected `cases` to hold at least 2 cases, but got 1."),
        ({"cases": named(A=2) * 2}, ValueError, "Expected `cases` to have different names, but got ['A/0', 'A/1']"),
        ({"cases": ["A/0", "A/1"]}, TypeError, "Expected `cases` to hold entries with the key 'case', but got 'A/0'."),
        ({"cases": {"case": "A/0"}}, TypeError, "Expected `cases` to be a sequence of cases, but got dict."),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        split_cases(**{"cases": named(A=4), **arguments})
