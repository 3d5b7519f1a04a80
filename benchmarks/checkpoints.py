"""What checkpoints cost: size, seconds to write and to read one, and the share of training time at the interval.

The state is that of a training run with the network of each data set: weights, their average, and Adam's moments.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from sadpm.config.experiment import Config
from sadpm.config.files import read_config
from sadpm.config.jobs import TrainJob
from sadpm.config.loading import load_config
from sadpm.config.telling import train_job
from sadpm.running.checkpoints import Checkpoints
from sadpm.running.device import device_name, select_device
from sadpm.stages.train import new_network
from sadpm.training.state import TrainingState


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, nargs="?", default=Path("config/config.yaml"))
    parser.add_argument("--folder", type=Path, help="on the file system to be measured (default: a temporary folder)")
    options = parser.parse_args()
    config = load_config(read_config(options.config), str(options.config))
    device = select_device()
    print(f"{device_name(device)}, interval {config.checkpoint_seconds} s")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for dataset, entry in config.datasets.items():
            shape = entry.source.shape()
            if shape is None:
                print(f"{dataset}: size of the images not known yet")
                continue
            job = train_job(config, dataset, next(iter(config.models)), seed=0)
            state = trained_once(job, (1, shape.size, shape.size, shape.channels), device)
            report(config, dataset, state, Checkpoints(Path(folder) / dataset, job), device)


def trained_once(job: TrainJob, shape: tuple[int, ...], device: torch.device) -> TrainingState:
    """A state whose optimiser has its moments."""
    network = new_network(job, shape).to(device)
    options = job.training.model_dump(include={"learning_rate", "ema_decay", "max_grad_norm", "log_every"})
    state = TrainingState(network, **options)
    state.update(torch.stack([parameter.sum() for parameter in network.parameters()]).sum())
    return state


def report(config: Config, dataset: str, state: TrainingState, saved: Checkpoints, device: torch.device) -> None:
    begun = time.perf_counter()
    for step in range(3):
        saved.save(step, state.state_dict())
    written = time.perf_counter()
    saved.latest(device)
    read = time.perf_counter() - written
    write = (written - begun) / 3
    size = max(path.stat().st_size for path in saved.folder.glob("*.ckpt")) / 1e6
    share = 100 * write / max(config.checkpoint_seconds, write)
    print(f"{dataset}: {size:.1f} MB, written in {write:.3f} s, read in {read:.3f} s, {share:.3f} % of training time")


if __name__ == "__main__":
    main()
