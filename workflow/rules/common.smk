"""Names of files, and functions of the grid, that the rules of the stages share."""

import re
from pathlib import Path

from sadpm import grid, jobs

ROOT = CONFIG.root.as_posix()
DATASET = f"{ROOT}/{{dataset}}"
DATA = f"{DATASET}/data"
RUN = "{dataset}/{model}/seed{seed}"
MODEL = ["model/config.json", "model/diffusion_pytorch_model.safetensors"]
GAP = f"{ROOT}/{RUN}/gap/start{{start}}-images{{num_images}}"
CHECKPOINTS = f"{ROOT}/.checkpoints"
LOG = f"{ROOT}/logs"
BENCHMARK = f"{ROOT}/benchmarks"


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
    path = Path(CONFIG.models[model].checkpoint[dataset].path)
    return [*path.rglob("config.json"), *path.rglob("diffusion_pytorch_model.*")] if path.is_dir() else path


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
    needed = CONFIG.datasets[dataset].extractor == "classifier"
    return [f"{ROOT}/{dataset}/classifier.safetensors"] if needed else []


def published_of(dataset):
    """The statistics of the real images, where the configuration names a published file."""
    reference = CONFIG.datasets[dataset].reference
    return [] if reference is None else [reference]


def measured_of(dataset):
    """The real images, where their statistics are measured here."""
    return [] if published_of(dataset) else [f"{ROOT}/{dataset}/data/images.npy"]


def looking(dataset, inception, other):
    """A resource of the jobs that look at images: Inception needs more than the small extractors."""
    return inception if CONFIG.datasets[dataset].extractor == "inception" else other


def covariances_of(draws):
    """The fitted covariances that some of a run's samples need."""
    files = {"fixed": None, "analytic": "analytic.npz", "npr": "npr.safetensors", "sn": "sn.safetensors"}
    needed = {files[CONFIG.covariances[draw.covariance].kind] for draw in draws} - {None}
    return [f"{ROOT}/{{run}}/covariance/{name}" for name in sorted(needed)]


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
