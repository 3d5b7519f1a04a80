import json

import numpy as np
import pytest
import torch
from tiny import FITTED, HEADS, SCHEDULE, covariance_job, covariance_outputs

import sadpm.stages.fit_covariances as stage
from sadpm.covariances import Fitting
from sadpm.covariances.analytic import Analytic, Moments
from sadpm.covariances.npr import NPR
from sadpm.covariances.sn import SN
from sadpm.diffusion.covariance import mean_squared_prediction_controlled
from sadpm.diffusion.losses import npr_head_loss, sn_head_loss
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.networks.heads import load_head, new_head
from sadpm.networks.predictor import read_fitted
from sadpm.networks.unet import load_unet, save_unet
from sadpm.running.files import UserError, read_json, sha256
from sadpm.running.randomness import generator, position_seed
from sadpm.sources.reading.prepared import load_pixels
from sadpm.stages.fit_covariances import fit_covariances, stratified_levels
from sadpm.training.batches import TrainingBatches, to_model_range

TOGETHER = ["analytic", "npr", "sn"]


def test_levels_are_visited_equally_often():
    levels = torch.cat([stratified_levels(step, 7, 50, seed=3) for step in range(100)])
    assert torch.equal(levels.bincount(minlength=51), torch.tensor([0] + [14] * 50))
    assert not torch.equal(levels[:50], levels[50:100])
    torch.testing.assert_close(stratified_levels(9, 7, 50, seed=3), levels[63:70])


def fitting(unet=None, num_train_timesteps=50):
    schedule = NoiseSchedule.create(num_train_timesteps=num_train_timesteps)
    return Fitting(unet, schedule, HEADS, 0, torch.device("cpu"))


def test_moments_of_each_level():
    values = np.random.default_rng(0).normal(3, 2, (40, 6))
    moments = Moments(fitting(num_train_timesteps=6))
    for row in values:
        moments.add(torch.arange(1, 7), torch.from_numpy(row))
    tensors = moments.tensors()
    np.testing.assert_allclose(tensors["ms_eps"][1:], values.mean(0))
    np.testing.assert_allclose(tensors["standard_error"][1:], values.std(0, ddof=1) / np.sqrt(40))
    assert tensors["ms_eps"][0] == 0
    assert tensors["count"].tolist() == [0, *[40] * 6]


def test_ms_eps_is_the_mean_square_of_the_prediction(trained, digits, tmp_path):
    """Both estimators must agree with a direct average over all images."""
    schedule = NoiseSchedule.create(**SCHEDULE.model_dump())
    unet, x0 = load_unet(trained / "model").eval(), to_model_range(torch.from_numpy(np.array(load_pixels(digits))))
    x0 = x0.movedim(-1, 1)
    generator, direct = torch.Generator().manual_seed(0), []
    with torch.no_grad():
        for n in range(1, 51):
            noise = torch.randn(8, *x0.shape, generator=generator)
            levels = torch.full((len(x0),), n)
            x = torch.cat([schedule.add_noise(x0, draw, levels) for draw in noise])
            direct.append(unet(x, float(n - 1)).square().mean().item())
    errors = {}
    for kind in ("plain", "controlled"):
        outputs = covariance_outputs(tmp_path / kind)
        job = covariance_job(["analytic"], steps=60, batch_size=50, ms_eps=kind)
        fit_covariances(job, digits, trained / "model", **outputs)
        estimate = read_fitted(outputs["fitted"], "analytic")
        deviation = (estimate["ms_eps"][1:] - torch.tensor(direct)) / estimate["standard_error"][1:]
        assert deviation.abs().max() < 5
        errors[kind] = estimate["standard_error"][1:].mean()
    assert min(errors.values()) > 0
    assert estimate["count"][1:].min() == 60


@pytest.mark.parametrize(("names", "last_step"), [(TOGETHER, 4), (TOGETHER, 7), (["ocm"], 4)])
def test_an_interrupted_fit_goes_on_to_the_same_bytes(trained, digits, tmp_path, monkeypatch, names, last_step, capsys):
    outputs, fit_step, whole = covariance_outputs(tmp_path), stage.fit_step, covariance_outputs(tmp_path / "whole")
    fit_covariances(covariance_job(names), digits, trained / "model", **whole)

    def dies(step, *arguments):
        if step == last_step:
            raise KeyboardInterrupt
        fit_step(step, *arguments)

    monkeypatch.setattr(stage, "fit_step", dies)
    with pytest.raises(KeyboardInterrupt):
        fit_covariances(covariance_job(names), digits, trained / "model", **outputs, checkpoint_seconds=0)
    monkeypatch.setattr(stage, "fit_step", fit_step)
    fit_covariances(covariance_job(names), digits, trained / "model", **outputs)
    assert "resuming from" in capsys.readouterr().err
    assert sha256(outputs["fitted"]) == sha256(whole["fitted"])
    assert not outputs["checkpoints"].exists()


def test_heads_begin_as_networks_of_one_stream(trained):
    """Each as one of its own, whichever else are fitted."""
    made_for = fitting(load_unet(trained / "model"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(position_seed(0, "heads", 0))
        expected = [new_head(made_for.unet, HEADS.kind).state_dict() for _ in range(2)]
    for covariance, weights in zip((NPR(), SN()), expected, strict=True):
        begun = covariance.estimate(made_for).training.module.state_dict()
        assert all(torch.equal(begun[name], weights[name]) for name in weights)
    assert not torch.equal(expected[0]["conv.weight"], expected[1]["conv.weight"])


@pytest.mark.parametrize("names", [["analytic"], ["npr"], ["sn"], ["sn", "npr"]])
def test_a_covariance_does_not_depend_on_its_company(trained, digits, tmp_path, names):
    outputs = covariance_outputs(tmp_path)
    fit_covariances(covariance_job(names), digits, trained / "model", **outputs)
    for name in names:
        alone, together = (read_fitted(path, name) for path in (outputs["fitted"], trained / FITTED))
        assert alone.keys() == together.keys()
        assert all(torch.equal(alone[key], together[key]) for key in alone)
    assert read_json(outputs["report"])["losses"].keys() == set(names) - {"analytic"}


def test_the_backbones_dropout_is_off_unless_asked_for(trained, digits, tmp_path):
    without_dropout = tmp_path / "model"
    save_unet(load_unet(trained / "model"), without_dropout)
    config = json.loads((without_dropout / "config.json").read_text())
    (without_dropout / "config.json").write_text(json.dumps({**config, "dropout": 0.0}))
    estimates = []
    for model, dropout in ((trained / "model", False), (without_dropout, False), (trained / "model", True)):
        outputs = covariance_outputs(tmp_path / str(len(estimates)))
        fit_covariances(covariance_job(["analytic"], backbone_dropout=dropout), digits, model, **outputs)
        estimates.append(read_fitted(outputs["fitted"], "analytic")["ms_eps"])
    assert torch.equal(estimates[0], estimates[1])
    assert not torch.equal(estimates[0], estimates[2])


def test_one_step_shows_the_same_images_to_all(trained, digits):
    schedule = NoiseSchedule.create(**SCHEDULE.model_dump())
    unet = load_unet(trained / "model").eval().requires_grad_(False)
    x0 = TrainingBatches(load_pixels(digits), 10, 0, torch.device("cpu")).at(0)
    n = stratified_levels(0, 10, 50, seed=0)
    noise = torch.randn(x0.shape, generator=generator(0, "covariance", 0))
    h, emb = unet.features(schedule.add_noise(x0, noise, n), n - 1)
    predicted = unet.output(h)
    job = covariance_job(log_every=1)
    made_for = Fitting(unet, schedule, job.heads, 0, torch.device("cpu"))
    estimates = {name: covariance.estimate(made_for) for name, covariance in job.covariances.items()}
    losses = {"npr": lambda head: npr_head_loss(head, predicted, noise), "sn": lambda head: sn_head_loss(head, noise)}
    expected = {name: loss(estimates[name].training.module(h, emb)).mean().item() for name, loss in losses.items()}
    stage.fit_step(0, made_for, estimates, x0)
    for name, loss in expected.items():
        assert estimates[name].history == [[1, pytest.approx(loss)]]
    ms_eps = mean_squared_prediction_controlled(predicted, noise)
    torch.testing.assert_close(estimates["analytic"].sums[1, n].float(), ms_eps)


def test_the_heads_learn(trained, digits, tmp_path):
    outputs = covariance_outputs(tmp_path)
    job = covariance_job(["npr", "sn"], steps=150, batch_size=20, learning_rate=1e-2, log_every=10)
    fit_covariances(job, digits, trained / "model", **outputs)
    for history in read_json(outputs["report"])["losses"].values():
        losses = np.array(history)[:, 1]
        assert losses[-3:].mean() < 0.9 * losses[0]
    unet = load_unet(trained / "model").eval()
    x0 = TrainingBatches(load_pixels(digits), 100, 0, torch.device("cpu")).at(0)
    noise, n = torch.randn(x0.shape, generator=generator(1, "test", 0)), torch.full((100,), 45)
    with torch.no_grad():
        h, emb = unet.features(NoiseSchedule.create(**SCHEDULE.model_dump()).add_noise(x0, noise, n), n - 1)
        npr, sn = (load_head(read_fitted(outputs["fitted"], kind), unet)(h, emb) for kind in ("npr", "sn"))
        predicted = unet.output(h)
    assert npr_head_loss(npr, predicted, noise).mean() < npr_head_loss(sn, predicted, noise).mean()
    assert sn_head_loss(sn, noise).mean() < sn_head_loss(npr, noise).mean()


def test_levels_that_no_image_saw_are_not_known(trained, digits, tmp_path):
    """ms_eps = 0 would mean the largest of all covariances."""
    outputs = covariance_outputs(tmp_path)
    fit_covariances(covariance_job(["analytic"], steps=4), digits, trained / "model", **outputs)
    estimate = read_fitted(outputs["fitted"], "analytic")
    assert estimate["ms_eps"][1:].isnan().sum() == estimate["standard_error"][1:].isnan().sum() == 10
    with pytest.raises(ValueError, match=r"nothing is known of 10 noise levels, first .*heads.steps times heads.batch"):
        Analytic().load(estimate, load_unet(trained / "model"), NoiseSchedule.create(**SCHEDULE.model_dump()))


@pytest.mark.parametrize("log_every", [3, 1000])
def test_heads_that_diverge_write_nothing(trained, digits, tmp_path, log_every):
    outputs = covariance_outputs(tmp_path)
    job = covariance_job(learning_rate=1e30, log_every=log_every)
    with pytest.raises(UserError, match="diverged"):
        fit_covariances(job, digits, trained / "model", **outputs)
    assert not outputs["fitted"].exists()
    assert not outputs["report"].exists()


def test_a_head_that_is_not_finite_is_refused(trained):
    unet, weights = load_unet(trained / "model"), read_fitted(trained / FITTED, "npr")
    weights["conv.bias"].fill_(float("inf"))
    with pytest.raises(ValueError, match=r"conv.bias holds values that are not finite"):
        NPR().load(weights, unet, NoiseSchedule.create(**SCHEDULE.model_dump()))


def test_what_was_fitted_to_another_model_is_refused(trained, tmp_path):
    unet, fitted = load_unet(trained / "model"), trained / FITTED
    with pytest.raises(ValueError, match="parameters do not fit the network"):
        NPR().load(unet.state_dict(), unet, NoiseSchedule.create())
    with pytest.raises(ValueError, match="for 50 noise levels, and the schedule has 1000"):
        Analytic().load(read_fitted(fitted, "analytic"), unet, NoiseSchedule.create())
    with pytest.raises(UserError, match=r"nothing of the covariance 'mine' in it.*fitted again"):
        read_fitted(fitted, "mine")
    for content in (b"", fitted.read_bytes()[:200]):
        (tmp_path / "damaged.safetensors").write_bytes(content)
        with pytest.raises(UserError, match="fitted again"):
            read_fitted(tmp_path / "damaged.safetensors", "npr")
