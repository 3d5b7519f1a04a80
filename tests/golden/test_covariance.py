import torch
from close import assert_matches
from toy import Toy, time_of

import golden_vectors
from sadpm.diffusion.covariance import mean_squared_prediction
from sadpm.diffusion.schedule import NoiseSchedule

GOLDEN = golden_vectors.load("ms_eps")


def test_ms_eps():
    schedule = NoiseSchedule.from_betas(torch.from_numpy(GOLDEN["betas"])[1:])
    x0, noise = torch.from_numpy(GOLDEN["x0_visited"]), torch.from_numpy(GOLDEN["eps"])
    total, toy = schedule.num_train_timesteps, Toy(GOLDEN["meta"]["toy"])
    estimates = []
    for n in range(1, total + 1):
        x = schedule.add_noise(x0, noise[n - 1], torch.full((len(x0),), n))
        tau = time_of(GOLDEN["meta"], n, total)
        assert_matches(tau, GOLDEN["net_t"][n - 1], "ms_eps")
        estimates.append(mean_squared_prediction(toy.noise(x, tau)))
    ours = torch.stack(estimates)
    assert_matches(ours, GOLDEN["ests"], "ms_eps")
    assert_matches(ours.mean(1), GOLDEN["ms_eps_f64_mean_of_ests"][1:], "ms_eps")
    torch.testing.assert_close(ours.var(1).float(), torch.from_numpy(GOLDEN["vars_f32"])[1:], rtol=1e-4, atol=1e-7)
