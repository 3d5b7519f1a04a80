"""What is bold in a table, in cases made by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_files import make_score, write_scores

from sadpm.config.grid import Cell
from sadpm.config.jobs import TableJob
from sadpm.report.contrasts import Scored
from sadpm.report.decided import compared
from sadpm.report.long_table import from_csv, long_table

NAN = math.nan
Values = dict[str, dict[int, float]]


def cell_of(model: str, seed: int, sampler: str = "ddpm", steps: int = 5) -> Cell:
    return Cell("digits", model, seed, sampler, "fixed", steps)


def rows_of(scored: Scored, metric: str = "fd") -> Any:
    job = TableJob(name="t", title="T", metric=metric, cells=tuple(scored.scores), labels={})  # type: ignore[arg-type]
    return compared(long_table(job, scored.scores.values()), scored)


def bold(values: Values, metric: str = "fd", error: float | None = None, **changes: Any) -> str:
    """The models that are bold in a column of {model: {seed: value}}, without influence values."""
    cells = {cell_of(model, seed): value for model, seeds in values.items() for seed, value in seeds.items()}
    changes = {"standard_error": error, **changes}
    scored = Scored({cell: make_score(cell, value, metric, **changes) for cell, value in cells.items()}, {})
    frame = rows_of(scored, metric)
    assert frame.groupby("model")["bold"].nunique().eq(1).all()
    return "".join(model for model, rows in frame.groupby("model", sort=False) if rows["bold"].any())


def one(**values: float) -> Values:
    return {model: {0: value} for model, value in values.items()}


class TestSeveralSeeds:
    """With two seeds, the interval reaches 12.7 standard errors of the mean; with three, 4.3."""

    def test_one_is_decidedly_the_best(self) -> None:
        values = {"a": {0: 5.0, 1: 7.0}, "b": {0: 1.0, 1: 3.1}}
        assert bold(values) == "b"
        assert bold(values, "is") == "a"

    def test_what_can_not_be_told_from_the_best_is_bold_too(self) -> None:
        values = {"a": {0: 1.0, 1: 2.0, 2: 3.0}, "b": {0: 1.2, 1: 1.9, 2: 3.1}, "c": {0: 4.0, 1: 5.1, 2: 5.9}}
        assert bold(values) == "ab"

    def test_where_all_would_be_bold_nothing_is(self) -> None:
        assert bold({"a": {0: 1.0, 1: 2.0}, "b": {0: 1.5, 1: 4.0}}) == ""
        assert bold({"a": {0: 1.0, 1: 2.0}, "b": {0: 1.0, 1: 2.0}}) == ""

    def test_equal_ones_are_both_the_best(self) -> None:
        assert bold({"a": {0: 1.0, 1: 2.0}, "b": {0: 1.0, 1: 2.0}, "c": {0: 3.0, 1: 4.0}}) == "ab"

    def test_without_a_rival_nothing_is_bold(self) -> None:
        assert bold({"a": {0: 1.0, 1: 2.0}}) == ""

    def test_differences_are_paired_by_seed(self) -> None:
        """Seeds differ by 100, and the difference is 1 in each."""
        assert bold({"a": {0: 1.0, 1: 101.0}, "b": {0: 2.0, 1: 102.01}}) == "a"

    def test_the_sampling_error_does_not_matter(self) -> None:
        values = {"a": {0: 5.0, 1: 7.0}, "b": {0: 1.0, 1: 3.1}}
        assert bold(values, error=50.0) == "b"


class TestOneSeed:
    def test_the_sampling_errors_decide(self) -> None:
        """Of a difference, sqrt(2) times 1: an interval reaches 2.77 to both sides."""
        assert bold(one(a=10.0, b=12.7, c=12.8), error=1.0) == "ab"
        assert bold(one(a=10.0, b=12.7), error=1.0) == ""

    def test_without_errors_nothing_is_bold(self) -> None:
        assert bold(one(a=1.0, b=100.0)) == ""

    def test_what_has_no_error_is_not_bold(self) -> None:
        cells = {cell_of(model, 0): value for model, value in {"a": 1.0, "b": 1.1, "c": 50.0, "d": 1.1}.items()}
        errors = {"a": 1.0, "b": None, "c": 1.0, "d": 1.0}
        scores = {c: make_score(c, value, standard_error=errors[c.model]) for c, value in cells.items()}
        frame = rows_of(Scored(scores, {}))
        assert frame["bold"].tolist() == [True, False, False, True]
        assert frame["from_best"].tolist() == pytest.approx([0, 0.1, 49, 0.1])
        assert frame["from_best_low"].isna().tolist() == [False, True, False, False]

    def test_where_the_best_has_no_error_nothing_is_bold(self) -> None:
        cells = {cell_of(model, 0): value for model, value in {"a": 1.0, "b": 9.0, "c": 50.0}.items()}
        scores = {c: make_score(c, v, standard_error=None if c.model == "a" else 1.0) for c, v in cells.items()}
        assert not rows_of(Scored(scores, {}))["bold"].any()

    def test_samples_of_the_same_noise_are_paired(self, tmp_path: Path) -> None:
        """Each sampling error is 10 and that of the difference is 1: 5 is decided as long as it is paired."""
        rng = np.random.default_rng(0)
        noise, own = 10 * rng.normal(size=400) * 20, rng.normal(size=(2, 400)) * 20
        influence = {"a": noise, "b": noise + own[0], "c": own[1] * 10}
        values = {"a": 20.0, "b": 25.0, "c": 25.0}
        entries = [{"cell": cell_of(m, 0), "value": values[m], "influence": influence[m]} for m in values]
        frame = rows_of(Scored.load(*write_scores(tmp_path, entries)))
        assert frame["bold"].tolist() == [True, False, True]
        expected = 5 + np.array([-1, 1]) * 1.96 * own[0].std(ddof=1) / 20
        assert frame.loc[1, ["from_best_low", "from_best_high"]].tolist() == pytest.approx(expected, rel=1e-4)


class TestDifferentSeeds:
    def test_common_seeds_count(self) -> None:
        """b is compared over seeds 0 and 1, where it is always 1 worse."""
        values = {"a": {0: 1.0, 1: 2.0, 2: 9.0}, "b": {0: 2.0, 1: 3.01, 5: 20.0}}
        assert bold(values) == "a"

    @pytest.mark.parametrize(("error", "expected"), [(0.1, "a"), (5.0, ""), (None, "")])
    def test_one_common_seed_is_judged_by_its_sampling_error(self, error: float | None, expected: str) -> None:
        assert bold({"a": {0: 1.0, 1: 2.0}, "b": {1: 3.0, 2: 3.0}}, error=error) == expected

    def test_without_a_common_seed_nothing_is_compared(self) -> None:
        values = {"a": {0: 1.0, 1: 2.0}, "b": {2: 1.0, 3: 2.5}}
        assert bold(values, error=0.1) == ""
        assert bold({**values, "c": {0: 4.0, 1: 5.1}}, error=0.1) == "a"

    def test_what_is_better_where_both_were_run_is_not_worse(self) -> None:
        """The mean of a is better because of seeds that b lacks; c is worse."""
        values = {"a": {0: 5.0, 1: 5.0, 2: 0.0}, "b": {0: 4.0, 1: 4.01}, "c": {0: 8.0, 1: 8.1, 2: 3.0}}
        assert bold(values) == "ab"


def test_columns_and_blocks_are_apart() -> None:
    cells = {
        cell_of(model, seed, sampler, steps): {"a": 1.0, "b": 9.0}[model] * (1 if sampler == "ddpm" else -1) + seed
        for model in "ab"
        for sampler in ("ddpm", "ddim")
        for steps in (5, 9)
        for seed in (0, 1)
        if (model, steps) != ("b", 9)
    }
    frame = rows_of(Scored({cell: make_score(cell, value) for cell, value in cells.items()}, {}))
    found = frame[frame["bold"]][["model", "sampler", "steps"]].drop_duplicates().to_numpy().tolist()
    assert found == [["a", "ddpm", 5], ["b", "ddim", 5]]


def test_the_csv_says_how_far_from_the_best_and_how_sure() -> None:
    values = {"a": {0: 1.0, 1: 2.0, 2: 3.0}, "b": {0: 2.0, 1: 4.0}, "c": {7: 4.0}}
    cells = {cell_of(model, seed): value for model, seeds in values.items() for seed, value in seeds.items()}
    frame = from_csv(rows_of(Scored({c: make_score(c, v) for c, v in cells.items()}, {})).to_csv(index=False))
    half = 12.7062 * 0.5
    for model, expected in {
        "a": [0, 0, 0, NAN],
        "b": [1.5, 1.5 - half, 1.5 + half, 2],
        "c": [NAN, NAN, NAN, 0],
    }.items():
        rows = frame[frame["model"] == model].filter(like="from_best")
        for row in rows.astype(float).to_numpy():
            assert row.tolist() == pytest.approx(expected, nan_ok=True, rel=1e-5)


@given(
    st.dictionaries(
        st.sampled_from("abcd"),
        st.dictionaries(st.integers(0, 3), st.integers(1, 50).map(float), min_size=1),
        min_size=1,
    ),
    st.sampled_from([None, 0.5, 9.0]),
)
@settings(max_examples=30)
def test_bold_is_the_best_and_never_everything(values: Values, error: float | None) -> None:
    marked = bold(values, error=error)
    means = {model: sum(seeds.values()) / len(seeds) for model, seeds in values.items()}
    assert len(marked) < len(values)
    assert not marked or min(means, key=means.__getitem__) in marked
