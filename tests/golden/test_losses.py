import numpy as np
import pytest
import torch
from close import assert_matches
from toy import Toy, time_of

import golden_vectors
from sadpm.diffusion.losses import (
    npr_head_loss,
    residuals,
    sequence_aware_loss,
    sn_head_loss,
    sum_of_squares,
    window_levels,
)
from sadpm.diffusion.schedule import NoiseSchedule, network_time

SA = golden_vectors.load("sa_loss")
HEADS = golden_vectors.load("head_loss")


def tensors(golden, *names):
    return [torch.from_numpy(golden[name]) for name in names]


def sa_inputs(dtype=torch.float64):
    t, x0, e, e_extra, betas = tensors(SA, "t", "x0", "e", "e_extra", "betas")
    return t + 1, x0.to(dtype), torch.cat([e[None], e_extra]).to(dtype), NoiseSchedule.from_betas(betas)


def per_image(n, x):
    return network_time(n).to(x.dtype).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("i", range(len(SA["meta"]["cases"])))
def test_sequence_aware_loss(i):
    case = SA["meta"]["cases"][i]
    n, x0, noise, schedule = sa_inputs()
    constants = dict(SA["meta"]["toy"])
    for name in ("a", "d"):
        constants[name] = torch.tensor(constants[name], dtype=torch.float64, requires_grad=True)
    toy, seen = Toy(constants), []

    def predict_noise(x, levels):
        seen.extend(network_time(levels).view(-1, len(n)))
        return toy.noise(x, per_image(levels, x))

    loss = sequence_aware_loss(predict_noise, schedule, x0, n, noise[: case["K"]], lam=case["lamda"])
    gradient_a, gradient_d = torch.autograd.grad(loss.total, [constants["a"], constants["d"]])
    assert_matches(loss.total.detach(), SA[f"case{i}_loss"], "sa_loss")
    assert_matches(loss.simple.detach(), SA[f"case{i}_mse_only"], "sa_loss")
    if case["lamda"] != 0:
        assert_matches(loss.sequence.detach(), SA[f"case{i}_sa_term"], "sa_loss")
    assert_matches(gradient_a, SA[f"case{i}_grad_a"], "sa_loss")
    assert_matches(gradient_d, SA[f"case{i}_grad_d"], "sa_loss")
    np.testing.assert_array_equal(torch.stack(seen), SA[f"case{i}_call_t"])


@pytest.mark.parametrize("i", range(len(SA["meta"]["cases"])))
def test_sequence_aware_loss_in_float32(i):
    case = SA["meta"]["cases"][i]
    n, x0, noise, schedule = sa_inputs(torch.float32)
    toy = Toy(SA["meta"]["toy"])
    loss = sequence_aware_loss(
        lambda x, levels: toy.noise(x, per_image(levels, x)), schedule, x0, n, noise[: case["K"]], lam=case["lamda"]
    )
    np.testing.assert_allclose(loss.total, SA[f"case{i}_loss_f32"], rtol=1e-4)


def test_window_of_the_largest_k():
    n, x0, noise, schedule = sa_inputs()
    levels, mask = window_levels(n, len(noise), schedule.num_train_timesteps)
    np.testing.assert_array_equal(mask[1:], SA["mask"])
    seen = []
    residuals(lambda x, _: seen.append(x) or torch.zeros_like(x), schedule, x0, levels, noise)
    recorded = SA["x_at_calls_Kmax"]
    ours = seen[0].reshape(recorded.shape)
    assert_matches(ours[mask], recorded[mask.numpy()], "sa_loss")


def head_inputs():
    x0, eps, n, betas = tensors(HEADS, "x0", "eps", "n", "betas")
    schedule = NoiseSchedule.from_betas(betas[1:])
    x = schedule.add_noise(x0, eps, n)
    tau = time_of(HEADS["meta"], n, schedule.num_train_timesteps)
    return x, eps, torch.as_tensor(tau, dtype=torch.float64)


def test_head_inputs():
    x, _, tau = head_inputs()
    assert_matches(x, HEADS["x_n"], "head_loss")
    assert_matches(tau, HEADS["net_t"], "head_loss")


@pytest.mark.parametrize("i", range(len(HEADS["meta"]["cases"])))
def test_head_loss(i):
    case = HEADS["meta"]["cases"][i]
    x, eps, tau = head_inputs()
    tau = tau.reshape(-1, 1, 1, 1)
    constants = {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in HEADS["meta"]["toy"].items()}
    toy, offset = Toy(constants), bool(case["head_offset"])
    predicted = toy.noise(x, tau)
    assert_matches(sum_of_squares(eps - predicted).detach(), HEADS[f"case{i}_dsm"], "head_loss")
    if f"case{i}_ddm" not in HEADS:
        return
    if case["fn"] == "dt_dsdm_err":
        loss = npr_head_loss(toy.residual(x, tau, offset), predicted, eps)
    elif case["typ"] == "eps_eps2":
        loss = sn_head_loss(toy.second_moment(x, tau, offset), eps)
    else:  # a residual head read as a second moment: exists in the authors' program, unused by their configurations
        loss = sn_head_loss(toy.residual(x, tau, offset) + predicted**2, eps)
    assert_matches(loss.detach(), HEADS[f"case{i}_ddm"], "head_loss")
    objective = (sum_of_squares(eps - predicted) + loss).mean()
    assert_matches(objective.detach(), HEADS[f"case{i}_objective_ratio1"], "head_loss")
    names = ["a", "d", "e", "g"]
    gradients = torch.autograd.grad(loss.mean(), [constants[name] for name in names], allow_unused=True)
    for name, gradient in zip(names, gradients, strict=True):
        recorded = HEADS[f"case{i}_grad_ddm_{name}"]
        if np.isfinite(recorded):
            assert_matches(0.0 if gradient is None else gradient, recorded, "head_loss")
        else:
            assert gradient is None
