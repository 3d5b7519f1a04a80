"""What several rules share: names of files, what a job is told, what it is about, and what it may use."""

import re
from pathlib import Path
from shlex import quote

from sadpm.config import grid
from sadpm.config import jobs
from sadpm.config import telling
from sadpm.config.files import files_read
from sadpm.config.reports import reports
from sadpm.config.tuning import tuning_cells
from sadpm.networks import model_folder
from sadpm.running import records
from snakemake.settings.types import RerunTrigger

ROOT = CONFIG.root.as_posix()
DATASET = f"{ROOT}/{{dataset}}"
HELD_OUT = f"{DATASET}/data/held-out"
RUN = f"{ROOT}/{{run}}"
SAMPLES = f"{RUN}/samples/{{pack}}"
PART = f"{SAMPLES}.part{{shard}}-of-{{shards}}"
GAP = f"{RUN}/gap/start{{start}}-images{{num_images}}"
THEORY = f"{RUN}/theory/{{theory}}"
MODEL = [f"{RUN}/model/config.json", f"{RUN}/model/diffusion_pytorch_model.safetensors"]
CHECKPOINTS = f"{CONFIG.checkpoints}/{CONFIG.experiment}" if CONFIG.checkpoints else f"{ROOT}/.checkpoints"
LOG = f"{ROOT}/logs"
BENCHMARK = f"{ROOT}/benchmarks"
PACKS = grid.packs(CONFIG)
TUNINGS = grid.tuning_packs(CONFIG)
LIKELIHOOD_PACKS = grid.likelihood_packs(CONFIG)
CELLS = grid.cells_by_run(CONFIG)
THEORIES = [name for name, figure in CONFIG.figures.items() if "theorems" in figure.shows]


def one_of(names):
    """A pattern for exactly these names."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


def runs_where(wanted):
    """A pattern for the runs of those models of a data set for which a function is true."""
    pairs = [f"{dataset}/{model}" for dataset in CONFIG.datasets for model in CONFIG.models if wanted(dataset, model)]
    return rf"({one_of(pairs)})/seed\d+"


wildcard_constraints:
    fits=rf"({one_of(CONFIG.covariances)})(\+({one_of(CONFIG.covariances)}))*",
    dataset=one_of(CONFIG.datasets),
    run=runs_where(lambda dataset, model: True),
    pack=one_of(sorted({pack for _, pack in {**PACKS, **TUNINGS, **LIKELIHOOD_PACKS}})),
    start=r"\d+",
    num_images=r"\d+",
    table=one_of(CONFIG.tables),
    figure=one_of(CONFIG.figures),
    theory=one_of(THEORIES),
    shard=r"\d+",
    shards=r"\d+",


# What a job is told, and when that is a reason to run it again.


def as_json(job_of):
    """The one argument by which a job learns its parameters."""
    return lambda w: job_of(w).model_dump_json(by_alias=True)


def again_unless(report, job_of):
    """An input without files, which has a job run again if its report tells of other parameters than are asked for.

    Snakemake does so by its own records in .snakemake, which do not go with results that are copied elsewhere.
    """

    def look(w):
        path = report.format(**w)
        looks = RerunTrigger.PARAMS in workflow.rerun_triggers and Path(path).exists()
        found = records.difference(Path(path), job_of(w)) if looks else None
        if found and path not in workflow.dag.forcefiles:
            logger.info(f"{path}: made with other parameters ({found}); the job runs again.")
            workflow.dag.forcefiles.add(path)
        return []

    return look


# What a job is about, by its wildcards, and the files that tell of it.


def name_of_dataset(w):
    return w.dataset if hasattr(w, "dataset") else grid.parse_run(w.run)[0]


def dataset_of(w):
    """What the configuration says of a job's data set."""
    return CONFIG.datasets[name_of_dataset(w)]


def about(w):
    """A run in words."""
    return "{1} on {0}, seed {2}".format(*grid.parse_run(w.run))


def folder_of(files):
    return Path(files[0]).parent


def images_of(w):
    return f"{ROOT}/{name_of_dataset(w)}/data/images.npy"


def checkpoint_of(w):
    """A released file, or those of a released folder that matter."""
    dataset, model, _ = grid.parse_run(w.run)
    paths = map(Path, named(f"models.{model}.checkpoint.{dataset}.path"))
    return [file for path in paths for file in (model_folder.find(path).files() if path.is_dir() else [path])]


def extractor_of(w):
    """The weights of what looks at images, where it is trained here."""
    extractor, dataset = dataset_of(w).extractor, name_of_dataset(w)
    named(*(f"datasets.{dataset}.extractor.{key}" for key in extractor.files()))
    return f"{ROOT}/{dataset}/extractor.safetensors" if extractor.is_trained else []


def measured_of(w):
    """The real images, where their statistics are measured here."""
    return [] if dataset_of(w).reference else images_of(w)


def cells_of(w):
    """The cells that share a job."""
    if (w.run, w.pack) not in PACKS:
        raise WorkflowError(f"no table, figure or claim asks for samples {w.pack!r} of {w.run}")
    return PACKS[w.run, w.pack]


def tuning_cells_of(w):
    """The cells that share a job of tuning."""
    if (w.run, w.pack) not in TUNINGS:
        raise WorkflowError(f"nothing is tuned at cells {w.pack!r} of {w.run}")
    return TUNINGS[w.run, w.pack]


def tuned_of(w):
    """What was chosen for the cells of a sampling job."""
    return pack_files(tuning_cells(CONFIG, cells_of(w)), "tuned/{pack}.json")


def bounded_cells_of(w):
    """The cells that share a job which measures their bounds."""
    if (w.run, w.pack) not in LIKELIHOOD_PACKS:
        raise WorkflowError(f"no table, figure or claim asks for bounds {w.pack!r} of {w.run}")
    return LIKELIHOOD_PACKS[w.run, w.pack]


def covariances_of(cells):
    """A function for the files of fitted covariances that the cells of a job need."""

    def files(w):
        needed = {grid.fit_of(CONFIG, cell.covariance) for cell in cells(w)} - {None}
        return sorted({f"{ROOT}/{w.run}/covariance/{passes_of(w.run)[name]}.safetensors" for name in needed})

    return files


@cache
def passes_of(run):
    """Which pass makes each estimate of a run: what earlier passes have made is not made again."""
    made = [file.stem for file in Path(f"{ROOT}/{run}/covariance").glob("*.safetensors")]
    return grid.passes(CONFIG, CELLS[run], made)


def pack_files(cells, name):
    """Files of the packs that hold these cells, each once."""
    places = {(cell.run, grid.pack_of(cell, CONFIG.samples_per_job)): None for cell in cells}
    return [f"{ROOT}/{run}/{name}".format(pack=pack) for run, pack in places]


def number_files(asked, ending):
    """Files with the numbers of metrics, given with their cells: of samples' scores, or of bounds."""
    files = (pack_files(cells, f"{grid.folder_of(metric)}/{{pack}}.{ending}") for metric, cells in asked)
    return list(dict.fromkeys(file for found in files for file in found))


def gap_files(curves):
    """The files of these curves."""
    return [f"{GAP}.csv".format(run=curve.run, **vars(curve)) for curve in curves]


def theory_files(name):
    """The theorems' numbers for a figure, if it shows them."""
    curves = CONFIG.figures[name].curves(CONFIG.seeds) if name in THEORIES else []
    return [f"{THEORY}.json".format(run=curve.run, theory=name) for curve in curves]


# What the archive holds.


def configuration_files():
    """The files that the configuration was read from, in full: with a default storage, others are looked for there."""
    given = workflow.configfiles if workflow.modifier.skip_configfile else workflow.overwrite_configfiles or [DEFAULT]
    return [str(path.absolute()) for file in given for path in files_read(Path(file))]


def files_of_reports(w):
    """What the jobs of tables, figures and claims have written, as far as it is put in."""
    found = reports(CONFIG, lambda run: set(passes_of(run).values()))
    return [f"{ROOT}/{path}" for report in found for path in report.contents(CONFIG)]


# What a job may use.


def looking_gpu_of(w):
    """How many GPUs a job asks for that looks at images."""
    return gpu_of(w) if dataset_of(w).extractor.uses_gpu else 0


def growing(amount, attempt):
    """More at the second and third attempt, in case a lack of it killed the last; a walltime may end many more."""
    return int(amount * min(attempt, 3))


def memory(base, copies):
    """Megabytes of a process: a base, and so many copies of the input."""
    return lambda w, input, attempt: growing(base + copies * input.size_mb, attempt)


def gpu_of(w):
    """How many GPUs a job asks for that can use one."""
    return min(dataset_of(w).gpus, 1)


def seconds_and_execution(w):
    """How a job is run that has checkpoints, which is no reason to run it again: the options at the end of its command.

    They follow the seconds, for a command that named them would be another command: everything would run again.
    """
    execution = telling.execution_of(CONFIG, name_of_dataset(w)).options().model_dump_json(exclude_defaults=True)
    seconds = CONFIG.checkpoint_seconds
    return seconds if execution == "{}" else f"{seconds} --execution {quote(execution)}"
