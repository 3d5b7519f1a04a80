import numpy as np
import pytest
from safetensors import safe_open

from sadpm.config.jobs import ExtractorJob
from sadpm.extractors.classifier import ClassifierExtractor
from sadpm.running.files import UserError, read_json
from sadpm.stages.train_extractor import train_extractor

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), np.uint8)


def train(folder, images, labels):
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", np.asarray(labels, np.int64))
    job = ExtractorJob(extractor=ClassifierExtractor(steps=60, batch_size=8))
    outputs = {"weights": folder / "classifier.safetensors", "report": folder / "classifier.json"}
    train_extractor(job, folder / "images.npy", folder / "labels.npy", **outputs)
    return outputs


def test_a_classifier_of_as_many_classes_as_there_are_is_written(tmp_path):
    labels = np.arange(20) % 3
    brighter_by_class = np.full_like(IMAGES, 1) * (100 * labels.astype(np.uint8))[:, None, None, None]
    outputs = train(tmp_path, brighter_by_class, labels)
    assert read_json(outputs["report"])["held_out_accuracy"] == 1
    with safe_open(outputs["weights"], framework="np") as file:
        assert '"num_classes": 3' in file.metadata()["architecture"]


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES, [], "expected a class from 0 up for each of 20 images"),
        (IMAGES, np.arange(19), "expected a class from 0 up for each of 20 images"),
        (IMAGES, np.arange(20), "no class has the 5 images"),
        (IMAGES[:1], [0], "no class has the 5 images"),
    ],
    ids=["no labels", "too few labels", "too few of a class", "one image"],
)
def test_labels_that_do_not_suffice_are_named(tmp_path, images, labels, message):
    with pytest.raises(UserError, match=rf"labels\.npy: {message}"):
        train(tmp_path, images, labels)
    assert {path.name for path in tmp_path.iterdir()} == {"images.npy", "labels.npy"}
