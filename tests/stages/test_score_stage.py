import json

import numpy as np
import pytest
import torch
from test_sample_stage import CHAINS, draw

from sadpm.config.jobs import DataJob, ExtractorJob, GapJob, ReferenceJob, ScoreJob
from sadpm.extractors.classifier import ClassifierExtractor
from sadpm.extractors.looking.references import load_reference
from sadpm.extractors.looking.scores import score_images
from sadpm.extractors.pixels import PixelsExtractor
from sadpm.metrics.frechet import frechet_distance
from sadpm.metrics.inception_score import inception_score, inception_score_influence
from sadpm.metrics.memorisation import nearest_images
from sadpm.networks.classifier import extract, load_classifier, save_classifier
from sadpm.running.files import UserError, read_json, sha256
from sadpm.running.records import entries
from sadpm.stages.measure_reference import measure_reference
from sadpm.stages.prepare_data import prepare_data
from sadpm.stages.score import score
from sadpm.stages.train_extractor import train_extractor


@pytest.fixture(scope="module")
def world(tmp_path_factory, trained):
    """Data, classifier, reference and samples."""
    folder = tmp_path_factory.mktemp("world")
    images, labels, description = (folder / name for name in ("images.npy", "labels.npy", "dataset.json"))
    prepare_data(DataJob(source="digits"), images, labels, description)
    job = ExtractorJob(extractor=ClassifierExtractor(steps=50))
    train_extractor(job, images, labels, folder / "classifier.safetensors", folder / "extractor.json")
    weights = [folder / "classifier.safetensors"]
    measure_reference(
        ReferenceJob(extractor="classifier"), folder / "reference.npz", folder / "reference.json", [images], weights
    )
    draw(trained, folder, *CHAINS[:2])
    return folder


def scored(
    world,
    folder,
    extractor="classifier",
    reference="reference.npz",
    metrics=("fd", "is"),
    images="images.npy",
    weights=None,
):
    job = ScoreJob(
        cells=tuple(chain.cell for chain in CHAINS[:2]),
        recipes=("sa-dpm", "bao"),
        extractor=extractor,
        metrics=metrics,
    )
    classifier = weights or ([world / "classifier.safetensors"] if extractor == "classifier" else [])
    files = (world / "s.npy", world / "s.json", world / reference, folder / "scores.json", folder / "influence.npz")
    score(job, *files, classifier, [world / images])
    return entries(folder / "scores.json", "scores")


def test_data_is_described(world):
    facts = read_json(world / "dataset.json")
    assert facts["shape"] == [1797, 8, 8, 1]
    assert facts["num_classes"] == 10
    assert facts["sha256"] == sha256(world / "images.npy")


def test_scores_are_those_of_the_library(world, tmp_path):
    model = load_classifier(world / "classifier.safetensors")
    real, _ = extract(model, np.load(world / "images.npy"))
    for i, result in enumerate(scored(world, tmp_path)):
        features, logits = extract(model, np.load(world / "s.npy")[i])
        expected = frechet_distance(features.mean(0), np.cov(features.T), real.mean(0), np.cov(real.T))
        assert result["metrics"]["fd"]["value"] == pytest.approx(expected, rel=1e-9)
        mean, std = inception_score(logits, 10)
        assert (result["metrics"]["is"]["value"], result["metrics"]["is"]["std"]) == pytest.approx((mean, std))
        assert (result["metrics"]["fd"]["n"], result["metrics"]["fd"]["reference_n"]) == (60, 1797)


def test_a_score_says_what_it_is_of(world, tmp_path):
    fixed, analytic = scored(world, tmp_path)
    assert fixed["cell"] == {
        "dataset": "digits", "model": "base", "seed": 0, "sampler": "ddpm", "covariance": "fixed", "steps": 5,
    }  # fmt: skip
    assert fixed["recipe"] == {
        "name": "sa-dpm", "timesteps": "uniform", "clip_sample": False, "max_variance_pixels": None,
    }  # fmt: skip
    assert analytic["recipe"]["max_variance_pixels"] == 2
    assert analytic["network_calls"] == 5
    assert analytic["provenance"]["inputs"].keys() == {"samples", "model", "covariance", "reference"}


@pytest.mark.parametrize(
    ("execution", "note"),
    [
        ({"precision": "bfloat16"}, "networks computed in bfloat16"),
        (
            {"precision": "float32", "not_used": {"precision": "tf32: on cpu, all is float32"}},
            "networks computed in float32, not in tf32: on cpu, all is float32",
        ),
        ({"precision": "float32", "not_used": {"compile": "default: no compiler"}}, None),
    ],
)
def test_another_precision_than_float32_is_noted_with_each_score(world, tmp_path, execution, note):
    for name in ("s.npy", "images.npy", "reference.npz", "classifier.safetensors"):
        (tmp_path / name).symlink_to(world / name)
    (tmp_path / "s.json").write_text(json.dumps({**read_json(world / "s.json"), "execution": execution}))
    for result, plain in zip(scored(tmp_path, tmp_path), scored(world, tmp_path), strict=True):
        for metric, entry in result["metrics"].items():
            before = plain["metrics"][metric].get("notes", [])
            assert entry.get("notes", []) == [*before, *([note] if note else [])]


def test_every_score_has_its_error_or_says_why_not(world, tmp_path):
    """Of 60 samples the Frechet distance of 64 features has no derivative."""
    first, _ = scored(world, tmp_path)
    assert first["metrics"]["fd"]["standard_error"] is None
    reason = "FD (digits classifier) of fewer than 65 images: covariance singular, no derivative"
    assert first["metrics"]["fd"]["no_error"] == reason
    written = read_json(tmp_path / "scores.json")
    assert written["influence"] == {"file": "influence.npz", "sha256": sha256(tmp_path / "influence.npz")}
    with np.load(tmp_path / "influence.npz") as parts:
        assert sorted(parts) == ["ddpm-analytic-5/is", "ddpm-fixed-5/is"]
        part = parts["ddpm-fixed-5/is"]
    assert (part.shape, part.dtype) == ((60,), np.float32)
    assert first["metrics"]["is"]["standard_error"] == pytest.approx(part.std(ddof=1) / 60**0.5, rel=1e-5)
    _, logits = extract(load_classifier(world / "classifier.safetensors"), np.load(world / "s.npy")[0])
    np.testing.assert_allclose(part, inception_score_influence(logits, 10), rtol=1e-5, atol=1e-6)


def test_what_was_memorised_is_kept_with_the_nearest_training_images(world, tmp_path):
    images, real = [world / "images.npy"], np.load(world / "images.npy")
    job = ReferenceJob(extractor="pixels", metrics=("fd", "memorised"))
    measure_reference(job, world / "memory.npz", world / "memory.json", images)
    first, second = scored(world, tmp_path, "pixels", "memory.npz", ["memorised"])
    expected = nearest_images(*(found.reshape(len(found), -1) / 255.0 for found in (np.load(world / "s.npy")[0], real)))
    assert first["metrics"]["memorised"]["value"] == expected.memorised.mean()
    assert first["metrics"]["memorised"]["label"] == "memorised (pixels)"
    assert (first["metrics"]["memorised"]["n"], first["metrics"]["memorised"]["reference_n"]) == (60, 1797)
    with np.load(tmp_path / "influence.npz") as parts:
        details = {name: parts[f"ddpm-fixed-5/memorised/{name}"] for name in ("nearest", "ratio")}
        influences = [name for name in parts if name.endswith("/memorised")]
    assert details["nearest"].tolist() == expected.image.tolist()
    assert details["ratio"] == pytest.approx(expected.ratio)
    errors = [entry["metrics"]["memorised"]["standard_error"] for entry in (first, second)]
    assert len(influences) == sum(error is not None for error in errors)
    with pytest.raises(UserError, match=r"has no features of the real images, which memorised need; delete it"):
        scored(world, tmp_path, "classifier", "reference.npz", ["memorised"])


def test_copies_of_training_images_are_memorised(world, tmp_path):
    images, looking = np.load(world / "images.npy"), PixelsExtractor().looking(["memorised"])
    job = ReferenceJob(extractor="pixels", metrics=("memorised",))
    measure_reference(job, tmp_path / "reference.npz", tmp_path / "reference.json", [world / "images.npy"])
    reference = load_reference(tmp_path / "reference.npz", with_features=True)
    found = score_images(images[5:25], looking, PixelsExtractor.labels, reference)["memorised"]
    assert found.entry["value"] == 1
    assert found.entry["no_error"] == "memorised (pixels) of images that all count alike: no spread to judge by"
    assert found.influence is None
    assert found.details["nearest"].tolist() == list(range(5, 25))


def test_recall_has_an_error_that_nothing_can_be_paired_by(world, tmp_path):
    """It counts real images, and so has nothing to say of single samples; precision does."""
    images, looking = np.load(world / "images.npy"), PixelsExtractor().looking(["memorised"])["memorised"]
    job = ReferenceJob(extractor="pixels", metrics=("memorised",))
    measure_reference(job, tmp_path / "reference.npz", tmp_path / "reference.json", [world / "images.npy"])
    reference = load_reference(tmp_path / "reference.npz", with_features=True)
    noise = np.random.default_rng(0).integers(0, 256, images[:20].shape, dtype=np.uint8)
    sampled, labels = np.concatenate([images[:20], noise]), {"precision": "precision", "recall": "recall"}
    found = score_images(sampled, dict.fromkeys(labels, looking), labels, reference)
    assert all(0 < found[metric].entry["standard_error"] < 1 for metric in labels)
    assert found["recall"].influence is None
    assert found["precision"].influence.shape == (40,)


def test_samples_that_are_not_those_of_the_report_are_refused(world, tmp_path):
    original = (world / "s.npy").read_bytes()
    try:
        (world / "s.npy").write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
        with pytest.raises(UserError, match=r"s\.npy: not the file that .*s\.json describes"):
            scored(world, tmp_path)
        np.save(world / "s.npy", np.load(world / "s.npy")[:1])
        with pytest.raises(UserError, match=r"s\.npy: holds other cells than are to be scored"):
            scored(world, tmp_path)
    finally:
        (world / "s.npy").write_bytes(original)
    assert not (tmp_path / "scores.json").exists()


def test_a_reference_of_another_extractor_is_refused(world, tmp_path):
    measure_reference(
        ReferenceJob(extractor="pixels"), world / "pixels.npz", world / "pixels.json", [world / "images.npy"]
    )
    with pytest.raises(UserError, match="made with extractor 'pixels'"):
        scored(world, tmp_path, reference="pixels.npz")
    by_pixels = scored(world, tmp_path, "pixels", "pixels.npz", ["fd"])[0]["metrics"]
    assert by_pixels.keys() == {"fd"}
    assert by_pixels["fd"]["label"] == "FD (pixels)"
    with pytest.raises(UserError, match="the extractor 'pixels' gives fd, memorised, and not is, kid"):
        scored(world, tmp_path, "pixels", "pixels.npz", ["is", "fd", "kid"])


def test_only_the_metrics_that_are_asked_for_are_computed(world, tmp_path):
    assert scored(world, tmp_path, metrics=["is"])[0]["metrics"].keys() == {"is"}
    assert scored(world, tmp_path, metrics=["fd"])[0]["metrics"].keys() == {"fd"}


def test_every_metric_says_what_looked(world, tmp_path):
    metrics = scored(world, tmp_path)[0]["metrics"]
    singular = "FD (digits classifier) is biased upwards and its covariance is singular"
    assert metrics["fd"]["notes"] == [f"n = 60 <= 64 features: {singular}"]
    assert metrics["is"]["notes"] == []
    for metric in metrics.values():
        assert metric["extractor"] == {
            "name": "classifier",
            "network": "sadpm.networks.classifier.DigitsClassifier, penultimate layer",
            "weights_sha256": sha256(world / "classifier.safetensors"),
            "preprocessing": "uint8 / 127.5 - 1",
        }


def test_a_reference_of_other_weights_is_refused(world, tmp_path):
    retrained = [world / "retrained.safetensors"]
    job = ExtractorJob(extractor=ClassifierExtractor(steps=51))
    train_extractor(job, world / "images.npy", world / "labels.npy", retrained[0], world / "retrained.json")
    measure_reference(
        ReferenceJob(extractor="classifier"),
        world / "other.npz",
        world / "other.json",
        [world / "images.npy"],
        retrained,
    )
    with pytest.raises(UserError, match="weights_sha256"):
        scored(world, tmp_path, reference="other.npz")


def test_a_reference_of_other_images_is_refused(world, tmp_path):
    np.save(world / "fewer.npy", np.load(world / "images.npy")[:-1])
    with pytest.raises(UserError, match=r"reference\.npz: made of a data set with sha256 .*fewer\.npy has"):
        scored(world, tmp_path, images="fewer.npy")


def test_a_reference_of_another_preprocessing_is_refused(world, tmp_path):
    contents = dict(np.load(world / "reference.npz"))
    np.savez(world / "before.npz", **{**contents, "preprocessing": "uint8 / 255"})
    with pytest.raises(UserError, match="made with preprocessing 'uint8 / 255'"):
        scored(world, tmp_path, reference="before.npz")


@pytest.mark.parametrize("damage", ["scored", "measured"])
def test_features_that_are_not_finite_are_told(world, tmp_path, damage):
    """Inception or a classifier with damaged weights."""
    model = load_classifier(world / "classifier.safetensors")
    model.classify.weight.data[0, 0] = float("nan")
    if damage == "measured":
        model.trunk[0].weight.data[0, 0] = float("nan")
    save_classifier(model, tmp_path / "damaged.safetensors")
    weights, reference = [tmp_path / "damaged.safetensors"], tmp_path / "reference.npz"
    job, images = ReferenceJob(extractor="classifier"), world / "images.npy"
    if damage == "measured":
        with pytest.raises(UserError, match=r"images.npy: can't be measured: features have values that are not finite"):
            measure_reference(job, reference, tmp_path / "r.json", [images], weights)
        return
    measure_reference(job, reference, tmp_path / "r.json", [images], weights)
    with pytest.raises(UserError, match=r"s.npy: ddpm-fixed-5: can't be scored: logits have values"):
        scored(world, tmp_path, reference=reference, weights=weights)
    assert not (tmp_path / "scores.json").exists()


def test_a_score_that_is_not_finite_is_not_written(world, tmp_path, monkeypatch):
    monkeypatch.setattr("sadpm.extractors.looking.scores.frechet_distance", lambda *_: float("nan"))
    with pytest.raises(UserError, match=r"s.npy: ddpm-fixed-5: the value of its FD \(digits classifier\) is nan"):
        scored(world, tmp_path)
    assert not (tmp_path / "scores.json").exists()


def test_too_few_images_to_measure_are_told(world, tmp_path):
    np.save(tmp_path / "one.npy", np.load(world / "images.npy")[:1])
    with pytest.raises(UserError, match=r"one.npy: can't be measured: the covariance needs at least 2 features, 1 giv"):
        measure_reference(
            ReferenceJob(extractor="pixels"), tmp_path / "r.npz", tmp_path / "r.json", [tmp_path / "one.npy"]
        )


@pytest.mark.parametrize("learning_rate", [1e30, 1e-12])
def test_a_classifier_that_learns_nothing_scores_nothing(world, tmp_path, learning_rate):
    job = ExtractorJob(extractor=ClassifierExtractor(steps=50, learning_rate=learning_rate))
    outputs = tmp_path / "classifier.safetensors", tmp_path / "extractor.json"
    with pytest.raises(UserError, match=r"the classifier has learned nothing.*change extractor.learning_rate"):
        train_extractor(job, world / "images.npy", world / "labels.npy", *outputs)
    assert not any(path.exists() for path in outputs)


def test_a_gap_that_is_not_finite_is_not_written(world, trained, tmp_path, monkeypatch):
    from tiny import SCHEDULE

    import sadpm.stages.measure_gap as stage

    monkeypatch.setattr(stage, "summary", lambda step: torch.tensor([1.0, float("nan"), 1.0]))
    job = GapJob(schedule=SCHEDULE, start=5, num_images=4, seed=0)
    with pytest.raises(UserError, match="model: the estimation gap is not finite"):
        stage.measure_gap(job, world / "images.npy", trained / "model", tmp_path / "gap.csv", tmp_path / "gap.json")
    assert not (tmp_path / "gap.csv").exists()


def test_the_gap_is_written_by_step(world, trained, tmp_path):
    from tiny import SCHEDULE

    from sadpm.stages.measure_gap import measure_gap

    job = GapJob(schedule=SCHEDULE, start=20, num_images=12, seed=0)
    measure_gap(job, world / "images.npy", trained / "model", tmp_path / "gap.csv", tmp_path / "gap.json")
    rows = np.genfromtxt(tmp_path / "gap.csv", delimiter=",", names=True)
    assert rows["step"].tolist() == list(range(19, 0, -1))
    assert rows["official_gap"][0] == 0 < rows["mean_gap"][0] < rows["gap"][0]
    assert json.loads((tmp_path / "gap.json").read_text())["provenance"]["job"]["start"] == 20
    with pytest.raises(UserError, match="num_images: 5000 asked for"):
        measure_gap(
            job.model_copy(update={"num_images": 5000}),
            world / "images.npy", trained / "model", tmp_path / "x.csv", tmp_path / "x.json",
        )  # fmt: skip
