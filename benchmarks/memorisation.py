"""Time and memory of finding the nearest training images, and those images' own, in features of noise."""

import argparse
import resource
import time

import numpy as np

from sadpm.metrics.memorisation import nearest_images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--real", type=int, default=50_000)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    shapes = ((count, options.features) for count in (options.samples, options.real))
    features = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]
    before, start, clock = peak(), time.process_time(), time.perf_counter()
    found = nearest_images(*features, options.device)
    spent, waited = time.process_time() - start, time.perf_counter() - clock
    held = sum(part.nbytes for part in features) / 2**20
    chosen = len(np.unique(found.image))
    print(f"{found.memorised.mean():.4f} memorised, {chosen:,} of {options.real:,} training images the nearest of some")
    print(f"{spent:.1f} CPU s, {waited:.1f} s; peak of the process {peak():,.0f} MB, {before:,.0f} MB before")
    print(f"features {held:,.0f} MB")


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
