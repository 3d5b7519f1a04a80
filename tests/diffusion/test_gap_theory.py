"""The estimation gap against two chains run side by side, and by the paper's first theorem."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_schedules import KINDS_THAT_KEEP_SOME_SIGNAL, schedules

from sadpm.diffusion.gap import estimation_gap, official_propagation, total_gap
from sadpm.diffusion.samplers import Prediction
from sadpm.diffusion.schedule import NoiseSchedule

quick = settings(max_examples=60, deadline=None)
SHAPE = (2, 3, 2, 2)


def draws(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def toy(x, n):
    return Prediction(torch.tanh(0.7 * x + 0.3 * math.sin(n)) + 0.1 * x)


def gap_steps(schedule, start, predict=toy, seed=0):
    x0, noise = draws(*SHAPE, seed=seed), draws(start + 1, *SHAPE, seed=seed + 1)
    x = schedule.add_noise(x0, noise[start], torch.full((SHAPE[0],), start))
    return x0, x, noise, list(estimation_gap(predict, schedule, x0, x, start, noise.__getitem__))


def coupled_chains(betas, predict, x0, x, start, noise):
    """Yield x_n, y_n and y_{n-1} - x_{n-1} of the chains with the predicted and with the true x_0, in numpy."""
    abar = np.concatenate([[1.0], np.cumprod(1 - betas[1:])])
    x0, y = x0.numpy(), x.numpy()
    x = y
    for j, n in enumerate(range(start, 1, -1)):
        noise_level = 1 - abar[n]
        predicted_noise = predict(torch.from_numpy(x), n).noise.numpy()
        predicted_x0 = (x - np.sqrt(noise_level) * predicted_noise) / np.sqrt(abar[n])
        of_x0 = np.sqrt(abar[n - 1]) * betas[n] / noise_level
        of_xn = np.sqrt(1 - betas[n]) * (1 - abar[n - 1]) / noise_level
        shared = np.sqrt((1 - abar[n - 1]) / noise_level * betas[n]) * noise[j].numpy()
        before = x
        x = of_x0 * predicted_x0 + of_xn * x + shared
        y = of_x0 * x0 + of_xn * y + shared
        yield n, before, y - x


kept_signal = schedules(KINDS_THAT_KEEP_SOME_SIGNAL, smallest=2)


@quick
@given(kept_signal, st.data())
def test_gap_is_the_distance_of_two_chains_with_the_same_noise(schedule, data):
    start = data.draw(st.integers(2, schedule.num_train_timesteps))
    x0, x, noise, steps = gap_steps(schedule, start)
    chains = coupled_chains(schedule.betas.numpy(), toy, x0, x, start, noise)
    scale = 1 + max(step.x.abs().max() for step in steps)
    for step, (n, state, gap) in zip(steps, chains, strict=True):
        assert step.level == n
        assert (step.x - torch.from_numpy(state)).abs().max() < 1e-10 * scale
        assert (step.gap - torch.from_numpy(gap)).abs().max() < 1e-10 * scale


@quick
@given(kept_signal, st.data())
def test_theorem_1(schedule, data):
    start = data.draw(st.integers(2, schedule.num_train_timesteps))
    _, _, _, steps = gap_steps(schedule, start)
    by_theorem = total_gap(schedule, {step.level: step.error for step in steps})
    torch.testing.assert_close(by_theorem, steps[-1].gap, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("start", [2, 3, 10])
def test_noise_is_drawn_for_every_step_but_the_last(start):
    schedule, asked = NoiseSchedule.create("linear", 10), []
    x = draws(*SHAPE, seed=3)

    def draw_noise(j):
        asked.append(j)
        return torch.zeros_like(x)

    steps = list(estimation_gap(toy, schedule, x, x, start, draw_noise))
    assert [step.level for step in steps] == list(range(start, 1, -1))
    assert asked == list(range(start - 2))


def test_a_model_that_knows_the_image_has_no_gap():
    schedule = NoiseSchedule.create("linear", 20, 0.01, 0.2)
    x0 = draws(*SHAPE, seed=0)
    _, _, _, steps = gap_steps(schedule, 20, lambda x, n: Prediction(schedule.noise_in(x, x0, n)))
    assert all((step.gap == 0).all() and (step.official_gap == 0).all() for step in steps)


def test_errors_are_those_of_the_network_on_the_path_of_the_model():
    schedule = NoiseSchedule.create("linear", 20, 0.01, 0.2)
    x0, _, _, steps = gap_steps(schedule, 20)
    for step in steps:
        signal, noise = schedule.alphas_cumprod[step.level].sqrt(), schedule.betas_cumprod[step.level].sqrt()
        true_noise = (step.x - signal * x0) / noise
        torch.testing.assert_close(step.error, toy(step.x, step.level).noise - true_noise)


class TestOfficialVariant:
    schedule = NoiseSchedule.create("linear", 12, 0.01, 0.3)

    def test_drops_the_first_error_and_takes_the_factor_of_one_level_below(self):
        _, _, _, steps = gap_steps(self.schedule, 12)
        assert (steps[0].official_gap == 0).all()
        abar, expected = self.schedule.alphas_cumprod.tolist(), 0.0
        for step in steps[1:]:
            n = step.level
            alpha = 1 - self.schedule.betas[n].item()
            new_error = (1 - alpha) / math.sqrt(alpha * (1 - abar[n])) * step.error
            expected = new_error + math.sqrt(alpha) * (1 - abar[n - 2]) / (1 - abar[n]) * expected
            torch.testing.assert_close(step.official_gap, expected)

    def test_the_last_value_forgets_all_steps_before(self):
        _, _, _, steps = gap_steps(self.schedule, 12)
        assert official_propagation(self.schedule, 2) == 0
        last = self.schedule.error_coefficients[2] * steps[-1].error
        assert torch.equal(steps[-1].official_gap, last)
        assert (steps[-1].gap - last).abs().max() > 0.01

    def test_true_propagation_is_stronger(self):
        for n in range(2, 13):
            assert official_propagation(self.schedule, n) < self.schedule.posterior_coefficients(n - 1, n)[1]
