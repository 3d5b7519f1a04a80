"""Influence values are derivatives by the weight of one sample, and tell what redrawing all samples would do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadpm.metrics.features import FeatureStatistics
from sadpm.metrics.frechet import frechet_distance
from sadpm.metrics.frechet_influence import frechet_influence
from sadpm.metrics.inception_score import inception_score, inception_score_influence
from sadpm.metrics.influence import NoInfluence
from sadpm.metrics.kernel_distance import _subsets, kernel_distance_influence, kernel_inception_distance
from sadpm.metrics.precision_recall import precision_recall_indicators, share_influence


def _standard_error(influence):
    return influence.std(ddof=1) / np.sqrt(len(influence))


def _assert_spread_like_errors(values, errors):
    """The standard deviation of R normal values is known to 1 / sqrt(2 R) (chi^2); allow four times that."""
    ratio = np.sqrt(np.mean(np.square(errors))) / np.std(values, ddof=1)
    assert abs(np.log(ratio)) < 4 / np.sqrt(2 * len(values))


def _slope(statistic, n, i):
    """Derivative of a statistic of weights (n,) along "more of sample i", by differences of fourth order."""
    step = min(2e-4, 0.02 / n)
    along = np.eye(n)[i] - 1 / n
    at = {k: statistic(1 / n + k * step * along) for k in (-2, -1, 1, 2)}
    return (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * step)


def _assert_is_derivative(influence, statistic):
    n = len(influence)
    for i in (0, n // 3, n - 1, int(np.abs(influence).argmax())):
        assert influence[i] == pytest.approx(_slope(statistic, n, i), rel=1e-6, abs=1e-6 * np.abs(influence).max())
    assert abs(influence.sum()) < 1e-6 * np.abs(influence).sum()


def _gaussian(features):
    features = np.asarray(features, np.float64)
    return features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False))


def _correlated(rng, n, d):
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def _influence(features, real):
    return frechet_influence(features, *_gaussian(features), *_gaussian(real))


class TestFrechetDerivative:
    """The exact derivative of the printed distance, whose covariance has the divisor n - 1."""

    @pytest.fixture
    def rng(self):
        return np.random.default_rng(0)

    def assert_is_derivative(self, features, real):
        n, (mean_2, covariance_2) = len(features), _gaussian(real)

        def distance(weights):
            mean = weights @ features
            centred = features - mean
            covariance = (centred.T * weights) @ centred * (n / (n - 1))
            return frechet_distance(mean, (covariance + covariance.T) / 2, mean_2, covariance_2)

        _assert_is_derivative(_influence(features, real), distance)

    @pytest.mark.parametrize(("n", "d"), [(3, 1), (30, 1), (60, 6), (9, 6)])
    def test_correlated(self, rng, n, d):
        self.assert_is_derivative(_correlated(rng, n, d), _correlated(rng, 80, d))

    def test_badly_scaled(self, rng):
        scale = np.logspace(-4, 4, 6)
        self.assert_is_derivative(_correlated(rng, 60, 6) * scale, _correlated(rng, 80, 6) * scale)
        self.assert_is_derivative(_correlated(rng, 60, 6), _correlated(rng, 80, 6) * np.linspace(1e-3, 1, 6))

    @pytest.mark.parametrize("m", [2, 4])
    def test_few_real_images(self, rng, m):
        self.assert_is_derivative(_correlated(rng, 60, 6), _correlated(rng, m, 6))

    def test_a_feature_that_never_varies(self, rng):
        """As the corners of the digits: samples need not vary where the real images don't."""
        features, real = _correlated(rng, 60, 6), _correlated(rng, 80, 6)
        features[:, [1, 4]] = real[:, [1, 4]] = 0.7
        self.assert_is_derivative(features, real)

    def test_a_reference_that_never_varies(self, rng):
        """What is left is |x - m2|^2, about its mean."""
        features, zero = rng.normal(size=(20, 3)), np.zeros((3, 3))
        squares = ((features - 1) ** 2).sum(axis=1)
        influence = frechet_influence(features, *_gaussian(features), np.ones(3), zero)
        around = ((features - features.mean(axis=0)) ** 2).sum(axis=1)
        assert influence == pytest.approx(squares - squares.mean() + (around - around.mean()) / 19)

    def test_nearly_singular(self, rng):
        """Scaling one feature of both is a change of units for it: the others' parts stay what they were."""
        features, real = rng.normal(size=(40, 3)), rng.normal(size=(50, 3))
        tiny = np.array([1, 1, 1e-7])
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        expected = _influence(features[:, :2], real[:, :2])
        # What the small feature adds through its correlation with the others is of its own size.
        assert _influence(features * tiny @ turn, real * tiny @ turn) == pytest.approx(expected, abs=1e-5)


class TestFrechetInvariance:
    """What must not matter does not, to rounding."""

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(2, 40))
    def test_rotation_shift_and_permutation(self, seed, d, m):
        rng = np.random.default_rng(seed)
        features, real = _correlated(rng, 40, d), _correlated(rng, m, d)
        turn, order = np.linalg.qr(rng.normal(size=(d, d)))[0], rng.permutation(40)
        influence, scale = _influence(features, real), np.abs(_influence(features, real)).max()
        moved = _influence(features[order] @ turn + 3, real @ turn + 3)
        assert moved == pytest.approx(influence[order], abs=1e-6 * scale)

    def test_blocks(self, monkeypatch):
        rng = np.random.default_rng(1)
        features, real = _correlated(rng, 50, 4).astype(np.float32), _correlated(rng, 60, 4)
        statistics = FeatureStatistics()
        statistics.update(features)
        gaussians = statistics.mean, statistics.covariance, *_gaussian(real)
        whole = frechet_influence(features, *gaussians)
        assert whole.dtype == np.float64
        monkeypatch.setattr("sadpm.metrics.frechet_influence.ROWS", 7)
        for given_as in (features, iter(np.split(features, [3, 3, 20, 41])), features.astype(np.float64)):
            assert frechet_influence(given_as, *gaussians) == pytest.approx(whole, rel=1e-10, abs=1e-10)


class TestNoFrechetInfluence:
    """No error instead of a wrong one, with the reason."""

    @pytest.mark.parametrize(("n", "m"), [(6, 80), (2, 80), (6, 4)])
    @pytest.mark.parametrize("pieces", [1, 2])
    def test_no_more_images_than_features(self, n, m, pieces):
        rng = np.random.default_rng(2)
        features, real = _correlated(rng, n, 6), _correlated(rng, m, 6)
        with pytest.raises(NoInfluence, match=r"^fewer than 7 images: covariance singular, no derivative$"):
            frechet_influence(iter(np.array_split(features, pieces)), *_gaussian(features), *_gaussian(real))

    @pytest.mark.parametrize("turned", [False, True])
    @pytest.mark.parametrize("flat", [0.0, 1e-9])
    @pytest.mark.parametrize("kept", [6, 4])
    def test_samples_that_vary_less(self, turned, flat, kept):
        """In one direction, up to rounding, where real images vary in all or in some."""
        rng = np.random.default_rng(3)
        features, real = rng.normal(size=(60, 6)), rng.normal(size=(80, 6))
        features[:, 2] *= flat
        real[:, kept:] = 0.0
        turn = np.linalg.qr(rng.normal(size=(6, 6)))[0] if turned else np.eye(6)
        if flat and not turned and kept == 6:
            assert np.isfinite(_influence(features, real)).all()  # float64 resolves a small feature of its own
            return
        with pytest.raises(NoInfluence, match=f"^samples that vary in {kept - 1} of {kept} directions of the real"):
            _influence(features @ turn, real @ turn)

    def test_equal_gaussians(self):
        features = _correlated(np.random.default_rng(4), 60, 6)
        for same in (features, features * np.logspace(-3, 3, 6), features[::-1]):
            with pytest.raises(NoInfluence, match="statistics of the reference: derivative 0"):
                _influence(same, same[::-1])

    def test_features_of_others(self):
        rng = np.random.default_rng(5)
        features, real = _correlated(rng, 60, 6), _gaussian(_correlated(rng, 80, 6))
        mean, covariance = _gaussian(features)
        broken = features.copy()
        broken[7, 2] = np.nan
        for given_instead in (features[1:], features + 0.01, 1.01 * (features - mean) + mean, broken):
            with pytest.raises(ValueError, match="not those of mean_1"):
                frechet_influence(given_instead, mean, covariance, *real)
        for given_instead in (features[:, :5], features[0]):
            with pytest.raises(ValueError, match=r"shape \(n, 6\)"):
                frechet_influence(given_instead, mean, covariance, *real)
        with pytest.raises(ValueError, match="dimension: 6 and 2"):
            frechet_influence(features, mean, covariance, np.zeros(2), np.eye(2))


class TestFrechetRedraws:
    """What the values are for: 1,000 samples of 16 features, drawn 200 times."""

    @pytest.fixture(scope="class", params=["normal", "heavy tails"])
    def redrawn(self, request):
        rng = np.random.default_rng(6)
        mix = rng.normal(size=(16, 16)) / 4
        reference = np.full(16, 0.1), mix.T @ mix * 1.2 + 0.1 * np.eye(16)
        distances, influences = [], []
        for _ in range(200):
            noise = rng.normal(size=(1000, 16)) if request.param == "normal" else rng.standard_t(8, (1000, 16))
            # The second model makes nearly the same of the same noise.
            for features in (noise @ mix, 1.05 * (noise + 0.2 * rng.normal(size=noise.shape)) @ mix):
                gaussians = *_gaussian(features), *reference
                distances.append(frechet_distance(*gaussians))
                influences.append(frechet_influence(features, *gaussians))
        return np.array(distances).reshape(200, 2), np.array(influences).reshape(200, 2, 1000)

    def test_one_model(self, redrawn):
        distances, influences = redrawn
        for model in (0, 1):
            errors = [_standard_error(influence) for influence in influences[:, model]]
            _assert_spread_like_errors(distances[:, model], errors)

    def test_difference_of_two_that_share_noise(self, redrawn):
        distances, influences = redrawn
        paired = [_standard_error(one - other) for one, other in influences]
        unpaired = [np.hypot(_standard_error(one), _standard_error(other)) for one, other in influences]
        _assert_spread_like_errors(distances[:, 0] - distances[:, 1], paired)
        assert np.mean(unpaired) > 2 * np.mean(paired)


class TestInceptionScore:
    """Of the mean over parts, in the order of the images."""

    @staticmethod
    def _logits(rng, n):
        return rng.normal(size=(n, 6)) * rng.uniform(0, 4, (n, 1))

    @pytest.mark.parametrize(("n", "splits"), [(30, 1), (33, 4), (20, 10)])
    @pytest.mark.parametrize("shuffle_seed", [2020, None])
    def test_is_the_derivative(self, n, splits, shuffle_seed):
        logits = self._logits(np.random.default_rng(n), n)
        conditional = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        order = np.arange(n) if shuffle_seed is None else np.random.RandomState(shuffle_seed).permutation(n)
        parts = [order[part * n // splits : (part + 1) * n // splits] for part in range(splits)]

        def score(weights):
            scores = []
            for part in parts:
                share, given_image = weights[part] / weights[part].sum(), conditional[part]
                scores.append(np.exp(share @ (given_image * np.log(given_image / (share @ given_image))).sum(axis=1)))
            return np.mean(scores)

        assert score(np.ones(n)) == pytest.approx(inception_score(logits, splits, shuffle_seed)[0])
        _assert_is_derivative(inception_score_influence(logits, splits, shuffle_seed), score)

    def test_redraws(self):
        rng = np.random.default_rng(7)
        drawn = [self._logits(rng, 505) for _ in range(200)]
        errors = [_standard_error(inception_score_influence(logits)) for logits in drawn]
        _assert_spread_like_errors([inception_score(logits)[0] for logits in drawn], errors)

    def test_no_derivative(self):
        for logits, splits in ((np.full((40, 10), 3.0), 10), (np.tile(1e4 * np.eye(10), (5, 1)), 1), (np.eye(5), 5)):
            with pytest.raises(NoInfluence, match=r"^images that are all classified as surely"):
                inception_score_influence(logits, splits)
        with pytest.raises(ValueError, match="between 1 and the number of samples, 5, not 6"):
            inception_score_influence(np.eye(5), 6)


class TestKernelInceptionDistance:
    """Of the mean over torch-fidelity's subsets."""

    @pytest.mark.parametrize(("n", "m", "size"), [(40, 50, 10), (40, 50, 40), (900, 30, 3)])
    def test_is_the_derivative(self, n, m, size):
        rng = np.random.default_rng(n + size)
        sampled, real = rng.normal(size=(n, 4)), rng.normal(size=(m, 4)) + 0.5
        subsets = list(_subsets(n, m, size))

        def mean_distance(weights):
            distances = []
            for ours, theirs in subsets:
                x, y, w = sampled[ours], real[theirs], weights[ours] / weights[ours].sum()
                within, real_within = (
                    pairs - np.diag(np.diag(pairs)) for pairs in ((x @ x.T / 4 + 1) ** 3, (y @ y.T / 4 + 1) ** 3)
                )
                distinct = 1 - w @ w
                between = w @ ((x @ y.T / 4 + 1) ** 3).mean(axis=1)
                distances.append(w @ within @ w / distinct + real_within.sum() / size / (size - 1) - 2 * between)
            return np.mean(distances)

        assert mean_distance(np.ones(n)) == pytest.approx(kernel_inception_distance(sampled, real, size)[0])
        influence = kernel_distance_influence(sampled, real, size)
        _assert_is_derivative(influence, mean_distance)
        never = np.setdiff1d(np.arange(n), np.concatenate([ours for ours, _ in subsets]))
        assert (influence[never] == 0).all()
        assert len(never) == 0 or size == 3

    def test_is_twice_the_mean_difference_where_subsets_hold_everything(self):
        rng = np.random.default_rng(8)
        sampled, real = rng.normal(size=(30, 4)).astype(np.float32), rng.normal(size=(30, 4)) + 1
        within = (sampled @ sampled.T / 4 + 1) ** 3
        np.fill_diagonal(within, 0)
        difference = within.sum(axis=1) / 29 - ((sampled @ real.T / 4 + 1) ** 3).mean(axis=1)
        influence = kernel_distance_influence(sampled, real.astype(np.float32), 30)
        assert influence == pytest.approx(2 * (difference - difference.mean()), rel=1e-4, abs=1e-4)

    def test_redraws(self):
        """100 subsets of 20 hold 1,000 samples twice on average, some often and some never."""
        rng = np.random.default_rng(9)
        real, values, errors = rng.normal(size=(500, 4)), [], []
        for _ in range(150):
            sampled = rng.normal(size=(1000, 4)) + 1
            values.append(kernel_inception_distance(sampled, real, 20)[0])
            errors.append(_standard_error(kernel_distance_influence(sampled, real, 20)))
        _assert_spread_like_errors(values, errors)

    def test_no_derivative(self):
        real = np.random.default_rng(10).normal(size=(40, 3)).astype(np.float32)
        with pytest.raises(NoInfluence, match=r"^images that are all alike"):
            kernel_distance_influence(np.full((30, 3), 0.3, np.float32), real, 10)
        with pytest.raises(ValueError, match="from 2 to 30, not 31"):
            kernel_distance_influence(real[:30], real, 31)


class TestPrecisionRecall:
    """Shares, so binomial."""

    def test_which_is_which(self):
        grid = np.arange(10.0)[:, None] * np.ones((1, 2))
        precise, recalled = precision_recall_indicators(grid[:5] + 0.1, np.concatenate([grid, grid + 1000]))
        assert precise.tolist() == [True] * 5
        assert recalled[:4].all()
        assert not recalled[10:].any()
        assert len(recalled) == 20

    def test_redraws(self):
        rng = np.random.default_rng(11)
        real, values, errors = rng.normal(size=(100, 2)), [], []
        for _ in range(200):
            precise, _ = precision_recall_indicators(2 * rng.normal(size=(80, 2)), real)
            values.append(precise.mean())
            errors.append(_standard_error(share_influence(precise)))
        _assert_spread_like_errors(values, errors)

    def test_binomial(self):
        indicators = np.arange(50) < 15
        assert _standard_error(share_influence(indicators)) == pytest.approx(np.sqrt(0.3 * 0.7 / 49))
        assert share_influence(indicators).sum() == pytest.approx(0, abs=1e-12)

    @pytest.mark.parametrize("value", [True, False])
    def test_no_spread(self, value):
        with pytest.raises(NoInfluence, match=r"^images that all count alike"):
            share_influence(np.full(50, value))
