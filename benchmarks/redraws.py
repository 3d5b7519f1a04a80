"""Draw the samples of some models again and again, with other sampling seeds, and compare what their scores do with
the errors that were computed for them: of each model, and of the difference to the first.
"""

import argparse
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from finished import add_options, finished
from sadpm.config.grid import Cell
from sadpm.config.telling import sample_job
from sadpm.metrics.uncertainty import standard_error
from sadpm.sources.reading.prepared import load_samples
from sadpm.stages.sample import sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--models", nargs="+", default=["base", "base-x2", "sa2-lam1"])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--redraws", type=int, default=40)
    options = parser.parse_args()
    config, folder, distance = finished(options)

    values = np.zeros((len(options.models), options.redraws))
    influence: list[list[np.ndarray]] = [[] for _ in options.models]
    for place, redraw in np.ndindex(values.shape):
        cell = Cell(options.dataset, options.models[place], config.seeds[0], "ddpm", "fixed", options.steps)
        job = sample_job(config, [cell]).model_copy(update={"seed": 1000 + redraw})
        with TemporaryDirectory() as temporary:
            samples, report = Path(temporary, "samples.npy"), Path(temporary, "samples.json")
            sample(job, folder / cell.run.partition("/")[2] / "model", samples, report, Path(temporary, "checkpoints"))
            values[place, redraw], parts = distance(load_samples(samples)[0])
        influence[place].append(parts)

    print(f"{options.redraws} redraws, DDPM {options.steps} steps; SD of FD, and root mean square of its errors")
    for place, model in enumerate(options.models):
        print(
            f"{model}: mean {values[place].mean():.2f}, SD {spread(values[place])}, error {rms(influence[place]):.2f}"
        )
    for place, model in enumerate(options.models[1:], 1):
        paired = [ours - theirs for ours, theirs in zip(influence[place], influence[0], strict=True)]
        unpaired = math.hypot(rms(influence[place]), rms(influence[0]))
        sd = spread(values[place] - values[0])
        print(f"{model} - {options.models[0]}: SD {sd}, paired error {rms(paired):.2f}, unpaired {unpaired:.2f}")


def spread(values: np.ndarray) -> str:
    """The standard deviation, and how well it is known itself."""
    sd = values.std(ddof=1)
    return f"{sd:.2f} +- {sd / math.sqrt(2 * (len(values) - 1)):.2f}"


def rms(influence: list[np.ndarray]) -> float:
    return math.sqrt(np.mean([standard_error(values) ** 2 for values in influence]))


if __name__ == "__main__":
    main()
