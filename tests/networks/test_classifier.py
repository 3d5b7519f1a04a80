"""The digits classifier: good enough to judge digits, and the same on every run."""

import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sadpm.networks.classifier import DigitsClassifier, extract, load_classifier, save_classifier, train_classifier

SETTINGS = {"num_classes": 10, "batch_size": 64, "learning_rate": 2e-3, "weight_decay": 1e-2}


@pytest.fixture(scope="module")
def digits():
    """scikit-learn's 1797 digits as uint8 (n, 8, 8, 1), and their labels."""
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    return np.round(values.reshape(-1, 8, 8, 1) * 255 / 16).astype(np.uint8), labels


@pytest.fixture(scope="module")
def trained(digits):
    """Model and accuracy after a short run."""
    return train_classifier(*digits, steps=400, seed=0, **SETTINGS)


def _assert_same_weights(one, two):
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, two.state_dict()[name]), name


@pytest.mark.parametrize(("channels", "size"), [(1, (8, 8)), (3, (32, 32)), (1, (5, 9))])
def test_shapes(channels, size):
    x = torch.randn(3, channels, *size)
    model = DigitsClassifier(channels=channels, num_classes=7)
    features, logits = model(x)
    assert features.shape == (3, 64)
    assert logits.shape == (3, 7)
    assert torch.equal(model.features(x), features)
    assert torch.equal(model.classify(features), logits)


def test_accuracy(trained):
    assert trained[1] > 0.97


def test_accuracy_is_of_images_not_trained_on(digits):
    """Random labels can be memorised but not predicted; every class has a fifth held out."""
    images, labels = digits
    guesses = np.random.default_rng(0).integers(0, 2, len(labels))
    settings = {**SETTINGS, "num_classes": 2, "learning_rate": 5e-3, "weight_decay": 0.0}
    model, accuracy = train_classifier(images[:200], guesses[:200], steps=300, seed=0, **settings)
    everywhere = (extract(model, images[:200])[1].argmax(axis=1) == guesses[:200]).mean()
    assert everywhere > 0.8
    assert accuracy == pytest.approx(0.5, abs=0.25)
    assert 200 * everywhere == pytest.approx(accuracy * 39 + 161, abs=2)  # 161 kept and learned, 39 or 40 held out


def test_learns_what_is_asked(digits):
    """Without weight decay and with it, the weights differ; without steps, the accuracy is that of chance."""
    untrained, accuracy = train_classifier(*digits, steps=0, seed=0, **SETTINGS)
    assert accuracy < 0.3
    decayed, _ = train_classifier(*digits, steps=2, seed=0, **{**SETTINGS, "weight_decay": 10.0})
    plain, _ = train_classifier(*digits, steps=2, seed=0, **SETTINGS)
    assert decayed.classify.weight.norm() < plain.classify.weight.norm()
    assert not torch.equal(untrained.classify.weight, plain.classify.weight)


def test_deterministic(digits, tmp_path):
    """Same seed, same bytes, whatever the global generator has done; and it is left as it was."""
    contents = []
    for run in range(2):
        torch.manual_seed(run)
        before = torch.get_rng_state()
        model, _ = train_classifier(*digits, steps=5, seed=3, **SETTINGS)
        assert torch.equal(torch.get_rng_state(), before)
        save_classifier(model, tmp_path / f"{run}.safetensors")
        contents.append((tmp_path / f"{run}.safetensors").read_bytes())
    assert contents[0] == contents[1]


def test_seed_matters(digits):
    one, two = (train_classifier(*digits, steps=0, seed=seed, **SETTINGS)[0] for seed in (0, 1))
    assert not torch.equal(one.classify.weight, two.classify.weight)


@pytest.mark.parametrize("batch_size", [1, 7, 100, 1000])
def test_extract_is_independent_of_batch_size(digits, trained, batch_size):
    images = digits[0][:150]
    results = extract(trained[0], images, batch_size=batch_size), extract(trained[0], images)
    for part, whole in zip(*results, strict=True):
        np.testing.assert_allclose(part, whole, rtol=0, atol=1e-12)


def test_extract_keeps_the_order_and_the_model(digits, trained):
    model, images = trained[0], digits[0][:50]
    order = np.random.default_rng(0).permutation(50)
    features, logits = extract(model, images, batch_size=8)
    assert features.dtype == logits.dtype == np.float64
    assert features.shape == (50, 64)
    assert logits.shape == (50, 10)
    np.testing.assert_allclose(extract(model, images[order])[0], features[order], atol=1e-12)
    assert model.classify.weight.dtype == torch.float32
    x = torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        np.testing.assert_allclose(model(x)[1].numpy(), logits, atol=1e-4)


def test_extract_reads_a_memory_map_and_nothing(digits, trained, tmp_path):
    np.save(tmp_path / "images.npy", digits[0][:20])
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    with warnings.catch_warnings(action="error"):  # torch warns of tensors over memory that it must not write
        features, _ = extract(trained[0], mapped)
    np.testing.assert_array_equal(features, extract(trained[0], digits[0][:20])[0])
    assert extract(trained[0], mapped[:0])[0].shape == (0, 64)


def test_save_and_load(trained, tmp_path):
    save_classifier(trained[0], tmp_path / "classifier.safetensors")
    loaded = load_classifier(tmp_path / "classifier.safetensors")
    assert not loaded.training
    _assert_same_weights(trained[0], loaded)


def test_load_restores_the_architecture(tmp_path):
    model = DigitsClassifier(channels=3, num_classes=4)
    save_classifier(model, tmp_path / "classifier.safetensors")
    loaded = load_classifier(tmp_path / "classifier.safetensors")
    assert loaded.architecture == {"channels": 3, "num_classes": 4}
    _assert_same_weights(model, loaded)


def test_load_refuses_other_files(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors: not written by save_classifier"):
        load_classifier(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((10, 8, 8, 1)), np.zeros(10, int), "images must be uint8"),
        (np.zeros((10, 8, 8), np.uint8), np.zeros(10, int), r"shape \(10, 8, 8\)"),
        (np.zeros((10, 8, 8, 1), np.uint8), np.zeros(9, int), "labels must be 10 integers"),
        (np.zeros((10, 8, 8, 1), np.uint8), np.full(10, 10), r"integers in \[0, 10\)"),
        (np.zeros((10, 8, 8, 1), np.uint8), np.full(10, 0.5), "integers"),
        (np.zeros((10, 8, 8, 1), np.uint8), np.arange(10), "no class has the 5 images"),
    ],
)
def test_training_errors(images, labels, message):
    with pytest.raises(ValueError, match=message):
        train_classifier(images, labels, steps=1, seed=0, **SETTINGS)


def test_extract_refuses_floats(trained):
    with pytest.raises(ValueError, match="images must be uint8"):
        extract(trained[0], np.zeros((1, 8, 8, 1)))
