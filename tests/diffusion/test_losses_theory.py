"""Training losses: identities, windows by hand, and what must not enter loss or gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sadpm.diffusion.losses import (
    antithetic_levels,
    npr_head_loss,
    residuals,
    sequence_aware_loss,
    sequence_term,
    simple_loss,
    sn_head_loss,
    sum_of_squares,
    window_levels,
    window_weights,
)
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.diffusion.theory import sequence_bounds
from sadpm.objectives.sequence_aware import SequenceAware

quick = settings(max_examples=60, deadline=None)
SCHEDULE = NoiseSchedule.create("linear", 6, 0.01, 0.3)
PIXELS = (3, 2, 2)


def images(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class ToyNetwork(torch.nn.Module):
    """Depends on image, pixel and level; remembers the levels of each call."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(images(*PIXELS, seed=7))
        self.of_level = torch.nn.Parameter(images(7, seed=8))
        self.calls = []

    def forward(self, x, n):
        self.calls.append(n.tolist())
        return torch.tanh(self.scale * x + self.of_level[n].reshape(-1, 1, 1, 1))


def network_with_residuals(schedule, x0, residual_of_level):
    """A network that finds the noise in x by knowing x_0, and then errs by ``residual_of_level[n]``."""

    def predict_noise(x, n):
        clean = x0.repeat(len(x) // len(x0), 1, 1, 1)
        signal, noise = schedule.alphas_cumprod[n].sqrt(), schedule.betas_cumprod[n].sqrt()
        error = residual_of_level[n].reshape(len(n), *[1] * (4 - residual_of_level.ndim), *residual_of_level.shape[1:])
        return (x - signal.reshape(-1, 1, 1, 1) * clean) / noise.reshape(-1, 1, 1, 1) + error

    return predict_noise


def loss_and_gradients(x0, n, noise, **options):
    network = ToyNetwork()
    loss = sequence_aware_loss(network, SCHEDULE, x0, n, noise, **options)
    return loss, torch.autograd.grad(loss.total, network.parameters())


class TestTotal:
    n = torch.tensor([1, 2, 6, 3, 4])
    x0, noise = images(5, *PIXELS, seed=1), images(4, 5, *PIXELS, seed=2)

    def simple(self):
        network = ToyNetwork()
        loss = simple_loss(network, SCHEDULE, self.x0, self.n, self.noise[0])
        return loss, torch.autograd.grad(loss, network.parameters())

    def test_a_window_of_one_level_repeats_the_simple_loss(self):
        simple, simple_gradients = self.simple()
        loss, gradients = loss_and_gradients(self.x0, self.n, self.noise[:1], lam=1.0)
        torch.testing.assert_close(loss.total, 2 * simple)
        torch.testing.assert_close(loss.sequence, simple)
        torch.testing.assert_close(loss.simple, simple)
        for ours, theirs in zip(gradients, simple_gradients, strict=True):
            torch.testing.assert_close(ours, 2 * theirs)

    @pytest.mark.parametrize("window_start", [None, torch.tensor([0, 1, 2, 3, 4])])
    def test_lambda_0_is_the_simple_loss_in_one_call_of_b_images(self, window_start):
        simple, _ = self.simple()
        network = ToyNetwork()
        loss = sequence_aware_loss(network, SCHEDULE, self.x0, self.n, self.noise, lam=0, window_start=window_start)
        assert network.calls == [self.n.tolist()]
        assert loss.total == loss.simple == simple
        assert loss.sequence == 0

    @pytest.mark.parametrize("length", [1, 2, 3, 4])
    def test_an_anchored_window_is_one_call_of_k_times_b_images(self, length):
        network = ToyNetwork()
        sequence_aware_loss(network, SCHEDULE, self.x0, self.n, self.noise[:length], lam=0.5)
        expected = [max(n - k, 1) for k in range(length) for n in self.n.tolist()]
        assert network.calls == [expected]

    def test_a_sliding_window_is_one_call_that_contains_the_simple_loss(self):
        network = ToyNetwork()
        start = torch.tensor([-2, 0, 2, 5, 6])
        loss = sequence_aware_loss(network, SCHEDULE, self.x0, self.n, self.noise, lam=0.5, window_start=start)
        in_window = [min(max(n + k, 1), 6) for k in range(3) for n in start.tolist()]
        assert network.calls == [self.n.tolist() + in_window]
        assert loss.simple.item() == pytest.approx(self.simple()[0].item())

    @pytest.mark.parametrize("lam", [0.2, 3.0])
    @pytest.mark.parametrize("window_start", [None, torch.tensor([0, 1, 2, 3, 4])])
    @pytest.mark.parametrize("weights", ["unit", "theory"])
    def test_terms_add_up(self, lam, window_start, weights):
        options = {"window_start": window_start, "weights": weights}
        loss, _ = loss_and_gradients(self.x0, self.n, self.noise, lam=lam, **options)
        once, _ = loss_and_gradients(self.x0, self.n, self.noise, lam=1.0, **options)
        assert loss.sequence == once.sequence > 0
        assert loss.total.item() == pytest.approx((loss.simple + lam * loss.sequence).item(), rel=1e-14)

    @pytest.mark.parametrize("window_start", [None, torch.tensor([-2, 0, 1, 3, 4])])
    @pytest.mark.parametrize("weights", ["unit", "theory"])
    def test_plain_and_cross_terms_are_the_expansion_of_the_square(self, window_start, weights):
        options = {"lam": 1.0, "window_start": window_start, "weights": weights}
        found = {
            terms: loss_and_gradients(self.x0, self.n, self.noise, terms=terms, **options)
            for terms in ("both", "plain", "cross")
        }
        parts = {terms: loss.sequence.item() for terms, (loss, _) in found.items()}
        assert parts["plain"] + parts["cross"] == pytest.approx(parts["both"], rel=1e-12)
        assert parts["plain"] > 0 != parts["cross"]
        simple = self.simple()[1]
        for alone, both, plain, cross in zip(simple, *(gradients for _, gradients in found.values()), strict=True):
            torch.testing.assert_close(plain - alone + cross - alone, both - alone)

    @pytest.mark.parametrize("length", [2, 3])
    def test_plain_and_cross_terms_by_hand(self, length):
        found, weights = images(length, 4, *PIXELS, seed=3), images(length, 4, seed=4)
        weights[-1, 0] = 0
        plain = cross = 0.0
        for b in range(4):
            for j in range(length):
                plain += (weights[j, b] ** 2 * found[j, b].square().sum()).item()
                for k in range(j):
                    cross += 2 * (weights[j, b] * weights[k, b] * (found[j, b] * found[k, b]).sum()).item()
        assert sequence_term(found, weights, "plain").item() == pytest.approx(plain / 4 / length**2)
        assert sequence_term(found, weights, "cross").item() == pytest.approx(cross / 4 / length**2)

    def test_losses_sum_over_pixels_and_average_over_images(self):
        residual = torch.tensor([[[[1.0, 2.0]]], [[[3.0, 0.0]]]])
        assert sum_of_squares(residual).tolist() == [5.0, 9.0]
        loss = simple_loss(lambda x, n: residual, SCHEDULE, 0 * residual, torch.tensor([1, 2]), 0 * residual)
        assert loss == 7.0

    def test_every_level_has_its_own_noise(self):
        levels = torch.tensor([[3, 4], [2, 3], [1, 2]])
        x0, noise = images(2, *PIXELS, seed=4), images(3, 2, *PIXELS, seed=5)
        errors = images(7, *PIXELS, seed=6)
        found = residuals(network_with_residuals(SCHEDULE, x0, errors), SCHEDULE, x0, levels, noise)
        torch.testing.assert_close(found, errors[levels])


class TestWindows:
    def test_anchored_by_hand(self):
        levels, mask = window_levels(torch.tensor([1, 2, 6]), 3, 6)
        assert levels.tolist() == [[1, 2, 6], [1, 1, 5], [1, 1, 4]]
        assert mask.tolist() == [[True, True, True], [False, True, True], [False, False, True]]

    def test_sliding_by_hand(self):
        levels, mask = window_levels(torch.tensor([-2, 0, 1, 5, 6]), 3, 6, "sliding")
        assert levels.tolist() == [[1, 1, 1, 5, 6], [1, 1, 2, 6, 6], [1, 2, 3, 6, 6]]
        assert mask.tolist() == [
            [False, False, False, True, True],
            [False, False, True, True, False],
            [False, True, True, False, False],
        ]

    @quick
    @given(st.integers(1, 12), st.integers(2, 12))
    def test_every_level_but_the_first_is_in_k_sliding_windows(self, length, total):
        levels, mask = window_levels(torch.arange(1 - length, total + 1), length, total, "sliding")
        counts = torch.bincount(levels[mask], minlength=total + 1)
        assert counts.tolist() == [0, 0] + [length] * (total - 1)

    @quick
    @given(st.integers(1, 12), st.integers(1, 12))
    def test_anchored_windows_hold_consecutive_levels_from_the_anchor_down(self, length, total):
        levels, mask = window_levels(torch.arange(1, total + 1), length, total)
        for n in range(1, total + 1):
            inside = levels[:, n - 1][mask[:, n - 1]].tolist()
            assert inside == list(range(n, max(n - length, 0), -1))

    def test_weights(self):
        levels, mask = torch.tensor([[1, 2], [2, 3]]), torch.tensor([[True, True], [False, True]])
        tau = SCHEDULE.tau.tolist()
        assert window_weights(SCHEDULE, levels, mask).tolist() == [[1, 1], [0, 1]]
        assert window_weights(SCHEDULE, levels, mask, "theory").tolist() == [[0, tau[2]], [0, tau[3]]]

    def test_sequence_term_divides_by_k_also_where_levels_are_masked(self):
        errors = torch.tensor([[[[[1.0, 2.0]]], [[[4.0, 0.0]]]], [[[[3.0, 0.0]]], [[[5.0, 5.0]]]]])
        weights = torch.tensor([[1.0, 2.0], [1.0, 0.0]])
        first_image, second_image = (4**2 + 2**2) / 4, 8**2 / 4
        assert sequence_term(errors, weights) == (first_image + second_image) / 2

    def test_unit_and_theory_weights_by_hand(self):
        x0, tau = images(3, *PIXELS, seed=3), SCHEDULE.tau.tolist()
        errors = torch.tensor([0.0, 1.0, 10.0, 100.0, -30.0, 0.0, 0.0], dtype=torch.float64)
        n, noise = torch.tensor([4, 2, 1]), images(3, 3, *PIXELS, seed=4)
        network = network_with_residuals(SCHEDULE, x0, errors)
        loss = sequence_aware_loss(network, SCHEDULE, x0, n, noise, lam=1)
        assert loss.simple.item() == pytest.approx(12 / 3 * (30**2 + 10**2 + 1))
        assert loss.sequence.item() == pytest.approx(12 / 3 * (80**2 + 11**2 + 1) / 9)
        loss = sequence_aware_loss(network, SCHEDULE, x0, n, noise, lam=1, weights="theory")
        at_4, at_2 = -30 * tau[4] + 100 * tau[3] + 10 * tau[2], 10 * tau[2]
        assert loss.simple.item() == pytest.approx(12 / 3 * (30**2 + 10**2 + 1))
        assert loss.sequence.item() == pytest.approx(12 / 3 * (at_4**2 + at_2**2) / 9)

    @pytest.mark.parametrize(("total", "length"), [(2, 1), (4, 2), (6, 3), (5, 9)])
    def test_expectation_over_window_starts_is_the_middle_of_theorem_2(self, total, length):
        schedule = NoiseSchedule.create("linear", total, 0.01, 0.3)
        start = torch.arange(1 - length, total + 1)
        x0, errors = images(len(start), *PIXELS, seed=1), images(total + 1, *PIXELS, seed=2)
        loss = sequence_aware_loss(
            network_with_residuals(schedule, x0, errors),
            schedule,
            x0,
            torch.ones(len(start), dtype=torch.int64),
            images(length + 1, len(start), *PIXELS, seed=3),
            lam=1,
            weights="theory",
            window_start=start,
        )
        bounds = sequence_bounds(schedule.tau[None], errors[2:][:, None], [length])
        torch.testing.assert_close(loss.sequence, bounds[length].sequence[0], rtol=1e-9, atol=0)


class TestMaskedLevels:
    @pytest.mark.parametrize("weights", ["unit", "theory"])
    @pytest.mark.parametrize(
        ("n", "window_start"),
        [(torch.tensor([1, 2, 5]), None), (torch.tensor([4, 5, 6]), torch.tensor([-1, 0, 5]))],
        ids=["anchored", "sliding"],
    )
    def test_their_noise_reaches_neither_loss_nor_gradients(self, n, window_start, weights):
        x0, options = images(3, *PIXELS, seed=1), {"lam": 1.0, "window_start": window_start, "weights": weights}
        if window_start is None:
            noise = images(3, 3, *PIXELS, seed=2)
            used = window_levels(n, 3, 6)[1]
        else:
            noise = images(4, 3, *PIXELS, seed=2)
            in_window = window_levels(window_start, 3, 6, "sliding")[1]
            used = torch.cat([torch.ones(1, 3, dtype=torch.bool), in_window])
        other = torch.where(used[..., None, None, None], noise, 50 * images(*noise.shape, seed=3))
        loss, gradients = loss_and_gradients(x0, n, noise, **options)
        other_loss, other_gradients = loss_and_gradients(x0, n, other, **options)
        assert not torch.equal(noise, other)
        assert loss.total == other_loss.total
        assert loss.total.isfinite()
        for ours, theirs in zip(gradients, other_gradients, strict=True):
            assert torch.equal(ours, theirs)
            assert ours.isfinite().all()

    def test_noise_inside_the_window_reaches_the_loss(self):
        x0, n, noise = images(1, *PIXELS), torch.tensor([4]), images(3, 1, *PIXELS, seed=2)
        loss, _ = loss_and_gradients(x0, n, noise, lam=1.0)
        for k in range(3):
            other = noise.clone()
            other[k] *= 2
            assert loss_and_gradients(x0, n, other, lam=1.0)[0].sequence != loss.sequence

    def test_a_window_outside_the_schedule_costs_nothing(self):
        x0, noise = images(2, *PIXELS), images(4, 2, *PIXELS, seed=2)
        start = torch.tensor([-2, -1])
        loss, _ = loss_and_gradients(x0, torch.tensor([3, 3]), noise, lam=1.0, window_start=start)
        assert loss.sequence == 0
        assert loss.total == loss.simple


class TestAntitheticLevels:
    @quick
    @given(st.integers(1, 33), st.integers(1, 1000), st.integers(0, 2**32))
    def test_the_second_half_mirrors_the_first(self, count, total, seed):
        n = antithetic_levels(count, total, torch.Generator().manual_seed(seed))
        assert n.shape == (count,)
        assert n.dtype == torch.int64
        assert ((n >= 1) & (n <= total)).all()
        half = count // 2 + 1
        assert (n[half:] == total + 1 - n[: count - half]).all()

    @quick
    @given(st.integers(1, 16), st.integers(0, 2**32))
    def test_reproducible_by_its_generator_alone(self, count, seed):
        first = antithetic_levels(count, 1000, torch.Generator().manual_seed(seed))
        torch.manual_seed(seed + 1)
        assert torch.equal(first, antithetic_levels(count, 1000, torch.Generator().manual_seed(seed)))

    def test_draws_of_one_generator_differ(self):
        generator = torch.Generator().manual_seed(0)
        assert not torch.equal(antithetic_levels(8, 1000, generator), antithetic_levels(8, 1000, generator))

    @pytest.mark.parametrize("count", [7, 8])
    def test_every_position_is_uniform_on_all_levels(self, count):
        generator, draws, total = torch.Generator().manual_seed(0), 3000, 5
        n = torch.stack([antithetic_levels(count, total, generator) for _ in range(draws)])
        counts = torch.stack([(n == level).sum(0) for level in range(1, total + 1)])
        five_deviations = 5 * (draws * 0.2 * 0.8) ** 0.5
        assert (counts - draws / total).abs().max() < five_deviations


class TestHeads:
    noise, predicted = images(500, *PIXELS, seed=1), images(500, *PIXELS, seed=2)

    @pytest.mark.parametrize("head", ["npr", "sn"])
    def test_the_minimiser_is_the_mean_of_the_target(self, head):
        target = self.noise**2 if head == "sn" else (self.noise - self.predicted) ** 2
        best = target.mean(0).requires_grad_()

        def loss(value):
            value = value.expand_as(self.noise)
            each = sn_head_loss(value, self.noise) if head == "sn" else npr_head_loss(value, self.predicted, self.noise)
            return each.mean()

        (gradient,) = torch.autograd.grad(loss(best), best)
        assert gradient.abs().max() < 1e-13
        for shift in (-0.01, 0.01):
            increase = (loss(best + shift) - loss(best)).item()
            assert increase == pytest.approx(12 * shift**2, rel=1e-8)

    def test_losses_of_the_heads_are_of_each_image(self):
        noise, predicted = (
            torch.tensor([[[[2.0, -1.0]]], [[[0.0, 3.0]]]]),
            torch.tensor([[[[1.0, 1.0]]], [[[0.0, 1.0]]]]),
        )
        head = torch.full_like(noise, 0.5)
        assert npr_head_loss(head, predicted, noise).tolist() == [0.5**2 + 3.5**2, 0.5**2 + 3.5**2]
        assert sn_head_loss(head, noise).tolist() == [3.5**2 + 0.5**2, 0.5**2 + 8.5**2]

    def test_the_residual_head_does_not_train_the_noise_predictor(self):
        predicted = self.predicted.clone().requires_grad_()
        head = torch.ones_like(predicted).requires_grad_()
        npr_head_loss(head, predicted, self.noise).sum().backward()
        assert predicted.grad is None
        assert head.grad.abs().sum() > 0


@pytest.mark.parametrize("terms", ["both", "plain", "cross"])
def test_the_loss_of_a_network_that_answers_0_is_what_its_objective_says(terms):
    objective = SequenceAware(K=3, lam=1.5, terms=terms)
    draws = objective.draw((20_000, 1, 2, 2), 50, torch.Generator().manual_seed(0))
    schedule = NoiseSchedule.create(num_train_timesteps=50)
    loss = objective.loss(lambda x, n: torch.zeros_like(x), schedule, torch.zeros(20_000, 1, 2, 2), draws)
    # Windows that reach below the first level are shorter: 3 of 50 * 3 residuals.
    assert loss.total.item() == pytest.approx(objective.loss_of_zero(4), rel=0.03)
