"""Our numbers against pytorch-fid and torch-fidelity on PNG folders of the same images, with random weights.

The weights are saved as the packages publish them; with them, networks, resizing and layers show as well as with the
true ones. One network looks at an image in about 0.1 s on a CPU, so there are few images and every result is shared.
"""

import hashlib
import pickle
import warnings
from types import SimpleNamespace
from unittest.mock import patch
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sadpm.config.grid import Cell
from sadpm.config.jobs import ReferenceJob, ScoreJob
from sadpm.extractors.inception import InceptionExtractor
from sadpm.extractors.looking.inception import PYTORCH_FID_SHA256
from sadpm.extractors.looking.references import load_reference
from sadpm.extractors.looking.scores import score_images
from sadpm.running.files import UserError, read_json, sha256, write_json
from sadpm.stages.measure_reference import measure_reference
from sadpm.stages.score import checked_reference, score

CELL = Cell("d", "m", 0, "ddpm", "fixed", 5)
METRICS = tuple(InceptionExtractor.labels)
IMAGES = 12
FID_FILE = "pt_inception-2015-12-05-6726825d.pth"
SCORE_FILE = "weights-inception-2015-12-05-6726825d.pth"


def random_state(network, seed):
    """Weights with which features are of order one and differ between images."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=1.0)
    return network.state_dict()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """TORCH_HOME as the packages would leave it: their two files, with different numbers."""
    import torchvision
    from pytorch_fid import inception as pytorch_fid
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    home = tmp_path_factory.mktemp("torch_home")
    checkpoints = home / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    with (
        patch.object(pytorch_fid, "load_state_dict_from_url"),
        patch("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url"),
        patch.object(torchvision.models.Inception3, "load_state_dict"),
        patch.object(FeatureExtractorInceptionV3, "load_state_dict"),
    ):
        fid = random_state(pytorch_fid.fid_inception_v3(), 0)
        scoring = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
        others = random_state(scoring, 1)
    # What all images have in common would decide their class: leave it out of the logits.
    common = scoring(torch.from_numpy(random_images(0, 1.0, n=4)).permute(0, 3, 1, 2))[0].mean(dim=0)
    others["fc.weight"] -= torch.outer(others["fc.weight"] @ common, common) / common.square().sum()
    torch.save(fid, checkpoints / FID_FILE, _use_new_zipfile_serialization=False)  # it was published before zip files
    torch.save(others, checkpoints / SCORE_FILE)
    return SimpleNamespace(home=home, fid=checkpoints / FID_FILE, score=checkpoints / SCORE_FILE)


@pytest.fixture(scope="module")
def in_config(weights):
    return InceptionExtractor(fid_weights=str(weights.fid), is_weights=str(weights.score))


@pytest.fixture(scope="module")
def extractors(in_config):
    return in_config.looking(("fd", "is"))


def random_images(seed, brightness, n=IMAGES, side=32):
    """Coarse coloured squares under noise of various strengths."""
    rng = np.random.default_rng(seed)
    squares = np.kron(rng.uniform(0, 255, (n, 4, 4, 3)), np.ones((1, side // 4, side // 4, 1)))
    noise = rng.normal(0, 20, (n, side, side, 3)) * rng.uniform(0, 2, (n, 1, 1, 1))
    return (brightness * squares + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Samples and real images, each as an array and as a folder of PNG files."""
    folder = tmp_path_factory.mktemp("world")
    for name, images in (("sampled", random_images(1, 1.0)), ("real", random_images(2, 0.7))):
        np.save(folder / f"{name}.npy", images[None] if name == "sampled" else images)
        (folder / name).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).save(folder / name / f"{i:03d}.png")
    recipe = {"timesteps": "uniform", "clip_sample": False, "max_variance_pixels": {}}
    chain = {"sampler": {"kind": "ddpm"}, "fit": None, "recipe": recipe}
    content = hashlib.sha256(np.load(folder / "sampled.npy").tobytes()).hexdigest()
    entry = {"cell": CELL.as_dict(), "sha256": content, "network_calls": 5, "seconds": 1.0}
    origin = {"inputs": {"model": "m"}, "job": {"chains": [chain]}}
    write_json(folder / "sampled.json", {"device": "cpu", "draws": [entry], "provenance": origin})
    return folder


def score_of(world, in_config, metrics, reference="reference.npz", images=("real.npy",)):
    job = ScoreJob(cells=(CELL,), recipes=("sa-dpm",), extractor=in_config, metrics=metrics)
    paths = [world / name for name in images]
    files = [world / name for name in ("sampled.npy", "sampled.json", reference, "s.json", "s.npz")]
    score(job, *files, (), paths)
    return read_json(world / "s.json")["scores"][0]["metrics"]


@pytest.fixture(scope="module")
def ours(world, in_config):
    job = ReferenceJob(extractor=in_config, metrics=METRICS)
    measure_reference(job, world / "reference.npz", world / "reference.json", [world / "real.npy"])
    return score_of(world, in_config, METRICS)


@pytest.fixture(scope="module")
def by_pytorch_fid(world, weights):
    """FID, and the statistics that it was computed from, of pytorch-fid's program on the folders."""
    from pytorch_fid import fid_score

    with pytest.MonkeyPatch.context() as patched, patch.object(fid_score, "calculate_frechet_distance") as distance:
        patched.setenv("TORCH_HOME", str(weights.home))
        folders = [str(world / name) for name in ("sampled", "real")]
        fid_score.calculate_fid_given_paths(folders, 50, "cpu", 2048, num_workers=0)
    return distance.call_args.args


@pytest.fixture(scope="module")
def by_torch_fidelity(world, weights):
    import torch_fidelity

    return torch_fidelity.calculate_metrics(
        input1=str(world / "sampled"), input2=str(world / "real"), isc=True, kid=True, prc=True,
        feature_extractor="inception-v3-compat", feature_extractor_weights_path=str(weights.score),
        kid_subset_size=IMAGES, cuda=False, cache=False, save_cpu_ram=True, verbose=False,
    )  # fmt: skip


def in_their_span(mean, covariance, other_mean, other_covariance):
    """These two means and covariances in coordinates of the few directions that they have: distances stay the same."""
    directions = np.random.default_rng(0).normal(size=(len(mean), 2 * IMAGES))
    reached = [covariance @ directions, other_covariance @ directions, (mean - other_mean)[:, None]]
    basis, sizes, _ = np.linalg.svd(np.hstack(reached), full_matrices=False)
    basis = basis[:, sizes > 1e-9 * sizes[0]]
    assert basis.shape[1] <= 2 * IMAGES
    return mean @ basis, basis.T @ covariance @ basis, other_mean @ basis, basis.T @ other_covariance @ basis


def test_fid_is_pytorch_fids(ours, by_pytorch_fid):
    """Theirs takes the root of a matrix with 2,048 rows in 20 seconds, and of its few dimensions at once."""
    scipy = pytest.importorskip("scipy")
    if tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 18):
        pytest.skip("pytorch-fid calls sqrtm with an argument that SciPy 1.18 removed")
    from pytorch_fid.fid_score import calculate_frechet_distance

    with warnings.catch_warnings(action="ignore"):  # about the singular covariance
        theirs = calculate_frechet_distance(*in_their_span(*by_pytorch_fid))
    assert ours["fd"]["value"] == pytest.approx(theirs, rel=1e-6)


def test_statistics_are_pytorch_fids(world, ours, by_pytorch_fid):
    reference = load_reference(world / "reference.npz")
    _, _, mean, covariance = by_pytorch_fid
    np.testing.assert_allclose(reference.mean, mean, rtol=1e-6)
    assert np.abs(reference.covariance - covariance).max() <= 1e-6 * np.abs(covariance).max()
    assert reference.n == IMAGES


def test_inception_score_is_torch_fidelitys(ours, by_torch_fidelity):
    theirs = [by_torch_fidelity[f"inception_score_{part}"] for part in ("mean", "std")]
    assert [ours["is"]["value"], ours["is"]["std"]] == pytest.approx(theirs, rel=1e-6)
    assert theirs[0] > 1.05  # else the tolerance would hide what differs
    assert ours["is"]["splits"] == 10


def test_kernel_distance_is_torch_fidelitys(ours, by_torch_fidelity):
    theirs = [by_torch_fidelity[f"kernel_inception_distance_{part}"] for part in ("mean", "std")]
    assert ours["kid"]["value"] == pytest.approx(theirs[0], rel=1e-6)
    assert ours["kid"]["std"] == pytest.approx(theirs[1], abs=1e-6 * theirs[0])
    assert (ours["kid"]["subsets"], ours["kid"]["subset_size"]) == (100, IMAGES)


def test_precision_and_recall_are_torch_fidelitys(ours, by_torch_fidelity):
    theirs = [by_torch_fidelity[metric] for metric in ("precision", "recall")]
    assert [ours[metric]["value"] for metric in ("precision", "recall")] == theirs


def test_a_metric_says_what_it_depends_on(ours, weights):
    assert {metric: entry["label"] for metric, entry in ours.items()} == {
        "fd": "FID", "is": "IS", "kid": "KID", "precision": "precision", "recall": "recall",
        "memorised": "memorised",
    }  # fmt: skip
    for metric, entry in ours.items():
        by_fid = metric == "fd"
        assert entry["extractor"]["name"] == "inception"
        assert entry["extractor"]["network"].startswith("pytorch-fid" if by_fid else "torch-fidelity")
        assert entry["extractor"]["weights_sha256"] == sha256(weights.fid if by_fid else weights.score)
        assert "299x299" in entry["extractor"]["preprocessing"]
        assert (entry["n"], entry.get("reference_n")) == (IMAGES, None if metric == "is" else IMAGES)
    assert ours["fd"]["notes"] == [
        f"Inception weights are not the file that pytorch-fid publishes but one with sha256 {sha256(weights.fid)[:8]}…",
        "n = 12 <= 2,048 features: FID is biased upwards and its covariance is singular",
        "real n = 12 <= 2,048 features: FID is biased upwards and its covariance is singular",
    ]
    assert ours["kid"]["notes"] == ["KID subsets have 12 images instead of 1,000"]
    assert ours["is"]["notes"] == ours["precision"]["notes"] == []


def test_features_are_kept_only_for_metrics_that_need_them(world, in_config, ours):
    assert load_reference(world / "reference.npz", with_features=True).features.shape == (IMAGES, 2048)
    contents = dict(np.load(world / "reference.npz"))
    contents.pop("features")
    np.savez(world / "without.npz", **contents)
    with pytest.raises(UserError, match=r"without\.npz: has no features of the real images, which kid, recall need"):
        score_of(world, in_config, ("recall", "kid"), "without.npz")


def test_published_statistics_stand_in_for_images(world, extractors, ours, monkeypatch):
    published, imported = world / "published.npz", world / "imported.npz"
    reference = load_reference(world / "reference.npz")
    np.savez(published, mu=reference.mean, sigma=reference.covariance)
    files = {"reference": imported, "report": world / "imported.json", "published": [published]}
    measure_reference(ReferenceJob(extractor="inception"), **files)
    real = checked_reference(imported, {"fd": extractors["fd"]}, [])
    np.testing.assert_array_equal(real.mean, reference.mean)
    np.testing.assert_array_equal(real.covariance, reference.covariance)
    monkeypatch.setattr("sadpm.extractors.looking.scores.frechet_distance", lambda *_: 0.0)  # takes seconds
    looking = {"fd": extractors["fd"]}
    fid = score_images(random_images(5, 1.0, n=2), looking, InceptionExtractor.labels, real)["fd"].entry
    assert fid["reference_n"] is None
    note = "Real statistics come from a published file, whose weights and preprocessing are not known"
    assert fid["notes"][-1] == note
    with pytest.raises(UserError, match=r"published\.npz: kid need the features of real images"):
        measure_reference(ReferenceJob(extractor="inception", metrics=("fd", "kid")), **files)


def test_other_weights_than_the_references_are_refused(world, in_config, ours):
    contents = dict(np.load(world / "reference.npz"))
    np.savez(world / "other.npz", **{**contents, "features_weights_sha256": "ab"})
    with pytest.raises(UserError, match=r"other\.npz: made with features_weights_sha256 'ab'"):
        score_of(world, in_config, ("precision",), "other.npz")
    np.savez(world / "other.npz", **{**contents, "weights_sha256": "ab"})
    with pytest.raises(UserError, match=r"other\.npz: made with weights_sha256 'ab'"):
        score_of(world, in_config, ("fd",), "other.npz")


@pytest.mark.parametrize("metric", ["fd", "is"])
def test_images_do_not_depend_on_their_batch(extractors, metric):
    images = random_images(3, 1.0, n=3)
    together = extractors[metric].compute(images)
    alone = [extractors[metric].compute(images[i : i + 1]) for i in range(3)]
    for whole, *parts in zip(together, *alone, strict=True):
        if whole is not None:
            np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5 * np.abs(whole).max())


@pytest.mark.parametrize("metric", ["fd", "is"])
def test_grey_is_repeated_to_rgb(extractors, metric):
    grey = random_images(4, 1.0, n=1)[..., :1]
    features, repeated = (extractors[metric].compute(x)[0] for x in (grey, np.repeat(grey, 3, axis=-1)))
    np.testing.assert_array_equal(features, repeated)
    with pytest.raises(UserError, match="grey or RGB images, not at 4 channels"):
        extractors[metric].compute(np.zeros((1, 8, 8, 4), np.uint8))


class Trap:
    def __reduce__(self):
        return pytest.fail, ("pickle ran",)


@pytest.mark.parametrize("metric", ["fd", "is"])
def test_pickle_does_not_run(tmp_path, metric):
    path = tmp_path / "weights.pth"
    torch.save({"fc.weight": Trap()}, path)  # a zip file of a pickle
    with pytest.raises(UserError, match=r"weights\.pth: not the Inception weights of (pytorch_fid|torch_fidelity)"):
        InceptionExtractor(fid_weights=str(path), is_weights=str(path)).looking((metric,))
    path.write_bytes(pickle.dumps(Trap(), protocol=2))
    with pytest.raises(UserError, match="not the Inception weights"):
        InceptionExtractor(fid_weights=str(path), is_weights=str(path)).looking((metric,))


@pytest.mark.parametrize("metric", ["fd", "is"])
def test_weights_of_another_network_are_refused(tmp_path, metric):
    path = tmp_path / "weights.pth"
    torch.save({"fc.weight": torch.zeros(1008, 2048)}, path)
    with pytest.raises(UserError, match=r"not the Inception weights .*Error.s. in loading state_dict"):
        InceptionExtractor(fid_weights=str(path), is_weights=str(path)).looking((metric,))


@pytest.mark.parametrize(("metric", "key", "file"), [("fd", "fid_weights", FID_FILE), ("is", "is_weights", SCORE_FILE)])
class TestMissingWeights:
    def test_offline(self, monkeypatch, tmp_path, metric, key, file):
        def offline(*_, **__):
            raise URLError("no network")

        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
        with pytest.raises(UserError) as error:
            InceptionExtractor().looking((metric,))
        message = str(error.value)
        assert f"{file}{f' (sha256 {PYTORCH_FID_SHA256})' if metric == 'fd' else ''} is not in" in message
        assert f"not in {tmp_path}/hub/checkpoints and could not be downloaded from https://github.com/" in message
        assert f"no network>); put the file there, or give its path as datasets.<name>.extractor.{key}" in message

    def test_named_in_the_configuration(self, tmp_path, metric, key, file):
        weights = InceptionExtractor(fid_weights=str(tmp_path / "a"), is_weights=str(tmp_path / "a"))
        with pytest.raises(UserError, match=rf"datasets\.<name>\.extractor\.{key}: no file .*/a$"):
            weights.looking((metric,))

    def test_downloaded_into_the_packages_cache(self, monkeypatch, tmp_path, weights, metric, key, file):
        source = weights.fid if metric == "fd" else weights.score
        asked = []

        def download(url, target, digest, **_):
            asked.append((url.rpartition("/")[2], digest))
            with open(target, "wb") as copy:
                copy.write(source.read_bytes())

        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr(torch.hub, "download_url_to_file", download)
        for _ in range(2):
            extractor = InceptionExtractor().looking((metric,))[metric]
            assert extractor.weights_sha256 == sha256(source)
        assert asked == [(file, PYTORCH_FID_SHA256 if metric == "fd" else None)]
