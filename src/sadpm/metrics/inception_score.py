"""The Inception Score, of the logits of any classifier."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sadpm.metrics.features import FloatArray
from sadpm.metrics.influence import checked_influence

# Of differences between divergences in float64, relative to the score.
ROUNDING = 1e-12


def inception_score(logits: ArrayLike, splits: int = 10, shuffle_seed: int | None = 2020) -> tuple[float, float]:
    """Inception Score (Salimans et al. 2016): exp E_x KL(p(y|x) || p(y)), by torch-fidelity's protocol.

    The samples are shuffled with NumPy's legacy generator, cut into `splits` consecutive parts whose sizes differ
    by at most one, and each part is scored against its own marginal p(y).

    Args:
        logits: shape (n, classes), unnormalised.
        splits: number of parts, 1 to n.
        shuffle_seed: seed of the shuffle; None keeps the order.

    Returns:
        Mean and standard deviation (divisor `splits`) of the parts' scores; each score is in [1, classes].

    Raises:
        ValueError: wrong shape, a logit that is not finite, or more splits than samples.
    """
    scores = [np.exp(divergence.mean()) for _, divergence in _parts(logits, splits, shuffle_seed)]
    return float(np.mean(scores)), float(np.std(scores))


def inception_score_influence(logits: ArrayLike, splits: int = 10, shuffle_seed: int | None = 2020) -> FloatArray:
    """Influence values of the mean that `inception_score` returns for the same arguments.

        g_i = n / (splits n_s) IS_s (KL_i - mean KL)

    over the n_s samples of i's own part s, with KL_i = KL(p(y|x_i) || p(y)). A sample moves the marginal p(y) as well,
    but of that KL is stationary: nothing is left out. n / (splits n_s), about 1, is the share of i in the mean of the
    parts' scores, against 1 / n.

    Returns the values, (n,), in the order of the logits; their sum is 0.

    Raises:
        NoInfluence: all samples of each part have the same KL.
        ValueError: as for the score.
    """
    influence, largest = np.zeros(len(np.asarray(logits))), 0.0
    for members, divergence in _parts(logits, splits, shuffle_seed):
        mean = divergence.mean()
        share = len(influence) / (splits * len(members))
        influence[members] = share * np.exp(mean) * (divergence - mean)
        largest = max(largest, np.exp(mean))
    return checked_influence(influence, ROUNDING * largest, "images that are all classified as surely: derivative 0")


def _parts(
    logits: ArrayLike, splits: int, shuffle_seed: int | None
) -> Iterator[tuple[NDArray[np.integer[Any]], FloatArray]]:
    """Yield the positions of each part's samples, and each one's KL(p(y|x) || p(y)) in that part."""
    logits = np.asarray(logits)
    if logits.ndim != 2 or logits.shape[1] == 0:
        raise ValueError(f"logits must have shape (n, classes), not {logits.shape}")
    if not np.isfinite(logits).all():
        raise ValueError("logits have values that are not finite")
    n = len(logits)
    if not 1 <= splits <= n:
        raise ValueError(f"splits must be between 1 and the number of samples, {n}, not {splits}")
    order = np.arange(n) if shuffle_seed is None else np.random.RandomState(shuffle_seed).permutation(n)
    # Part by part: in float64 and shuffled, 50,000 times 1,008 logits would take 800 MB.
    for start, stop in pairwise(part * n // splits for part in range(splits + 1)):
        yield order[start:stop], _divergence(logits[order[start:stop]].astype(np.float64))


def _divergence(logits: FloatArray) -> FloatArray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_conditional = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    conditional = np.exp(log_conditional)
    # A class that underflows everywhere contributes 0 log 0 = 0, not NaN.
    log_marginal = np.log(np.maximum(conditional.mean(axis=0), np.finfo(np.float64).tiny))
    divergence: FloatArray = (conditional * (log_conditional - log_marginal)).sum(axis=1)
    return divergence
