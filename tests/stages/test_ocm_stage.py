"""OCM's fitting: what is differentiated, by what, and that nothing else differs from the fitting of NPR."""

import numpy as np
import pytest
import torch
from tiny import HEADS, SCHEDULE, chain, covariance_job, covariance_outputs, sampling_job
from torch.autograd.functional import jacobian

import sadpm.stages.fit_covariances as stage
from sadpm.covariances import Fitting
from sadpm.covariances.ocm import OCM
from sadpm.diffusion.covariance import ocm_covariance
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.networks.heads import load_head
from sadpm.networks.predictor import Predictor, read_fitted
from sadpm.networks.unet import UNet, load_unet
from sadpm.running.files import read_json
from sadpm.running.randomness import generator, random_signs
from sadpm.sources.reading.prepared import load_pixels
from sadpm.stages.fit_covariances import fit_covariances
from sadpm.stages.sample import sample
from sadpm.training.batches import TrainingBatches

NOISES = NoiseSchedule.create(**SCHEDULE.model_dump())


class Spy:
    """An estimate that keeps what it is shown."""

    def learn(self, seen, eps):
        self.seen, self.eps = seen, eps


def batch(digits, step=0):
    return TrainingBatches(load_pixels(digits), 10, 0, torch.device("cpu")).at(step)


def shown(unet, digits, needs_hessian, step=0, **estimates):
    """What one step of fitting shows."""
    spy, fitting = Spy(), Fitting(unet, NOISES, HEADS, 0, torch.device("cpu"), needs_hessian)
    stage.fit_step(step, fitting, {"spy": spy, **estimates}, batch(digits, step))
    return spy


def test_the_hessian_is_that_of_the_networks_own_score(trained, digits):
    unet = load_unet(trained / "model")
    seen = shown(unet, digits, True).seen
    signs = random_signs(seen.x.shape, generator(0, "covariance-probe", 0))
    for i in (0, 1):
        slopes = jacobian(lambda x, n=seen.n[i]: unet(x[None], n[None] - 1)[0], seen.x[i]).reshape(64, 64)
        product = (signs[i].flatten() @ slopes).reshape(1, 8, 8)
        expected = -NOISES.betas_cumprod[seen.n[i]].sqrt().float() * signs[i] * product
        torch.testing.assert_close(seen.hessian[i], expected, rtol=1e-4, atol=1e-5)


def test_every_step_has_a_probe_of_its_own(trained, digits, monkeypatch):
    drawn = []
    monkeypatch.setattr(stage, "random_signs", lambda *where: drawn.append(random_signs(*where)) or drawn[-1])
    for step in (0, 1, 0):
        shown(load_unet(trained / "model"), digits, True, step)
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize("dropout", [False, True])
def test_the_network_sees_and_answers_what_it_does_for_npr(trained, digits, dropout, monkeypatch):
    """The same images, levels, noise and dropout masks, once."""
    calls, features = [], UNet.features
    monkeypatch.setattr(UNet, "features", lambda *arguments: calls.append(arguments) or features(*arguments))
    unet = load_unet(trained / "model").requires_grad_(False).train(dropout)
    plain, probed = (shown(unet, digits, needs_hessian) for needs_hessian in (False, True))
    assert len(calls) == 2
    assert plain.seen.hessian is None
    assert torch.equal(plain.eps, probed.eps)
    for name in ("x", "n", "noise", "h", "emb"):
        torch.testing.assert_close(getattr(plain.seen, name), getattr(probed.seen, name))
    other = shown(unet.train(not dropout), digits, True)
    assert not torch.allclose(other.seen.noise, probed.seen.noise)
    assert not torch.allclose(other.seen.hessian, probed.seen.hessian)


def test_nothing_leads_back_to_the_network(trained, digits):
    """Even where its parameters are not frozen: head and target are all that the loss knows of."""
    unet = load_unet(trained / "model").requires_grad_()
    fitting = Fitting(unet, NOISES, HEADS, 0, torch.device("cpu"), True)
    estimate = OCM().estimate(fitting)
    seen = shown(unet, digits, True, ocm=estimate).seen
    assert not any(tensor.requires_grad for tensor in (seen.x, seen.noise, seen.h, seen.emb, seen.hessian))
    assert all(parameter.grad is None for parameter in unet.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in estimate.training.module.parameters())


def test_it_is_fitted_and_sampled(trained, digits, tmp_path, monkeypatch):
    outputs = {**covariance_outputs(tmp_path), "fitted": tmp_path / "ocm.safetensors"}
    job = covariance_job(["ocm"], steps=60, learning_rate=1e-2, log_every=10)
    fit_covariances(job, digits, trained / "model", **outputs)
    losses = np.array(read_json(outputs["report"])["losses"]["ocm"])[:, 1]
    assert losses[-2:].mean() < 0.9 * losses[0]
    unet, fitted = load_unet(trained / "model"), read_fitted(outputs["fitted"], "ocm")
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = Predictor(unet, OCM().load(fitted, unet, NOISES))(x, 20).covariance
        head = load_head(fitted, unet)(*unet.features(x, 19.0))
    torch.testing.assert_close(found, ocm_covariance(NOISES, 20, head))
    calls, features = [], UNet.features
    monkeypatch.setattr(UNet, "features", lambda *arguments: calls.append(arguments) or features(*arguments))
    chains = [chain(sampler, kind, 5) for kind in ("ocm", "fixed") for sampler in ("ddpm", "ddim")]
    files = (tmp_path / "s.npy", tmp_path / "s.json", tmp_path / "checkpoints")
    sample(sampling_job(*chains), trained / "model", *files, [outputs["fitted"]])
    assert len(calls) == 5 * len(chains)
    assert len({images.tobytes() for images in np.load(files[0])}) == len(chains)
