"""Sub-sequences of the noise levels 1..N that samplers visit. Pure Python: the configuration is checked with it."""

import math
import re
from itertools import pairwise

KINDS = ("uniform", "quadratic", "linear", "ddim-uniform", "ddim-quadratic", "power<p>")


def timesteps(kind: str, num_train_timesteps: int, num_steps: int) -> list[int]:
    """Return the noise levels visited, in ascending order, without the final 0.

    ``uniform`` and ``quadratic`` are those of SA-DPM (counted from 1 here), the others those of Bao et al. (2022).
    ``uniform`` has more than ``num_steps`` entries when ``num_steps`` does not divide ``num_train_timesteps``, and
    the quadratic kinds repeat their lowest levels when there are many steps: that is what the authors' programs run.

    Args:
        kind: rule by which levels are chosen, one of :data:`KINDS`; ``power2``, ``power3``, .. crowd the low levels.
        num_train_timesteps: N.
        num_steps: number of levels asked for, 1..N.

    Raises:
        ValueError: the kind is unknown, or cannot give this number of steps.
    """
    if not 1 <= num_steps <= num_train_timesteps:
        raise ValueError(f"{num_steps} steps: choose from 1 to {num_train_timesteps}")
    match kind:
        case "uniform":
            return _strided(num_train_timesteps, num_steps)
        case "ddim-uniform":
            levels = _strided(num_train_timesteps, num_steps)
            if len(levels) != num_steps:
                raise ValueError(f"{kind} gives {len(levels)} steps for {num_steps}: choose a divisor of the total")
            return levels
        case "quadratic" | "ddim-quadratic":
            return [int(root**2) + 1 for root in _spaced(0.0, math.sqrt(0.8 * num_train_timesteps), num_steps)]
        case "linear":
            return _evenly_spaced(kind, num_train_timesteps, num_steps)
    if match := re.fullmatch(r"power(\d+(?:\.\d+)?)", kind):
        return _power(kind, float(match[1]), num_train_timesteps, num_steps)
    raise ValueError(f"unknown kind of timesteps {kind!r}: choose one of {', '.join(KINDS)}")


def exact_timesteps(kind: str, num_train_timesteps: int, num_steps: int) -> list[int]:
    """Return :func:`timesteps`, or raise ValueError unless they are ``num_steps`` different levels.

    A table that says 15 steps must not have run 16, nor the same level twice.
    """
    levels = timesteps(kind, num_train_timesteps, num_steps)
    if len(levels) != num_steps:
        raise ValueError(
            f"{kind!r} timesteps would run {len(levels)} steps instead of {num_steps}, "
            f"because {num_steps} does not divide {num_train_timesteps}"
        )
    if any(lower >= upper for lower, upper in pairwise(levels)):
        raise ValueError(f"{kind!r} timesteps repeat a level when there are {num_steps}: choose fewer steps")
    return levels


def _strided(total: int, count: int) -> list[int]:
    return list(range(1, total + 1, total // count))


def _spaced(start: float, end: float, count: int) -> list[float]:
    """Even spacing with the rounding of numpy.linspace, whose last value is the end itself."""
    if count == 1:
        return [start]
    stride = (end - start) / (count - 1)
    return [start + stride * i for i in range(count - 1)] + [end]


def _evenly_spaced(kind: str, total: int, count: int) -> list[int]:
    _needs_two_ends(kind, count)
    stride = (total - 1) / (count - 1)
    position, levels = 1.0, []
    for _ in range(count):
        levels.append(round(position))
        position += stride
    return levels


def _power(kind: str, power: float, total: int, count: int) -> list[int]:
    _needs_two_ends(kind, count)
    if power == 0:
        raise ValueError(f"{kind!r} timesteps: the power must be positive")
    levels: list[int] = []
    for y in _spaced(1.0, 0.0, count):
        level = round(1 + (1 - y ** (1 / power)) * (total - 1))
        levels.append(max(level, levels[-1] + 1) if levels else level)
    if levels[-1] > total:
        raise ValueError(f"{kind!r} timesteps run past {total} when there are {count}: choose a power of at least 1")
    return levels


def _needs_two_ends(kind: str, count: int) -> None:
    if count < 2:
        raise ValueError(f"{kind!r} timesteps run from 1 to N and need at least 2 steps, not {count}")
