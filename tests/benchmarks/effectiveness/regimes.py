"""The regimes: which synthetic cases there are, and which are for training, validation and test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from monai_instance_loss.data import wmh_cases

SEEN = ("Utrecht", "Singapore")
UNSEEN = ("GE3T",)


@dataclass(frozen=True)
class Regime:
    """One setting of the generator. Training and validation cases come from two scanners, test cases from three.

    Args:
        name: of the regime.
        disease: what `synthesize_wmh_case` draws.
        data_seed: of the cases; every run of a regime sees the same ones.
        train: cases of each scanner seen.
        val: further cases of each scanner seen, for everything that is chosen.
        test: further cases of each scanner seen, and twice as many of the one never seen.
        spacing_mm: voxel size.
    """

    name: str
    disease: str
    data_seed: int
    train: int = 6
    val: int = 4
    test: int = 8
    spacing_mm: tuple[float, float, float] = (2.0, 2.0, 3.0)

    def cases(self, folder: Path) -> dict[str, list[dict[str, str]]]:
        """The cases of each part, made when missing; a case is a dictionary of paths as `wmh_cases` gives them."""
        made = wmh_cases(
            folder / self.name / "data",
            cases_per_site=max(self.train + self.val + self.test, 2 * self.test),
            sites=(*SEEN, *UNSEEN),
            spacing_mm=self.spacing_mm,
            seed=self.data_seed,
            **({} if self.disease == "wmh" else {"disease": self.disease}),
        )
        by_site: dict[str, list[dict[str, str]]] = {}
        for case in made:
            by_site.setdefault(case["case"].split("/")[0], []).append(case)
        parts: dict[str, list[dict[str, str]]] = {"train": [], "val": [], "test": []}
        for site in SEEN:
            numbered = iter(by_site[site])
            for part, count in (("train", self.train), ("val", self.val), ("test", self.test)):
                parts[part] += [next(numbered) for _ in range(count)]
        for site in UNSEEN:
            parts["test"] += by_site[site][: 2 * self.test]
        return parts


REGIMES = {
    regime.name: regime
    for regime in (
        Regime("wmh", "wmh", data_seed=2026),
        Regime("microbleeds", "microbleeds", data_seed=2027),
        Regime("metastases", "metastases", data_seed=2028),
    )
}
