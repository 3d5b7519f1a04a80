import numpy as np
import pytest
import torch
from close import assert_matches
from toy import Toy

import golden_vectors
from sadpm.diffusion.gap import estimation_gap, total_gap
from sadpm.diffusion.samplers import Prediction
from sadpm.diffusion.schedule import NoiseSchedule

GOLDEN = golden_vectors.load("gap")


def run(start):
    arrays = {name: torch.from_numpy(GOLDEN[f"start{start}_{name}"]) for name in ("x0", "e", "noise")}
    schedule, toy = NoiseSchedule.from_betas(torch.from_numpy(GOLDEN["betas"])), Toy(GOLDEN["meta"]["toy"])
    n = torch.full((len(arrays["x0"]),), start + 1)
    x = schedule.add_noise(arrays["x0"], arrays["e"], n)
    steps = estimation_gap(
        lambda x, n: Prediction(toy.noise(x, n - 1)),
        schedule,
        arrays["x0"],
        x,
        start + 1,
        lambda j: arrays["noise"][j],
    )
    return schedule, {step.level - 1: step for step in steps}


@pytest.mark.parametrize("start", [run["start"] for run in GOLDEN["meta"]["runs"]])
def test_estimation_gap(start):
    _, steps = run(start)
    keys = GOLDEN[f"start{start}_keys"].tolist()

    def averaged(attribute):
        return torch.stack([getattr(steps[key], attribute).mean(0) for key in keys])

    assert_matches(
        torch.stack([steps[k].x for k in sorted(keys, reverse=True)]), GOLDEN[f"start{start}_x_states"], "gap"
    )
    assert_matches(averaged("error"), GOLDEN[f"start{start}_err_mean_from_formula"], "gap")
    assert_matches(averaged("gap"), GOLDEN[f"start{start}_dbar_full_from_formula"], "gap")
    assert_matches(averaged("official_gap"), GOLDEN[f"start{start}_dbar_official"], "gap")


@pytest.mark.parametrize("start", [run["start"] for run in GOLDEN["meta"]["runs"]])
def test_theorem_1(start):
    schedule, steps = run(start)
    by_theorem = total_gap(schedule, {step.level: step.error for step in steps.values()})
    np.testing.assert_allclose(by_theorem, steps[1].gap, rtol=1e-9, atol=1e-12)
