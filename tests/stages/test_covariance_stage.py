import json

import numpy as np
import pytest
import torch
from tiny import HEADS, SCHEDULE, covariance_outputs

import sadpm.stages.fit_covariances as stage
from sadpm.artifacts import UserError, read_json, sha256
from sadpm.batches import TrainingBatches, to_model_range
from sadpm.data import load_pixels
from sadpm.diffusion.covariance import mean_squared_prediction_controlled
from sadpm.diffusion.losses import npr_head_loss, sn_head_loss
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.jobs import CovarianceJob
from sadpm.networks import load_unet, save_unet
from sadpm.optimisation import TrainingState
from sadpm.predictor import load_head, load_ms_eps, save_head
from sadpm.randomness import generator
from sadpm.stages.fit_covariances import MomentEstimate, fit_covariances, stratified_levels

JOB = CovarianceJob(schedule=SCHEDULE, heads=HEADS, seed=0)


def test_levels_are_visited_equally_often():
    levels = torch.cat([stratified_levels(step, 7, 50, seed=3) for step in range(100)])
    assert torch.equal(levels.bincount(minlength=51), torch.tensor([0] + [14] * 50))
    assert not torch.equal(levels[:50], levels[50:100])
    torch.testing.assert_close(stratified_levels(9, 7, 50, seed=3), levels[63:70])


def test_moments_of_each_level():
    values = np.random.default_rng(0).normal(3, 2, (40, 6))
    moments = MomentEstimate(6, torch.device("cpu"))
    for row in values:
        moments.add(torch.arange(1, 7), torch.from_numpy(row))
    summary = moments.summary()
    np.testing.assert_allclose(summary["ms_eps"][1:], values.mean(0))
    np.testing.assert_allclose(summary["standard_error"][1:], values.std(0, ddof=1) / np.sqrt(40))
    assert summary["ms_eps"][0] == 0
    assert summary["count"].tolist() == [0, *[40] * 6]


def test_ms_eps_is_the_mean_square_of_the_prediction(trained, digits, tmp_path):
    """Both estimators must agree with a direct average over all images, and the controlled one be the closer."""
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
        heads = HEADS.model_copy(update={"steps": 60, "batch_size": 50, "ms_eps": kind})
        outputs = covariance_outputs(tmp_path / kind)
        fit_covariances(CovarianceJob(schedule=SCHEDULE, heads=heads, seed=0), digits, trained / "model", **outputs)
        estimate = np.load(outputs["analytic"])
        deviation = (estimate["ms_eps"][1:] - direct) / estimate["standard_error"][1:]
        assert np.abs(deviation).max() < 5
        errors[kind] = estimate["standard_error"][1:].mean()
    assert errors["plain"] > 0
    assert estimate["count"][1:].min() == 60


@pytest.mark.parametrize("last_step", [4, 7])
def test_an_interrupted_fit_goes_on_to_the_same_bytes(trained, digits, tmp_path, monkeypatch, last_step):
    outputs, fit_step = covariance_outputs(tmp_path), stage.fit_step

    def dies(step, *arguments):
        if step == last_step:
            raise KeyboardInterrupt
        fit_step(step, *arguments)

    monkeypatch.setattr(stage, "fit_step", dies)
    with pytest.raises(KeyboardInterrupt):
        fit_covariances(JOB, digits, trained / "model", **outputs)
    monkeypatch.setattr(stage, "fit_step", fit_step)
    fit_covariances(JOB, digits, trained / "model", **outputs)
    for name, path in covariance_outputs(trained).items():
        if name in ("npr", "sn"):
            assert sha256(path) == sha256(outputs[name])
    np.testing.assert_array_equal(
        np.load(outputs["analytic"])["ms_eps"], np.load(trained / "covariance/analytic.npz")["ms_eps"]
    )
    assert not outputs["checkpoints"].exists()


def test_the_backbones_dropout_is_off_unless_asked_for(trained, digits, tmp_path):
    without_dropout = tmp_path / "model"
    save_unet(load_unet(trained / "model"), without_dropout)
    config = json.loads((without_dropout / "config.json").read_text())
    (without_dropout / "config.json").write_text(json.dumps({**config, "dropout": 0.0}))
    estimates = []
    for model, dropout in ((trained / "model", False), (without_dropout, False), (trained / "model", True)):
        job = JOB.model_copy(update={"heads": HEADS.model_copy(update={"backbone_dropout": dropout})})
        outputs = covariance_outputs(tmp_path / str(len(estimates)))
        fit_covariances(job, digits, model, **outputs)
        estimates.append(np.load(outputs["analytic"])["ms_eps"])
    np.testing.assert_array_equal(estimates[0], estimates[1])
    assert not np.array_equal(estimates[0], estimates[2])


def test_one_step_shows_the_same_images_to_all_three(trained, digits):
    schedule = NoiseSchedule.create(**SCHEDULE.model_dump())
    unet = load_unet(trained / "model").eval().requires_grad_(False)
    x0 = TrainingBatches(load_pixels(digits), 10, 0, torch.device("cpu")).at(0)
    n = stratified_levels(0, 10, 50, seed=0)
    noise = torch.randn(x0.shape, generator=generator(0, "covariance", 0))
    h, emb = unet.features(schedule.add_noise(x0, noise, n), n - 1)
    predicted, heads = unet.output(h), stage.new_heads(JOB, unet)
    state = TrainingState(heads, learning_rate=0.1, ema_decay=0.5, max_grad_norm=None, log_every=1)
    expected = [
        npr_head_loss(heads["npr"](h, emb), predicted, noise).mean().item(),
        sn_head_loss(heads["sn"](h, emb), noise).mean().item(),
    ]
    moments = MomentEstimate(50, torch.device("cpu"))
    stage.fit_step(0, JOB, schedule, unet, state, moments, x0)
    assert state.history == [[1, pytest.approx(sum(expected)), *map(pytest.approx, expected)]]
    ms_eps = mean_squared_prediction_controlled(predicted, noise)
    torch.testing.assert_close(moments.sums[1, n].float(), ms_eps)


def test_the_heads_learn(trained, digits, tmp_path):
    heads = HEADS.model_copy(update={"steps": 150, "batch_size": 20, "learning_rate": 1e-2, "log_every": 10})
    outputs = covariance_outputs(tmp_path)
    fit_covariances(CovarianceJob(schedule=SCHEDULE, heads=heads, seed=0), digits, trained / "model", **outputs)
    history = np.array(read_json(outputs["report"])["losses"]["history"])
    assert (history[-3:, 2:].mean(0) < 0.9 * history[0, 2:]).all()
    unet = load_unet(trained / "model").eval()
    x0 = TrainingBatches(load_pixels(digits), 100, 0, torch.device("cpu")).at(0)
    noise, n = torch.randn(x0.shape, generator=generator(1, "test", 0)), torch.full((100,), 45)
    with torch.no_grad():
        h, emb = unet.features(NoiseSchedule.create(**SCHEDULE.model_dump()).add_noise(x0, noise, n), n - 1)
        npr, sn = (load_head(outputs[kind], unet)(h, emb) for kind in ("npr", "sn"))
        predicted = unet.output(h)
    assert npr_head_loss(npr, predicted, noise).mean() < npr_head_loss(sn, predicted, noise).mean()
    assert sn_head_loss(sn, noise).mean() < sn_head_loss(npr, noise).mean()


def test_levels_that_no_image_saw_are_not_known(trained, digits, tmp_path):
    """ms_eps = 0 would mean the largest of all covariances."""
    outputs = covariance_outputs(tmp_path)
    few = JOB.model_copy(update={"heads": HEADS.model_copy(update={"steps": 4})})
    fit_covariances(few, digits, trained / "model", **outputs)
    estimate = np.load(outputs["analytic"])
    assert np.isnan(estimate["ms_eps"][1:]).sum() == np.isnan(estimate["standard_error"][1:]).sum() == 10
    with pytest.raises(UserError, match=r"nothing is known of 10 noise levels, first .*heads.steps times heads.batch"):
        load_ms_eps(outputs["analytic"], NoiseSchedule.create(**SCHEDULE.model_dump()))


@pytest.mark.parametrize("log_every", [3, 1000])
def test_heads_that_diverge_write_nothing(trained, digits, tmp_path, log_every):
    outputs = covariance_outputs(tmp_path)
    heads = HEADS.model_copy(update={"learning_rate": 1e30, "log_every": log_every})
    with pytest.raises(UserError, match="diverged"):
        fit_covariances(JOB.model_copy(update={"heads": heads}), digits, trained / "model", **outputs)
    assert not any(outputs[name].exists() for name in ("analytic", "npr", "sn", "report"))


def test_a_head_that_is_not_finite_is_refused(trained, tmp_path):
    unet = load_unet(trained / "model")
    head = load_head(trained / "covariance/npr.safetensors", unet)
    head.conv.bias.data.fill_(float("inf"))
    save_head(head, tmp_path / "npr.safetensors")
    with pytest.raises(UserError, match=r"npr.safetensors: conv.bias holds values that are not finite.*fitted again"):
        load_head(tmp_path / "npr.safetensors", unet)


def test_files_of_another_model_are_refused(trained, tmp_path):
    unet = load_unet(trained / "model")
    with pytest.raises(Exception, match="not a head of this model"):
        load_head(trained / "model/diffusion_pytorch_model.safetensors", unet)
    with pytest.raises(Exception, match="for 50 noise levels, and the schedule has 1000"):
        load_ms_eps(trained / "covariance/analytic.npz", NoiseSchedule.create())
    (tmp_path / "analytic.npz").write_bytes(b"")
    with pytest.raises(Exception, match="fitted again"):
        load_ms_eps(tmp_path / "analytic.npz", NoiseSchedule.create())
