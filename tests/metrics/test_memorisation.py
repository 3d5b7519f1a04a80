"""What counts as memorised: copies, by brute force, and as often as theory says of samples that copy nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betainc

from sadpm.metrics.influence import NoInfluence
from sadpm.metrics.memorisation import nearest_images
from sadpm.metrics.precision_recall import share_influence


def by_brute_force(sampled, real):
    """All differences at once; training images of distance 0 are one image."""
    distances = np.linalg.norm(sampled[:, None] - real, axis=2)
    among = np.linalg.norm(real[:, None] - real, axis=2)
    nearest = distances.argmin(axis=1)
    own = np.where(among > 0, among, np.inf).min(axis=1)[nearest]
    return nearest, distances.min(axis=1), own


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(150, 5)) + 3
    return np.concatenate([rng.normal(size=(60, 5)) + 3, real[:40] + 0.1 * rng.normal(size=(40, 5))]), real


def test_equals_brute_force(pair):
    found, (nearest, distance, own) = nearest_images(*pair), by_brute_force(*pair)
    assert found.image.tolist() == nearest.tolist()
    np.testing.assert_allclose(np.sqrt(found.squared), distance, rtol=1e-9)
    np.testing.assert_allclose(np.sqrt(found.squared_own), own, rtol=1e-9)
    assert found.memorised.tolist() == (distance < own).tolist()
    np.testing.assert_allclose(found.ratio, distance / own, rtol=1e-9)
    assert 0.4 < found.memorised.mean() < 0.9


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_does_not_depend_on_rows_at_once(pair, monkeypatch, dtype):
    sampled, real = (features.astype(dtype) for features in pair)
    whole = nearest_images(sampled, real)
    monkeypatch.setattr("sadpm.metrics.memorisation.ROWS", 7)
    parts = nearest_images(sampled, real)
    assert parts.image.tolist() == whole.image.tolist()
    np.testing.assert_allclose(parts.ratio, whole.ratio, rtol=1e-9)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 1.0, 1e4]), st.sampled_from([0.0, 1.0, -50.0]))
def test_scale_place_rotation_and_order_do_not_matter(seed, scale, shift):
    rng = np.random.default_rng(seed)
    sampled, real = rng.normal(size=(30, 4)), rng.normal(size=(40, 4))
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    first, second = rng.permutation(30), rng.permutation(40)
    found = nearest_images(sampled, real)
    moved = nearest_images((sampled[first] @ turn + shift) * scale, (real[second] @ turn + shift) * scale)
    assert second[moved.image].tolist() == found.image[first].tolist()
    np.testing.assert_allclose(moved.ratio, found.ratio[first], rtol=1e-7)
    assert moved.memorised.tolist() == found.memorised[first].tolist()


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_copies_are_memorised_also_of_images_that_are_there_twice(pair, noise):
    """And where a network gives the features of the same image with other last digits."""
    real = np.concatenate([pair[1], pair[1][:50], pair[1][:50]]).astype(np.float32)
    real = real + (noise * np.random.default_rng(1).normal(size=real.shape)).astype(np.float32)
    found = nearest_images(pair[1][30:90].astype(np.float32), real)
    assert found.memorised.all()
    assert found.ratio.max() < 1e-5
    with pytest.raises(NoInfluence, match="images that all count alike"):
        share_influence(found.memorised)


def test_what_is_as_near_as_another_training_image_is_not_memorised():
    """At the distance of neighbouring corners of a square, to rounding, and then at less."""
    corners = np.array([[0, 0], [0, 0.3], [0.3, 0], [0.3, 0.3]])
    assert not nearest_images(np.array([[-0.3, 0.0], [0.3, 0.6]]), corners).memorised.any()
    assert nearest_images(np.array([[-0.299, 0.0], [0.15, 0.15]]), corners).memorised.all()


def share_of_mutual_neighbours(dimension):
    """How often a point of a Poisson process is the nearest neighbour of its own nearest neighbour.

    That is so if no third point lies in the union of the balls around both that reach to the other: V / (2 V - W), V
    being the volume of a ball and W that of the intersection, two caps beyond half the radius.
    """
    return 1 / (2 - betainc((dimension + 1) / 2, 0.5, 0.75))


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_independent_samples_of_the_same_distribution_are_as_often_the_nearest_as_in_theory(dimension):
    """The spread over sets, of 30 each, says how well the mean is known: the samples of a set share training images."""
    rng, expected = np.random.default_rng(dimension), share_of_mutual_neighbours(dimension)
    shares = [
        nearest_images(rng.normal(size=(100, dimension)), rng.normal(size=(1000, dimension))).memorised.mean()
        for _ in range(30)
    ]
    assert np.mean(shares) == pytest.approx(expected, abs=4 * np.std(shares, ddof=1) / 30**0.5)
    assert np.std(shares) < 0.08


def test_theory():
    assert share_of_mutual_neighbours(1) == pytest.approx(2 / 3)
    assert share_of_mutual_neighbours(2) == pytest.approx(np.pi / (4 * np.pi / 3 + np.sqrt(3) / 2))
    assert share_of_mutual_neighbours(200) == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize(
    ("sampled", "real", "message"),
    [
        (np.zeros((2, 3)), np.ones((5, 3)), "training images that differ, and all 5 look alike"),
        (np.zeros((2, 3)), np.ones((1, 3)), "a sample and 2 training images, not 2 and 1"),
        (np.zeros((0, 3)), np.eye(3), "a sample and 2 training images, not 0 and 3"),
        (np.zeros((2, 4)), np.eye(3), r"shapes \(n, d\) and \(m, d\), not \(2, 4\) and \(3, 3\)"),
        (np.full((2, 3), np.nan), np.eye(3), "not finite"),
    ],
)
def test_errors(sampled, real, message):
    with pytest.raises(ValueError, match=message):
        nearest_images(sampled, real)
