"""Solvers of diffusers against closed forms, against our DDIM, and against diffusers run by its own ways."""

import re
import subprocess
import sys
from itertools import islice, pairwise

import diffusers
import numpy as np
import pytest
import torch
from tiny import chain, sampling_job

from sadpm.diffusion.samplers import Prediction
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.running.files import UserError, read_json
from sadpm.samplers import Manner, scheduler_source
from sadpm.samplers.ddim import DDIM
from sadpm.samplers.diffusers import Diffusers
from sadpm.stages.sample import sample

DPM, UNIPC, DEIS, DDIM_THERE = (
    f"{name}Scheduler" for name in ("DPMSolverMultistep", "UniPCMultistep", "DEISMultistep", "DDIM")
)
SCHEDULE = NoiseSchedule.create()
LEVELS = [1, 3, 20, 100, 300, 350, 800, 1000]
MEAN = torch.tensor([0.9, -1.2, 0.3], dtype=torch.float64).reshape(1, 3, 1, 1)
VARIANCE = 0.1
X = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def predict(x, t):
    """The exact prediction for pixels that are Gaussian and independent."""
    signal, noise = SCHEDULE.alphas_cumprod[t], SCHEDULE.betas_cumprod[t]
    return Prediction((noise.sqrt() * (x - signal.sqrt() * MEAN.to(x.dtype)) / spread(t) ** 2).to(x.dtype))


def spread(t):
    return (SCHEDULE.alphas_cumprod[t] * VARIANCE + SCHEDULE.betas_cumprod[t]).sqrt()


def noise_of(j):
    return torch.randn(X.shape, generator=torch.Generator().manual_seed(j), dtype=torch.float64)


def states(sampler, levels=LEVELS, x=X, clip=False, noise=None):
    return list(sampler.chain(predict, x, levels, SCHEDULE, noise, Manner(False, clip, None), 0))


def solver(scheduler, **options):
    return Diffusers(scheduler=scheduler, options=options)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_ddim_through_this_door_is_ours(eta, clip, dtype, tolerance):
    x = X.to(dtype)
    theirs = states(solver(DDIM_THERE, eta=eta), x=x, clip=clip, noise=lambda j: noise_of(j).to(dtype))
    ours = states(DDIM(eta=eta), x=x, clip=clip, noise=lambda j: noise_of(j).to(dtype))
    assert len(theirs) == len(ours) == len(LEVELS)
    for a, b in zip(theirs, ours, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("sampler", "tolerance"),
    [
        (solver(DPM, solver_order=1), 1e-5),  # it computes in float32
        (solver(UNIPC, solver_order=1, disable_corrector=[*range(10)]), 1e-12),
        (solver(DEIS, solver_order=1), 1e-12),
    ],
    ids=lambda value: getattr(value, "scheduler", ""),
)
@pytest.mark.parametrize("clip", [False, True])
def test_solvers_of_first_order_are_ddim(sampler, clip, tolerance):
    """With clipping, that of a noise which belongs to the clipped image."""
    ddim = solver(DDIM_THERE, use_clipped_model_output=True) if clip else DDIM()
    for a, b in zip(states(sampler, clip=clip), states(ddim, clip=clip), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def test_clipping_changes_these_chains():
    for sampler in (solver(DPM), solver(UNIPC), solver(DEIS), solver(DDIM_THERE)):
        clipped, free = (states(sampler, clip=clip) for clip in (True, False))
        assert clipped[-1].abs().max() <= 1 < free[-1].abs().max()
        assert (clipped[2] - free[2]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("sampler", "least", "most"),
    [
        (solver(DPM, solver_order=1), 1.9, 2.2),
        (solver(DPM), 3.8, 4.3),
        (solver(DPM, solver_type="heun"), 3.5, 4.8),
        (solver(DEIS), 3.5, 4.5),
        (solver(UNIPC), 6.0, 10.0),  # the corrector adds an order
    ],
    ids=str,
)
def test_errors_fall_as_the_order_of_the_solver_says(sampler, least, most):
    """Twice the steps, evenly spaced in log SNR: an error half as large at first order, a quarter at second."""
    log_snr = (SCHEDULE.alphas_cumprod[1:] / SCHEDULE.betas_cumprod[1:]).log()
    errors = []
    for steps in (20, 40, 80):
        wanted = torch.linspace(log_snr[199], log_snr[-1], steps, dtype=torch.float64)
        levels = [int((log_snr - value).abs().argmin()) + 1 for value in wanted]
        low, high = levels[0], levels[-1]
        of_mean = [SCHEDULE.alphas_cumprod[t].sqrt() * MEAN for t in (low, high)]
        exact = of_mean[0] + spread(low) / spread(high) * (X - of_mean[1])
        errors.append((states(sampler, levels)[-2] - exact).abs().mean().item())
    for coarse, fine in pairwise(errors):
        assert least < coarse / fine < most, errors


@pytest.mark.parametrize("algorithm", ["dpmsolver++", "sde-dpmsolver++"])
def test_dpm_solver_is_diffusers_own_on_the_whole_schedule(algorithm):
    """There, a list of time steps says which levels are visited, and the last step is the scheduler's."""
    theirs = diffusers.DPMSolverMultistepScheduler(trained_betas=SCHEDULE.betas[1:].tolist(), algorithm_type=algorithm)
    theirs.set_timesteps(timesteps=[level - 1 for level in reversed(LEVELS)])
    asked = []

    def noise(j):
        asked.append(j)
        return noise_of(j)

    x = X
    for j, (t, ours) in enumerate(
        zip(theirs.timesteps, states(solver(DPM, algorithm_type=algorithm), noise=noise), strict=True)
    ):
        x = theirs.step(predict(x, int(t) + 1).noise, t, x, variance_noise=noise_of(j)).prev_sample
        torch.testing.assert_close(ours, x, rtol=1e-3, atol=1e-3)
    assert asked == ([*range(len(LEVELS) - 1)] if "sde" in algorithm else [])


@pytest.mark.parametrize(("name", "own_end"), [(UNIPC, True), (DEIS, False)])
def test_others_are_diffusers_own_at_the_levels_that_those_choose(name, own_end):
    """DEIS of diffusers ends at the lowest level."""
    theirs = getattr(diffusers, name)(trained_betas=SCHEDULE.betas[1:].tolist())
    theirs.set_timesteps(20)
    ours = states(solver(name), [int(t) + 1 for t in theirs.timesteps.flip(0)])
    x = X
    for t, state in islice(zip(theirs.timesteps, ours, strict=True), None if own_end else 19):
        x = theirs.step(predict(x, int(t) + 1).noise, t, x).prev_sample
        torch.testing.assert_close(state, x, rtol=1e-3, atol=1e-3)


def test_one_step_is_the_prediction_of_the_image():
    torch.testing.assert_close(states(solver(UNIPC), [700])[0], states(DDIM(), [700])[0])


@pytest.mark.parametrize(
    ("scheduler", "options", "message"),
    [
        ("UniPCMultistepSheduler", {}, r"no scheduler 'UniPC.*did you mean 'UniPCMultistepScheduler'\?"),
        ("Nothing", {}, f"no scheduler 'Nothing'; known are .*{DDIM_THERE}.*{DEIS}.*{DPM}.*{UNIPC}"),
        ("HeunDiscreteScheduler", {}, f"calls the network more than once a step, .*; choose one of .*{UNIPC}"),
        ("PNDMScheduler", {}, "calls the network more than once"),
        ("DDPMScheduler", {}, "draws its noise itself"),
        ("LMSDiscreteScheduler", {}, "without decay of the signal"),
        ("DDIMInverseScheduler", {}, "from images to noise"),
        ("FlowMatchEulerDiscreteScheduler", {}, "not for DDPM's forward process: .* no trained_betas"),
        ("CogVideoXDPMScheduler", {}, "its step also needs old_pred_original_sample, timestep_back"),
        (DPM, {"solver_ordr": 2}, r"options.solver_ordr: .* did you mean 'solver_order'\?"),
        (UNIPC, {"zzz": 2}, "options.zzz: .*known are solver_order, predict_x0, solver_type, lower_order_final"),
        (DPM, {"solver_order": "two"}, "options.solver_order: 'two' is not of int"),
        (DPM, {"solver_order": True}, "options.solver_order: True is not of int"),
        (DPM, {"algorithm_type": "plus"}, r"'plus' is not of Literal\['dpmsolver', 'dpmsolver\+\+'"),
        (DPM, {"use_karras_sigmas": True}, "recipe's timesteps decide"),
        (DPM, {"beta_end": 0.1}, "section schedule decides"),
        (DDIM_THERE, {"clip_sample": True}, "recipe's clip_sample decides"),
        (DDIM_THERE, {"eta": "much"}, "options.eta: 'much' is not of float"),
    ],
)
def test_mistakes_are_told_before_any_job(scheduler, options, message):
    assert re.search(message, solver(scheduler, **options).objection(optimal=False) or "")


def test_a_covariance_has_nothing_to_replace():
    assert solver(UNIPC).objection(optimal=False) is None
    assert "no variance that a covariance could replace" in solver(UNIPC).objection(optimal=True)


def test_names_are_checked_without_imports_that_take_time():
    script = f"""
import sys
from sadpm.samplers.diffusers import Diffusers
print(Diffusers(scheduler={UNIPC!r}, options={{"solver_order": 3}}).objection(False))
print([name for name in ("torch", "numpy", "diffusers") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "[]"]


def test_a_package_that_is_missing_is_told(monkeypatch):
    monkeypatch.setattr(scheduler_source, "_folder", lambda: None)
    assert "not installed here: pip install diffusers" in (solver(UNIPC).objection(optimal=False) or "")


@pytest.mark.parametrize(
    ("sampler", "clip", "message"),
    [
        (solver(UNIPC, predict_x0=False), True, "can't clip x_0: use a recipe without clip_sample"),
        (solver("CogVideoXDDIMScheduler", clip_sample_range=1.0), True, "recipe's clip_sample decides"),
        (solver(UNIPC, solver_p="x"), False, "'solver_p': 'x'.*: AttributeError"),
    ],
)
def test_what_only_a_run_can_tell_is_told_at_its_beginning(sampler, clip, message):
    with pytest.raises(UserError, match=message):
        states(sampler, clip=clip)


def test_a_bound_of_the_variance_is_refused():
    with pytest.raises(UserError, match="remove 'diffusers' from the recipe's max_variance_pixels"):
        list(solver(UNIPC).chain(predict, X, LEVELS, SCHEDULE, noise_of, Manner(False, False, 0.1), 0))


def test_a_level_without_signal_is_refused():
    with pytest.raises(UserError, match="level 1000 has no signal from which x_0 could be told"):
        list(solver(UNIPC).chain(predict, X, LEVELS, NoiseSchedule.create("jsd"), None, Manner(False, False, None), 0))


def test_a_scheduler_that_visits_other_levels_is_refused(monkeypatch):
    """In whatever way it does: by what it says, and by what it does."""
    own = diffusers.DDIMScheduler.set_timesteps
    monkeypatch.setattr(diffusers.DDIMScheduler, "set_timesteps", lambda self, number: own(self, number - 1))
    with pytest.raises(UserError, match="7 calls in an order of its own, not one at each of 8 levels"):
        states(solver(DDIM_THERE))
    monkeypatch.undo()
    step = diffusers.DDIMScheduler.step
    monkeypatch.setattr(diffusers.DDIMScheduler, "step", lambda self, e, t, x, **more: step(self, e, t - 1, x, **more))
    with pytest.raises(UserError, match="its state at level 800 is not what the forward process has there"):
        states(solver(DDIM_THERE))


def test_samples_of_a_solver_are_recorded_and_survive_an_interruption(trained, tmp_path):
    """In the middle of the second batch, of which the solver's memory is lost."""

    class Interrupted(Diffusers):
        def chain(self, *arguments):
            begun.append(arguments[-1])
            for j, x in enumerate(super().chain(*arguments)):
                if j == 3 and len(begun) == 2:
                    raise KeyboardInterrupt
                yield x

    way, begun = solver(UNIPC).model_dump(), []
    drawn = {}
    for name, sampler in {"whole": Diffusers(**way), "interrupted": Interrupted(**way)}.items():
        cell = chain("ddim", "fixed", 5).model_copy(update={"sampler": sampler})
        job = sampling_job(batch_size=50).model_copy(update={"chains": (cell,)})
        files = [tmp_path / name / place for place in ("s.npy", "s.json", "checkpoints")]
        if name == "interrupted":
            with pytest.raises(KeyboardInterrupt):
                sample(job, trained / "model", *files, checkpoint_seconds=0)
        sample(job, trained / "model", *files, checkpoint_seconds=0)
        drawn[name] = np.load(files[0])
        (entry,) = read_json(files[1])["draws"]
        assert entry["network_calls"] == 5
    assert begun == [0, 0, 0]
    np.testing.assert_array_equal(drawn["whole"], drawn["interrupted"])
    assert drawn["whole"].shape == (1, 60, 8, 8, 1)


def test_the_import_is_no_part_of_the_seconds_of_a_chain(trained, tmp_path):
    """Nor is a package that is not there found only in a chain."""

    class Prepared(Diffusers):
        def prepare(self):
            raise UserError("before the first step")

    cell = chain("ddim", "fixed", 5).model_copy(update={"sampler": Prepared(scheduler=UNIPC)})
    job = sampling_job().model_copy(update={"chains": (cell,)})
    with pytest.raises(UserError, match="before the first step"):
        sample(job, trained / "model", tmp_path / "s.npy", tmp_path / "s.json", tmp_path / "checkpoints")
    with pytest.raises(UserError, match="no scheduler"):
        solver("UniPC").prepare()
