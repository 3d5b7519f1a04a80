import pytest
import torch
from close import assert_matches

import golden_vectors
from sadpm.diffusion.schedule import NoiseSchedule

GOLDEN = golden_vectors.load("schedules")
OUR_NAME = {"quad": "quadratic", "const": "constant"}


def build(parameters):
    total = parameters.get("T", parameters.get("N"))
    if "N" in parameters:  # Bao's linear schedule keeps the total noise whatever N is
        start, end = 1e-4 * 1000 / total, 0.02 * 1000 / total
    else:
        start, end = parameters["beta_start"], parameters["beta_end"]
    return NoiseSchedule.create(OUR_NAME.get(parameters["kind"], parameters["kind"]), total, start, end)


@pytest.mark.parametrize("parameters", GOLDEN["meta"]["schedules"], ids=lambda parameters: parameters["name"])
def test_schedule(parameters):
    schedule, name = build(parameters), parameters["name"]
    first = len(schedule.betas) - len(GOLDEN[f"{name}__betas"])
    assert_matches(schedule.betas[first:], GOLDEN[f"{name}__betas"], "schedules")
    abar = GOLDEN.get(f"{name}__abar", GOLDEN.get(f"{name}__cum_alphas"))
    assert_matches(schedule.alphas_cumprod[first:], abar, "schedules")
    if f"{name}__cum_betas" in GOLDEN:
        assert_matches(schedule.betas_cumprod, GOLDEN[f"{name}__cum_betas"], "schedules")
    for (s, t), skip_alpha, skip_beta, variance in zip(
        GOLDEN[f"{name}__pairs"].tolist(),
        GOLDEN[f"{name}__skip_alphas"],
        GOLDEN[f"{name}__skip_betas"],
        GOLDEN[f"{name}__tilde_beta"],
        strict=True,
    ):
        assert_matches(schedule.skip_alpha(s, t), skip_alpha, "schedules")
        assert_matches(schedule.skip_beta(s, t), skip_beta, "schedules")
        assert_matches(schedule.posterior_variance(s, t), variance, "schedules")


TAU = [name.removesuffix("__tau_from_formula") for name in GOLDEN if name.endswith("__tau_from_formula")]


@pytest.mark.parametrize("name", TAU)
def test_tau(name):
    parameters = next(p for p in GOLDEN["meta"]["schedules"] if p["name"] == name)
    recorded = torch.from_numpy(GOLDEN[f"{name}__tau_from_formula"])
    torch.testing.assert_close(build(parameters).tau, recorded, rtol=1e-9, atol=0, equal_nan=True)


def test_float32_route_of_the_official_program():
    for name in GOLDEN:
        if name.endswith("__abar_f32path"):
            parameters = next(p for p in GOLDEN["meta"]["schedules"] if name.startswith(p["name"] + "__"))
            ours = build(parameters).alphas_cumprod[1:]
            torch.testing.assert_close(ours.float(), torch.from_numpy(GOLDEN[name]), rtol=5e-5, atol=1e-7)
