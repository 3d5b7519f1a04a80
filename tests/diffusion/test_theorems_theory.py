"""The paper's two theorems against plain loops: both sides of the first along a chain, three sides of the second."""

import math
from dataclasses import astuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_schedules import KINDS_THAT_KEEP_SOME_SIGNAL, schedules

from sadpm.diffusion.gap import estimation_gap
from sadpm.diffusion.samplers import Prediction
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.diffusion.theory import SequenceBounds, errors_by_level, sequence_bounds, shrinkage, two_sides

quick = settings(max_examples=60, deadline=None)
kept_signal = schedules(KINDS_THAT_KEEP_SOME_SIGNAL, smallest=2)
SHAPE = (2, 3, 2, 2)


def draws(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def toy(x, n):
    return Prediction(torch.tanh(0.7 * x + 0.3 * math.sin(n)) + 0.1 * x)


class TestTheorem1:
    def chain(self, schedule, start, predict=toy):
        x0, noise = draws(*SHAPE, seed=0), draws(start + 1, *SHAPE, seed=1)
        x = schedule.add_noise(x0, noise[start], torch.full((SHAPE[0],), start))
        return predict, schedule, x0, x, start, noise.__getitem__

    @quick
    @given(kept_signal, st.data())
    def test_both_sides_are_the_gap_of_the_recursion_at_every_level(self, schedule, data):
        chain = self.chain(schedule, data.draw(st.integers(2, schedule.num_train_timesteps)))
        for sides, step in zip(two_sides(*chain), estimation_gap(*chain), strict=True):
            assert sides.level == step.level - 1
            scale = 1e-10 * (1 + step.x.abs().max())
            assert (sides.gap - step.gap).abs().max() < scale
            assert (sides.by_errors - step.gap).abs().max() < scale

    def test_the_last_level_is_the_sum_of_tau_times_the_errors(self):
        chain = self.chain(NoiseSchedule.create("linear", 20, 0.01, 0.2), 20)
        expected = sum(chain[1].tau[step.level] * step.error for step in estimation_gap(*chain))
        *_, last = two_sides(*chain)
        assert last.level == 1
        torch.testing.assert_close(last.by_errors, expected)
        torch.testing.assert_close(last.gap, expected)

    def test_a_network_in_float32_leaves_rounding_of_float64(self):
        chain = self.chain(
            NoiseSchedule.create("linear", 1000), 300, lambda x, n: Prediction(toy(x.float(), n).noise.double())
        )
        for sides in two_sides(*chain):
            assert (sides.gap - sides.by_errors).square().mean().sqrt() < 1e-10 * sides.gap.square().mean().sqrt()

    def test_shrinkage_is_the_product_of_the_factors_of_single_steps(self):
        schedule = NoiseSchedule.create("linear", 12, 0.01, 0.3)
        for s in range(1, 13):
            steps = [schedule.posterior_coefficients(n - 1, n)[1].item() for n in range(s, 1, -1)]
            assert shrinkage(schedule, s).item() == pytest.approx(math.prod(steps), rel=1e-12)


def test_the_network_sees_each_image_once_at_each_level_but_the_first():
    schedule, x0, noise = NoiseSchedule.create("linear", 6, 0.01, 0.3), draws(*SHAPE, seed=2), draws(7, *SHAPE, seed=3)
    seen = []

    def predict(x, n):
        eps = schedule.noise_in(x, x0, n)
        torch.testing.assert_close(eps, noise[n])
        seen.append(n)
        return Prediction(eps + n)

    errors = list(errors_by_level(predict, schedule, x0, noise.__getitem__))
    assert seen == [2, 3, 4, 5, 6]
    torch.testing.assert_close(
        torch.stack(errors), torch.arange(2.0, 7).double().reshape(5, 1, 1, 1, 1).expand(5, *SHAPE)
    )


def by_tau(schedule, errors, length):
    """The theorem's own weights, one K, as 0-dimensional tensors."""
    (bounds,) = sequence_bounds(schedule.tau[None], errors, [length]).values()
    return SequenceBounds(*(side[0] for side in astuple(bounds)))


@st.composite
def bounds_problems(draw):
    schedule = draw(kept_signal)
    batch, dim, seed = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(0, 10**6))
    errors = draws(schedule.num_train_timesteps - 1, batch, dim, seed=seed)
    common = draw(st.floats(-10, 10))
    length = draw(st.integers(1, 2 * schedule.num_train_timesteps))
    return schedule, errors + common, length


def by_enumeration(weighted, length):
    """Mean over window starts 1 - K..N and images of ||(1/K) sum over the levels 2..N in the window||^2."""
    total = len(weighted) + 1
    squares = []
    for start in range(1 - length, total + 1):
        inside = [weighted[n - 2] for n in range(start, start + length) if 2 <= n <= total]
        squares.append((sum(inside, 0 * weighted[0]) / length).square().sum(-1).mean())
    return torch.stack(squares).mean()


class TestTheorem2:
    @quick
    @given(bounds_problems())
    def test_bounds_hold_and_the_sequence_is_that_of_all_windows(self, problem):
        schedule, errors, length = problem
        bounds = by_tau(schedule, errors, length)
        weighted = schedule.tau[2:, None, None] * errors
        torch.testing.assert_close(bounds.sequence, by_enumeration(weighted, length), rtol=1e-10, atol=0)
        assert bounds.lower <= bounds.sequence * (1 + 1e-12)
        assert bounds.sequence <= bounds.upper * (1 + 1e-12)

    @quick
    @given(bounds_problems())
    def test_both_bounds_as_written(self, problem):
        schedule, errors, length = problem
        bounds, total = by_tau(schedule, errors, length), schedule.num_train_timesteps
        squares = [schedule.tau[n] ** 2 * errors[n - 2].square().sum(-1).mean() for n in range(2, total + 1)]
        expected = (total - 1) / (total + length) * torch.stack(squares).mean()
        torch.testing.assert_close(bounds.upper, expected, rtol=1e-10, atol=0)
        gaps = sum(schedule.tau[n] * errors[n - 2] for n in range(2, total + 1))
        expected = gaps.square().sum(-1).mean() / (total + length) ** 2
        torch.testing.assert_close(bounds.lower, expected, rtol=1e-8, atol=1e-30)

    @quick
    @given(bounds_problems())
    def test_windows_of_one_level_reach_the_upper_bound(self, problem):
        schedule, errors, _ = problem
        bounds = by_tau(schedule, errors, 1)
        torch.testing.assert_close(bounds.sequence, bounds.upper, rtol=1e-12, atol=0)

    def test_endless_windows_approach_the_lower_bound(self):
        schedule = NoiseSchedule.create("linear", 6, 0.01, 0.3)
        errors = draws(5, 2, 3, seed=0)
        ratios = []
        for length in (10, 100, 1000):
            bounds = by_tau(schedule, errors, length)
            ratios.append((bounds.sequence / bounds.lower).item())
        assert ratios[0] > ratios[1] > ratios[2] > 1
        assert ratios[2] < 1.02

    def test_equal_weighted_errors_lose_only_at_the_edges(self):
        schedule, total, length = NoiseSchedule.create("linear", 9, 0.01, 0.3), 9, 4
        errors = 2 / schedule.tau[2:, None, None]
        bounds = by_tau(schedule, errors, length)
        full, edges = total - length, 2 * sum((i / length) ** 2 for i in range(1, length))
        assert bounds.sequence.item() == pytest.approx(4 * (full + edges) / (total + length))
        assert bounds.upper.item() == pytest.approx(4 * (total - 1) / (total + length))
        assert bounds.lower.item() == pytest.approx(4 * (total - 1) ** 2 / (total + length) ** 2)

    def test_opposite_neighbours_cancel_in_windows_of_two(self):
        schedule = NoiseSchedule.create("linear", 5, 0.01, 0.3)
        errors = torch.tensor([1.0, -1.0, 1.0, -1.0]).double()[:, None, None] / schedule.tau[2:, None, None]
        bounds = by_tau(schedule, errors, 2)
        assert bounds.sequence.item() == pytest.approx(2 * 0.25 / 7)
        assert bounds.lower.item() == pytest.approx(0, abs=1e-15)
        assert bounds.upper.item() == pytest.approx(4 / 7)

    def test_several_weights_and_lengths_at_once_are_each_alone(self):
        schedule, errors = NoiseSchedule.create("linear", 7, 0.01, 0.3), draws(6, 2, 3, seed=1)
        ones = torch.ones(8, dtype=torch.float64)
        together = sequence_bounds(torch.stack([schedule.tau, ones]), iter(errors), (1, 3, 9))
        assert list(together) == [1, 3, 9]
        for length, bounds in together.items():
            for row, weights in enumerate((schedule.tau, ones)):
                alone = sequence_bounds(weights[None], errors, [length])[length]
                for side in ("upper", "sequence", "lower"):
                    torch.testing.assert_close(getattr(bounds, side)[row], getattr(alone, side)[0])
            torch.testing.assert_close(bounds.sequence[1], by_enumeration(errors, length))

    def test_residuals_in_float32_are_summed_in_float64(self):
        schedule, errors = NoiseSchedule.create("linear", 7, 0.01, 0.3), draws(6, 2, 3, seed=1).float()
        assert by_tau(schedule, errors, 2).sequence == by_tau(schedule, errors.double(), 2).sequence

    @pytest.mark.parametrize("count", [5, 7])
    def test_one_error_for_each_level(self, count):
        schedule = NoiseSchedule.create("linear", 7, 0.01, 0.3)
        with pytest.raises(ValueError, match="zip"):
            by_tau(schedule, draws(count, 2, 3, seed=1), 2)

    @pytest.mark.parametrize(
        ("sides", "hold"),
        [((2, 2, 2), True), ((3, 2, 1), True), ((3, 3.1, 1), False), ((3, 1, 2), False), ((3, float("nan"), 1), False)],
    )
    def test_hold(self, sides, hold):
        fine = torch.tensor([3.0, 2.0, 1.0])
        pairs = (torch.stack([one, torch.tensor(float(other))]) for one, other in zip(fine, sides, strict=True))
        assert SequenceBounds(*pairs).hold() == hold
