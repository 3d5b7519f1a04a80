import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import SCHEDULE, chain, sampling_job

import sadpm.stages.sample as stage
from sadpm.artifacts import UserError, read_json, sha256
from sadpm.config import PAPER_COVARIANCES, CovarianceConfig, RecipeConfig, SamplerConfig
from sadpm.diffusion.covariance import analytic_covariance, npr_covariance, sn_covariance
from sadpm.diffusion.samplers import DDIMStep, DDPMStep, pixel_variance
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.networks import load_unet, save_unet
from sadpm.predictor import Predictor, load_head
from sadpm.stages.sample import last_variance, reverse_step, sample

CHAINS = [chain(sampler, kind, 5) for sampler in ("ddpm", "ddim") for kind in ("fixed", "analytic", "npr", "sn")]


def draw(trained, folder, *chains, **options):
    """The images of each chain, and the report."""
    files = (folder / "s.npy", folder / "s.json", folder / "checkpoints")
    covariances = sorted((trained / "covariance").iterdir())
    sample(sampling_job(*chains, **options), trained / "model", *files, covariances)
    return np.load(files[0]), read_json(files[1])


def test_every_kind_of_chain_gives_other_images(trained, tmp_path):
    images, report = draw(trained, tmp_path, *CHAINS)
    assert images.shape == (len(CHAINS), 60, 8, 8, 1)
    assert len({array.tobytes() for array in images}) == len(CHAINS)
    for array, entry, expected in zip(images, report["draws"], CHAINS, strict=True):
        assert entry["cell"] == expected.cell.as_dict()
        assert entry["network_calls"] == 5
        assert entry["seconds"] > 0
        assert entry["sha256"] == hashlib.sha256(array.tobytes()).hexdigest()
    assert report["provenance"]["inputs"].keys() == {"model", "analytic", "npr", "sn"}
    assert report["provenance"]["inputs"]["model"] == sha256(trained / "model")


def test_the_file_is_the_one_that_numpy_writes(trained, tmp_path):
    images, _ = draw(trained, tmp_path, *CHAINS[:2])
    np.save(tmp_path / "numpys.npy", images)
    assert sha256(tmp_path / "numpys.npy") == sha256(tmp_path / "s.npy")


def test_a_chain_does_not_depend_on_its_company(trained, tmp_path):
    together, _ = draw(trained, tmp_path, *CHAINS[:4])
    for i, alone in enumerate(CHAINS[:4]):
        np.testing.assert_array_equal(draw(trained, tmp_path / "alone", alone)[0][0], together[i])


def test_images_do_not_depend_on_how_many_are_drawn_at_once(trained, tmp_path):
    whole, _ = draw(trained, tmp_path, *CHAINS, num_samples=130)
    parts, _ = draw(trained, tmp_path, *CHAINS, num_samples=130, batch_size=50)
    for a, b in zip(whole, parts, strict=True):
        difference = np.abs(a.astype(int) - b.astype(int))
        assert difference.max() <= 1  # the rounding of the convolutions may depend on the batch
        assert (difference > 0).mean() < 1e-2


def test_more_samples_begin_with_the_same_images(trained, tmp_path):
    few, _ = draw(trained, tmp_path, CHAINS[0], num_samples=50)
    many, _ = draw(trained, tmp_path, CHAINS[0], num_samples=100)
    assert (np.abs(few[0].astype(int) - many[0][:50].astype(int)) <= 1).all()


@pytest.mark.parametrize("kind", ["analytic", "npr", "sn"])
def test_the_predictor_takes_each_covariance_from_its_own_file(trained, kind):
    schedule = NoiseSchedule.create(**SCHEDULE.model_dump())
    unet = load_unet(trained / "model").eval()
    file = next((trained / "covariance").glob(f"{kind}.*"))
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        prediction = Predictor(unet, schedule, PAPER_COVARIANCES[kind], file)(x, 20)
        h, emb = unet.features(x, 19.0)
        torch.testing.assert_close(prediction.noise, unet(x, 19.0))
        match kind:
            case "analytic":
                expected = analytic_covariance(schedule, 20, torch.from_numpy(np.load(file)["ms_eps"]))
            case "npr":
                expected = npr_covariance(schedule, 20, load_head(file, unet)(h, emb))
            case "sn":
                expected = sn_covariance(schedule, 20, load_head(file, unet)(h, emb), prediction.noise)
        torch.testing.assert_close(prediction.covariance, expected)
        clipped = Predictor(unet, schedule, PAPER_COVARIANCES[kind], file, clip=True)(x, 20).covariance
        torch.testing.assert_close(clipped, expected.clamp(0, 1))
        average = PAPER_COVARIANCES[kind].model_copy(update={"average": True})
        averaged = Predictor(unet, schedule, average, file)(x, 20).covariance
    assert averaged.shape == (() if kind == "analytic" else (3, 1, 1, 1))


def test_images_that_are_not_finite_are_not_written(trained, tmp_path, monkeypatch):
    """The cast to uint8 would make black images of them, whose distance to real ones is a number like any other."""

    class Lost(Predictor):
        def __call__(self, x, t):
            prediction = super().__call__(x, t)
            return replace(prediction, noise=prediction.noise * float("nan")) if t == 1 else prediction

    monkeypatch.setattr(stage, "Predictor", Lost)
    with pytest.raises(UserError, match=r"5 steps \(ddpm, fixed\) are not finite"):
        draw(trained, tmp_path, CHAINS[0])
    assert not list(tmp_path.glob("*.npy")) + list(tmp_path.glob("*.json"))


def test_a_network_that_is_not_finite_is_refused(trained, tmp_path):
    unet = load_unet(trained / "model")
    unet.conv_out.weight.data[0, 0, 1, 1] = float("nan")
    save_unet(unet, tmp_path / "model")
    with pytest.raises(UserError, match=r"weights with NaN or infinity.*: conv_out.weight; delete the folder"):
        sample(sampling_job(CHAINS[0]), tmp_path / "model", tmp_path / "s.npy", tmp_path / "s.json", tmp_path)


def test_a_missing_covariance_is_told(trained):
    with pytest.raises(UserError, match="'npr' needs its fitted file"):
        Predictor(load_unet(trained / "model"), NoiseSchedule.create(), PAPER_COVARIANCES["npr"])


def test_the_bound_of_the_last_variance_reaches_the_chain(trained, tmp_path, monkeypatch):
    noisy = [chain("ddpm", "analytic", 50)]
    bounded, _ = draw(trained, tmp_path, *noisy)
    monkeypatch.setattr(stage, "last_variance", lambda chain: None)
    unbounded, _ = draw(trained, tmp_path, *noisy)
    assert not np.array_equal(bounded[0], unbounded[0])


def test_recipes_mean_the_steps_of_the_papers():
    assert reverse_step(chain("ddpm", "fixed", 5)) == DDPMStep("small", clip_sample=False)
    assert reverse_step(chain("ddim", "fixed", 5)) == DDIMStep(0.0, "small", clip_sample=False)
    assert reverse_step(chain("ddpm", "sn", 5)) == DDPMStep("optimal", clip_sample=True)
    assert reverse_step(chain("ddim", "npr", 5)) == DDIMStep(0.0, "optimal", clip_sample=True)
    assert last_variance(chain("ddpm", "fixed", 5)) is None
    assert last_variance(chain("ddpm", "analytic", 5)) == pixel_variance(2)
    assert last_variance(chain("ddim", "analytic", 5)) == pixel_variance(1)


def test_large_variance_and_eta_reach_the_step():
    large = SamplerConfig(family="ddpm", variance="large")
    recipe = RecipeConfig(timesteps="uniform", clip_sample=True)
    entry = CovarianceConfig(kind="fixed", recipe="r")
    made = stage.Chain(cell=CHAINS[0].cell, sampler=large, covariance=entry, recipe=recipe)
    assert reverse_step(made) == DDPMStep("large", clip_sample=True)
    half = made.model_copy(update={"sampler": SamplerConfig(family="ddim", eta=0.5)})
    assert reverse_step(half) == DDIMStep(0.5, "small", clip_sample=True)
