"""Names of files, and functions of the grid, that the rules of the stages share."""

import re
from pathlib import Path

from sadpm import grid, jobs, model_folder

ROOT = CONFIG.root.as_posix()
DATASET = f"{ROOT}/{{dataset}}"
DATA = f"{DATASET}/data"
RUN = "{dataset}/{model}/seed{seed}"
MODEL = ["model/config.json", "model/diffusion_pytorch_model.safetensors"]
GAP = f"{ROOT}/{RUN}/gap/start{{start}}-images{{num_images}}"
CHECKPOINTS = f"{CONFIG.checkpoints}/{CONFIG.experiment}" if CONFIG.checkpoints else f"{ROOT}/.checkpoints"
LOG = f"{ROOT}/logs"
BENCHMARK = f"{ROOT}/benchmarks"
DRAWS = grid.runs_by_draws(CONFIG)


def one_of(names):
    """A pattern for exactly these names."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


wildcard_constraints:
    dataset=one_of(CONFIG.datasets),
    model=one_of(CONFIG.models),
    seed=r"\d+",
    start=r"\d+",
    num_images=r"\d+",
    table=one_of(CONFIG.tables),
    figure=one_of(CONFIG.figures),
    draw=one_of(sorted({str(draw) for draws in DRAWS for draw in draws})),
    shard=r"\d+",
    shards=r"\d+",


def runs_of(imported):
    """A pattern for the runs whose model is read from a checkpoint, or for those whose model is trained."""
    pairs = [
        f"{dataset}/{model}"
        for dataset in CONFIG.datasets
        for model, entry in CONFIG.models.items()
        if (dataset in entry.checkpoint) == imported
    ]
    return rf"({one_of(pairs)})/seed\d+"


def images_of(run):
    return f"{ROOT}/{jobs.parse_run(run)[0]}/data/images.npy"


def checkpoint_of(run):
    """A released file, or those of a released folder that matter."""
    dataset, model, _ = jobs.parse_run(run)
    path = Path(*named(f"models.{model}.checkpoint.{dataset}.path"))
    return model_folder.find(path).files() if path.is_dir() else path


def about(run):
    """A run in words."""
    return "{1} on {0}, seed {2}".format(*jobs.parse_run(run))


def as_json(job):
    """The one argument by which a job learns its parameters."""
    return job.model_dump_json(by_alias=True)


def folder_of(files):
    return Path(files[0]).parent


def classifier_of(dataset):
    """The weights of the classifier, where samples are scored by one."""
    named(f"datasets.{dataset}.weights.fid", f"datasets.{dataset}.weights.is")
    needed = CONFIG.datasets[dataset].extractor == "classifier"
    return [f"{ROOT}/{dataset}/classifier.safetensors"] if needed else []


def published_of(dataset):
    """The statistics of the real images, where the configuration names a published file."""
    return named(f"datasets.{dataset}.reference")


def measured_of(dataset):
    """The real images, where their statistics are measured here."""
    return [] if published_of(dataset) else [f"{ROOT}/{dataset}/data/images.npy"]


def looking(dataset, inception, other):
    """A resource of the jobs that look at images: Inception needs more than the small extractors."""
    return inception if CONFIG.datasets[dataset].extractor == "inception" else other


def covariances_of(run, draws):
    """The fitted covariances that some of a run's samples need."""
    files = {"fixed": None, "analytic": "analytic.npz", "npr": "npr.safetensors", "sn": "sn.safetensors"}
    needed = {files[CONFIG.covariances[draw.covariance].kind] for draw in draws} - {None}
    return [f"{ROOT}/{run}/covariance/{name}" for name in sorted(needed)]


def shards_of(run):
    """How many jobs share each set of a run's samples."""
    return CONFIG.datasets[jobs.parse_run(run)[0]].shards


def shard_of(w):
    """Which part of a set of samples a job draws."""
    return (int(w.shard), int(w.shards)) if hasattr(w, "shard") else (0, 1)


def sampling_of(w, draws):
    """What a sampling job draws, in words."""
    shard, shards = shard_of(w)
    part = f", part {shard + 1} of {shards}" if shards > 1 else ""
    return f"{w.run}: {', '.join(map(str, draws))}{part}"


def part_files(run, draws, form):
    """The parts of all draws, those of one draw side by side."""
    shards = shards_of(run)
    return [f"{ROOT}/{run}/samples/{draw}.part{i}-of-{shards}.{form}" for draw in draws for i in range(shards)]


def packs(wanted=lambda run: True):
    """The jobs of sampling and scoring: suffix of the rule's name, name for files, names of the draws, and runs.

    Where each cell has its own job, one rule serves them all by its wildcard; where cells share a process, the grid
    says which files a rule makes.
    """
    rules = [("", "{draw}", ["{draw}"], sorted({run for runs in DRAWS.values() for run in runs}))]
    if CONFIG.job_steps:
        rules = [(f"_{label_of(draws)}", label_of(draws), list(map(str, draws)), runs) for draws, runs in DRAWS.items()]
    chosen = [(suffix, label, draws, [run for run in runs if wanted(run)]) for suffix, label, draws, runs in rules]
    return [pack for pack in chosen if pack[-1]]


def draws_of(w, names):
    """The draws with these names, in which wildcards are filled in."""
    return [grid.Draw.parse(name.format(**w)) for name in names]


def cell_file(cell, folder, form):
    return "{root}/{dataset}/{model}/seed{seed}/{folder}/{sampler}-{covariance}-{steps}.{form}".format(
        root=ROOT, folder=folder, form=form, **cell.as_dict()
    )


def sample_files(cells):
    return [cell_file(cell, "samples", "npy") for cell in cells]


def score_files(cells):
    return [cell_file(cell, "scores", "json") for cell in cells]


def shown(kind, files):
    """The input of a figure that only figures of one kind have."""
    return lambda w: files(w.figure) if CONFIG.figures[w.figure].kind == kind else []


def label_of(draws):
    """A name for the job that makes these draws."""
    return f"{draws[0]}" + (f"-and-{len(draws) - 1}-more" if len(draws) > 1 else "")


def growing(amount, attempt):
    """More at the second and third attempt, in case a lack of it killed the last; a walltime may end many more."""
    return int(amount * min(attempt, 3))


def memory(base, copies):
    """Megabytes of a process: a base, and so many copies of the input."""
    return lambda w, input, attempt: growing(base + copies * input.size_mb, attempt)


def gpus_of(run):
    """How many GPUs train a run's network together."""
    return CONFIG.datasets[jobs.parse_run(run)[0]].gpus


def processes_of(run):
    """How many processes do, on the CPU where there is no GPU."""
    return max(1, gpus_of(run))


def gpu_of(dataset):
    """How many GPUs a job asks for that can use one."""
    return min(CONFIG.datasets[dataset].gpus, 1)
