"""What the influence values of all metrics share.

The influence value g_i of sample i is n times the derivative of a metric by the weight of that sample. One is kept for
each sample, because the rest is arithmetic on them: std(g) / sqrt(n) is the standard error of the metric, and
std(g_a - g_b) / sqrt(n) that of the difference of two metrics whose samples share their noise.
"""

from __future__ import annotations

import numpy as np

from sadpm.metrics.features import FloatArray


class NoInfluence(ValueError):
    """A metric has a value but no derivative to judge its error by.

    The message is the reason to print, and goes on from "<metric> of ".
    """


def checked_influence(influence: FloatArray, rounding: float, reason: str) -> FloatArray:
    """Return influence values (n,), unless none differs from the others by more than rounding.

    An error of 0 would then be printed for a metric that is at its limit, such as a precision of 1, where it is
    the derivative that says nothing.

    Raises:
        NoInfluence: with the reason.
    """
    if np.ptp(influence) <= rounding:
        raise NoInfluence(reason)
    return influence
