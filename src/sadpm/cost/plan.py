"""What an experiment will cost: what each job of the workflow takes, from what it is told and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from pydantic import Field

from sadpm.config.datasets import NetworkConfig
from sadpm.config.experiment import Config
from sadpm.config.jobs import (
    RULES,
    Chain,
    CovarianceJob,
    DataJob,
    GapJob,
    ImportJob,
    LikelihoodJob,
    ReferenceJob,
    SampleJob,
    ScoreJob,
    TheoryJob,
    TrainJob,
    TuneJob,
)
from sadpm.config.telling import execution_of
from sadpm.cost.flops import Layer, head_cost, unet_flops, unet_parameters
from sadpm.cost.graph import Job, closure
from sadpm.extractors import BY_FEATURES
from sadpm.kinds.section import ConfigError, Metric, Section
from sadpm.sources import ImageShape

EVERYTHING = "all"
FLOAT32 = 4
"""Bytes of a parameter."""
TRAINING = 3
"""A forward and a backward pass take three times the operations of a forward pass."""


class Speed(Section):
    """What a device sustains with one network, in FLOP/s."""

    training: float = Field(gt=0)
    sampling: float = Field(gt=0)


class Throughput(Section):
    """The device's speed with the networks of some data sets: what ``benchmarks/`` measures."""

    device: str
    measured: bool = True
    dtype: str = "float32"
    torch: str = ""
    networks: dict[str, Speed] = Field(min_length=1)

    @classmethod
    def assumed(cls, config: Config) -> Throughput:
        """Return the configuration's assumption, the same for every network."""
        speed = Speed(training=config.plan.assumed_tflops * 1e12, sampling=config.plan.assumed_tflops * 1e12)
        networks = dict.fromkeys(config.datasets, speed)
        return cls(device=config.plan.assumed_device, measured=False, dtype=precisions_of(config), networks=networks)

    def of(self, dataset: str) -> Speed:
        """Return the speed with a data set's network, or that of the first network where its own was not measured."""
        return self.networks.get(dataset) or next(iter(self.networks.values()))


def precisions_of(config: Config) -> str:
    """Return what the networks of a configuration are to compute in."""
    return ", ".join(sorted({execution_of(config, name).precision for name in config.datasets}))


@dataclass(frozen=True)
class Cost:
    """What some jobs take together.

    Attributes:
        jobs: processes of the workflow.
        calls: images through a network; every step of a chain and every level of a window counts.
        flops: floating-point operations of these calls, backward passes included.
        hours: of one device.
        bytes: that stay on the disk.
        complete: False where something is left out because size or number of the images is not known yet.
    """

    jobs: int = 0
    calls: int = 0
    flops: int = 0
    hours: float = 0.0
    bytes: int = 0
    complete: bool = True

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.jobs + other.jobs,
            self.calls + other.calls,
            self.flops + other.flops,
            self.hours + other.hours,
            self.bytes + other.bytes,
            self.complete and other.complete,
        )


class Row(NamedTuple):
    """The jobs of one rule for one data set ("" for tables and figures) that a target needs in an empty folder."""

    target: str
    rule: str
    dataset: str
    cost: Cost


def plan_rows(config: Config, outputs: Sequence[Job], throughput: Throughput) -> list[Row]:
    """Return the costs of everything, and of each table and figure alone, in the order of the data flow.

    Args:
        config: the experiment, whose data sets are in its order.
        outputs: the jobs that make the tables and figures, and with them all that they need.
        throughput: the device's speed.

    Raises:
        ConfigError: a network does not fit its images.
    """
    jobs = closure(outputs)
    sources = {job: job.told.source for job in jobs if isinstance(job.told, DataJob)}
    shapes = {job.dataset: source.shape() for job, source in sources.items() if job.rule == "prepare_data"}
    own = {job: source.shape() for job, source in sources.items()}
    costs = {job: _cost(job, own.get(job, shapes.get(job.dataset)), throughput) for job in jobs}
    rules, datasets = [*RULES], [*config.datasets, ""]
    rows = []
    targets = {job.output: [other for other in outputs if other.output == job.output] for job in outputs}
    for target, wanted in {EVERYTHING: outputs, **targets}.items():
        groups: dict[tuple[str, str], Cost] = {}
        for job in closure(wanted):
            key = job.rule, job.dataset
            groups[key] = groups.get(key, Cost()) + costs[job]
        places = sorted(groups, key=lambda key: (rules.index(key[0]), datasets.index(key[1])))
        rows += [Row(target, *place, groups[place]) for place in places]
    return rows


class _Work(NamedTuple):
    """What a job does: images through a network, FLOPs at the speed of sampling and of training, bytes that stay."""

    calls: int = 0
    forward: int = 0
    training: int = 0
    bytes: int = 0


def _cost(job: Job, shape: ImageShape | None, throughput: Throughput) -> Cost:
    if not job.dataset:
        return Cost(jobs=1)
    work, speed = _work(job, shape), throughput.of(job.dataset)
    hours = (work.forward / speed.sampling + work.training / speed.training) / 3600
    complete = shape is not None and (shape.number is not None or not _takes_every_image(job))
    return Cost(1, work.calls, work.forward + work.training, hours, work.bytes, complete)


def _takes_every_image(job: Job) -> bool:
    match job.told:
        case DataJob():
            return True
        case ReferenceJob(extractor=extractor, published=None):
            return extractor.passes({"fd"}) > 0
    return False


def _work(job: Job, shape: ImageShape | None) -> _Work:
    """Return what a job does, without a shape as far as it is known; docs/plan.md lists what is not counted."""
    number, image = (shape.number or 0, shape.size**2 * shape.channels) if shape else (0, 0)
    match job.told:
        case DataJob():
            return _Work(bytes=number * image)
        case ImportJob():
            return _Work(bytes=_unet(job, shape).parameters * FLOAT32)
        case TrainJob(training=training, objective=objective):
            calls = training.steps * training.batch_size * objective.images_per_training_image()
            unet = _unet(job, shape)
            return _Work(calls, 0, TRAINING * calls * unet.flops, unet.parameters * FLOAT32)
        case CovarianceJob(heads=heads, schedule=schedule, covariances=covariances):
            calls, head, fitted = heads.steps * heads.batch_size, _head(job, shape), covariances.values()
            trained = TRAINING * calls * sum(covariance.heads for covariance in fitted) * head.flops
            trained += calls * any(covariance.needs_hessian for covariance in fitted) * _unet(job, shape).flops
            levels = schedule.num_train_timesteps
            stored = sum(covariance.stored_bytes(levels, head.parameters) for covariance in fitted)
            return _Work(calls, calls * _unet(job, shape).flops, trained, stored)
        case TuneJob() as told:
            drawn = [told.drawing(search, value) for search in told.searches for value in search.grid]
            works = [_chains(job, drawing.chains, drawing.num_samples, shape) for drawing in drawn]
            works += [_looking(told, len(s.grid) * s.num_samples, {s.metric}) for s in told.searches]
            return _Work(sum(work.calls for work in works), sum(work.forward for work in works))
        case SampleJob() as told:
            count = sum(map(len, told.batches()))
            kept = len(told.chains) * count * image if job.rule != "sample_part" else 0
            if job.rule == "join_parts":
                return _Work(bytes=kept)
            return _chains(job, told.chains, count, shape)._replace(bytes=kept)
        case LikelihoodJob(chains=chains, num_images=num_images):
            return _chains(job, chains, num_images, shape)
        case TheoryJob(start=start, num_images=num_images, schedule=schedule):
            calls = (start - 1 + schedule.num_train_timesteps - 1) * num_images
            return _Work(calls, calls * _unet(job, shape).flops)
        case GapJob(start=start, num_images=num_images):
            calls = (start - 1) * num_images
            return _Work(calls, calls * _unet(job, shape).flops)
        case ReferenceJob(published=None) as told:
            return _looking(told, number, {"fd", *BY_FEATURES.intersection(told.metrics)})
        case ScoreJob() as told:
            count = len(told.cells) * job.nearest(SampleJob).num_samples
            return _looking(told, count, told.metrics)
    return _Work()


def _chains(job: Job, chains: Iterable[Chain], count: int, shape: ImageShape | None) -> _Work:
    """Some chains for so many images each; a covariance's heads add their own pass to each of the network's."""
    unet, work = _unet(job, shape), _Work()
    for chain in chains:
        heads = chain.covariance.heads
        each = unet.flops + (heads * _head(job, shape).flops if heads else 0)
        work = _Work(work.calls + count * chain.steps, work.forward + count * chain.steps * each)
    return work


def _unet(job: Job, shape: ImageShape | None) -> Layer:
    """Return what one image costs in the network that a job trains, imports or uses; zeros without a shape."""
    if shape is None:
        return Layer(0, 0)
    try:
        return _unet_of(_network(job), shape.size, shape.channels)
    except ValueError as error:
        raise ConfigError(f"datasets.{job.dataset}.network: {error}") from None


@cache
def _unet_of(network: NetworkConfig, size: int, channels: int) -> Layer:
    return Layer(unet_flops(network, size, channels), unet_parameters(network, size, channels))


def _head(job: Job, shape: ImageShape | None) -> Layer:
    """Return what one image costs in one of the heads that a job fits or uses; zeros without a shape."""
    if shape is None:
        return Layer(0, 0)
    kind = job.nearest(CovarianceJob).heads.kind
    return head_cost(_network(job), shape.size, shape.channels, kind)


def _network(job: Job) -> NetworkConfig:
    return next(found.told.network for found in closure([job]) if isinstance(found.told, TrainJob | ImportJob))


def _looking(told: ReferenceJob | ScoreJob | TuneJob, count: int, metrics: Iterable[Metric]) -> _Work:
    """What the extractor does with some images."""
    calls = count * told.extractor.passes({*metrics})
    return _Work(calls, calls * told.extractor.flops)
