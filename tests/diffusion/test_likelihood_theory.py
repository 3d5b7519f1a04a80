"""The variational bound on Gaussian data, where its expectation is known, and its discrete last term."""

import math

import pytest
import torch
from gaussian import diagonal, isotropic

from sadpm.diffusion import likelihood
from sadpm.diffusion.likelihood import SMALLEST_PROBABILITY, bits_per_dimension, variational_bound
from sadpm.diffusion.samplers import DDPMStep, Prediction
from sadpm.diffusion.schedule import NoiseSchedule

SCHEDULE = NoiseSchedule.create("linear", 60, 1e-3, 0.25)
LEVELS = [[1, 60], [1, 4, 23, 60], list(range(1, 61))]


def draws(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def model_that_predicts(x0_hat, schedule=SCHEDULE):
    return lambda x, n: Prediction(schedule.noise_in(x, x0_hat, n))


def expected_terms(data, levels, step, estimator):
    """The terms in expectation over x_0 and noise; those of noisy levels are quadratic in both."""
    x0, noise = data.cubature()
    model = data.model(SCHEDULE, estimator)
    return variational_bound(model, x0, levels, SCHEDULE, step, lambda j: noise).mean(1)


def information(variances, n):
    """I(x_0; x_n) of independent pixels, in nats."""
    signal_to_noise = SCHEDULE.alphas_cumprod[n] / SCHEDULE.betas_cumprod[n]
    return 0.5 * torch.log1p(variances * signal_to_noise).sum().item()


@pytest.mark.parametrize("levels", LEVELS, ids=len)
@pytest.mark.parametrize(
    ("data", "estimator"),
    [(isotropic(0.3), "analytic"), (isotropic(0.3), "sn"), (diagonal(), "npr"), (diagonal(), "sn")],
    ids=str,
)
class TestExactModel:
    def test_each_transition_costs_the_information_that_is_lost(self, data, estimator, levels):
        """With the exact model a term is I(x_s; x_0 | x_t) = I(x_s; x_0) - I(x_t; x_0), whatever lies between."""
        terms = expected_terms(data, levels, DDPMStep("optimal"), estimator)
        variances = data.covariance.diagonal()
        for i in range(1, len(levels)):
            expected = information(variances, levels[i - 1]) - information(variances, levels[i])
            assert terms[i].item() == pytest.approx(expected, rel=1e-9)

    def test_prior_term_is_the_rest_of_the_information_and_the_distance_to_white_noise(self, data, estimator, levels):
        prior = expected_terms(data, levels, DDPMStep("optimal"), estimator)[-1]
        mean, covariance = data.marginal(SCHEDULE, 60)
        distance = 0.5 * (covariance.diagonal() - 1 - covariance.diagonal().log() + mean**2).sum().item()
        assert prior.item() == pytest.approx(information(data.covariance.diagonal(), 60) + distance, rel=1e-9)

    @pytest.mark.parametrize("variance", ["small", "large"])
    def test_no_fixed_variance_is_better(self, data, estimator, levels, variance):
        optimal = expected_terms(data, levels, DDPMStep("optimal"), estimator)[1:-1]
        fixed = expected_terms(data, levels, DDPMStep(variance), None)[1:-1]
        assert (optimal < fixed).all()


class TestTransitions:
    def test_knowing_the_image_costs_nothing_but_a_wrong_variance(self):
        x0, noise = draws(2, 1, 2, 2).clamp(-1, 1), draws(3, 2, 1, 2, 2, seed=1)
        levels = [2, 9, 40]
        small, large = (
            variational_bound(model_that_predicts(x0), x0, levels, SCHEDULE, DDPMStep(v), noise.__getitem__)[1:-1]
            for v in ("small", "large")
        )
        torch.testing.assert_close(small, torch.zeros_like(small), rtol=0, atol=1e-12)
        for term, (s, t) in zip(large, [(2, 9), (9, 40)], strict=True):
            ratio = (SCHEDULE.posterior_variance(s, t) / SCHEDULE.skip_beta(s, t)).item()
            expected = 4 * 0.5 * (ratio - 1 - math.log(ratio))
            assert term.tolist() == pytest.approx([expected] * 2)

    def test_a_wrong_image_costs_its_weighted_squared_distance(self):
        x0, noise = draws(2, 1, 2, 2), draws(2, 2, 1, 2, 2, seed=1)
        model = model_that_predicts(x0 + 0.1)
        terms = variational_bound(model, x0, [9, 40], SCHEDULE, DDPMStep("small"), noise.__getitem__)
        of_x0, _ = SCHEDULE.posterior_coefficients(9, 40)
        expected = 4 * 0.5 * (of_x0 * 0.1).item() ** 2 / SCHEDULE.posterior_variance(9, 40).item()
        assert terms[1].tolist() == pytest.approx([expected] * 2)

    def test_noise_is_counted_from_the_highest_level_and_levels_are_visited_downwards(self):
        x0, noise, seen = draws(2, 1, 2, 2), draws(3, 2, 1, 2, 2, seed=1), []

        def predict(x, n):
            seen.append((n, x))
            return Prediction(0 * x)

        terms = variational_bound(predict, x0, [2, 9, 40], SCHEDULE, DDPMStep(), noise.__getitem__)
        assert terms.shape == (4, 2)
        assert [n for n, _ in seen] == [40, 9, 2]
        for (n, x), own in zip(seen, noise, strict=True):
            torch.testing.assert_close(x, SCHEDULE.add_noise(x0, own, torch.tensor([n, n])))

    def test_repeated_levels(self):
        x0 = draws(1, 1, 2, 2)
        with pytest.raises(ValueError, match="needs different levels"):
            variational_bound(model_that_predicts(x0), x0, [1, 1, 9], SCHEDULE, DDPMStep(), lambda j: x0)

    def test_bits_per_dimension_by_hand(self):
        terms = math.log(2) * torch.tensor([[6.0, 10.0], [1.0, 3.0], [1.0, 3.0]], dtype=torch.float64)
        assert bits_per_dimension(terms, 4).item() == pytest.approx(3.0)


class TestReconstruction:
    grey = 2 * torch.arange(256, dtype=torch.float64).reshape(-1, 1, 1, 1) / 255 - 1
    std = SCHEDULE.posterior_variance(1, 2).sqrt().item()

    def costs(self, mean, x0=None):
        """Cost in nats of each grey level where the model predicts ``mean``."""
        x0 = self.grey if x0 is None else x0
        model = model_that_predicts(torch.full_like(x0, mean))
        return variational_bound(model, x0, [1, 9], SCHEDULE, DDPMStep(), lambda j: 0.5 * torch.ones_like(x0))[0]

    @pytest.mark.parametrize("mean", [-3.0, -1.0, -0.97, 0.0, 0.003, 0.6, 1.0, 3.0])
    def test_probabilities_of_the_grey_levels_add_up_to_one(self, mean):
        assert self.costs(mean).neg().exp().sum().item() == pytest.approx(1, abs=1e-9)

    @pytest.mark.parametrize("mean", [-0.99, 0.0, 0.3])
    def test_probabilities_are_those_of_a_gaussian_on_bins(self, mean):
        edges = (self.grey.flatten()[:-1] + 1 / 255 - mean) / self.std
        below = torch.cat([torch.zeros(1), torch.special.ndtr(edges), torch.ones(1)])
        torch.testing.assert_close(self.costs(mean).neg().exp(), below.diff(), rtol=0, atol=3e-4)

    def test_impossible_levels_cost_a_finite_price(self, monkeypatch):
        x0 = torch.tensor([1.0, -0.6, -1.0, 0.2, 0.2 + 2 / 255]).double().reshape(-1, 1, 1, 1)
        costs = self.costs(0.2, x0)
        floor = -math.log(SMALLEST_PROBABILITY)
        assert costs[:3].tolist() == pytest.approx([floor] * 3)
        assert (costs[3:] < 5).all()
        monkeypatch.setattr(likelihood, "SMALLEST_PROBABILITY", SMALLEST_PROBABILITY**2)
        lower = self.costs(0.2, x0)
        assert lower[:3].tolist() == pytest.approx([2 * floor] * 3)
        assert torch.equal(lower[3:], costs[3:])

    def test_pixels_add_up(self):
        x0 = self.grey[[3, 200, 100, 101]]
        together = self.costs(-0.2, x0.reshape(1, 1, 2, 2))
        assert together.item() == pytest.approx(self.costs(-0.2, x0).sum().item())
