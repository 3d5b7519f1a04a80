"""What an experiment will cost: the workflow's jobs, and what each takes, from the configuration alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pydantic import Field

from sadpm.config.experiment import Config
from sadpm.config.grid import metrics_of
from sadpm.config.jobs import RULES, sample_job, train_job
from sadpm.cost.flops import Layer, head_cost, unet_flops, unet_parameters
from sadpm.cost.job_graph import Job, JobGraph
from sadpm.extractors import BY_FEATURES
from sadpm.kinds.section import ConfigError, Metric, Section

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
    """The device's speed with the networks of some data sets: what ``benchmarks/throughput.py`` writes."""

    device: str
    measured: bool = True
    dtype: str = "float32"
    torch: str = ""
    networks: dict[str, Speed] = Field(min_length=1)

    @classmethod
    def assumed(cls, config: Config) -> Throughput:
        """Return the configuration's assumption, the same for every network."""
        speed = Speed(training=config.plan.assumed_tflops * 1e12, sampling=config.plan.assumed_tflops * 1e12)
        return cls(device=config.plan.assumed_device, measured=False, networks=dict.fromkeys(config.datasets, speed))

    def of(self, dataset: str) -> Speed:
        """Return the speed with a data set's network, or that of the first network where its own was not measured."""
        return self.networks.get(dataset) or next(iter(self.networks.values()))


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


def plan_rows(config: Config, throughput: Throughput) -> list[Row]:
    """Return the costs of everything, and of each table and figure alone, in the order of the data flow.

    Raises:
        ConfigError: a network does not fit its images.
    """
    graph = JobGraph(config)
    outputs = graph.outputs()
    images = {name: _Images.of(config, name) for name in config.datasets}
    costs = {job: _cost(config, job, images, throughput) for job in graph.closure(outputs)}
    rows = []
    targets = {EVERYTHING: outputs}
    for output in outputs:
        targets.setdefault(output.name, []).append(output)
    for target, wanted in targets.items():
        groups: dict[tuple[str, str], Cost] = {}
        for job in graph.closure(wanted):
            key = job.rule, job.dataset
            groups[key] = groups.get(key, Cost()) + costs[job]
        places = sorted(groups, key=lambda key: (RULES.index(key[0]), [*config.datasets, ""].index(key[1])))
        rows += [Row(target, *place, groups[place]) for place in places]
    return rows


class _Images(NamedTuple):
    """What one image of a data set costs; zeros where its size is not known."""

    number: int | None
    bytes: int
    unet: Layer
    head: Layer

    @classmethod
    def of(cls, config: Config, dataset: str) -> _Images:
        entry = config.datasets[dataset]
        shape = entry.source.shape()
        if shape is None:
            return cls(None, 0, Layer(0, 0), Layer(0, 0))
        place = (entry.network, shape.size, shape.channels)
        try:
            unet = Layer(unet_flops(*place), unet_parameters(*place))
        except ValueError as error:
            raise ConfigError(f"datasets.{dataset}.network: {error}") from None
        return cls(shape.number, shape.size**2 * shape.channels, unet, head_cost(*place, entry.heads.kind))


class _Work(NamedTuple):
    """What a job does: images through a network, FLOPs at the speed of sampling and of training, bytes that stay."""

    calls: int = 0
    forward: int = 0
    training: int = 0
    bytes: int = 0


def _cost(config: Config, job: Job, images: dict[str, _Images], throughput: Throughput) -> Cost:
    if not job.dataset:
        return Cost(jobs=1)
    image, speed = images[job.dataset], throughput.of(job.dataset)
    work = _work(config, job, image)
    hours = (work.forward / speed.sampling + work.training / speed.training) / 3600
    complete = image.bytes > 0 and (image.number is not None or not _takes_every_image(config, job))
    return Cost(1, work.calls, work.forward + work.training, hours, work.bytes, complete)


def _takes_every_image(config: Config, job: Job) -> bool:
    entry = config.datasets[job.dataset]
    measured = entry.extractor.passes({"fd"}) > 0 and entry.reference is None
    return job.rule == "prepare_data" or (job.rule == "measure_reference" and measured)


def _work(config: Config, job: Job, image: _Images) -> _Work:
    """Return what a job does; docs/plan.md lists what is not counted."""
    entry = config.datasets[job.dataset]
    match job.rule:
        case "prepare_data":
            return _Work(bytes=(image.number or 0) * image.bytes)
        case "import_model":
            return _Work(bytes=image.unet.parameters * FLOAT32)
        case "train":
            training = train_job(config, job.dataset, job.model, job.seed)
            calls = training.training.steps * training.training.batch_size
            calls *= training.objective.images_per_training_image()
            return _Work(calls, 0, TRAINING * calls * image.unet.flops, image.unet.parameters * FLOAT32)
        case "fit_covariances":
            calls = entry.heads.steps * entry.heads.batch_size
            fitted = [config.covariances[name] for name in job.name.split("+")]
            heads, levels = sum(covariance.heads for covariance in fitted), config.schedule.num_train_timesteps
            stored = sum(covariance.stored_bytes(levels, image.head.parameters) for covariance in fitted)
            return _Work(calls, calls * image.unet.flops, TRAINING * calls * heads * image.head.flops, stored)
        case "sample" | "sample_part":
            return _sampling(config, job, image)
        case "join_parts":
            return _Work(bytes=len(job.cells) * entry.num_samples * image.bytes)
        case "measure_gap":
            calls = (job.start - 1) * job.num_images
            return _Work(calls, calls * image.unet.flops)
        case "measure_theory":
            calls = (job.start - 1 + config.schedule.num_train_timesteps - 1) * job.num_images
            return _Work(calls, calls * image.unet.flops)
        case "measure_reference" if entry.reference is None:
            return _looking(config, job.dataset, image.number or 0, {"fd", *BY_FEATURES})
        case "score":
            count = len(job.cells) * entry.num_samples
            return _looking(config, job.dataset, count, {*metrics_of(config, job.dataset)})
    return _Work()


def _sampling(config: Config, job: Job, image: _Images) -> _Work:
    """A covariance's heads add their own pass to each of the network's."""
    shards = config.datasets[job.dataset].shards
    part = sample_job(config, job.cells, (job.shard, shards))
    count, work = sum(map(len, part.batches())), _Work()
    for cell in job.cells:
        heads = config.covariances[cell.covariance].heads
        calls, each = count * cell.steps, image.unet.flops + heads * image.head.flops
        kept = count * image.bytes if job.rule == "sample" else 0
        work = _Work(work.calls + calls, work.forward + calls * each, 0, work.bytes + kept)
    return work


def _looking(config: Config, dataset: str, count: int, looked_at: set[Metric]) -> _Work:
    """What the extractor does with some images."""
    extractor = config.datasets[dataset].extractor
    calls = count * extractor.passes(looked_at.intersection(metrics_of(config, dataset)))
    return _Work(calls, calls * extractor.flops)
