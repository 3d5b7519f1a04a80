"""Whether bfloat16 changes results: Frechet distances of the same weights, and of weights trained, in both precisions.

Samples of both start from the same noise, and trainings see the same images and noise, so that differences are paired.
A CPU, which the workflow lets compute in float32 alone, is made to round to bfloat16 here, as fast or slow as it does.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import sadpm.networks.execution as execution
from finished import add_options, finished
from sadpm.config.grid import Cell
from sadpm.config.telling import sample_job, train_job
from sadpm.metrics.uncertainty import OverSeeds, standard_error
from sadpm.networks.section import Precision
from sadpm.running.device import device_name, select_device
from sadpm.sources.reading.prepared import load_samples
from sadpm.stages.sample import sample
from sadpm.stages.train import train

BOTH: tuple[Precision, Precision] = ("float32", "bfloat16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--model", default="base")
    parser.add_argument("--samplers", nargs="+", default=["ddpm", "ddim"])
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 50])
    options = parser.parse_args()
    config, folder, distance = finished(options)
    execution.missing_precision = lambda *_: None
    cells = [
        Cell(options.dataset, options.model, config.seeds[0], sampler, "fixed", steps)
        for sampler in options.samplers
        for steps in options.steps
    ]

    def scores(model: Path, seed: int, precision: Precision) -> list[tuple[float, np.ndarray]]:
        """Return the Frechet distance of each cell, and what each image adds to it."""
        told = [replace(cell, seed=seed) for cell in cells]
        job = sample_job(config, told).model_copy(update={"precision": precision})
        with TemporaryDirectory() as temporary:
            files = [Path(temporary, name) for name in ("samples.npy", "samples.json", "checkpoints")]
            sample(job, model, *files)
            return [distance(images) for images in load_samples(files[0])]

    print(f"FD of {options.model} on {options.dataset}, bfloat16 minus float32, {device_name(select_device())}")
    same_weights, other_weights = [], []
    for seed in config.seeds:
        weights = folder / options.model / f"seed{seed}/model"
        exact, rounded = (scores(weights, seed, precision) for precision in BOTH)
        same_weights.append(differences(rounded, exact))
        job = train_job(config, options.dataset, options.model, seed).model_copy(update={"precision": "bfloat16"})
        with TemporaryDirectory() as temporary:
            here = Path(temporary)
            outputs = [here / name for name in ("model", "training.csv", "training.json", "checkpoints")]
            train(job, folder / "data/images.npy", *outputs)
            other_weights.append(differences(scores(here / "model", seed, "bfloat16"), exact))
    for name, found in (("sampled", same_weights), ("trained and sampled", other_weights)):
        for place, cell in enumerate(cells):
            over_seeds = OverSeeds(*zip(*(row[place] for row in found), strict=True))
            low, high = over_seeds.interval()
            print(
                f"{name} in bfloat16, {cell.sampler} {cell.steps}: {over_seeds.mean:+.3f}, 95 % interval {low:+.3f} to"
                f" {high:+.3f}, sampling error of one seed {over_seeds.sampling:.3f}"
            )


def differences(
    ours: list[tuple[float, np.ndarray]], theirs: list[tuple[float, np.ndarray]]
) -> list[tuple[float, float]]:
    """Return the difference in each cell with its paired sampling error."""
    return [
        (value - other, standard_error(influence - of_other))
        for (value, influence), (other, of_other) in zip(ours, theirs, strict=True)
    ]


if __name__ == "__main__":
    main()
