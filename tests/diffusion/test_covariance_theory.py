"""Analytic, NPR, OCM and SN from exact statistics must give the exact Cov[x_0 | x_n]."""

import pytest
import torch
from gaussian import GaussianData, correlated, diagonal, identity, isotropic

from sadpm.diffusion.covariance import (
    analytic_covariance,
    average_over_pixels,
    clip_covariance,
    mean_squared_prediction,
    mean_squared_prediction_controlled,
    npr_covariance,
    ocm_covariance,
    probed_hessian,
    sn_covariance,
)
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.running.randomness import random_signs

SCHEDULE = NoiseSchedule.create("linear", 40, 1e-3, 0.3)
LEVELS = [1, 2, 17, 40]
DATA = {"isotropic": isotropic(0.3), "diagonal": diagonal(), "correlated": correlated()}


@pytest.fixture(params=DATA.values(), ids=DATA)
def data(request) -> GaussianData:
    return request.param


@pytest.mark.parametrize("n", LEVELS)
@pytest.mark.parametrize("estimator", ["npr", "ocm", "sn"])
def test_heads_give_the_variance_of_each_pixel(data, estimator, n):
    x = data.images(torch.tensor([[0.3, -1.2, 0.7], [2.0, 0.1, -0.4]], dtype=torch.float64))
    covariance = data.model(SCHEDULE, estimator)(x, n).covariance
    expected = data.image_covariance(SCHEDULE, n).diagonal().expand_as(x)
    torch.testing.assert_close(covariance, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", LEVELS)
def test_analytic_gives_the_mean_variance_of_the_pixels(data, n):
    covariance = analytic_covariance(SCHEDULE, n, data.ms_eps(SCHEDULE))
    expected = data.image_covariance(SCHEDULE, n).diagonal().mean()
    torch.testing.assert_close(covariance, expected, rtol=1e-9, atol=1e-12)
    assert covariance.ndim == 0


@pytest.mark.parametrize("n", LEVELS)
def test_analytic_is_exact_for_independent_pixels_of_one_variance(n):
    data = isotropic(0.3)
    covariance = analytic_covariance(SCHEDULE, n, data.ms_eps(SCHEDULE))
    torch.testing.assert_close(covariance * identity(3), data.image_covariance(SCHEDULE, n), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", LEVELS)
@pytest.mark.parametrize("estimate", ["plain", "controlled"])
def test_both_estimates_of_ms_eps_have_the_exact_expectation(data, estimate, n):
    x0, noise = data.cubature()
    x = SCHEDULE.add_noise(x0, noise, torch.full((len(x0),), n))
    predicted = data.expected_noise(SCHEDULE, x, n)
    if estimate == "plain":
        ms_eps = mean_squared_prediction(predicted)
    else:
        ms_eps = mean_squared_prediction_controlled(predicted, noise)
    assert ms_eps.shape == (len(x0),)
    torch.testing.assert_close(ms_eps.mean(), data.ms_eps(SCHEDULE)[n], rtol=1e-10, atol=0)


def test_the_control_variate_removes_most_of_the_variance_at_high_levels():
    data, n = isotropic(0.3), 40
    x0, noise = torch.randn(2, 300, 1, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = SCHEDULE.add_noise(data.mean + 0.3**0.5 * x0, noise, torch.full((300,), n))
    predicted = data.expected_noise(SCHEDULE, x, n)
    assert mean_squared_prediction_controlled(predicted, noise).std() < 0.1 * mean_squared_prediction(predicted).std()


@pytest.mark.parametrize("n", LEVELS)
def test_heads_know_that_the_variance_depends_on_the_image(n):
    """Pixels that are -a or a: x_0 has the mean a tanh(u) and the variance a^2 / cosh(u)^2 given x_n."""
    a, x = 0.8, torch.linspace(-2, 2, 9, dtype=torch.float64).reshape(-1, 1, 1, 1)
    signal, noise_scale = SCHEDULE.alphas_cumprod[n].sqrt(), SCHEDULE.betas_cumprod[n].sqrt()
    u = a * signal * x / noise_scale**2
    probabilities = torch.sigmoid(torch.stack([-2 * u, 2 * u]))
    noises = torch.stack([x + signal * a, x - signal * a]) / noise_scale
    predicted = (probabilities * noises).sum(0)
    second_moment = (probabilities * noises**2).sum(0)
    residual = (probabilities * (noises - predicted) ** 2).sum(0)
    expected = a**2 / torch.cosh(u) ** 2
    torch.testing.assert_close(npr_covariance(SCHEDULE, n, residual), expected, rtol=1e-7, atol=1e-12)
    torch.testing.assert_close(sn_covariance(SCHEDULE, n, second_moment, predicted), expected, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("n", LEVELS)
def test_the_mean_over_probes_is_the_diagonal_of_the_hessian(data, n):
    """Of an exact noise predictor: over all signs exactly, over random ones but for the error of their mean."""
    every = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    drawn = random_signs((4000, 3), torch.Generator().manual_seed(n))
    for signs, errors in ((every, 0), (drawn, 5)):
        x = torch.tensor([0.3, -1.2, 0.7]).double().expand(len(signs), 3).reshape(-1, 1, 1, 3).clone().requires_grad_()
        levels = torch.full((len(x),), n)
        probes = probed_hessian(SCHEDULE, data.expected_noise(SCHEDULE, x, n), x, levels, data.images(signs.double()))
        deviation = (probes.mean(0).flatten() - data.hessian(SCHEDULE, n).diagonal()).abs()
        assert (deviation <= errors * probes.std(0).flatten() / len(signs) ** 0.5 + 1e-12).all()
        assert not probes.requires_grad


def test_average_is_over_the_pixels_of_each_image():
    covariance = torch.arange(24.0).reshape(2, 3, 2, 2)
    averaged = average_over_pixels(covariance)
    assert averaged.shape == (2, 1, 1, 1)
    assert averaged.flatten().tolist() == [5.5, 17.5]


def test_no_pixel_of_the_unit_range_varies_by_more_than_one():
    assert clip_covariance(torch.tensor([-0.5, 0.0, 0.25, 1.0, 7.0])).tolist() == [0.0, 0.0, 0.25, 1.0, 1.0]


def test_network_outputs_keep_their_dtype():
    ones = torch.ones(2, 3, 4, 4, dtype=torch.float32)
    assert npr_covariance(SCHEDULE, 3, ones).dtype == torch.float32
    assert sn_covariance(SCHEDULE, 3, ones, ones).dtype == torch.float32
    assert ocm_covariance(SCHEDULE, 3, ones).dtype == torch.float32
