"""Frechet distance and Inception Score against closed forms, properties and the two libraries the field uses."""

import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sadpm.metrics.features import FeatureStatistics
from sadpm.metrics.frechet import frechet_distance
from sadpm.metrics.inception_score import inception_score
from sadpm.metrics.kernel_distance import kernel_inception_distance
from sadpm.metrics.precision_recall import precision_recall


def _features(rng, n, d):
    """Features of n samples whose d dimensions are correlated and differ in scale."""
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * np.linspace(0.2, 2.0, d) + rng.normal(size=d)


def _gaussian(features):
    return features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False))


def _rotation(rng, d):
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


@st.composite
def _gaussian_pairs(draw):
    """Generator and two Gaussians of one dimension; one in three is singular for want of samples."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    d = draw(st.integers(1, 8))
    counts = [draw(st.sampled_from([max(2, d // 2), d + 5, 4 * d + 10])) for _ in range(2)]
    return rng, _gaussian(_features(rng, counts[0], d)), _gaussian(_features(rng, counts[1], d))


class TestFrechetDistance:
    """tr (S1 S2)^(1/2) is what can go wrong."""

    @pytest.mark.parametrize("scale", [0.0, 0.3, 1.0, 2.5])
    @pytest.mark.parametrize("d", [1, 5, 40])
    def test_isotropic(self, d, scale):
        shift = np.linspace(-1, 2, d)
        distance = frechet_distance(np.zeros(d), np.eye(d), shift, scale**2 * np.eye(d))
        assert distance == pytest.approx(d * (1 - scale) ** 2 + shift @ shift, rel=1e-13)

    def test_commuting_covariances(self):
        rng = np.random.default_rng(0)
        basis, a, b = _rotation(rng, 6), rng.uniform(0, 3, 6), rng.uniform(0, 3, 6)
        a[0] = b[1] = b[2] = 0.0  # singular, with different null spaces
        zero = np.zeros(6)
        distance = frechet_distance(zero, basis * a @ basis.T, zero, basis * b @ basis.T)
        assert distance == pytest.approx(((np.sqrt(a) - np.sqrt(b)) ** 2).sum(), rel=1e-12)

    def test_non_commuting_two_by_two(self):
        """tr M^(1/2) = sqrt(tr M + 2 sqrt(det M)) for the product M of two 2x2 covariances."""
        s1, s2 = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.7], [-0.7, 3.0]])
        product = s1 @ s2
        trace_of_root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
        distance = frechet_distance([0, 0], s1, [1, 2], s2)
        assert distance == pytest.approx(5 + np.trace(s1 + s2) - 2 * trace_of_root, rel=1e-13)

    @settings(max_examples=60, deadline=None)
    @given(_gaussian_pairs())
    def test_is_a_distance(self, case):
        _, one, two = case
        distance = frechet_distance(*one, *two)
        size = np.trace(one[1]) + np.trace(two[1])
        assert distance >= 0
        assert frechet_distance(*two, *one) == pytest.approx(distance, rel=1e-12, abs=1e-13 * size)
        assert 0 <= frechet_distance(*one, *one) <= 1e-13 * size

    @settings(max_examples=60, deadline=None)
    @given(_gaussian_pairs(), st.floats(1e-3, 1e3))
    def test_rotation_shift_and_scale(self, case, scale):
        """Invariant under a shared rotation and shift, homogeneous of degree two."""
        rng, one, two = case
        rotation, shift = _rotation(rng, len(one[0])), rng.normal(size=len(one[0]))
        moved = [(rotation @ m + shift, rotation @ s @ rotation.T) for m, s in (one, two)]
        scaled = [(scale * m, scale**2 * s) for m, s in (one, two)]
        distance = frechet_distance(*one, *two)
        # Where a covariance is singular, rotating it leaves rounding of 1e-16 in its null space: 1e-8 in the root.
        tolerance = 1e-6 * (np.trace(one[1]) + np.trace(two[1]))
        assert frechet_distance(*moved[0], *moved[1]) == pytest.approx(distance, abs=tolerance)
        assert frechet_distance(*scaled[0], *scaled[1]) == pytest.approx(scale**2 * distance, abs=scale**2 * tolerance)

    @pytest.mark.parametrize(("n1", "n2"), [(500, 500), (20, 500), (500, 20), (30, 20), (2, 2)])
    def test_rank_deficient(self, n1, n2):
        """The trace of the root is also the nuclear norm of the n1 x n2 matrix of centred features' products."""
        rng = np.random.default_rng(n1 + 7 * n2)
        f1, f2 = _features(rng, n1, 64), _features(rng, n2, 64)
        (m1, s1), (m2, s2) = _gaussian(f1), _gaussian(f2)
        gram = (f1 - m1) @ (f2 - m2).T / np.sqrt((n1 - 1) * (n2 - 1))
        expected = (m1 - m2) @ (m1 - m2) + np.trace(s1 + s2) - 2 * np.linalg.norm(gram, "nuc")
        assert frechet_distance(m1, s1, m2, s2) == pytest.approx(expected, rel=1e-11)
        assert frechet_distance(m2, s2, m1, s1) == pytest.approx(expected, rel=1e-11)

    def test_zero_covariances(self):
        zero, mean = np.zeros((3, 3)), np.array([1.0, 2.0, 3.0])
        assert frechet_distance(np.zeros(3), zero, mean, zero) == 14.0
        assert frechet_distance(np.zeros(3), zero, mean, np.eye(3)) == 17.0
        assert frechet_distance(mean, np.eye(3), np.zeros(3), zero) == 17.0

    @pytest.mark.parametrize("small", [1e-8, 1e-12, 1e-15, 1e-18, -1e-18])
    def test_near_singular(self, small):
        """A tiny eigenvalue, or a negative one from rounding, moves the distance by its root at the most."""
        rng = np.random.default_rng(3)
        basis, zero = _rotation(rng, 5), np.zeros(5)
        singular = basis * np.array([3.0, 2.0, 1.0, 0.5, small]) @ basis.T
        singular = (singular + singular.T) / 2
        expected = sum((np.sqrt(v) - 1) ** 2 for v in (3.0, 2.0, 1.0, 0.5, max(small, 0.0)))
        for pair in ((zero, singular, zero, np.eye(5)), (zero, np.eye(5), zero, singular)):
            assert frechet_distance(*pair) == pytest.approx(expected, abs=1e-7)
        assert frechet_distance(zero, singular, zero, singular) < 1e-13

    def test_rounding_never_makes_it_negative(self):
        rng = np.random.default_rng(4)
        for _ in range(50):
            mean, covariance = _gaussian(_features(rng, 40, 20))
            assert frechet_distance(mean, covariance, mean, covariance) >= 0.0

    @pytest.mark.parametrize("d", [2, 16, 64])
    def test_equals_pytorch_fid(self, d):
        scipy = pytest.importorskip("scipy")
        if tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 18):
            pytest.skip("pytorch-fid calls sqrtm with an argument that SciPy 1.18 removed")
        from pytorch_fid.fid_score import calculate_frechet_distance

        rng = np.random.default_rng(d)
        (m1, s1), (m2, s2) = (_gaussian(_features(rng, 400, d)) for _ in range(2))
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            theirs = calculate_frechet_distance(m1, s1, m2, s2)
        assert frechet_distance(m1, s1, m2, s2) == pytest.approx(theirs, rel=1e-10)

    @pytest.mark.parametrize("d", [2, 16, 64])
    def test_equals_torch_fidelity(self, d):
        import torch
        from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

        rng = np.random.default_rng(d)
        features = [_features(rng, 400, d) for _ in range(2)]
        theirs = fid_statistics_to_metric(*(fid_features_to_statistics(torch.from_numpy(f)) for f in features), False)
        one, two = FeatureStatistics(), FeatureStatistics()
        one.update(features[0])
        two.update(features[1])
        ours = frechet_distance(one.mean, one.covariance, two.mean, two.covariance)
        assert ours == pytest.approx(theirs["frechet_inception_distance"], rel=1e-10)

    @pytest.mark.parametrize(
        ("mean", "covariance", "message"),
        [
            (np.zeros((2, 1)), np.eye(2), r"mean_2 must have shape \(d,\)"),
            (np.zeros(0), np.zeros((0, 0)), "mean_2 must have shape"),
            (np.zeros(2), np.eye(3), r"covariance_2 must have shape \(2, 2\)"),
            (np.zeros(3), np.eye(3), "dimension: 2 and 3"),
            ([0, np.nan], np.eye(2), "mean_2 has values that are not finite"),
            (np.zeros(2), [[1, 0], [0, np.inf]], "covariance_2 has values that are not finite"),
            (np.zeros(2), [[1, 0.5], [0, 1]], "covariance_2 is not symmetric"),
            (np.zeros(2), np.diag([1, -0.1]), "eigenvalue -0.1"),
        ],
    )
    def test_errors(self, mean, covariance, message):
        with pytest.raises(ValueError, match=message):
            frechet_distance(np.zeros(2), np.eye(2), mean, covariance)


def _statistics(*batches):
    statistics = FeatureStatistics()
    for batch in batches:
        statistics.update(batch)
    return statistics


def _assert_same(one, two, tolerance=1e-12):
    assert one.n == two.n
    scale = np.sqrt(np.diag(one.covariance))
    assert (np.abs(one.mean - two.mean) <= tolerance * (np.abs(one.mean) + scale)).all()
    assert (np.abs(one.covariance - two.covariance) <= tolerance * np.outer(scale, scale)).all()


class TestFeatureStatistics:
    """Streaming moments equal NumPy's on all features at once."""

    def test_equals_numpy(self):
        features = _features(np.random.default_rng(0), 257, 9)
        statistics = _statistics(features[:100], features[100:101], features[101:])
        assert statistics.n == 257
        np.testing.assert_allclose(statistics.mean, features.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(statistics.covariance, np.cov(features, rowvar=False), rtol=1e-11, atol=1e-13)
        assert (statistics.covariance == statistics.covariance.T).all()

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 60), max_size=8))
    def test_independent_of_split(self, seed, cuts):
        features = _features(np.random.default_rng(seed), 60, 5)
        _assert_same(_statistics(features), _statistics(*np.split(features, sorted(cuts))))

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(0, 60))
    @example(seed=0, cut=0)
    @example(seed=0, cut=60)
    def test_merge(self, seed, cut):
        features = _features(np.random.default_rng(seed), 60, 5)
        merged, other = _statistics(features[:cut]), _statistics(features[cut:])
        merged.merge(other)
        _assert_same(_statistics(features), merged)

    def test_merge_leaves_the_other_alone(self):
        features = _features(np.random.default_rng(1), 30, 3)
        empty, other = FeatureStatistics(), _statistics(features[:20])
        empty.merge(other)
        empty.update(features[20:])
        _assert_same(other, _statistics(features[:20]), tolerance=0)

    def test_large_mean(self):
        """A mean of 10^6 standard deviations would leave a raw sum of squares 4 digits."""
        features = np.random.default_rng(2).integers(0, 8, (4000, 3)) / 8.0  # shifted without rounding
        shifted = _statistics(*np.array_split(features + 1e6, 40))
        np.testing.assert_allclose(shifted.covariance, np.cov(features, rowvar=False), atol=1e-10)

    def test_accepts_float32_and_returns_copies(self):
        features = _features(np.random.default_rng(3), 30, 3).astype(np.float32)
        statistics = _statistics(features)
        assert statistics.mean.dtype == statistics.covariance.dtype == np.float64
        _assert_same(statistics, _statistics(features.astype(np.float64)), tolerance=0)
        statistics.mean[:] = 0
        statistics.covariance[:] = 0
        _assert_same(statistics, _statistics(features), tolerance=0)

    def test_errors(self):
        statistics = FeatureStatistics()
        for features, message in (
            (np.zeros(3), r"shape \(batch, d\)"),
            (np.zeros((2, 0)), "d > 0"),
            ([[0.0, np.nan]], "not finite"),
        ):
            with pytest.raises(ValueError, match=message):
                statistics.update(features)
        with pytest.raises(ValueError, match="at least 1 feature"):
            _ = statistics.mean
        statistics.update(np.ones((1, 3)))
        with pytest.raises(ValueError, match="at least 2 features, 1 given"):
            _ = statistics.covariance
        with pytest.raises(ValueError, match="dimension 2, those before had 3"):
            statistics.update(np.ones((1, 2)))
        with pytest.raises(ValueError, match="dimension 2, those before had 3"):
            statistics.merge(_statistics(np.ones((1, 2))))


def _torch_fidelity_score(logits, **settings_of_score):
    import torch
    from torch_fidelity.metric_isc import isc_features_to_metric

    result = isc_features_to_metric(torch.from_numpy(logits), **settings_of_score)
    return result["inception_score_mean"], result["inception_score_std"]


class TestInceptionScore:
    """torch-fidelity's numbers, and the values that follow from the definition."""

    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    @pytest.mark.parametrize("n", [10, 97, 500, 1000])
    def test_equals_torch_fidelity(self, n, dtype):
        logits = (3 * np.random.default_rng(n).normal(size=(n, 10))).astype(dtype)
        assert inception_score(logits) == pytest.approx(_torch_fidelity_score(logits), rel=1e-12, abs=1e-14)

    @pytest.mark.parametrize("splits", [1, 3, 7, 10, 33])
    def test_equals_torch_fidelity_for_any_splits(self, splits):
        logits = 3 * np.random.default_rng(splits).normal(size=(100, 10))
        theirs = _torch_fidelity_score(logits, splits=splits)
        assert inception_score(logits, splits=splits) == pytest.approx(theirs, rel=1e-12, abs=1e-14)

    def test_shuffle(self):
        logits = np.random.default_rng(0).normal(size=(101, 10)) + np.linspace(0, 3, 101)[:, None] * np.eye(10)[0]
        for seed in (7, None):
            theirs = _torch_fidelity_score(logits, shuffle=seed is not None, rng_seed=seed)
            assert inception_score(logits, shuffle_seed=seed) == pytest.approx(theirs, rel=1e-12)
        assert inception_score(logits) != pytest.approx(inception_score(logits, shuffle_seed=None), rel=1e-3)

    def test_certain_and_balanced_scores_the_number_of_classes(self):
        logits = np.tile(1e4 * np.eye(10), (5, 1))
        assert inception_score(logits, splits=1) == pytest.approx((10.0, 0.0))

    def test_uninformative_scores_one(self):
        assert inception_score(np.full((40, 10), 3.0)) == pytest.approx((1.0, 0.0))

    def test_a_class_that_underflows_everywhere(self):
        """0 log 0 = 0: here torch-fidelity returns NaN."""
        logits = np.tile([[1e4, 0.0, -1e4], [0.0, 1e4, -1e4]], (20, 1))
        assert inception_score(logits, splits=1) == pytest.approx((2.0, 0.0))

    def test_mixture_by_hand(self):
        """Two samples, p = (3/4, 1/4) and (1/4, 3/4): the marginal is uniform."""
        logits = np.log([[0.75, 0.25], [0.25, 0.75]])
        expected = np.exp(0.75 * np.log(1.5) + 0.25 * np.log(0.5))
        assert inception_score(logits, splits=1) == pytest.approx((expected, 0.0))

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 5), st.floats(0, 50))
    def test_bounds_and_shift_invariance(self, seed, n, splits, scale):
        rng = np.random.default_rng(seed)
        logits = scale * rng.normal(size=(n, 6))
        splits = min(splits, n)
        mean, std = inception_score(logits, splits)
        assert 1 - 1e-12 <= mean <= 6 + 1e-12
        assert std >= 0
        shifted = inception_score(logits + 100 * rng.normal(size=(n, 1)), splits)
        assert shifted == pytest.approx((mean, std), rel=1e-9, abs=1e-9)

    @pytest.mark.parametrize(
        ("logits", "splits", "message"),
        [
            (np.zeros(5), 1, r"shape \(n, classes\)"),
            (np.zeros((5, 0)), 1, r"shape \(n, classes\)"),
            ([[0.0, np.inf]], 1, "not finite"),
            (np.zeros((5, 3)), 6, "between 1 and the number of samples, 5, not 6"),
            (np.zeros((5, 3)), 0, "between 1"),
        ],
    )
    def test_errors(self, logits, splits, message):
        with pytest.raises(ValueError, match=message):
            inception_score(logits, splits=splits)


@pytest.fixture(scope="module")
def pair():
    """Features of samples, and of real images that are spread more widely."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(90, 8)).astype(np.float32), (3 * rng.normal(size=(120, 8))).astype(np.float32)


class TestKernelInceptionDistance:
    """torch-fidelity's number with its defaults."""

    def test_equals_torch_fidelity(self, pair):
        import torch
        from torch_fidelity.metric_kid import kid_features_to_metric

        result = kid_features_to_metric(*map(torch.from_numpy, pair), kid_subset_size=50, verbose=False)
        theirs = [result[f"kernel_inception_distance_{part}"] for part in ("mean", "std")]
        assert list(kernel_inception_distance(*pair, subset_size=50)) == pytest.approx(theirs, rel=1e-12)
        assert theirs[1] > 0

    def test_by_hand(self):
        """Two samples at 1 and two real images at 0, d = 1: the kernel is 8 within, 1 within, and 1 between."""
        distance, spread = kernel_inception_distance(np.ones((2, 1)), np.zeros((2, 1)), subset_size=2)
        assert (distance, spread) == pytest.approx((8 + 1 - 2 * 1, 0))

    def test_errors(self, pair):
        for size in (1, 91):
            with pytest.raises(ValueError, match=f"from 2 to 90, not {size}"):
                kernel_inception_distance(*pair, subset_size=size)
        with pytest.raises(ValueError, match=r"not \(90, 8\) and \(120, 7\)"):
            kernel_inception_distance(pair[0], pair[1][:, :7], subset_size=50)


class TestPrecisionRecall:
    """torch-fidelity's numbers, and which is which."""

    def test_equals_torch_fidelity(self, pair):
        import torch
        from torch_fidelity.metric_prc import prc_features_to_metric

        result = prc_features_to_metric(*map(torch.from_numpy, pair), verbose=False)
        assert precision_recall(*pair) == (result["precision"], result["recall"])
        assert 0 < result["recall"] < result["precision"]

    def test_equals_torch_fidelity_where_neither_is_at_its_limit(self):
        """There, one neighbour more or less is another number."""
        import torch
        from torch_fidelity.metric_prc import prc_features_to_metric

        rng = np.random.default_rng(1)
        sampled, real = rng.normal(size=(90, 4)) + 1, 1.2 * rng.normal(size=(120, 4))
        result = prc_features_to_metric(torch.from_numpy(sampled), torch.from_numpy(real), verbose=False)
        assert precision_recall(sampled, real) == (result["precision"], result["recall"])
        assert 0.5 < result["recall"] < result["precision"] < 0.99

    def test_does_not_depend_on_rows_at_once(self, pair, monkeypatch):
        whole = precision_recall(*pair)
        monkeypatch.setattr("sadpm.metrics.precision_recall.PRECISION_RECALL_ROWS", 7)
        assert precision_recall(*pair) == whole

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_features_that_are_not_finite(self, pair, value):
        """Comparisons with them are false, so that they would lower both numbers in silence."""
        broken = pair[0].copy()
        broken[3, 1] = value
        for sampled, real in ((broken, pair[1]), (pair[1], broken)):
            for metric in (precision_recall, kernel_inception_distance):
                with pytest.raises(ValueError, match="not finite"):
                    metric(sampled, real)

    def test_samples_of_one_mode_are_precise_and_recall_half(self):
        grid = np.arange(10.0)[:, None] * np.ones((1, 2))
        real = np.concatenate([grid, grid + 1000])
        assert precision_recall(grid + 0.1, real) == (1.0, 0.5)
        assert precision_recall(real, grid + 0.1) == (0.5, 1.0)

    def test_errors(self, pair):
        with pytest.raises(ValueError, match="4 images of each kind, not 3 and 120"):
            precision_recall(pair[0][:3], pair[1])
        with pytest.raises(ValueError, match="features must have shapes"):
            precision_recall(pair[0][0], pair[1])
