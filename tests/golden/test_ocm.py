import pytest
import torch
from close import assert_matches
from toy import time_of

import golden_vectors
from sadpm.diffusion.covariance import average_over_pixels, clip_covariance, ocm_covariance, probed_hessian
from sadpm.diffusion.losses import ocm_head_loss, sum_of_squares
from sadpm.diffusion.samplers import DDIMStep, DDPMStep, Prediction
from sadpm.diffusion.schedule import NoiseSchedule

GOLDEN = golden_vectors.load("ocm")
META = {**GOLDEN["meta"], "rescale_timesteps": True}
TOY = META["toy"]
X0, X, EPS, N, BETAS = (torch.from_numpy(GOLDEN[name]) for name in ("x0", "x_n", "eps", "n", "betas"))
SCHEDULE = NoiseSchedule.from_betas(BETAS[1:])


def noise(x, tau):
    """The recorded network: neighbouring pixels are coupled, so that its Jacobian is no diagonal."""
    shift = TOY["b"] * torch.sin(torch.as_tensor(TOY["c"] * tau, dtype=x.dtype))
    return torch.tanh(TOY["a"] * x + TOY["m"] * x.roll(1, -1) + shift) + TOY["d"] * x


def head(x, tau):
    return TOY["g"] * (torch.sigmoid(TOY["h"] * x + TOY["k"] * tau) - TOY["o"])


def times():
    return torch.as_tensor(time_of(META, N, SCHEDULE.num_train_timesteps), dtype=torch.float64)


def hessian(signs):
    x = X.clone().requires_grad_()
    return probed_hessian(SCHEDULE, noise(x, times().reshape(-1, 1, 1, 1)), x, N, signs)


def test_inputs():
    assert_matches(SCHEDULE.add_noise(X0, EPS, N), GOLDEN["x_n"], "ocm")
    assert_matches(times(), GOLDEN["net_t"], "ocm")
    predicted = noise(X, times().reshape(-1, 1, 1, 1))
    assert_matches(sum_of_squares(EPS - predicted), GOLDEN["dsm"], "ocm")


def test_target_and_loss_of_the_head():
    target = hessian(torch.from_numpy(GOLDEN["probe"]))
    assert_matches(target, GOLDEN["target"], "ocm")
    predicted = head(X, times().reshape(-1, 1, 1, 1))
    assert_matches(predicted, GOLDEN["head"], "ocm")
    assert_matches(ocm_head_loss(predicted, target), GOLDEN["loss"], "ocm")


def test_the_diagonal_itself():
    """Pixels are coupled along the width, so that probes of one column each see it."""
    columns = torch.eye(X.shape[-1], dtype=X.dtype)
    assert_matches(sum(hessian(column.expand_as(X)) for column in columns), GOLDEN["hessian_diagonal"], "ocm")


@pytest.mark.parametrize("i", range(len(META["cases"])))
def test_one_reverse_step(i):
    case = META["cases"][i]
    if case["cls"] == "ddim":
        step = DDIMStep(eta=case["eta"], variance="optimal", clip_sample=case["clip_x0"])
    else:
        step = DDPMStep(variance="optimal", clip_sample=case["clip_x0"])
    for j, (s, t) in enumerate(GOLDEN["pairs"].tolist()):
        x, tau = torch.from_numpy(GOLDEN["x_t"][j]), time_of(META, t, SCHEDULE.num_train_timesteps)
        covariance = ocm_covariance(SCHEDULE, t, head(x, tau))
        covariance = average_over_pixels(covariance) if case["avg_cov"] else covariance
        covariance = clip_covariance(covariance) if case["clip_x0"] else covariance
        transition = step(SCHEDULE, x, Prediction(noise(x, tau), covariance), s, t)
        assert_matches(transition.mean, GOLDEN[f"case{i}_x_mean"][j], "ocm")
        assert_matches(transition.variance.expand_as(x), GOLDEN[f"case{i}_sigma2"][j], "ocm")
