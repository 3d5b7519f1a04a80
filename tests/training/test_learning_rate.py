"""The rate of each step, against torch's schedulers and at its corners."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sadpm.training.learning_rate import learning_rate_at
from sadpm.training.state import TrainingState

STEPS = st.integers(1, 40).flatmap(lambda steps: st.tuples(st.just(steps), st.integers(0, steps - 1)))
DECAYS = st.sampled_from(["none", "linear", "cosine"])


@given(STEPS, DECAYS)
def test_it_rises_to_the_peak_and_never_rises_again(steps, decay):
    total, warmup = steps
    rates = [learning_rate_at(step, 2.0, total, warmup, decay) for step in range(total)]
    assert all(rate > 0 for rate in rates)
    assert rates[:warmup] == pytest.approx([2.0 * (step + 1) / warmup for step in range(warmup)])
    assert rates[warmup] == 2.0
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_decays_are_those_of_torch(decay):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    schedulers = {
        "linear": lambda: torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=7),
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7),
    }
    scheduler, theirs = schedulers[decay](), []
    for _ in range(7):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert [learning_rate_at(step, 0.5, 7, decay=decay) for step in range(7)] == pytest.approx(theirs)


def test_the_default_is_a_constant():
    assert {learning_rate_at(step, 0.3, 9) for step in range(9)} == {0.3}


def test_a_state_takes_the_rate_of_its_own_step_also_after_it_was_loaded():
    def make():
        module = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.ones_(module.weight)
        rates = {"learning_rate": lambda step: (0.5, 0.25, 0.125)[step]}
        return TrainingState(module, **rates, ema_decay=0.0, max_grad_norm=None, log_every=9)

    def moves(state, steps):
        weights = [state.module.weight.item()]
        for _ in range(steps):
            state.update(state.module.weight.sum())  # Adam goes by the whole rate while the gradient stays the same
            weights.append(state.module.weight.item())
        return [before - after for before, after in pairwise(weights)]

    first, second = make(), make()
    assert moves(first, 3) == pytest.approx([0.5, 0.25, 0.125])
    half = make()
    moves(half, 1)
    second.load_state_dict(half.state_dict())
    assert moves(second, 2) == pytest.approx([0.25, 0.125])
