"""Sub-sequences of levels: what holds for every kind and number of steps, and what users are told."""

import math
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from sadpm.diffusion.timesteps import KINDS, exact_timesteps, timesteps

quick = settings(max_examples=150, deadline=None)
powers = st.sampled_from(["power1", "power1.5", "power2", "power2.25", "power3", "power10"])
kinds = st.sampled_from([kind for kind in KINDS if kind != "power<p>"]) | powers


@st.composite
def totals_and_counts(draw, fewest=1):
    count = draw(st.integers(fewest, 80))
    return draw(st.integers(count, 1000) | st.integers(count, 2 * count)), count


@quick
@given(kinds, totals_and_counts(fewest=2))
@example("power2", (80, 80))
@example("quadratic", (2, 2))
def test_levels_ascend_within_the_schedule(kind, total_and_count):
    total, count = total_and_count
    assume(kind != "ddim-uniform" or total % count == 0)
    levels = timesteps(kind, total, count)
    assert levels == sorted(levels)
    assert levels[0] == 1
    assert levels[-1] <= total
    assert all(isinstance(level, int) for level in levels)


@quick
@given(kinds, totals_and_counts())
def test_exact_timesteps_are_as_many_different_levels_as_asked_for(kind, total_and_count):
    total, count = total_and_count
    try:
        levels = exact_timesteps(kind, total, count)
    except ValueError as error:
        assert "steps" in str(error)  # noqa: PT017
    else:
        assert len(set(levels)) == len(levels) == count
        assert levels == timesteps(kind, total, count)


@quick
@given(st.sampled_from(["linear", "power1", "power1.5", "power10"]), totals_and_counts(fewest=2))
@example("power10", (1000, 50))  # 1 - 49 * (1 / 49) is not 0, and its tenth root is 0.03
def test_kinds_with_two_ends_always_give_what_is_asked_for(kind, total_and_count):
    total, count = total_and_count
    levels = exact_timesteps(kind, total, count)
    assert (levels[0], levels[-1]) == (1, total)


@quick
@given(totals_and_counts(fewest=2))
def test_linear_levels_are_even_to_one(total_and_count):
    total, count = total_and_count
    gaps = [b - a for a, b in pairwise(timesteps("linear", total, count))]
    assert max(gaps) - min(gaps) <= 1


@quick
@given(totals_and_counts())
def test_uniform_strides_are_constant_and_exact_for_divisors(total_and_count):
    total, count = total_and_count
    levels = timesteps("uniform", total, count)
    assert {b - a for a, b in pairwise(levels)} <= {total // count}
    assert levels[-1] + total // count > total
    assert (len(levels) == count) == (total % count == 0)
    if total % count:
        with pytest.raises(ValueError, match="divi"):
            timesteps("ddim-uniform", total, count)
    else:
        assert timesteps("ddim-uniform", total, count) == levels


@quick
@given(totals_and_counts(fewest=2))
def test_quadratic_levels_end_at_four_fifths(total_and_count):
    total, count = total_and_count
    levels = timesteps("quadratic", total, count)
    assert len(levels) == count
    assert levels[-1] == int(math.sqrt(0.8 * total) ** 2) + 1
    assert abs(levels[-1] - 1 - 0.8 * total) <= 1
    assert levels == timesteps("ddim-quadratic", total, count)


def test_by_hand():
    assert timesteps("uniform", 1000, 10) == [1, 101, 201, 301, 401, 501, 601, 701, 801, 901]
    assert timesteps("uniform", 10, 4) == [1, 3, 5, 7, 9]
    assert timesteps("linear", 1000, 4) == [1, 334, 667, 1000]
    assert timesteps("quadratic", 125, 6) == [1, 5, 17, 37, 65, 101]
    assert timesteps("quadratic", 1000, 1) == [1]
    assert timesteps("uniform", 7, 1) == [1]
    assert timesteps("power2", 101, 5) == [1, round(1 + 100 * (1 - 0.75**0.5)), 30, 51, 101]
    assert timesteps("power1.5", 101, 3) == [1, round(1 + 100 * (1 - 0.5 ** (2 / 3))), 101]


@quick
@given(totals_and_counts(fewest=3))
def test_larger_powers_crowd_the_low_levels(total_and_count):
    total, count = total_and_count
    of_power = [timesteps(f"power{p}", total, count) for p in ("1", "1.5", "2", "4")]
    for less, more in pairwise(of_power):
        assert all(a >= b for a, b in zip(less, more, strict=True))


@pytest.mark.parametrize("kind", ["uniform", "quadratic", "linear", "ddim-uniform", "ddim-quadratic", "power2"])
@pytest.mark.parametrize("count", [0, -3, 101])
def test_impossible_numbers_of_steps(kind, count):
    with pytest.raises(ValueError, match=f"^{count} steps: choose from 1 to 100$"):
        timesteps(kind, 100, count)


@pytest.mark.parametrize(
    "kind", ["", "cubic", "power", "power-2", "power2.", "power<p>", "powertwo", "xpower2", "power2x"]
)
def test_unknown_kinds_are_named_beside_the_known_ones(kind):
    with pytest.raises(ValueError, match=f"unknown kind of timesteps '{kind}': choose one of uniform, .*power<p>"):
        timesteps(kind, 100, 10)


@pytest.mark.parametrize("kind", ["linear", "power2"])
def test_one_step_cannot_have_two_ends(kind):
    with pytest.raises(ValueError, match=f"'{kind}' timesteps .* need at least 2 steps, not 1"):
        timesteps(kind, 100, 1)


@pytest.mark.parametrize(
    ("kind", "message"),
    [("power0", "must be positive"), ("power0.0", "must be positive"), ("power0.5", "run past 10 .* at least 1")],
)
def test_powers_that_would_leave_the_schedule(kind, message):
    with pytest.raises(ValueError, match=f"'{kind}' timesteps.* {message}"):
        timesteps(kind, 10, 10)


def test_powers_below_one_crowd_the_high_levels():
    assert timesteps("power0.5", 101, 3) == [1, 76, 101]


def test_exactness_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="would run 16 steps instead of 15, because 15 does not divide 1000"):
        exact_timesteps("uniform", 1000, 15)
    with pytest.raises(ValueError, match="'quadratic' timesteps repeat a level when there are 100"):
        exact_timesteps("quadratic", 1000, 100)
    with pytest.raises(ValueError, match="gives 16 steps for 15"):
        exact_timesteps("ddim-uniform", 1000, 15)
