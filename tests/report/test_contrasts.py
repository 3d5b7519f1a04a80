"""Paired differences of scores, and files that don't belong together."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scored_files import write_scores

from sadpm.config.grid import Cell
from sadpm.report.contrasts import Scored, contrast
from sadpm.running.files import UserError, read_json, write_json

BASE, SA2, BASE1, SA21 = (
    Cell("digits", model, seed, "ddpm", "fixed", 10) for seed in (0, 1) for model in ("base", "sa2")
)
OTHER = Cell("digits", "sa2", 0, "ddim", "npr", 5)
RNG = np.random.default_rng(0)
SHARED = RNG.normal(size=200)
INFLUENCE = {cell: 3 * SHARED + RNG.normal(size=200) for cell in (BASE, SA2, BASE1, SA21)}
VALUES = {BASE: 12.0, SA2: 9.0, BASE1: 14.0, SA21: 10.0}


def load(folder: Path, *entries: dict[str, Any]) -> Scored:
    """The scores of these entries, in one pair of files for each run."""
    return Scored.load(*write_scores(folder, entries))


def entry(cell: Cell, value: float, influence: Any = None, **more: Any) -> dict[str, Any]:
    return {"cell": cell, "value": value, "influence": influence, **more}


@pytest.fixture
def scored(tmp_path: Path) -> Scored:
    return load(tmp_path, *(entry(cell, VALUES[cell], INFLUENCE[cell]) for cell in VALUES))


def error(values: Any) -> float:
    return float(np.std(np.float32(values), ddof=1) / math.sqrt(len(values)))


def test_what_a_score_file_says(tmp_path: Path) -> None:
    scored = load(tmp_path, entry(BASE, 12.0, SHARED), entry(OTHER, 3.0, n=50))
    assert (scored.value(BASE, "fd"), scored.n(BASE, "fd"), scored.n(OTHER, "fd")) == (12.0, 200, 50)
    assert scored.error(BASE, "fd") == pytest.approx(error(SHARED))
    assert math.isnan(scored.error(OTHER, "fd"))


def test_what_both_have_in_common_cancels(scored: Scored) -> None:
    value, paired = scored.difference(BASE, SA2, "fd")
    assert value == 3.0
    assert paired == pytest.approx(error(INFLUENCE[BASE] - INFLUENCE[SA2]), rel=1e-5)
    assert paired < math.hypot(scored.error(BASE, "fd"), scored.error(SA2, "fd")) / 2
    assert scored.difference(SA2, BASE, "fd") == pytest.approx((-value, paired))
    assert scored.difference(BASE, BASE, "fd") == (0.0, 0.0)


def test_a_ratio_is_a_difference_of_logarithms(scored: Scored) -> None:
    value, paired = scored.difference(BASE, SA2, "fd", ratio=True)
    assert value == pytest.approx(math.log(12 / 9))
    assert paired == pytest.approx(error(INFLUENCE[BASE] / 12 - INFLUENCE[SA2] / 9), rel=1e-5)


@pytest.mark.parametrize("ratio", [False, True])
def test_unequal_numbers_of_samples_are_not_paired(tmp_path: Path, ratio: bool) -> None:
    scored = load(tmp_path, entry(BASE, 12.0, SHARED), entry(SA2, 9.0, SHARED[:150]))
    expected = math.hypot(*(error(g) / (v if ratio else 1) for g, v in ((SHARED, 12), (SHARED[:150], 9))))
    assert scored.difference(BASE, SA2, "fd", ratio)[1] == pytest.approx(expected)


def test_without_influence_values_of_one_the_errors_add_up(tmp_path: Path) -> None:
    scored = load(tmp_path, entry(BASE, 12.0, SHARED), entry(SA2, 9.0, n=200, standard_error=0.4))
    assert scored.difference(BASE, SA2, "fd")[1] == pytest.approx(math.hypot(error(SHARED), 0.4))


def test_an_error_that_is_not_known_stays_unknown(tmp_path: Path) -> None:
    scored = load(tmp_path, entry(BASE, 12.0, SHARED), entry(SA2, 9.0, n=200))
    value, unknown = scored.difference(BASE, SA2, "fd")
    assert value == 3.0
    assert math.isnan(unknown)


def test_a_contrast_has_one_difference_for_each_seed(scored: Scored) -> None:
    found = contrast(scored, [(BASE, SA2), (BASE1, SA21)], "fd")
    assert found.values == (3.0, 4.0)
    assert found.errors == (scored.difference(BASE, SA2, "fd")[1], scored.difference(BASE1, SA21, "fd")[1])
    assert contrast(scored, [(BASE1, SA21)], "fd", ratio=True).values == pytest.approx((math.log(1.4),))


def test_a_cell_may_have_numbers_of_two_files(tmp_path: Path) -> None:
    """Scores of samples, and a bound of other images."""
    pairs = [write_scores(tmp_path / metric, files, metric) for metric, files in {
        "fd": [entry(BASE, 12.0, INFLUENCE[BASE]), entry(SA2, 9.0, INFLUENCE[SA2])],
        "bpd": [entry(BASE, 4.0, SHARED[:50]), entry(SA2, 3.5, 2 * SHARED[:50])],
    }.items()]  # fmt: skip
    for order in (pairs, pairs[::-1]):
        scored = Scored.load(*([path for pair in order for path in pair[which]] for which in (0, 1)))
        assert scored.difference(BASE, SA2, "fd") == (3.0, pytest.approx(error(INFLUENCE[BASE] - INFLUENCE[SA2]), 1e-5))
        assert scored.difference(BASE, SA2, "bpd") == (0.5, pytest.approx(error(SHARED[:50]), rel=1e-5))
        assert (scored.n(BASE, "fd"), scored.n(BASE, "bpd")) == (200, 50)


def test_no_ratio_of_what_is_not_positive(tmp_path: Path) -> None:
    scored = load(tmp_path, entry(BASE, 12.0, SHARED), entry(SA2, -0.5, SHARED))
    with pytest.raises(UserError, match=r"'fd' of digits/sa2/seed0/ddpm-fixed-10 is -0\.5: only positive"):
        scored.difference(BASE, SA2, "fd", ratio=True)


def test_what_was_not_scored_is_said(scored: Scored) -> None:
    with pytest.raises(UserError, match="there is no score of digits/sa2/seed0/ddim-npr-5"):
        scored.value(OTHER, "fd")
    with pytest.raises(UserError, match="ddpm-fixed-10 was scored without 'kid', by fd"):
        scored.difference(BASE, SA2, "kid")


class TestFiles:
    def test_missing(self, tmp_path: Path) -> None:
        scores, influence = write_scores(tmp_path, [entry(BASE, 1.0, SHARED)])
        influence[0].unlink()
        with pytest.raises(UserError, match=r"all\.influence\.npz: can't be read"):
            Scored.load(scores, influence)

    def test_of_other_scores(self, tmp_path: Path) -> None:
        scores, influence = write_scores(tmp_path, [entry(BASE, 1.0, SHARED), entry(BASE1, 1.0, INFLUENCE[BASE1])])
        with pytest.raises(UserError, match=r"seed1/.*npz: not the influence values that .*seed0/.*json .*delete it"):
            Scored.load(scores, influence[::-1])

    def test_scores_of_an_earlier_version(self, tmp_path: Path) -> None:
        scores, influence = write_scores(tmp_path, [entry(BASE, 1.0, SHARED)])
        write_json(scores[0], {"scores": read_json(scores[0])["scores"]})
        with pytest.raises(UserError, match=r"all\.json: does not say which influence values .*; delete it"):
            Scored.load(scores, influence)

    def test_fewer_than_scores(self, tmp_path: Path) -> None:
        scores, _ = write_scores(tmp_path, [entry(BASE, 1.0, SHARED)])
        with pytest.raises(UserError, match="0 files of influence values given for 1 files of scores"):
            Scored.load(scores, [])

    @pytest.mark.parametrize("bad", [SHARED[:5], [math.nan] * 200])
    def test_influence_of_other_samples(self, tmp_path: Path, bad: Any) -> None:
        scored = load(tmp_path, entry(BASE, 1.0, bad, n=200, standard_error=1.0), entry(BASE1, 2.0, SHARED))
        with pytest.raises(UserError, match=r"npz: ddpm-fixed-10/fd is not one finite number .*; delete it"):
            scored.difference(BASE1, BASE, "fd")

    def test_no_archive_of_arrays(self, tmp_path: Path) -> None:
        written = write_scores(tmp_path, [entry(BASE, 1.0, SHARED), entry(SA2, 1.0, SHARED)], damage=b"PK no archive")
        scored = Scored.load(*written)
        with pytest.raises(UserError, match=r"npz: can't be read .*; delete it"):
            scored.difference(BASE, SA2, "fd")
