import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import FITTED, SCHEDULE, chain, sampling_job

import sadpm.stages.sample as stage
from sadpm.covariances import COVARIANCES
from sadpm.diffusion.covariance import analytic_covariance, npr_covariance, sn_covariance
from sadpm.diffusion.samplers import DDIMStep, DDPMStep, pixel_variance
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.networks.heads import load_head
from sadpm.networks.predictor import Predictor, read_fitted
from sadpm.networks.unet import load_unet, save_unet
from sadpm.running.files import UserError, read_json, sha256
from sadpm.samplers import Manner
from sadpm.samplers.ddim import DDIM
from sadpm.samplers.ddpm import DDPM
from sadpm.stages.sample import sample

CHAINS = [chain(sampler, kind, 5) for sampler in ("ddpm", "ddim") for kind in ("fixed", "analytic", "npr", "sn")]


def draw(trained, folder, *chains, **options):
    """The images of each chain, and the report."""
    files = (folder / "s.npy", folder / "s.json", folder / "checkpoints")
    sample(sampling_job(*chains, **options), trained / "model", *files, [trained / FITTED])
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
    assert report["provenance"]["inputs"].keys() == {"model", "analytic+npr+sn"}
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
    fitted, covariance = read_fitted(trained / FITTED, kind), COVARIANCES.built_in[kind]()
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        loaded = covariance.load(fitted, unet, schedule)
        prediction = Predictor(unet, loaded)(x, 20)
        h, emb = unet.features(x, 19.0)
        torch.testing.assert_close(prediction.noise, unet(x, 19.0))
        match kind:
            case "analytic":
                expected = analytic_covariance(schedule, 20, fitted["ms_eps"])
            case "npr":
                expected = npr_covariance(schedule, 20, load_head(fitted, unet)(h, emb))
            case "sn":
                expected = sn_covariance(schedule, 20, load_head(fitted, unet)(h, emb), prediction.noise)
        torch.testing.assert_close(prediction.covariance, expected)
        clipped = Predictor(unet, loaded, clip=True)(x, 20).covariance
        torch.testing.assert_close(clipped, expected.clamp(0, 1))
        averaged = Predictor(unet, loaded, average=True)(x, 20).covariance
    assert averaged.shape == (() if kind == "analytic" else (3, 1, 1, 1))


def test_images_that_are_not_finite_are_not_written(trained, tmp_path, monkeypatch):
    """The cast to uint8 would make black images of them, whose distance to real ones is a number like any other."""

    class Lost(Predictor):
        def __call__(self, x, t):
            prediction = super().__call__(x, t)
            return replace(prediction, noise=prediction.noise * float("nan")) if t == 1 else prediction

    monkeypatch.setattr(stage, "Predictor", Lost)
    with pytest.raises(UserError, match=r"images of ddpm-fixed-5 are not finite"):
        draw(trained, tmp_path, CHAINS[0])
    assert not list(tmp_path.glob("*.npy")) + list(tmp_path.glob("*.json"))


def test_a_network_that_is_not_finite_is_refused(trained, tmp_path):
    unet = load_unet(trained / "model")
    unet.conv_out.weight.data[0, 0, 1, 1] = float("nan")
    save_unet(unet, tmp_path / "model")
    with pytest.raises(UserError, match=r"weights with NaN or infinity.*: conv_out.weight; delete the folder"):
        sample(sampling_job(CHAINS[0]), tmp_path / "model", tmp_path / "s.npy", tmp_path / "s.json", tmp_path)


def test_a_missing_covariance_is_told(trained):
    unet, schedule = load_unet(trained / "model"), NoiseSchedule.create(**SCHEDULE.model_dump())
    with pytest.raises(UserError, match="'npr' needs the file of what was fitted"):
        stage.predictor(chain("ddpm", "npr", 5), unet, schedule, None)


def test_a_covariance_of_another_schedule_is_told(trained):
    unet, schedule = load_unet(trained / "model"), NoiseSchedule.create()
    with pytest.raises(UserError, match=r"analytic: for 50 noise levels, and the schedule has 1000; delete"):
        stage.predictor(chain("ddpm", "analytic", 5), unet, schedule, trained / FITTED)


def test_the_bound_of_the_last_variance_reaches_the_chain(trained, tmp_path, monkeypatch):
    noisy, manner = [chain("ddpm", "analytic", 50)], stage.manner
    bounded, _ = draw(trained, tmp_path, *noisy)
    monkeypatch.setattr(stage, "manner", lambda chain: replace(manner(chain), max_variance=None))
    unbounded, _ = draw(trained, tmp_path, *noisy)
    assert not np.array_equal(bounded[0], unbounded[0])


@pytest.mark.parametrize(
    ("sampler", "covariance", "step", "bound"),
    [
        ("ddpm", "fixed", DDPMStep("small", clip_sample=False), None),
        ("ddim", "fixed", DDIMStep(0.0, "small", clip_sample=False), None),
        ("ddpm", "sn", DDPMStep("optimal", clip_sample=True), pixel_variance(2)),
        ("ddim", "npr", DDIMStep(0.0, "optimal", clip_sample=True), pixel_variance(1)),
        ("ddpm", "analytic", DDPMStep("optimal", clip_sample=True), pixel_variance(2)),
    ],
)
def test_recipes_mean_the_steps_of_the_papers(sampler, covariance, step, bound):
    meant = chain(sampler, covariance, 5)
    way = stage.manner(meant)
    assert meant.sampler.step(way) == step
    assert way.max_variance == bound


def test_large_variance_and_eta_reach_the_step():
    way = Manner(optimal=False, clip_sample=True, max_variance=None)
    assert DDPM(variance="large").step(way) == DDPMStep("large", clip_sample=True)
    assert DDIM(eta=0.5).step(way) == DDIMStep(0.5, "small", clip_sample=True)


@pytest.mark.parametrize(
    ("shape", "fits"), [((), True), ((3, 1, 1, 1), True), ((8, 8), True), ((3,), False), ((2, 1, 1, 1), False)]
)
def test_a_covariance_must_fit_the_images(trained, shape, fits):
    predict = Predictor(load_unet(trained / "model"), lambda seen: torch.ones(shape))
    x = torch.zeros(3, 1, 8, 8)
    if fits:
        assert predict(x, 5).covariance.shape == shape
    else:
        with pytest.raises(UserError, match=r"a covariance of shape .* does not fit images \(3, 1, 8, 8\)"):
            predict(x, 5)


def test_a_sampler_must_keep_the_shape_of_the_images(trained, tmp_path):
    class Flat(DDPM):
        def chain(self, *arguments):
            return (x.flatten(1) for x in super().chain(*arguments))

    chains = (CHAINS[0].model_copy(update={"sampler": Flat()}),)
    job = sampling_job(CHAINS[0]).model_copy(update={"chains": chains})
    with pytest.raises(UserError, match=r"sampler 'ddpm': a state of shape \(60, 64\), not of images \(1, 8, 8\)"):
        sample(job, trained / "model", tmp_path / "s.npy", tmp_path / "s.json", tmp_path / "checkpoints")


def test_a_sampler_that_can_not_go_on_from_a_state_begins_its_batch_again(trained, tmp_path, monkeypatch):
    """To the same bytes: what it has behind it is done once more."""
    job, files = sampling_job(CHAINS[0]), (tmp_path / "s.npy", tmp_path / "s.json", tmp_path / "checkpoints")
    expected, _ = draw(trained, tmp_path / "whole", CHAINS[0])
    begun = []

    class Interrupted(DDPM):
        resumes = False

        def chain(self, *arguments):
            begun.append(arguments[-1])
            for j, x in enumerate(super().chain(*arguments)):
                if j == 3 and len(begun) == 1:
                    raise KeyboardInterrupt
                yield x

    other = job.model_copy(update={"chains": (CHAINS[0].model_copy(update={"sampler": Interrupted()}),)})
    with pytest.raises(KeyboardInterrupt):
        sample(other, trained / "model", *files, checkpoint_seconds=0)
    sample(other, trained / "model", *files, checkpoint_seconds=0)
    np.testing.assert_array_equal(np.load(files[0]), expected)
    assert begun == [0, 0]
