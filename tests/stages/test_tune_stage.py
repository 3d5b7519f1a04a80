"""Tuning: what is tried, by which noise, what is chosen, and that samples are drawn with it."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from tiny import FITTED, SCHEDULE, chain, sampling_job

import sadpm.networks.execution as execution_module
import sadpm.stages.sample as sampling
import sadpm.stages.tune as stage
from sadpm.config.jobs import Chain, Search, Tuned, TuneJob
from sadpm.covariances import COVARIANCES
from sadpm.diffusion.covariance import sn_covariance
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.diffusion.section import ScheduleConfig
from sadpm.diffusion.timesteps import exact_timesteps
from sadpm.extractors.looking.references import Reference
from sadpm.extractors.pixels import PixelsExtractor
from sadpm.metrics.frechet import frechet_distance
from sadpm.metrics.uncertainty import standard_error
from sadpm.networks.heads import load_head
from sadpm.networks.predictor import read_fitted
from sadpm.networks.section import Execution
from sadpm.networks.unet import load_unet
from sadpm.running.files import UserError, read_json, sha256
from sadpm.running.randomness import ImageNoise
from sadpm.samplers.ddim import DDIM
from sadpm.samplers.one_step import EpsilonScale
from sadpm.stages.sample import draw_images, predictor, sample
from sadpm.stages.tune import choice, tune

PIXELS = PixelsExtractor()
OPTION = "epsilon_scale.b"


def scaled(covariance="fixed", steps=5, b=1.0, k=0.0):
    sampler = DDIM(epsilon_scale=EpsilonScale(b=b, k=k))
    return chain("ddim", covariance, steps).model_copy(update={"sampler": sampler})


def search(chain, *grid, num_samples=100, option=OPTION, metric="fd"):
    return Search(chain=chain, part="sampler", option=option, grid=grid, metric=metric, num_samples=num_samples)


def tuning_job(*searches, schedule=SCHEDULE):
    return TuneJob(schedule=schedule, searches=searches, extractor=PIXELS, batch_size=1000, seed=0)


def write_reference(folder, mean, covariance):
    """Statistics of real images, and the file of images that they claim to be of."""
    images = folder / "images.npy"
    np.save(images, np.zeros((2, 8, 8, 1), np.uint8))
    facts = {"extractor": "pixels", "dataset_sha256": sha256(images), **PIXELS.looking(["fd"], None)["fd"].facts()}
    with (folder / "reference.npz").open("wb") as file:
        Reference(mean, covariance, 1000, facts, None).save(file)
    return {"reference": folder / "reference.npz", "images": [images]}


@pytest.fixture
def real(tmp_path):
    return write_reference(tmp_path, np.full(64, 0.3), 0.05 * np.eye(64))


def tuned(job, trained, folder, real, **options):
    files = {"report": folder / "tuned.json", "checkpoints": folder / "checkpoints", **real}
    tune(job, model=trained / "model", covariances=[trained / FITTED], **files, **options)
    return read_json(folder / "tuned.json")["tuned"]


class Exact:
    """The exact noise predictor of 2x2 images of independent N(0, v) pixels, times a factor."""

    in_channels, sample_size = 1, 2

    def __init__(self, schedule, variance, factor):
        self.schedule, self.variance, self.factor = schedule, variance, factor

    def see(self, x, t):
        abar = self.schedule.alphas_cumprod[int(t) + 1].float()
        return self.factor * (1 - abar).sqrt() / (abar * self.variance + 1 - abar) * x, x, t


def test_a_factor_on_the_exact_prediction_is_found(trained, tmp_path, monkeypatch):
    section, variance = ScheduleConfig(), 0.06
    exact = Exact(NoiseSchedule.create(**section.model_dump()), variance, 1.02)
    monkeypatch.setattr(stage, "load_network", lambda *_: exact)
    real = write_reference(tmp_path, np.full(4, 0.5), variance / 4 * np.eye(4))
    grid = (0.98, 1.0, 1.01, 1.02, 1.03, 1.04)
    (found,) = tuned(
        tuning_job(search(scaled(steps=500), *grid, num_samples=1000), schedule=section), trained, tmp_path, real
    )
    assert found["value"] == 1.02
    assert found["declared"] == 1.0
    assert found["notes"] == []
    low = found["difference"]["value"] + 2 * found["difference"]["standard_error"]
    assert low < 0
    assert [entry["value"] for entry in found["tried"]] == list(grid)


def test_what_is_written_is_what_the_library_says_of_these_images(trained, tmp_path, real, monkeypatch):
    """Each value's images are drawn and scored as others are, but for their noise."""
    drawn = []

    def draw(*arguments):
        draw_images(*arguments)
        drawn.append((arguments[-1], arguments[1].sampler.epsilon_scale.b, arguments[6].last()["drawn"].numpy()))

    monkeypatch.setattr(stage, "draw_images", draw)
    found = tuned(tuning_job(search(scaled(), 0.9, 1.0), search(scaled("sn"), 1.0, 1.2)), trained, tmp_path, real)
    assert [entry["cell"] for entry in found] == [scaled().cell.as_dict(), scaled("sn").cell.as_dict()]
    tried = [entry for one in found for entry in one["tried"]]
    assert [(name, b) for name, b, _ in drawn] == [("tuning", entry["value"]) for entry in tried]
    for entry, (_, _, images) in zip(tried, drawn, strict=True):
        assert len(images) == 100
        features = images.reshape(100, -1) / 255
        gaussian = features.mean(0), np.cov(features.T)
        assert entry["score"] == pytest.approx(frechet_distance(*gaussian, np.full(64, 0.3), 0.05 * np.eye(64)))
    assert not list((tmp_path / "checkpoints").rglob("*"))


def test_tuning_and_samples_share_no_noise(trained, tmp_path, real, monkeypatch):
    seen = {}

    class Watched(ImageNoise):
        def __init__(self, seed, stream, *arguments):
            super().__init__(seed, stream, *arguments)
            seen.setdefault(stream, []).append(torch.cat([self.at_start(), *map(self.of_step, range(2))]))

    monkeypatch.setattr(sampling, "ImageNoise", Watched)
    tuned(tuning_job(search(scaled(), 1.0, 1.1)), trained, tmp_path, real)
    assert set(seen) == {"tuning"}
    files = (tmp_path / "s.npy", tmp_path / "s.json", tmp_path / "checkpoints")
    sample(sampling_job(scaled(), num_samples=100), trained / "model", *files)
    (first, second), (samples,) = seen["tuning"], seen["samples"]
    assert torch.equal(first, second)
    assert not {image.numpy().tobytes() for image in first} & {image.numpy().tobytes() for image in samples}


def test_a_tuning_that_was_interrupted_goes_on(trained, tmp_path, real, monkeypatch):
    job, folder = tuning_job(search(scaled(), 0.9, 1.0, 1.1)), tmp_path / "whole"
    folder.mkdir()
    whole, drawn = tuned(job, trained, folder, real), []

    def draw(*arguments):
        drawn.append(arguments[1].sampler.epsilon_scale.b)
        if drawn == [0.9, 1.0]:
            raise KeyboardInterrupt
        draw_images(*arguments)

    monkeypatch.setattr(stage, "draw_images", draw)
    with pytest.raises(KeyboardInterrupt):
        tuned(job, trained, tmp_path, real)
    again = tuned(job, trained, tmp_path, real)
    assert drawn == [0.9, 1.0, 1.0, 1.1]
    for entry in (*whole[0]["tried"], *again[0]["tried"]):
        del entry["seconds"]
    assert again == whole


def test_a_value_with_which_the_chain_is_lost_is_named(trained, tmp_path, real):
    with pytest.raises(UserError, match=r"ddim-fixed-5, epsilon_scale.b 1e-30: images .* not finite.*out of the grid"):
        tuned(tuning_job(search(scaled(), 1e-30, 1.0)), trained, tmp_path, real)


def test_samples_are_drawn_with_the_value_that_was_chosen(trained, tmp_path, real):
    (found,) = tuned(tuning_job(search(scaled(), 0.9, 1.0, 1.1)), trained, tmp_path, real)
    assert found["value"] != 1.0
    asked = scaled().model_copy(update={"tuned": Tuned(part="sampler", option=OPTION, at=scaled().cell)})
    files = (tmp_path / "s.npy", tmp_path / "s.json", tmp_path / "checkpoints")
    sample(
        sampling_job(asked, scaled(b=found["value"]), scaled()),
        trained / "model",
        *files,
        (),
        [tmp_path / "tuned.json"],
    )
    resolved, direct, declared = np.load(files[0])
    np.testing.assert_array_equal(resolved, direct)
    assert not np.array_equal(resolved, declared)
    report = read_json(files[1])
    told = {key: found[key] for key in ("option", "value", "declared", "metric", "notes")}
    assert [draw.get("tuned") for draw in report["draws"]] == [told, None, None]
    assert report["provenance"]["job"]["chains"][0]["sampler"]["epsilon_scale"] == {"b": 1.0, "k": 0.0}
    assert report["provenance"]["inputs"]["tuned digits/base/seed0 tuned"] == sha256(tmp_path / "tuned.json")
    with pytest.raises(UserError, match=r"epsilon_scale.b of ddim-fixed-5 was not tuned; delete what lies in digits"):
        sample(sampling_job(asked), trained / "model", *files)


def chosen(scores, influence, grid=(0.9, 1.0, 1.1), metric="fd"):
    tried = [{"score": score, "standard_error": 1.0, "label": "FD"} for score in scores]
    return choice(search(scaled(), *grid, metric=metric), tried, influence)


def test_the_error_of_a_choice_is_paired():
    values = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    found = chosen([4.0, 3.0, 2.0], list(values))
    assert (found["value"], found["difference"]["value"]) == (1.1, -1.0)
    assert found["difference"]["standard_error"] == pytest.approx(standard_error((values[2] - values[1]).numpy()))


@pytest.mark.parametrize(
    ("scores", "spread", "metric", "value", "notes"),
    [
        ([5, 4, 4.5], 0.01, "fd", 1.0, []),
        ([5, 4, 3], 0.01, "fd", 1.1, ["at the edge of the grid"]),
        ([5, 4, 3], 100, "fd", 1.1, ["at the edge of the grid", "not told from the declared value"]),
        ([5, 4, 4.5], 0.01, "is", 0.9, ["at the edge of the grid"]),
        ([4, 4, 4], 0.01, "fd", 1.0, []),
        ([5, 4, 3], None, "fd", 1.1, ["at the edge of the grid", "better than the declared value by an unknown error"]),
    ],
)
def test_the_best_is_chosen_and_what_is_doubtful_is_said(scores, spread, metric, value, notes):
    influence = [None if spread is None else spread * torch.linspace(-i, i, 40) for i in range(3)]
    found = chosen(scores, influence, metric=metric)
    assert (found["value"], found["notes"]) == (value, notes)
    json.dumps(found, allow_nan=False)
    if spread is None:
        assert found["difference"]["no_error"] == "FD has no error that could be paired"


@pytest.mark.parametrize("kind", ["fixed", "analytic", "npr", "sn"])
def test_the_predicted_noise_is_divided_before_anything_is_made_of_it(trained, kind):
    """From the clean end: b at the lowest level, 4 k + b at the highest of five."""
    schedule, unet = NoiseSchedule.create(**SCHEDULE.model_dump()), load_unet(trained / "model").eval()
    file = trained / FITTED if COVARIANCES.built_in[kind]().is_fitted else None
    plain, divided = (predictor(scaled(kind, 5, b, k), unet, schedule, file) for b, k in ((1.0, 0.0), (1.5, 0.1)))
    levels = exact_timesteps(scaled(kind).recipe.timesteps, 50, 5)
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for i, level in enumerate(levels):
            expected, found = plain(x, level), divided(x, level)
            torch.testing.assert_close(found.noise, expected.noise / (0.1 * i + 1.5))
            if kind == "sn":
                head = load_head(read_fitted(file, "sn"), unet)(*unet.features(x, level - 1))
                covariance = sn_covariance(schedule, level, head, expected.noise / (0.1 * i + 1.5)).clamp(0, 1)
                torch.testing.assert_close(found.covariance, covariance)
                assert not torch.equal(found.covariance, expected.covariance)
            elif kind != "fixed":
                torch.testing.assert_close(found.covariance, expected.covariance)


def test_nothing_is_divided_by_one(trained, tmp_path):
    """To the same bytes, and to the same parameters of a job where nothing is said."""
    job = sampling_job(chain("ddim", "sn", 5), scaled("sn"))
    sample(job, trained / "model", tmp_path / "s.npy", tmp_path / "s.json", tmp_path / "c", [trained / FITTED])
    said, unsaid = np.load(tmp_path / "s.npy")
    np.testing.assert_array_equal(said, unsaid)
    unscaled = chain("ddim", "sn", 5).model_dump(mode="json", by_alias=True)
    assert unscaled["sampler"] == {"kind": "ddim", "label": None, "eta": 0.0}
    assert set(unscaled) == {*Chain.model_fields} - {"tuned"}


def test_what_is_tuned_is_drawn_as_samples_are(trained, tmp_path, real, monkeypatch):
    """In the precision of the job, by a network that is compiled where that is asked for."""
    compiled = []
    monkeypatch.setattr(execution_module, "missing_precision", lambda precision, device: None)
    monkeypatch.setattr(torch, "compile", lambda function, **_: compiled.append(function) or function)
    exact, scores = tuning_job(search(scaled(), 1.0, 1.1)), []
    for job in (exact, exact.model_copy(update={"precision": "bfloat16"})):
        (found,) = tuned(job, trained, tmp_path, real, execution=Execution(compile="default"))
        used = read_json(tmp_path / "tuned.json")["execution"]
        assert (used["precision"], used["compile"]) == (job.precision, "default")
        scores.append(found["tried"][0]["score"])
    assert len(compiled) == 2
    assert scores[0] != scores[1]
    assert scores[1] == pytest.approx(scores[0], rel=0.1)


def test_features_are_looked_at_as_those_of_the_reference_were(trained, tmp_path, real, monkeypatch):
    """Whatever the network may round: scores and references have torch's default."""
    entered, score = [], stage.checked_scores

    @contextmanager
    def as_torch_does(device):
        entered.append(device.type)
        yield
        entered.clear()

    def scored(*arguments):
        assert entered == ["cpu"]
        return score(*arguments)

    monkeypatch.setattr(stage, "as_torch_does", as_torch_does)
    monkeypatch.setattr(stage, "checked_scores", scored)
    tuned(tuning_job(search(scaled(), 1.0)), trained, tmp_path, real)
