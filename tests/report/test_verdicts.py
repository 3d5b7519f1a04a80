"""From differences over training seeds to verdicts, every branch."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadpm.metrics.uncertainty import OverSeeds
from sadpm.report.verdicts import IMPORTED, ONE_SEED, UNKNOWN, Judged, most_needed, overall

NAN = math.nan
GAINS = st.lists(st.floats(-10, 10).map(lambda x: round(x, 2)), min_size=2, max_size=6)
FLIPPED = {"reproduced": "contradicted", "contradicted": "reproduced", "no effect": "no effect"}


def judged(*gains, least=1.0, errors=NAN, exact=False, bounds=None, imported=False):
    return Judged(OverSeeds(gains, (errors,) * len(gains)), bounds or (-least, least), exact, imported)


GAIN = judged(5.0, 5.1, 5.2)
LOSS = judged(-5.0, -5.1, -5.2)
NOTHING = judged(0.1, 0.0, -0.1)
UNCLEAR = judged(9.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("one", "verdict", "needs_seeds"),
    [
        (GAIN, "reproduced", False),
        (LOSS, "contradicted", False),
        (NOTHING, "no effect", False),
        (UNCLEAR, "undecided", True),
        (judged(1.0, 1.01, 1.02), "undecided", True),  # beyond 0, and not beyond what matters
        (judged(5.0, 5.0), "reproduced", False),  # no spread at all
        (judged(100.0, errors=0.1), "undecided", False),
        (judged(3.0, exact=True), "reproduced", False),
        (judged(-3.0, exact=True), "contradicted", False),
        (judged(2.0, 0.0), "undecided", False),  # the mean is the least effect: no number of seeds would do
        (judged(0.1, 0.0, -0.1, bounds=(-1.0, -1.0)), "reproduced", False),  # as good
        (judged(-1.1, -1.2, -1.3, bounds=(-1.0, -1.0)), "contradicted", False),
        (judged(-1.1, -0.9, -0.7, bounds=(-1.0, -1.0)), "undecided", True),
        (judged(5.0, 5.1, 5.2, bounds=(4.0, 4.0)), "reproduced", False),  # better by a size
        (judged(5.0, 5.1, 5.2, bounds=(6.0, 6.0)), "contradicted", False),
        (judged(5.0, 5.1, 5.2, imported=True), "undecided", False),
        (judged(-1.0, -1.0, bounds=(-1.0, -1.0)), "undecided", False),  # there is no room for no effect
        (judged(1.0, -1.0), "undecided", True),  # which would show that there is no effect
    ],
)
def test_a_contrast(one, verdict, needs_seeds):
    assert one.verdict == verdict
    assert (one.seeds_needed is not None) == needs_seeds


def test_one_seed_decides_nothing_and_says_so():
    assert judged(100.0, errors=0.1).reason == ONE_SEED
    assert judged(100.0).reason == ONE_SEED
    assert overall([judged(100.0, errors=0.1)], "every") == (
        "undecided",
        f"0 of 1 as claimed, 0 the other way; {ONE_SEED}",
    )


def test_weights_that_were_not_trained_here_are_one_training_whatever_the_seeds():
    one = judged(5.0, 5.1, 5.2, errors=0.1, imported=True)
    assert (one.reason, one.seeds_needed, one.more_samples) == (IMPORTED, None, None)
    assert overall([one, one], "some")[0] == "undecided"


@given(GAINS, st.floats(0, 3), st.integers(2, 4))
def test_more_seeds_of_the_same_spread_undo_no_verdict(gains, least, times):
    few, many = judged(*gains, least=least), judged(*gains * times, least=least)
    assert few.verdict in ("undecided", many.verdict)


@given(GAINS, st.floats(0, 3))
def test_what_is_better_is_as_good(gains, least):
    if judged(*gains, least=least).verdict == "reproduced":
        assert judged(*gains, bounds=(-least, -least)).verdict == "reproduced"


def test_what_is_within_the_least_effect_is_told():
    assert overall([GAIN, NOTHING], "every") == (
        "undecided",
        "1 of 2 as claimed, 0 the other way, 1 within the least effect",
    )


@pytest.mark.parametrize(("gain", "verdict"), [(3.0, "reproduced"), (-3.0, "contradicted"), (0.0, "no effect")])
@pytest.mark.parametrize("holds", ["every", "most", "some"])
def test_what_is_exact_needs_one_seed(gain, verdict, holds):
    assert overall([judged(gain, exact=True)], holds)[0] == verdict


@given(GAINS, st.floats(0, 3))
def test_the_other_way_round_the_verdict_flips(gains, least):
    there, back = judged(*gains, least=least), judged(*(-gain for gain in gains), least=least)
    assert FLIPPED.get(there.verdict, "undecided") == back.verdict
    assert there.p_value(1) == pytest.approx(back.p_value(-1))


@given(GAINS, st.floats(0, 3))
def test_the_interval_is_that_of_a_one_sided_test(gains, least):
    one = judged(*gains, least=least)
    if not 0.0499 < one.p_value(1) < 0.0501:
        assert (one.verdict == "reproduced") == (one.p_value(1) < 0.05)


@given(GAINS)
def test_a_larger_least_effect_decides_no_more(gains):
    assert judged(*gains, least=2.0).verdict != "reproduced" or judged(*gains, least=1.0).verdict == "reproduced"


@pytest.mark.parametrize(
    ("several", "holds", "verdict"),
    [
        ([GAIN, GAIN], "every", "reproduced"),
        ([GAIN, LOSS], "every", "contradicted"),
        ([GAIN, UNCLEAR], "every", "undecided"),
        ([GAIN, NOTHING], "every", "undecided"),
        ([NOTHING, NOTHING], "every", "no effect"),
        ([GAIN, LOSS], "most", "reproduced"),
        ([GAIN, LOSS, LOSS], "most", "contradicted"),
        ([GAIN, NOTHING, UNCLEAR], "most", "undecided"),
        ([GAIN, LOSS, LOSS], "some", "reproduced"),
        ([LOSS, LOSS], "some", "contradicted"),
        ([LOSS, UNCLEAR], "some", "undecided"),
        ([NOTHING, NOTHING], "some", "no effect"),
    ],
)
def test_a_claim_of_several(several, holds, verdict):
    assert overall(several, holds)[0] == verdict


def test_some_of_many_is_corrected_for_many_chances():
    """One of twenty at p = 0.04 is what chance would do."""
    lucky = judged(1.0, 2.0, 2.6, least=0.0)
    assert 0.02 < lucky.p_value(1) < 0.05
    assert overall([lucky], "some")[0] == "reproduced"
    assert overall([lucky] + [judged(1.0, -1.0, 0.2, least=0.0)] * 19, "some")[0] == "undecided"


def test_seeds_that_a_claim_needs_are_those_of_its_most_expensive_contrast():
    wider = judged(14.0, -6.0, 1.0)
    assert UNCLEAR.seeds_needed < wider.seeds_needed
    assert most_needed([UNCLEAR.seeds_needed, wider.seeds_needed]) == wider.seeds_needed
    assert most_needed([UNCLEAR.seeds_needed, judged(1.0, errors=1.0).seeds_needed]) is None
    assert most_needed([]) is None


def test_more_samples_decide_where_sampling_is_most_of_the_deviation():
    noisy = judged(4.5, 0.5, 3.6, errors=2.5)
    assert noisy.verdict == "undecided"
    assert noisy.more_samples > 1
    assert judged(4.5, 0.5, 3.6, errors=0.1).more_samples is None
    assert GAIN.more_samples is None


def test_no_error_known():
    assert judged(1.0, 2.0).reason == ""
    assert judged(1.0, least=0.0).verdict == "undecided"
    assert UNKNOWN
