"""Compare what this project does with the usual ways of doing it, and with what the device can do at most.

The sides of a comparison take turns in one process, and each case has medians, quartiles and ratios of its rounds. The
networks are those of two configurations, with random weights and images. bench.json and bench.md are written; the
first is also what `plan: {throughput: ..}` may name.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from cases import fitting, sampling, scoring, starting, training
from cases.subject import Subject
from paired.floors import measured_rates
from paired.machine import described
from paired.report import markdown
from paired.running import Case, run
from sadpm.config.experiment import Config
from sadpm.config.files import read_config
from sadpm.config.loading import load_config
from sadpm.cost.plan import Speed, Throughput
from sadpm.running.device import device_name, select_device
from sadpm.running.files import UserError, write_json, write_text

ROOT = Path(__file__).parents[1]
CONFIGS = (ROOT / "config/paper.yaml", ROOT / "config/config.yaml")
DATASETS = ("cifar10", "celeba", "celeba-hq", "digits")
SMALL = 20e9
"""FLOP of a forward pass up to which whole chains are drawn and covariances fitted."""

MATRIX = {"cpu": 2048, "cuda": 8192}
COPIED = 2**30


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, nargs="+", default=CONFIGS, help="with the data sets")
    parser.add_argument("--dataset", nargs="+", default=DATASETS, help="whose networks are run")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="cases, such as training or training/cifar10/K2")
    parser.add_argument("--seconds", type=float, default=6.0, help="for the rounds of a case")
    parser.add_argument("--minutes", type=float, default=5.0, help="for all cases; the last are left out")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path, default=Path("results/bench"), help="folder for bench.json and bench.md")
    options = parser.parse_args(arguments)
    os.environ["SADPM_DEVICE"] = options.device
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.exit(1, f"torch {torch.__version__} sees no GPU here; `make bench` measures the CPU\n")
    try:
        bench(options, parser)
    except UserError as error:
        parser.exit(1, f"{error}\n")


def bench(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    begun, device = time.monotonic(), select_device()
    subjects = subjects_of([load_config(read_config(path), str(path)) for path in options.config], options, device)
    every = list(all_cases(subjects, options.config[-1], device))
    chosen = [case for case in every if options.only is None or any(names(word, case) for word in options.only)]
    if idle := [word for word in options.only or () if not any(names(word, case) for case in every)]:
        parser.error(f"no case {', '.join(idle)}; there are {', '.join(case.name for case in every)}")
    machine, rates = described(device), measured_rates(device, MATRIX[device.type], COPIED)
    found = []
    for place, case in enumerate(chosen, 1):
        left = 60 * options.minutes - (time.monotonic() - begun)
        found.append(run(case, rates, device, options.seconds, left))
        said = f"left out, {why}" if (why := found[-1].get("left_out")) else "done"
        so_far = f"{time.monotonic() - begun:.0f} s"
        print(f"{place} of {len(chosen)}, {case.name}: {said} ({so_far})", file=sys.stderr, flush=True)
    content = {
        "machine": machine,
        "rates": vars(rates),
        "asked": {key: str(value) for key, value in vars(options).items()},
        "cases": found,
        **throughput_of(found, subjects, device),
    }
    write_json(options.output / "bench.json", content)
    write_text(options.output / "bench.md", markdown(content))
    print(f"{options.output / 'bench.md'} and bench.json: {len(found)} cases in {time.monotonic() - begun:.0f} s")


def subjects_of(configs: Sequence[Config], options: argparse.Namespace, device: torch.device) -> list[Subject]:
    """Return the data sets that were asked for, each of the first configuration that has it."""
    on_gpu = device.type == "cuda"  # a CPU compiles for a minute, as often as there are cases
    owners = {name: config for config in reversed(configs) for name in config.datasets}
    if unknown := [name for name in options.dataset if name not in owners]:
        raise UserError(f"no data set {', '.join(unknown)} in {', '.join(map(str, options.config))}")
    return [Subject(owners[name], name, device, on_gpu) for name in options.dataset]


def all_cases(subjects: Sequence[Subject], config: Path, device: torch.device) -> Iterator[Case]:
    """Yield all cases, those that take longest last."""
    small = [subject for subject in subjects if subject.flops <= SMALL]
    yield from starting.cases(config)
    yield from scoring.cases(device)
    yield from chain.from_iterable(map(fitting.cases, small))
    yield from chain.from_iterable(map(sampling.chains, small))
    yield from chain.from_iterable(map(sampling.cases, subjects))
    yield from chain.from_iterable(map(training.cases, sorted(subjects, key=lambda subject: subject.flops)))


def names(word: str, case: Case) -> bool:
    """Return whether a word means a case, or all of a kind."""
    return case.name == word or case.name.startswith(f"{word}/")


def throughput_of(found: Sequence[dict[str, Any]], subjects: Sequence[Subject], device: torch.device) -> dict[str, Any]:
    """Return what the plan reckons with, of the networks whose training and sampling were measured."""
    speeds = {}
    for case in found:
        if "sides" in case:
            ours = case["sides"][0]
            speeds[case["name"]] = ours["flops"] / ours["seconds"]["median"]
    networks, precisions = {}, set()
    for subject in subjects:
        training, sampling = speeds.get(f"training/{subject.name}/K1"), speeds.get(f"sampling/{subject.name}")
        if training and sampling:
            networks[subject.name] = Speed(training=training, sampling=sampling)
            precisions.add(subject.precision)
    if not networks:
        return {}
    dtype = ", ".join(sorted(precisions))
    measured = Throughput(device=device_name(device), torch=torch.__version__, networks=networks, dtype=dtype)
    return {"throughput": measured.model_dump()}


if __name__ == "__main__":
    main()
