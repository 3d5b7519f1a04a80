import numpy as np
import pytest
import torch
from close import assert_matches
from toy import Toy, ToyModel, time_of

import golden_vectors
from sadpm.diffusion.samplers import (
    DDIMStep,
    DDPMStep,
    Prediction,
    pixel_variance,
    reverse_process,
)
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.diffusion.timesteps import timesteps

SA = golden_vectors.load("sadpm_samplers")
STEPS = golden_vectors.load("bao_steps")
TRAJECTORIES = golden_vectors.load("bao_traj")
VARIANCE = {"small": "small", "big": "large", "optimal": "optimal"}


def schedule_named(name, total):
    if name == "cos":
        return NoiseSchedule.create("cosine", total)
    return NoiseSchedule.create("linear", total, 1e-4 * 1000 / total, 0.02 * 1000 / total)


def step_of(case):
    variance = VARIANCE[case["rev_var_type"]]
    if case["cls"] == "ddim":
        return DDIMStep(eta=case["eta"], variance=variance, clip_sample=case["clip_x0"])
    return DDPMStep(variance=variance, clip_sample=case["clip_x0"])


def ms_eps_of(golden, case):
    return torch.from_numpy(golden[f"ms_eps_{case['ms']}"]) if case["ms"] else None


@pytest.mark.parametrize("i", range(len(SA["meta"]["cases"])))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_samplers_of_sadpm(i, dtype):
    case = SA["meta"]["cases"][i]
    schedule = NoiseSchedule.from_betas(torch.from_numpy(SA["betas"]))
    toy, noise = Toy(SA["meta"]["toy"]), torch.from_numpy(SA["noise"]).to(dtype)
    kind = {"uniform": "uniform", "quad": "quadratic"}[case["skip"]]
    levels = timesteps(kind, SA["meta"]["T"], case["steps"])
    step = DDPMStep("large", clip_sample=True) if case["sampler"] == "ddpm_noisy" else DDIMStep(eta=case["eta"])
    states = list(
        reverse_process(
            lambda x, n: Prediction(toy.noise(x, n - 1)),
            torch.from_numpy(SA["x_T"]).to(dtype),
            levels,
            schedule,
            step,
            lambda j: noise[j],
        )
    )
    if dtype == torch.float32:
        recorded = SA[f"case{i}_final_f32"]
        deviation = np.abs(states[-1].x.numpy() - recorded) / (1 + np.abs(recorded))
        assert deviation.max() < 1e-4
        return
    assert_matches(states[-1].x, SA[f"case{i}_final"], "sadpm_samplers")
    for index, state, x0 in zip(SA[f"case{i}_state_idx"], SA[f"case{i}_states"], SA[f"case{i}_x0_preds"], strict=True):
        if index > 0:
            assert_matches(states[index - 1].x, state, "sadpm_samplers")
            assert_matches(states[index - 1].transition.x0, x0, "sadpm_samplers")


@pytest.mark.parametrize("i", range(len(STEPS["meta"]["cases"])))
def test_one_reverse_step(i):
    case, meta = STEPS["meta"]["cases"][i], STEPS["meta"]
    schedule = NoiseSchedule.from_betas(torch.from_numpy(STEPS["betas"])[1:])
    model = ToyModel(Toy(meta["toy"]), schedule, meta, case, ms_eps_of(STEPS, case))
    step = step_of(case)
    for j, (s, t) in enumerate(STEPS["pairs"].tolist()):
        assert_matches(time_of(meta, t, schedule.num_train_timesteps), STEPS["net_t"][j], "bao_steps")
        x = torch.from_numpy(STEPS["x_t"][j])
        transition = step(schedule, x, model(x, t), s, t)
        assert list(transition.variance.shape) == case["sigma2_native_shape"]
        assert_matches(transition.mean, STEPS[f"case{i}_x_mean"][j], "bao_steps")
        assert_matches(transition.variance.expand_as(x), STEPS[f"case{i}_sigma2"][j], "bao_steps")


@pytest.mark.parametrize("i", range(len(TRAJECTORIES["meta"]["cases"])))
def test_trajectories_of_bao(i):
    case, meta = TRAJECTORIES["meta"]["cases"][i], TRAJECTORIES["meta"]
    schedule = schedule_named(case["sched"], meta["N"])
    levels = TRAJECTORIES[f"timesteps_{case['trajectory']}_{case['K']}_{case['sched']}"].tolist()[1:]
    model = ToyModel(Toy(meta["toy"]), schedule, meta, case, ms_eps_of(TRAJECTORIES, case))
    seen, noise = [], torch.from_numpy(TRAJECTORIES["noise"])

    def predict(x, n):
        seen.append(x)
        return model(x, n)

    states = list(
        reverse_process(
            predict,
            torch.from_numpy(TRAJECTORIES["x_init"]),
            levels,
            schedule,
            step_of(case),
            lambda j: noise[j],
            max_variance=pixel_variance(case["clip_pixel"]) if case["clip_sigma_idx"] else None,
            clamped_steps=max(case["clip_sigma_idx"], 1),
        )
    )
    assert_matches(states[-1].x, TRAJECTORIES[f"case{i}_final"], "bao_traj")
    assert_matches(seen[-1], TRAJECTORIES[f"case{i}_x1_state"], "bao_traj")
    assert_matches(seen[case["K"] // 2], TRAJECTORIES[f"case{i}_mid_state"], "bao_traj")
    variances = torch.stack([state.transition.variance.mean() for state in states])
    recorded = TRAJECTORIES[f"case{i}_sigma2_mean_by_step"]
    assert_matches(variances[:-1], recorded[:-1], "bao_traj")
