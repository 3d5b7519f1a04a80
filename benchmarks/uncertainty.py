"""Time and memory of scoring features with and without what each sample contributes, alternating in one process."""

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from sadpm.metrics.features import FeatureStatistics
from sadpm.metrics.frechet import frechet_distance
from sadpm.metrics.frechet_influence import frechet_influence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write the numbers as well")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    features = rng.standard_normal((options.samples, options.features), dtype=np.float32)
    features *= np.linspace(0.1, 1, options.features, dtype=np.float32)
    real = statistics_of(rng.standard_normal((2 * options.features, options.features), dtype=np.float32))

    found: dict[str, list[float]] = {"statistics": [], "distance": [], "influence": []}
    for _ in range(options.rounds):
        seconds, sampled = timed(lambda: statistics_of(features))
        gaussians = (*sampled, *real)
        found["statistics"].append(seconds)
        found["distance"].append(timed(lambda: frechet_distance(*gaussians))[0])  # noqa: B023
        found["influence"].append(timed(lambda: frechet_influence(features, *gaussians))[0])  # noqa: B023
    middle = {name: median(seconds) for name, seconds in found.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for name, seconds in found.items():
        print(f"{name:11s} {middle[name]:7.1f} CPU s (from {min(seconds):.1f} to {max(seconds):.1f})")
    print(f"peak of the process {peak:,.0f} MB, of which features {features.nbytes / 2**20:,.0f} MB")
    if options.json:
        options.json.write_text(json.dumps({"cpu_seconds": found, "peak_mb": peak, **vars(options)}, default=str))


def statistics_of(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    statistics = FeatureStatistics()
    for start in range(0, len(features), 800):
        statistics.update(features[start : start + 800])
    return statistics.mean, statistics.covariance


def timed(work: Callable[[], object]) -> tuple[float, object]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


if __name__ == "__main__":
    main()
