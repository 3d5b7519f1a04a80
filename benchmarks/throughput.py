"""Measure what this device sustains with a configuration's networks, in FLOP/s, for the workflow's target `plan`.

A training step is that of the baseline at the data set's batch size, optimiser included; a sampling step is a forward
pass; both are run as the section `execution` says. Operations are those that `sadpm.cost.flops` counts, so that the
plan divides by what it multiplied with.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from cases.sampling import batch_of, seeing
from cases.subject import Subject
from cases.training import trained
from paired.floors import waiting_for
from sadpm.config.experiment import Config
from sadpm.config.files import read_config
from sadpm.config.loading import load_config
from sadpm.cost.plan import TRAINING, Speed, Throughput
from sadpm.objectives.ddpm import DDPM
from sadpm.running.device import device_name, select_device
from sadpm.running.files import UserError, write_json

WARM_UP = 3


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, nargs="?", default=Path("config/config.yaml"))
    parser.add_argument("--dataset", nargs="+", help="measure the networks of these data sets (default: the first)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of the two measurements of a network")
    parser.add_argument("--output", type=Path, default=Path("throughput.json"))
    options = parser.parse_args(arguments)
    config = load_config(read_config(options.config), str(options.config))
    names = options.dataset or [next(iter(config.datasets))]
    if unknown := set(names) - config.datasets.keys():
        parser.error(f"{options.config} has no data set {', '.join(sorted(unknown))}")
    try:
        throughput = measure(config, names, options.seconds)
    except UserError as error:
        parser.error(str(error))
    write_json(options.output, throughput.model_dump())
    print(f"{throughput.device}, {throughput.dtype}, torch {throughput.torch}")
    for name, speed in throughput.networks.items():
        print(f"{name}: training {speed.training / 1e12:.3g} TFLOP/s, sampling {speed.sampling / 1e12:.3g} TFLOP/s")
    print(f"Put this into the configuration:\nplan: {{throughput: {options.output}}}")


def measure(config: Config, names: list[str], seconds: float) -> Throughput:
    device = select_device()
    subjects = [Subject(config, name, device) for name in names]
    networks = {subject.name: speed_of(subject, seconds) for subject in subjects}
    dtype = ", ".join(sorted({subject.precision for subject in subjects}))
    return Throughput(device=device_name(device), torch=torch.__version__, networks=networks, dtype=dtype)


def speed_of(subject: Subject, seconds: float) -> Speed:
    """Train and sample with random images of the data set's size."""
    x0 = subject.images(subject.dataset.training.batch_size)
    step, _ = trained(subject, DDPM(), x0)
    training = rate(step, subject.device, seconds) * TRAINING * subject.flops * len(x0)
    batch = batch_of(subject)
    sampling = rate(seeing(subject, batch), subject.device, seconds) * subject.flops * batch
    return Speed(training=training, sampling=sampling)


def rate(step: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Steps a second, after a warm-up."""
    finish = waiting_for(device)
    for _ in range(WARM_UP):
        step()
    finish()
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        step()
        count += 1
    finish()
    return count / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
