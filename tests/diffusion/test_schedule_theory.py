"""Noise schedules against the rules of Gaussian chains, for every kind and length."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_schedules import KINDS, KINDS_THAT_KEEP_SOME_SIGNAL, schedules, schedules_with_levels

from sadpm.diffusion.schedule import NoiseSchedule, network_time

quick = settings(max_examples=60, deadline=None)


def close(actual, expected, rel=1e-9):
    return float(actual) == pytest.approx(float(expected), rel=rel, abs=1e-15)


class TestForwardProcess:
    @quick
    @given(schedules())
    def test_signal_only_falls(self, schedule):
        abar, total = schedule.alphas_cumprod, schedule.num_train_timesteps
        assert abar.dtype == torch.float64
        assert abar.shape == schedule.betas.shape == (total + 1,)
        assert schedule.betas[0] == 0
        assert abar[0] == 1
        assert (abar.diff() < 0).all()
        assert (abar >= 0).all()

    @quick
    @given(schedules_with_levels(3))
    def test_skips_compose(self, schedule_and_levels):
        schedule, (r, s, t) = schedule_and_levels
        assert close(schedule.skip_alpha(r, s) * schedule.skip_alpha(s, t), schedule.skip_alpha(r, t))
        assert close(schedule.skip_alpha(0, t), schedule.alphas_cumprod[t])

    @quick
    @given(schedules_with_levels(2))
    def test_skip_beta_is_the_variance_that_single_steps_add_up_to(self, schedule_and_levels):
        schedule, (s, t) = schedule_and_levels
        variance = 0.0
        for n in range(s + 1, t + 1):
            variance = (1 - schedule.betas[n]) * variance + schedule.betas[n]
        assert close(schedule.skip_beta(s, t), variance)

    @pytest.mark.parametrize("kind", ["linear", "quadratic", "sigmoid"])
    def test_betas_rise_from_start_to_end(self, kind):
        betas = NoiseSchedule.create(kind, 200, 0.003, 0.07).betas[1:]
        assert (betas.diff() > 0).all()
        tolerance = 3e-3 * 0.07 if kind == "sigmoid" else 1e-12
        assert betas[0].item() == pytest.approx(0.003, abs=tolerance)
        assert betas[-1].item() == pytest.approx(0.07, abs=tolerance)

    def test_middle_of_the_rising_kinds(self):
        middle = {kind: NoiseSchedule.create(kind, 3, 0.01, 0.09).betas[2].item() for kind in KINDS[:4]}
        assert middle == pytest.approx({"linear": 0.05, "quadratic": 0.04, "constant": 0.09, "sigmoid": 0.05})

    def test_jsd_loses_the_same_share_of_energy_at_each_level(self):
        abar = NoiseSchedule.create("jsd", 8).alphas_cumprod
        torch.testing.assert_close(abar, torch.linspace(1, 0, 9, dtype=torch.float64))

    def test_cosine_follows_its_clock(self):
        abar = NoiseSchedule.create("cosine", 50).alphas_cumprod
        for n in range(50):
            signal = math.cos((n / 50 + 0.008) / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)
            assert close(abar[n], signal**2)
        assert close(abar[50], abar[49] * 0.001)

    def test_unknown_kind(self):
        with pytest.raises(ValueError, match=r"unknown beta schedule 'cubic'.*linear, quadratic, .*cosine"):
            NoiseSchedule.create("cubic")

    def test_betas_of_any_dtype_become_float64_after_a_clean_level(self):
        schedule = NoiseSchedule.from_betas(torch.tensor([0.25, 0.5]))
        assert schedule.betas.tolist() == [0.0, 0.25, 0.5]
        assert schedule.betas.dtype == torch.float64
        assert schedule.alphas_cumprod.tolist() == [1.0, 0.75, 0.375]
        assert schedule.to("cpu").betas.tolist() == schedule.betas.tolist()


class TestPosterior:
    @quick
    @given(schedules_with_levels(2, lowest=1))
    def test_bayes(self, schedule_and_levels):
        """Precisions add: q(x_s | x_0) is the prior, q(x_t | x_s) the likelihood."""
        schedule, (s, t) = schedule_and_levels
        prior, likelihood = schedule.betas_cumprod[s], schedule.skip_beta(s, t)
        variance = 1 / (1 / prior + schedule.skip_alpha(s, t) / likelihood)
        of_x0, of_xt = schedule.posterior_coefficients(s, t)
        assert close(schedule.posterior_variance(s, t), variance)
        assert close(of_x0, variance * schedule.alphas_cumprod[s].sqrt() / prior)
        assert close(of_xt, variance * schedule.skip_alpha(s, t).sqrt() / likelihood)

    @quick
    @given(schedules_with_levels(2))
    def test_averaging_over_x_t_gives_back_the_marginal_at_s(self, schedule_and_levels):
        schedule, (s, t) = schedule_and_levels
        of_x0, of_xt = schedule.posterior_coefficients(s, t)
        assert close(of_x0 + of_xt * schedule.alphas_cumprod[t].sqrt(), schedule.alphas_cumprod[s].sqrt())
        variance = of_xt**2 * schedule.betas_cumprod[t] + schedule.posterior_variance(s, t)
        assert close(variance, schedule.betas_cumprod[s])

    @quick
    @given(schedules_with_levels(2))
    def test_variance_is_below_that_of_both_its_sources(self, schedule_and_levels):
        schedule, (s, t) = schedule_and_levels
        variance = schedule.posterior_variance(s, t)
        assert 0 <= variance <= schedule.skip_beta(s, t)
        assert variance <= schedule.betas_cumprod[s]
        assert (variance == 0) == (s == 0)

    @quick
    @given(schedules())
    def test_single_steps_have_the_coefficients_of_ho_et_al(self, schedule):
        for n in range(1, schedule.num_train_timesteps + 1):
            beta, abar, before = schedule.betas[n], schedule.alphas_cumprod[n], schedule.alphas_cumprod[n - 1]
            of_x0, of_xt = schedule.posterior_coefficients(n - 1, n)
            assert close(of_x0, before.sqrt() * beta / (1 - abar))
            assert close(of_xt, (1 - beta).sqrt() * (1 - before) / (1 - abar))
            assert close(schedule.posterior_variance(n - 1, n), (1 - before) / (1 - abar) * beta)

    @quick
    @given(schedules(), st.data())
    def test_no_time_passed_means_certainty(self, schedule, data):
        n = data.draw(st.integers(1, schedule.num_train_timesteps))
        assert schedule.posterior_coefficients(n, n) == (0, 1)
        assert schedule.posterior_variance(n, n) == 0
        assert schedule.skip_beta(n, n) == 0


class TestTheorem1Weights:
    @quick
    @given(schedules(KINDS_THAT_KEEP_SOME_SIGNAL))
    def test_tau_as_written_in_the_paper(self, schedule):
        abar, total = schedule.alphas_cumprod.tolist(), schedule.num_train_timesteps
        assert schedule.tau[:2].isnan().all()
        assert len(schedule.tau) == total + 1
        for i in range(2, total + 1):
            gamma_1 = math.sqrt(abar[i - 1]) * float(schedule.betas[i]) / (1 - abar[i])
            propagation = math.sqrt(abar[i - 1]) * (1 - abar[1]) / (math.sqrt(abar[1]) * (1 - abar[i - 1]))
            tau = propagation * gamma_1 * math.sqrt(1 - abar[i]) / math.sqrt(abar[i])
            assert close(schedule.tau[i], tau)

    @quick
    @given(schedules(KINDS_THAT_KEEP_SOME_SIGNAL))
    def test_tau_carries_an_error_through_all_later_steps(self, schedule):
        carried = 1.0
        for n in range(2, schedule.num_train_timesteps + 1):
            assert close(schedule.tau[n], carried * schedule.error_coefficients[n])
            carried = carried * schedule.posterior_coefficients(n - 1, n)[1]

    @quick
    @given(schedules(KINDS_THAT_KEEP_SOME_SIGNAL), st.data())
    def test_error_coefficient_is_what_a_unit_error_of_the_noise_does_to_the_mean(self, schedule, data):
        n = data.draw(st.integers(1, schedule.num_train_timesteps))
        error_of_x0 = schedule.betas_cumprod[n].sqrt() / schedule.alphas_cumprod[n].sqrt()
        of_x0, _ = schedule.posterior_coefficients(n - 1, n)
        assert close(schedule.error_coefficients[n], of_x0 * error_of_x0)
        assert schedule.error_coefficients[0].isnan()


class TestBatches:
    @quick
    @given(schedules(KINDS_THAT_KEEP_SOME_SIGNAL), st.data())
    def test_noise_in_inverts_add_noise(self, schedule, data):
        n = data.draw(st.integers(1, schedule.num_train_timesteps))
        x0, noise = torch.randn(2, 4, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
        x = schedule.add_noise(x0, noise, torch.full((4,), n))
        torch.testing.assert_close(schedule.noise_in(x, x0, n), noise, rtol=1e-9, atol=1e-9)

    def test_each_image_gets_the_noise_of_its_own_level(self):
        schedule = NoiseSchedule.from_betas(torch.tensor([0.36, 0.75]))
        x0, noise = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]), torch.tensor([[10.0, 0.0]] * 3)
        x = schedule.add_noise(x0, noise, torch.tensor([2, 0, 1]))
        expected = torch.tensor([[0.4 + 10 * 0.84**0.5, 0.8], [1.0, 2.0], [0.8 + 6.0, 1.6]])
        torch.testing.assert_close(x, expected)
        assert x.dtype == torch.float32

    @pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 4, 4)])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_gathered_values_broadcast_over_images(self, shape, dtype):
        schedule = NoiseSchedule.create("linear", 10)
        n = torch.tensor([10, 1, 4])
        gathered = schedule.at(schedule.alphas_cumprod, n, torch.zeros(shape, dtype=dtype))
        assert gathered.shape == (3, *[1] * (len(shape) - 1))
        assert gathered.flatten().tolist() == schedule.alphas_cumprod[n].to(dtype).tolist()
        assert gathered.dtype == dtype

    def test_the_network_counts_levels_from_0(self):
        assert network_time(torch.tensor([1, 1000])).tolist() == [0, 999]
