"""How close is close: the tolerance promised to users, and a record of the largest deviation of each golden file."""

from collections import defaultdict

import numpy as np
import numpy.typing as npt
import torch

RELATIVE, ABSOLUTE = 1e-9, 1e-10
largest_deviation: dict[str, float] = defaultdict(float)


def assert_matches(ours: torch.Tensor | npt.ArrayLike, recorded: npt.ArrayLike, file: str) -> None:
    """Compare to 1e-9 relative; NaN must meet NaN. The deviation is relative to 1 + |recorded|."""
    ours, recorded = np.asarray(ours), np.asarray(recorded)
    np.testing.assert_allclose(ours, recorded, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
    if np.isfinite(recorded).any():
        deviation = np.nanmax(
            np.abs(ours - recorded)[np.isfinite(recorded)] / (1 + np.abs(recorded[np.isfinite(recorded)]))
        )
        largest_deviation[file] = max(largest_deviation[file], float(deviation))
