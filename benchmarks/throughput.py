"""Measure what this device sustains with a configuration's networks, in FLOP/s, for the workflow's target `plan`.

A training step is that of the baseline at the data set's batch size, optimiser included; a sampling step is a forward
pass; both are run as the section `execution` says. Operations are those that `sadpm.cost.flops` counts, so that the
plan divides by what it multiplied with.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from sadpm.config.datasets import DatasetConfig
from sadpm.config.experiment import Config
from sadpm.config.files import read_config
from sadpm.config.jobs import TrainJob
from sadpm.config.loading import load_config
from sadpm.config.telling import execution_of
from sadpm.cost.flops import unet_flops
from sadpm.cost.plan import TRAINING, Speed, Throughput
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.diffusion.section import ScheduleConfig
from sadpm.networks.execution import Executed
from sadpm.objectives.ddpm import DDPM
from sadpm.running.device import device_name, select_device
from sadpm.running.files import write_json
from sadpm.stages.train import add_gradients, draws_at, new_network
from sadpm.training.state import TrainingState

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
    throughput = measure(config, names, options.seconds)
    write_json(options.output, throughput.model_dump())
    print(f"{throughput.device}, {throughput.dtype}, torch {throughput.torch}")
    for name, speed in throughput.networks.items():
        print(f"{name}: training {speed.training / 1e12:.3g} TFLOP/s, sampling {speed.sampling / 1e12:.3g} TFLOP/s")
    print(f"Put this into the configuration:\nplan: {{throughput: {options.output}}}")


def measure(config: Config, names: list[str], seconds: float) -> Throughput:
    device = select_device()
    networks, precisions = {}, set()
    for name in names:
        dataset, asked = config.datasets[name], execution_of(config, name)
        executed = Executed(asked.options(), asked.precision, device, dropout=dataset.network.dropout)
        networks[name] = speed_of(dataset, config.schedule, device, seconds, executed)
        precisions.add(executed.precision)
    dtype = ", ".join(sorted(precisions))
    return Throughput(device=device_name(device), torch=torch.__version__, networks=networks, dtype=dtype)


def speed_of(
    dataset: DatasetConfig, schedule: ScheduleConfig, device: torch.device, seconds: float, executed: Executed
) -> Speed:
    """Train and sample with random images of the data set's size."""
    if (shape := dataset.source.shape()) is None:
        raise SystemExit(f"{dataset.source}: the size of the images is not known before the file is there")
    image = (shape.channels, shape.size, shape.size)
    flops = unet_flops(dataset.network, shape.size, shape.channels)
    job = TrainJob(schedule=schedule, network=dataset.network, training=dataset.training, objective=DDPM(), seed=0)
    network = new_network(job, (1, shape.size, shape.size, shape.channels)).to(device)
    state = TrainingState(
        network.to(memory_format=torch.channels_last),
        **dataset.training.model_dump(include={"learning_rate", "ema_decay", "max_grad_norm", "log_every"}),
        replayed=executed.graphs,
    )
    trained = executed.training(network, (dataset.training.batch_size // executed.parts, *image))
    x0 = torch.rand(dataset.training.batch_size, *image, device=device) * 2 - 1
    noises = NoiseSchedule.create(**schedule.model_dump()).to(device)

    def work(x0: torch.Tensor, n: torch.Tensor, noise: torch.Tensor) -> None:
        state.optimizer.zero_grad()
        state.learn(add_gradients(job, noises, trained, x0, {"n": n, "noise": noise}, executed.parts))

    work_of_device = executed.replayed(work)

    def train() -> None:
        mine, draws = draws_at(state.step, job, noises, x0)
        state.begin()
        work_of_device(mine, draws["n"], draws["noise"])
        state.end()

    steps_per_second = partial(rate, device=device, seconds=seconds)
    training = steps_per_second(train) * TRAINING * flops * len(x0)
    x = torch.randn(min(dataset.sampling_batch_size, dataset.num_samples), *image, device=device)
    with torch.inference_mode():
        see, t = executed.seeing(state.ema, len(x), torch.inference_mode), torch.full((1,), 500.0, device=device)
        sampling = steps_per_second(lambda: see(x, t)) * flops * len(x)
    return Speed(training=training, sampling=sampling)


def rate(step: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Steps a second, after a warm-up."""
    for _ in range(WARM_UP):
        step()
    synchronise(device)
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        step()
        count += 1
    synchronise(device)
    return count / (time.perf_counter() - begun)


def synchronise(device: torch.device) -> None:
    """Wait for what a GPU has been asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
