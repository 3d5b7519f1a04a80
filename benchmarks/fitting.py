"""What a step of fitting takes, for each kind of covariance alone: milliseconds, and times a step of NPR's.

All kinds see the same images in turn, in one process, with the network, heads and batch of a configuration's data set.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

from sadpm.config.experiment import Config
from sadpm.config.files import read_config
from sadpm.config.jobs import TrainJob
from sadpm.config.loading import load_config
from sadpm.covariances import COVARIANCES, Fitting
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.objectives.ddpm import DDPM
from sadpm.running.device import device_name, select_device
from sadpm.stages.fit_covariances import fit_step
from sadpm.stages.train import new_network

WARM_UP = 3
AGAINST = "npr"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, nargs="?", default=Path("config/config.yaml"))
    parser.add_argument("--dataset", nargs="+", help="fit to the networks of these data sets (default: the first)")
    parser.add_argument("--rounds", type=int, default=200, help="steps of each kind")
    options = parser.parse_args(arguments)
    config = load_config(read_config(options.config), str(options.config))
    names = options.dataset or [next(iter(config.datasets))]
    if unknown := set(names) - config.datasets.keys():
        parser.error(f"{options.config} has no data set {', '.join(sorted(unknown))}")
    device = select_device()
    print(f"{device_name(device)}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name in names:
        seconds = times(config, name, options.rounds, device)
        for kind, steps in seconds.items():
            ratio = statistics.median(own / other for own, other in zip(steps, seconds[AGAINST], strict=True))
            print(f"{name}, {kind}: {1e3 * statistics.median(steps):.2f} ms a step, {ratio:.2f} times {AGAINST}")


def times(config: Config, name: str, rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each step by kind; the i-th steps of all kinds follow each other."""
    dataset = config.datasets[name]
    if (shape := dataset.source.shape()) is None:
        raise SystemExit(f"{dataset.source}: the size of the images is not known before the file is there")
    job = TrainJob(
        schedule=config.schedule, network=dataset.network, training=dataset.training, objective=DDPM(), seed=0
    )
    unet = new_network(job, (1, shape.size, shape.size, shape.channels)).to(device).requires_grad_(False)
    unet.to(memory_format=torch.channels_last).train(dataset.heads.backbone_dropout)
    schedule = NoiseSchedule.create(**config.schedule.model_dump()).to(device)
    x0 = torch.rand(dataset.heads.batch_size, shape.channels, shape.size, shape.size, device=device) * 2 - 1
    kinds = {name: kind() for name, kind in COVARIANCES.built_in.items() if kind.is_fitted}
    made_for = {
        name: Fitting(unet, schedule, dataset.heads, 0, device, kind.needs_hessian) for name, kind in kinds.items()
    }
    estimates = {name: {name: kind.estimate(made_for[name])} for name, kind in kinds.items()}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for step in range(-WARM_UP, rounds):
        for name in kinds:
            begun = time.perf_counter()
            fit_step(step + WARM_UP, made_for[name], estimates[name], x0)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if step >= 0:
                seconds[name].append(time.perf_counter() - begun)
    return seconds


if __name__ == "__main__":
    main()
