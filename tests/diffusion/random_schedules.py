"""Hypothesis strategies for noise schedules and pairs of levels."""

from typing import get_args

from hypothesis import strategies as st

from sadpm.diffusion.schedule import BetaSchedule, NoiseSchedule

KINDS = get_args(BetaSchedule)
KINDS_THAT_KEEP_SOME_SIGNAL = [kind for kind in KINDS if kind != "jsd"]


def schedules(kinds=KINDS, smallest=1, largest=60):
    """Short schedules, with so much more noise a step that they end in noise all the same."""
    return st.builds(
        NoiseSchedule.create,
        st.sampled_from(kinds),
        st.integers(smallest, largest),
        beta_start=st.sampled_from([1e-4, 1e-2]),
        beta_end=st.sampled_from([0.02, 0.3]),
    )


@st.composite
def schedules_with_levels(draw, count, kinds=KINDS, lowest=0):
    """A schedule, and ``count`` different ascending levels of it."""
    schedule = draw(schedules(kinds, smallest=lowest + count - 1))
    levels = st.integers(lowest, schedule.num_train_timesteps)
    return schedule, sorted(draw(st.lists(levels, min_size=count, max_size=count, unique=True)))
