"""Bounds in bits/dim: the numbers of the stage, their errors, and what it refuses."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import FITTED, SCHEDULE, chain

import sadpm.stages.measure_likelihood as stage
from sadpm.config.grid import Cell
from sadpm.config.jobs import LikelihoodJob
from sadpm.diffusion.likelihood import SMALLEST_PROBABILITY, bits_per_dimension, variational_bound
from sadpm.diffusion.samplers import DDPMStep, Prediction
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.diffusion.timesteps import exact_timesteps
from sadpm.metrics.uncertainty import standard_error
from sadpm.networks.predictor import load_network
from sadpm.report.contrasts import Scored
from sadpm.running.files import UserError, read_json
from sadpm.running.randomness import ImageNoise
from sadpm.samplers.ddpm import DDPM
from sadpm.sources.reading.prepared import load_pixels
from sadpm.stages.measure_likelihood import bounds, measure_likelihood
from sadpm.stages.sample import predictor

CHAINS = [chain("ddpm", kind, 5) for kind in ("fixed", "analytic", "npr", "sn")]
NOISE = NoiseSchedule.create(**SCHEDULE.model_dump())


def job(*chains, **changes):
    recipes = [one.recipe.model_copy(update={"max_variance_pixels": {}}) for one in chains]
    told = {
        "schedule": SCHEDULE,
        "chains": tuple(one.model_copy(update={"recipe": recipe}) for one, recipe in zip(chains, recipes, strict=True)),
        "recipes": tuple(one.covariance.recipe for one in chains),
        **{"split": "train", "num_images": 70, "batch_size": 50, "seed": 0},
    }
    return LikelihoodJob(**told | changes)


def measure(told, images, trained, folder, **more):
    files = [folder / name for name in ("b.json", "b.influence.npz", "checkpoints")]
    measure_likelihood(told, images, trained / "model", *files, [trained / FITTED], **more)
    return read_json(files[0]), dict(np.load(files[1]))


@pytest.fixture(scope="module")
def measured(digits, trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bounds")
    return *measure(job(*CHAINS), digits, trained, folder), folder


def test_numbers_are_the_mean_bounds_with_the_error_of_a_mean(measured, digits, trained):
    """Against the whole bound at once, of the same images and noise."""
    report, influence, folder = measured
    chosen = stage.choose_images(job(*CHAINS), digits, "likelihood-images").double()
    parts = [ImageNoise(0, "likelihood", range(*ends), (1, 8, 8)) for ends in ((0, 50), (50, 70))]
    unet = load_network(trained / "model", torch.device("cpu"))
    assert [score["cell"]["covariance"] for score in report["scores"]] == ["fixed", "analytic", "npr", "sn"]
    for one, score in zip(job(*CHAINS).chains, report["scores"], strict=True):
        predict = stage.in_double(predictor(one, unet, NOISE, trained / FITTED))
        levels = exact_timesteps(one.recipe.timesteps, 50, 5)
        step = DDPMStep("optimal" if one.fit else "small", clip_sample=one.recipe.clip_sample)
        with torch.inference_mode():
            terms = torch.cat(
                [
                    variational_bound(
                        predict, x0, levels, NOISE, step, lambda j, noise=noise: noise.of_step(j).double()
                    )
                    for x0, noise in zip(chosen.split(50), parts, strict=True)
                ],
                dim=1,
            )
        found, bits = score["metrics"]["bpd"], terms.sum(0).numpy() / (64 * math.log(2))
        assert found["value"] == pytest.approx(bits_per_dimension(terms, 64).item(), rel=1e-9)
        assert found["standard_error"] == pytest.approx(standard_error(bits), rel=1e-9)
        np.testing.assert_allclose(influence[f"{one.cell.draw}/bpd"], bits - bits.mean(), rtol=1e-4)
        assert (found["n"], found["reference_n"], found["dims"], found["split"]) == (70, 100, 64, "train")
        assert score["recipe"] == {
            "name": one.covariance.recipe, "timesteps": one.recipe.timesteps,
            "clip_sample": one.recipe.clip_sample, "max_variance_pixels": None,
        }  # fmt: skip
        assert score["network_calls"] == 5
        assert ("covariance" in score["provenance"]["inputs"]) == bool(one.fit)
    assert report["provenance"]["inputs"].keys() == {"images", "model", "analytic+npr+sn"}
    assert not list(folder.glob("checkpoints/**/*"))


def test_differences_are_paired_by_image(measured):
    report, influence, folder = measured
    scored = Scored.load([folder / "b.json"], [folder / "b.influence.npz"])
    npr, sn = (Cell("digits", "base", 0, "ddpm", covariance, 5) for covariance in ("npr", "sn"))
    value, error = scored.difference(npr, sn, "bpd")
    entries = [report["scores"][place]["metrics"]["bpd"] for place in (2, 3)]
    assert value == pytest.approx(entries[0]["value"] - entries[1]["value"])
    assert error == pytest.approx(standard_error(influence["ddpm-npr-5/bpd"] - influence["ddpm-sn-5/bpd"]), rel=1e-5)
    assert error < math.hypot(*(entry["standard_error"] for entry in entries))


def test_an_interrupted_job_goes_on_to_the_bit(measured, digits, trained, tmp_path, monkeypatch):
    """In the middle of the second batch, so that neither a batch nor a sum is begun again."""
    report, influence, _ = measured
    counted, whole = [], stage.transition_term

    def interrupted(*arguments):
        counted.append(1)
        if len(counted) == 9:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(stage, "transition_term", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure(job(*CHAINS), digits, trained, tmp_path, checkpoint_seconds=0)
    assert not list(tmp_path.glob("b.*"))
    again, parts = measure(job(*CHAINS), digits, trained, tmp_path, checkpoint_seconds=0)
    assert len(counted) == 9 + 2 + 3 * 10
    assert [score["metrics"] for score in again["scores"]] == [score["metrics"] for score in report["scores"]]
    assert all(np.array_equal(parts[name], influence[name]) for name in influence)


def test_images_and_noise_are_those_of_their_place_and_seed(digits, trained, tmp_path):
    base = measure(job(CHAINS[0]), digits, trained, tmp_path / "base")
    more = measure(job(CHAINS[0], num_images=100), digits, trained, tmp_path / "more")
    wider = measure(job(CHAINS[0], batch_size=100), digits, trained, tmp_path / "wider")
    other = measure(job(CHAINS[0], seed=1), digits, trained, tmp_path / "other")

    def of_images(measured):
        (influence,), (score,) = measured[1].values(), measured[0]["scores"]
        return influence + score["metrics"]["bpd"]["value"]

    np.testing.assert_allclose(of_images(more)[:70], of_images(base), rtol=1e-4)
    np.testing.assert_allclose(of_images(wider), of_images(base), rtol=1e-4)
    assert not np.isclose(of_images(other), of_images(base), rtol=1e-3).any()


class Unsaved:
    """Checkpoints of a job that nothing interrupts."""

    done = 0

    def latest(self, device):
        return None

    def steps(self, total, state, what):
        return iter(range(total))


def test_the_error_is_what_other_images_and_noise_do():
    """Grey levels of independent pixels, and a network that answers with their mean: 300 redraws of 40 images."""
    redraws, n = 300, 40
    random = np.random.default_rng(0)
    told = job(CHAINS[0], num_images=n)

    def predict(x, t):
        return Prediction(NOISE.noise_in(x, torch.zeros_like(x), t))

    found = []
    for seed in range(redraws):
        x0 = torch.from_numpy(random.integers(90, 166, (n, 1, 2, 2)) / 127.5 - 1)
        one = told.model_copy(update={"seed": seed})
        found.append(bounds(one, told.chains[0], predict, x0, NOISE, torch.device("cpu"), Unsaved()).numpy())
    errors = [standard_error(nats) for nats in found]
    over_redraws = np.std([nats.mean() for nats in found], ddof=1)
    # The standard deviation of 300 values is known to 1 / sqrt(2 * 299) = 4.1 %: four times that.
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(over_redraws, rel=0.16)


def test_grey_levels_far_from_the_prediction_keep_their_price():
    """The mass of a bin six standard deviations away is no number of float32, in which it would cost the floor."""
    x0, std = torch.zeros(1, 1, 1, 1) + 1 / 255, NOISE.posterior_variance(1, 2).sqrt()
    told = job(chain("ddpm", "fixed", 1), num_images=1)

    def predict(x, t):
        assert x.dtype == torch.float32
        return Prediction(NOISE.noise_in(x, x0 - 6 * std, t).float())

    arguments = (NOISE, torch.device("cpu"), Unsaved())
    (nats,) = bounds(told, told.chains[0], stage.in_double(predict), x0, *arguments)
    edges = [6 + sign / (255 * std.item()) for sign in (-1, 1)]
    below, above = (0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3))) for u in edges)
    prior = stage.prior_term(NOISE, x0.double(), 1)
    assert (nats - prior).item() == pytest.approx(-math.log(above - below), rel=1e-3)
    assert -math.log(above - below) < -math.log(SMALLEST_PROBABILITY) - 5


def test_what_is_not_finite_ends_in_no_number(digits, trained, tmp_path, monkeypatch):
    whole = stage.in_double

    def lost(predict):
        def predicted(x, t):
            found = whole(predict)(x, t)
            return replace(found, noise=found.noise * float("nan")) if t == 1 else found

        return predicted

    monkeypatch.setattr(stage, "in_double", lost)
    with pytest.raises(UserError, match=r"the bound of ddpm-fixed-5 is not finite: .* recipe with clip_sample: true"):
        measure(job(CHAINS[0]), digits, trained, tmp_path)
    assert not list(tmp_path.glob("b.*"))


def test_chains_without_a_bound_are_refused(digits, trained, tmp_path):
    class Own(DDPM):
        def chain(self, predict, *arguments):
            def scaled(x, t):
                prediction = predict(x, t)
                return replace(prediction, noise=prediction.noise / 1.01)

            return super().chain(scaled, *arguments)

    with pytest.raises(UserError, match="ddim-fixed-5: 'ddim' is no chain of DDPM's Gaussian steps"):
        measure(job(chain("ddim", "fixed", 5)), digits, trained, tmp_path)
    own = CHAINS[0].model_copy(update={"sampler": Own()})
    with pytest.raises(UserError, match="ddpm-fixed-5: the chain of 'ddpm' does not go by its step, so"):
        measure(job(own), digits, trained, tmp_path)


def test_images_that_do_not_fit_or_suffice_are_refused(digits, trained, tmp_path):
    with pytest.raises(UserError, match="num_images: 101 asked for, and the data set has 100"):
        measure(job(CHAINS[0], num_images=101), digits, trained, tmp_path)
    np.save(tmp_path / "wide.npy", np.repeat(load_pixels(digits), 2, axis=2))
    with pytest.raises(UserError, match=r"wide\.npy: images of shape \(1, 8, 16\) \(C, H, W\)"):
        measure(job(CHAINS[0]), tmp_path / "wide.npy", trained, tmp_path)


def test_the_test_split_has_its_own_name_in_the_record(digits, trained, tmp_path):
    report, _ = measure(job(CHAINS[0], split="test"), digits, trained, tmp_path)
    assert report["provenance"]["inputs"].keys() == {"held_out", "model", "analytic+npr+sn"}
    assert report["scores"][0]["metrics"]["bpd"]["label"] == "bits/dim (test images)"
