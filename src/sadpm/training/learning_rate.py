"""The learning rate as a function of the step alone, so that a training that goes on needs to remember nothing."""

from __future__ import annotations

import math
from typing import Literal

Decay = Literal["none", "linear", "cosine"]


def learning_rate_at(step: int, peak: float, num_steps: int, warmup_steps: int = 0, decay: Decay = "none") -> float:
    """Return the rate of one optimiser step.

    It rises linearly and has reached the peak after the warm-up; then it stays there, or falls towards 0, which it
    would have reached one step after the last.

    Args:
        step: 0 to num_steps - 1.
        peak: the largest rate.
        num_steps: how many steps there are.
        warmup_steps: less than num_steps.
        decay: ``none``, ``linear``, or ``cosine`` (Loshchilov and Hutter 2017, without restarts).
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / (num_steps - warmup_steps)
    match decay:
        case "none":
            return peak
        case "linear":
            return peak * (1 - done)
        case "cosine":
            return peak * 0.5 * (1 + math.cos(math.pi * done))
