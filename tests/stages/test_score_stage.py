import json

import numpy as np
import pytest
from test_sample_stage import CHAINS, draw

from sadpm.artifacts import UserError, read_json, sha256
from sadpm.classifier import extract, load_classifier
from sadpm.config import ClassifierConfig
from sadpm.jobs import ClassifierJob, DataJob, GapJob, ReferenceJob, ScoreJob
from sadpm.metrics import frechet_distance, inception_score
from sadpm.records import entries
from sadpm.stages.measure_reference import measure_reference
from sadpm.stages.prepare_data import prepare_data
from sadpm.stages.score import score
from sadpm.stages.train_classifier import train_and_save


@pytest.fixture(scope="module")
def world(tmp_path_factory, trained):
    """Data, classifier, reference and samples."""
    folder = tmp_path_factory.mktemp("world")
    images, labels, description = (folder / name for name in ("images.npy", "labels.npy", "dataset.json"))
    prepare_data(DataJob(source="digits"), images, labels, description)
    job = ClassifierJob(classifier=ClassifierConfig(steps=50))
    train_and_save(job, images, labels, folder / "classifier.safetensors", folder / "classifier.json")
    weights = [folder / "classifier.safetensors"]
    measure_reference(
        ReferenceJob(extractor="classifier"), folder / "reference.npz", folder / "reference.json", [images], weights
    )
    draw(trained, folder, *CHAINS[:2])
    return folder


def scored(world, folder, extractor="classifier", reference="reference.npz", metrics=("fd", "is"), images="images.npy"):
    job = ScoreJob(
        cells=tuple(chain.cell for chain in CHAINS[:2]),
        recipes=("sa-dpm", "bao"),
        extractor=extractor,
        metrics=metrics,
    )
    classifier = [world / "classifier.safetensors"] if extractor == "classifier" else []
    files = (world / "s.npy", world / "s.json", world / reference, folder / "scores.json")
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
    with pytest.raises(UserError, match="the extractor 'pixels' gives fd, and not is, kid"):
        scored(world, tmp_path, "pixels", "pixels.npz", ["is", "fd", "kid"])


def test_only_the_metrics_that_are_asked_for_are_computed(world, tmp_path):
    assert scored(world, tmp_path, metrics=["is"])[0]["metrics"].keys() == {"is"}
    assert scored(world, tmp_path, metrics=["fd"])[0]["metrics"].keys() == {"fd"}


def test_every_metric_says_what_looked(world, tmp_path):
    for metric in scored(world, tmp_path)[0]["metrics"].values():
        assert metric["extractor"] == {
            "name": "classifier",
            "network": "sadpm.classifier.DigitsClassifier, penultimate layer",
            "weights_sha256": sha256(world / "classifier.safetensors"),
            "preprocessing": "uint8 / 127.5 - 1",
        }
        assert metric["notes"] == []


def test_a_reference_of_other_weights_is_refused(world, tmp_path):
    retrained = [world / "retrained.safetensors"]
    job = ClassifierJob(classifier=ClassifierConfig(steps=51))
    train_and_save(job, world / "images.npy", world / "labels.npy", retrained[0], world / "retrained.json")
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
