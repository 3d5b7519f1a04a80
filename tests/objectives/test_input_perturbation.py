"""Input perturbation: what the network is shown, what it is to predict, and what must stay as without it."""

from itertools import product

import pytest
import torch
from tiny import training_job, training_outputs

from sadpm.config.jobs import TrainJob
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.objectives import OBJECTIVES
from sadpm.objectives.ddpm import DDPM
from sadpm.objectives.input_perturbation import InputPerturbation
from sadpm.objectives.sequence_aware import SequenceAware
from sadpm.running.files import sha256
from sadpm.stages.train import train

SCHEDULE = NoiseSchedule.create("linear", 6, 0.01, 0.3)
PAIRS = {
    "baseline": (DDPM(), InputPerturbation(gamma=0.3)),
    "anchored": (SequenceAware(K=3, lam=1.0), SequenceAware(K=3, lam=1.0, gamma=0.3)),
    "sliding": (
        SequenceAware(K=3, lam=1.0, window="sliding"),
        SequenceAware(K=3, lam=1.0, window="sliding", gamma=0.3),
    ),
}


def every_combination(count):
    """All signs of so many factors, each (2^count, 1, 1, 1): their moments up to the second are those of normals."""
    signs = torch.tensor(list(product((-1.0, 1.0), repeat=count)), dtype=torch.float64)
    return [column.reshape(-1, 1, 1, 1) for column in signs.T]


def minimiser(loss, count):
    """Return the minimum of a quadratic function of so many numbers: one Newton step from 0."""
    zero = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    gradient = torch.autograd.functional.jacobian(loss, zero)
    return -torch.linalg.solve(torch.autograd.functional.hessian(loss, zero), gradient)


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("level", [1, 4])
def test_the_best_linear_predictor_of_gaussian_data_is_that_at_the_perturbed_variance(gamma, level):
    """f(y) = w y with w = b / (a^2 s^2 + b^2 (1 + gamma^2)), for y = a x_0 + b (eps + gamma xi), x_0 ~ N(0, s^2)."""
    s, (x0, noise, second) = 0.6, every_combination(3)
    draws = {"n": torch.full((8,), level), "noise": noise, "second_noise": second}

    def loss(w):
        return InputPerturbation(gamma=gamma).loss(lambda y, n: w[0] * y, SCHEDULE, s * x0, draws).total

    a, b = SCHEDULE.alphas_cumprod[level].sqrt(), SCHEDULE.betas_cumprod[level].sqrt()
    torch.testing.assert_close(minimiser(loss, 1)[0], b / (a**2 * s**2 + b**2 * (1 + gamma**2)), rtol=1e-12, atol=0)


@pytest.mark.parametrize("lam", [0.0, 2.0])
def test_the_best_linear_predictors_of_a_window_have_second_noises_of_their_own(lam):
    """Noises of two levels are independent, so that x_0 alone, and no xi, makes their residuals correlate.

    For residuals r_k = w_k y_k - eps_k of levels n and n - 1, K = 2, the loss is
    E r_0^2 + lambda / 4 (E r_0^2 + E r_1^2 + 2 E r_0 r_1).
    """
    s, gamma, level = 0.6, 0.5, 4
    x0, *noises = every_combination(5)
    draws = {"n": torch.full((32,), level), "noise": torch.stack(noises[:2], 1)}
    draws["second_noise"] = torch.stack(noises[2:], 1)

    def loss(w):
        predictors = torch.zeros(7, dtype=torch.float64).index_put((torch.tensor([level, level - 1]),), w)
        objective = SequenceAware(K=2, lam=lam, gamma=gamma)
        total = objective.loss(lambda y, n: predictors[n].reshape(-1, 1, 1, 1) * y, SCHEDULE, s * x0, draws).total
        return total + (0 if lam else w[1].square())

    levels = [level, level - 1]
    a, b = SCHEDULE.alphas_cumprod[levels].sqrt(), SCHEDULE.betas_cumprod[levels].sqrt()
    variance, share = a**2 * s**2 + b**2 * (1 + gamma**2), lam / 4
    along = torch.stack([1 + torch.tensor(share), torch.tensor(share)]).double()
    normal = torch.diag(along * variance) + share * a.prod() * s**2 * (1 - torch.eye(2, dtype=torch.float64))
    expected = torch.linalg.solve(normal + torch.diag(torch.tensor([0.0, 0.0 if lam else 1.0]).double()), along * b)
    torch.testing.assert_close(minimiser(loss, 2), expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("kind", PAIRS)
def test_a_run_with_gamma_differs_by_the_second_noise_alone(kind):
    without, perturbed = PAIRS[kind]
    first, second = (
        objective.draw((6, 1, 4, 4), 50, torch.Generator().manual_seed(3)) for objective in (without, perturbed)
    )
    xi = second.pop("second_noise")
    assert xi.shape == second["noise"].shape
    assert not torch.equal(xi, second["noise"])
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", PAIRS)
def test_the_network_is_shown_the_perturbed_noise_and_is_to_predict_the_first(kind):
    """A network that answers the first noise has no loss, whatever is added to it."""
    _, objective = PAIRS[kind]
    draws, shown = objective.draw((6, 1, 4, 4), 6, torch.Generator().manual_seed(3)), []
    eps, xi = (draws[name].reshape(6, -1, 1, 4, 4).movedim(1, 0).flatten(0, 1) for name in ("noise", "second_noise"))

    def predict(x, n):
        shown.append(x / SCHEDULE.betas_cumprod[n].sqrt().reshape(-1, 1, 1, 1).float())
        return eps

    loss = objective.loss(predict, SCHEDULE, torch.zeros(6, 1, 4, 4), draws)
    torch.testing.assert_close(shown, [eps + objective.gamma * xi])
    assert loss.total == 0


def test_gamma_0_trains_the_baseline_to_the_byte(digits, tmp_path):
    for name, objective in {"base": DDPM(), "perturbed": InputPerturbation(gamma=0)}.items():
        job = training_job(steps=6).model_copy(update={"objective": objective})
        train(job, digits, **training_outputs(tmp_path / name))
    assert sha256(tmp_path / "base" / "model") == sha256(tmp_path / "perturbed" / "model")
    assert (tmp_path / "base" / "log.csv").read_bytes() == (tmp_path / "perturbed" / "log.csv").read_bytes()


def test_jobs_without_gamma_are_told_nothing_of_it():
    job = training_job()
    assert "gamma" not in job.model_dump_json(by_alias=True)
    section = {"kind": "sequence-aware", "K": 2, "lambda": 1.0}
    zero, some = (TrainJob(**{**dict(job), "objective": {**section, "gamma": gamma}}) for gamma in (0, 0.1))
    assert zero.model_dump_json(by_alias=True) == job.model_dump_json(by_alias=True)
    assert TrainJob.model_validate_json(some.model_dump_json(by_alias=True)).objective.gamma == 0.1


def test_perturbing_costs_nothing():
    for without, perturbed in PAIRS.values():
        assert without.images_per_training_image() == perturbed.images_per_training_image()
        assert without.loss_of_zero(12) == perturbed.loss_of_zero(12)


@pytest.mark.parametrize("gamma", [-0.1, float("nan"), None])
def test_what_gamma_can_not_be(gamma):
    section = {"kind": "input-perturbation"} if gamma is None else {"kind": "input-perturbation", "gamma": gamma}
    with pytest.raises(ValueError, match="gamma"):
        OBJECTIVES.built_in["input-perturbation"].model_validate(section)
