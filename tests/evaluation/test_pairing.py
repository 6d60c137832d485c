from __future__ import annotations

import os
from pathlib import Path

import pytest

from monai_instance_loss.evaluation.pairing import Failure, pair_files


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def found(cases, folder: Path) -> dict[str, str]:
    return {c.case: str(p.relative_to(folder)) for c in cases for p in c.predictions.values()}


def test_same_stem_in_natural_order(tmp_path):
    ref = touch(tmp_path / "ref", "p10.nii.gz", "p2.nii", "notes.txt", ".p3.nii.gz")
    net = touch(tmp_path / "net", "p2.nii.gz", "p10.nii.gz")
    cases, failures = pair_files(ref, {"net": net})
    assert [case.case for case in cases] == ["p2", "p10"]
    assert found(cases, net) == {"p2": "p2.nii.gz", "p10": "p10.nii.gz"}
    assert failures == []


def test_a_dot_in_a_name_is_no_suffix(tmp_path):
    ref, net = touch(tmp_path / "ref", "p1.v2.nii.gz"), touch(tmp_path / "net", "p1.v2.nii")
    cases, failures = pair_files(ref, {"net": net})
    assert found(cases, net) == {"p1.v2": "p1.v2.nii"}
    assert failures == []


def test_missing_partners_are_named_and_the_others_go_on(tmp_path):
    ref, net = touch(tmp_path / "ref", "a.nii.gz", "b.nii.gz"), touch(tmp_path / "net", "b.nii.gz", "c.nii.gz")
    cases, failures = pair_files(ref, {"net": net})
    assert found(cases, net) == {"b": "b.nii.gz"}
    assert failures == [
        Failure("a", "net", f"Expected one prediction of a in {net}, but got none."),
        Failure("c.nii.gz", "net", f"Expected a reference of {net / 'c.nii.gz'} in {ref}, but got none."),
    ]


def test_two_predictions_of_a_case(tmp_path):
    ref, net = touch(tmp_path / "ref", "a.nii.gz", "b.nii"), touch(tmp_path / "net", "a.nii", "a.nii.gz", "b.nii")
    cases, failures = pair_files(ref, {"net": net})
    assert found(cases, net) == {"b": "b.nii"}
    (failure,) = failures
    assert failure.message == f"Expected one prediction of a in {net}, but got {net / 'a.nii'}, {net / 'a.nii.gz'}."


def test_two_references_of_a_case(tmp_path):
    ref, net = touch(tmp_path / "ref", "a.nii", "a.nii.gz", "b.nii"), touch(tmp_path / "net", "a.nii", "b.nii")
    cases, failures = pair_files(ref, {"net": net})
    assert [case.case for case in cases] == ["b"]
    assert failures == [
        Failure("a", None, f"Expected one reference of a in {ref}, but got {ref / 'a.nii'}, {ref / 'a.nii.gz'}.")
    ]


@pytest.mark.parametrize(
    "name",
    [
        "Utrecht/0/wmh.nii.gz", "Utrecht/0/result.nii.gz", "Utrecht/0/pre/FLAIR_wmh.nii.gz", "Utrecht/0.nii.gz",
        "Utrecht_0.nii",
    ],
)  # fmt: skip
def test_challenge_layout(tmp_path, name):
    ref = touch(tmp_path / "ref", "Utrecht/0/wmh.nii.gz", "Amsterdam/GE3T/0/wmh.nii.gz", "Utrecht/0/pre/FLAIR.nii.gz")
    net = touch(tmp_path / "net", name, "Amsterdam/GE3T/0/wmh.nii.gz")
    cases, failures = pair_files(ref, {"net": net})
    assert found(cases, net) == {"Amsterdam/GE3T/0": "Amsterdam/GE3T/0/wmh.nii.gz", "Utrecht/0": name}
    assert failures == []
    assert [case.image for case in cases] == [None, ref / "Utrecht/0/pre/FLAIR.nii.gz"]


def test_challenge_case_by_its_number_only_where_that_is_unique(tmp_path):
    ref = touch(tmp_path / "ref", "Utrecht/0/wmh.nii.gz", "Singapore/50/wmh.nii.gz", "GE3T/50/wmh.nii.gz")
    net = touch(tmp_path / "net", "0.nii.gz", "50.nii.gz")
    cases, failures = pair_files(ref, {"net": net})
    assert found(cases, net) == {"Utrecht/0": "0.nii.gz"}
    assert [failure.case for failure in failures] == ["GE3T/50", "Singapore/50", "50.nii.gz"]


def test_other_files_next_to_a_known_name_are_left_alone(tmp_path):
    ref = touch(tmp_path / "ref", "Utrecht/0/wmh.nii.gz")
    net = touch(tmp_path / "net", "Utrecht/0/wmh.nii.gz", "Utrecht/0/uncertainty.nii.gz")
    cases, failures = pair_files(ref, {"net": net})
    assert found(cases, net) == {"Utrecht/0": "Utrecht/0/wmh.nii.gz"}
    assert failures == []


def test_a_folder_with_several_files_and_no_known_name(tmp_path):
    ref = touch(tmp_path / "ref", "Utrecht/0/wmh.nii.gz")
    net = touch(tmp_path / "net", "Utrecht/0/x.nii.gz", "Utrecht/0/y.nii.gz")
    _, (failure,) = pair_files(ref, {"net": net})
    assert failure.message.startswith("Expected one prediction of Utrecht/0")
    assert "x.nii.gz" in failure.message
    assert "y.nii.gz" in failure.message


def test_each_model_has_its_own_failures(tmp_path):
    ref = touch(tmp_path / "ref", "a.nii", "b.nii")
    nets = {"one": touch(tmp_path / "one", "a.nii", "b.nii"), "two": touch(tmp_path / "two", "b.nii")}
    cases, failures = pair_files(ref, nets)
    assert [sorted(case.predictions) for case in cases] == [["one"], ["one", "two"]]
    assert [(failure.case, failure.model) for failure in failures] == [("a", "two")]


def test_probabilities_and_scans(tmp_path):
    ref, net = touch(tmp_path / "ref", "a.nii", "b.nii"), touch(tmp_path / "net", "a.nii", "b.nii")
    maps = touch(tmp_path / "maps", "a.nii.gz")
    scans = touch(tmp_path / "scans", "a_0000.nii.gz", "b/pre/FLAIR.nii.gz", "b/pre/T1.nii.gz")
    cases, failures = pair_files(ref, {"net": net}, maps, scans)
    assert [case.probability for case in cases] == [maps / "a.nii.gz", None]
    assert [case.image for case in cases] == [scans / "a_0000.nii.gz", scans / "b/pre/FLAIR.nii.gz"]
    assert failures == [Failure("b", "net", f"Expected one probability map of b in {maps}, but got none.")]


def test_folders_that_cannot_be_paired(tmp_path):
    net = touch(tmp_path / "net", "a.nii")
    with pytest.raises(FileNotFoundError, match=r"Expected an existing folder, but got .*nowhere"):
        pair_files(tmp_path / "nowhere", {"net": net})
    with pytest.raises(FileNotFoundError, match=r"Expected an existing folder, but got .*no_net"):
        pair_files(net, {"net": tmp_path / "no_net"})
    with pytest.raises(FileNotFoundError, match=r"to hold references .*, but got none"):
        pair_files(touch(tmp_path / "empty", "a.txt"), {"net": net})
    both = touch(tmp_path / "both", "a.nii", "Utrecht/0/wmh.nii.gz")
    with pytest.raises(ValueError, match=r"but got both: .*a.nii and .*wmh.nii.gz"):
        pair_files(both, {"net": net})


def test_a_file_is_used_once(tmp_path):
    # A_1 is site A's case 1 as <site>_<case>, and site B's case A_1 as <case>
    ref, net = touch(tmp_path / "ref", "A/1/wmh.nii", "B/A_1/wmh.nii", "C/2/wmh.nii"), tmp_path / "net"
    touch(net, "A_1.nii.gz", "2.nii.gz")
    maps, scans = touch(tmp_path / "maps", "A_1.nii", "2.nii"), touch(tmp_path / "scans", "A_1.nii", "2.nii")
    cases, failures = pair_files(ref, {"net": net}, maps, scans)
    assert found(cases, net) == {"C/2": "2.nii.gz"}
    message = f"Expected {net / 'A_1.nii.gz'} to be the prediction of one case, but got A/1 and B/A_1."
    assert [failure for failure in failures if "prediction" in failure.message] == [
        Failure("A/1", "net", message),
        Failure("B/A_1", "net", message),
    ]
    assert {case.case: (case.probability, case.image) for case in cases} == {
        "A/1": (None, None), "B/A_1": (None, None), "C/2": (maps / "2.nii", scans / "2.nii"),
    }  # fmt: skip
    assert [failure.case for failure in failures if f"{maps / 'A_1.nii'} to be the probability map" in failure.message]


def test_a_full_name_is_no_other_case_short_one(tmp_path):
    ref = touch(tmp_path / "ref", "A/1/wmh.nii", "B/A_1/wmh.nii")
    net = touch(tmp_path / "net", "A_1.nii.gz", "B_A_1.nii.gz")
    cases, failures = pair_files(ref, {"net": net})
    assert found(cases, net) == {"A/1": "A_1.nii.gz", "B/A_1": "B_A_1.nii.gz"}
    assert failures == []


def test_the_only_file_of_a_folder_is_not_that_of_a_case_below_it(tmp_path):
    ref = touch(tmp_path / "ref", "A/wmh.nii", "A/1/wmh.nii")
    cases, failures = pair_files(ref, {"net": touch(tmp_path / "net", "A/1.nii.gz")})
    assert found(cases, tmp_path) == {}
    assert [failure.case for failure in failures] == ["A", "A/1"]
    assert "one case, but got A and A/1." in failures[0].message


def test_linked_sites(tmp_path):
    touch(tmp_path / "store", "Utrecht/0/wmh.nii", "Utrecht/1/wmh.nii")
    (tmp_path / "store" / "Utrecht" / "loop").symlink_to("..", target_is_directory=True)
    ref, net = touch(tmp_path / "ref", "GE3T/50/wmh.nii"), touch(tmp_path / "net", "GE3T/50.nii")
    for folder in (ref, net):
        (folder / "Utrecht").symlink_to(tmp_path / "store" / "Utrecht", target_is_directory=True)
    cases, failures = pair_files(ref, {"net": net})
    assert found(cases, net) == {
        "GE3T/50": "GE3T/50.nii", "Utrecht/0": "Utrecht/0/wmh.nii", "Utrecht/1": "Utrecht/1/wmh.nii",
    }  # fmt: skip
    assert failures == []


def test_a_reference_that_is_found_twice_over_links(tmp_path):
    ref = touch(tmp_path / "ref", "Utrecht/0/wmh.nii")
    (ref / "again").symlink_to("Utrecht", target_is_directory=True)
    with pytest.raises(ValueError, match=r"each reference once, but got .*Utrecht/0/wmh.nii and .*again/0/wmh.nii"):
        pair_files(ref, {"net": touch(tmp_path / "net", "0.nii")})


def test_links_that_lead_nowhere_are_named(tmp_path):
    ref, net = touch(tmp_path / "ref", "Utrecht/0/wmh.nii"), touch(tmp_path / "net", "Utrecht/0.nii")
    (ref / "GE3T").symlink_to("unmounted", target_is_directory=True)
    (ref / "Utrecht" / "1").mkdir()
    (ref / "Utrecht" / "1" / "wmh.nii").symlink_to("fetched.later")
    cases, failures = pair_files(ref, {"net": net})
    # a file is named when it is read; a folder would never be
    assert [case.case for case in cases] == ["Utrecht/0", "Utrecht/1"]
    assert [(failure.case, failure.model) for failure in failures] == [("GE3T", None), ("Utrecht/1", "net")]
    assert f"{ref / 'GE3T'} to be a file or folder, but got a link that leads nowhere" in failures[0].message


def test_a_site_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    ref = touch(tmp_path / "ref", "Utrecht/0/wmh.nii", "GE3T/0/wmh.nii")
    scandir = os.scandir

    def denied(folder="."):
        # tests may run as root, whom permissions do not stop
        if Path(folder).name == "GE3T":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(OSError, match=r"can be read, but got .*GE3T: .*Permission denied"):
        pair_files(ref, {"net": touch(tmp_path / "net", "0.nii")})


def test_names_that_are_no_numbers_or_no_text(tmp_path):
    odd = os.fsdecode(b"p\xff")
    names = [f"{name}.nii" for name in ("²", "$\\foo{$", odd)]
    cases, failures = pair_files(touch(tmp_path / "ref", *names), {"net": touch(tmp_path / "net", *names)})
    # a name is text that can be written: the byte is spelt out, and the path keeps it
    assert [case.case for case in cases] == ["$\\foo{$", "p\\udcff", "²"]
    assert cases[1].predictions["net"].name == names[2]
    assert failures == []
