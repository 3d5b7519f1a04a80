"""Errors of means, intervals over seeds, and what is decided by them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sadpm.metrics.uncertainty import OverSeeds, holm, standard_error

NUMBERS = st.floats(-100, 100).map(lambda x: round(x, 3))
UNKNOWN = math.nan


def over(*values: float, errors: float = UNKNOWN) -> OverSeeds:
    return OverSeeds(values, (errors,) * len(values))


def test_the_standard_error_is_that_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert standard_error(values) == pytest.approx(stats.sem(values))


@pytest.mark.parametrize("bad", [[1.0], [1.0, math.nan], [[1.0, 2.0]]])
def test_no_standard_error_of_nothing(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="two or more finite"):
        standard_error(bad)


@given(st.lists(NUMBERS, min_size=2, max_size=8).filter(lambda values: np.std(values) > 1e-3))
def test_the_interval_is_students(values: list[float]) -> None:
    expected = stats.t.interval(0.9, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert over(*values).interval(0.9) == pytest.approx(expected)


def test_one_seed_has_its_sampling_error_alone() -> None:
    one = over(3.0, errors=2.0)
    assert one.interval() == pytest.approx((3 - 1.959964 * 2, 3 + 1.959964 * 2))
    assert math.isnan(one.deviation)
    assert math.isnan(one.between)
    assert one.seeds_needed() is None


def test_variance_is_split_between_seeds_and_sampling() -> None:
    found = over(1.0, 5.0, 9.0, errors=1.0)
    assert found.deviation**2 == pytest.approx(found.between**2 + found.sampling**2)
    assert over(1.0, 2.0, errors=9.0).between == 0
    assert math.isnan(over(1.0, 2.0).sampling)
    assert math.isnan(over(1.0, 2.0).between)


def test_seeds_needed_is_the_least_number_that_excludes_zero() -> None:
    found = over(1.0, 3.0, -1.0, 2.0)
    needed = found.seeds_needed()
    assert needed is not None

    def low(seeds: int) -> float:
        half = stats.t.ppf(0.975, seeds - 1) * found.deviation / math.sqrt(seeds)
        return float(found.mean - half)

    assert low(needed) > 0 >= low(needed - 1)
    assert over(1.0, -1.0).seeds_needed() is None
    assert found.seeds_needed(bound=found.mean) is None
    assert over(4.0, 6.0, 5.0).seeds_needed(bound=4.0) == over(0.0, 2.0, 1.0).seeds_needed()
    assert over(4.0, 6.0, 5.0).seeds_needed(bound=6.0) == over(0.0, 2.0, 1.0).seeds_needed()
    assert over(1.0, -0.999).seeds_needed() is None


def test_more_samples_leave_what_lies_between_seeds() -> None:
    found = over(1.0, 3.0, 2.2, errors=0.8)
    more = found.more_samples(bound=0.5)
    assert more is not None
    assert more > 1
    deviation = math.hypot(found.between, found.sampling / math.sqrt(more))
    half = stats.t.ppf(0.975, 2) * deviation / math.sqrt(3)
    assert found.mean - half == pytest.approx(0.5)
    assert over(1.0, 3.0, 2.2, errors=0.1).more_samples(bound=0.5) is None
    assert over(1.0, 3.0, 2.2).more_samples() is None
    assert over(1.0, errors=0.1).more_samples() is None
    assert found.more_samples(bound=found.mean) is None


@given(st.lists(NUMBERS, min_size=2, max_size=6).filter(lambda values: np.std(values) > 1e-3), NUMBERS)
def test_the_p_value_is_that_of_a_t_test(values: list[float], bound: float) -> None:
    expected = stats.ttest_1samp(values, bound, alternative="greater").pvalue
    assert over(*values).p_above(bound) == pytest.approx(expected, abs=1e-12)


def test_the_p_value_of_one_seed_and_of_no_spread() -> None:
    assert over(2.0, errors=1.0).p_above(0.0) == pytest.approx(stats.norm.sf(2.0))
    assert math.isnan(over(2.0).p_above(0.0))
    assert [over(2.0, 2.0).p_above(bound) for bound in (1.0, 2.0, 3.0)] == [0.0, 1.0, 1.0]


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03]) == [True, False, False]
    assert holm([0.01, 0.04, 0.02]) == [True, True, True]
    assert holm([UNKNOWN, 0.001]) == [False, True]
    assert holm([]) == []


@pytest.mark.parametrize("values", [(), (math.nan,)])
def test_bad_values_are_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="one finite value"):
        OverSeeds(values, values)
