import re
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from sadpm.config.files import read_config
from sadpm.config.grid import packs, table_cells
from sadpm.config.jobs import (
    CovarianceJob,
    DataJob,
    FigureJob,
    LikelihoodJob,
    SampleJob,
    ScoreJob,
    TableJob,
    TheoryJob,
    TrainJob,
)
from sadpm.config.loading import load_config
from sadpm.config.telling import (
    covariance_job,
    figure_job,
    likelihood_job,
    sample_job,
    score_job,
    table_job,
    theory_job,
    train_job,
)
from sadpm.kinds.section import ConfigError, Section
from sadpm.sources.cifar10 import CIFAR10

CONFIGS = Path(__file__).parents[1] / "config"


@pytest.fixture
def values():
    return yaml.safe_load((CONFIGS / "test.yaml").read_text())


def changed(values, path, value):
    values = deepcopy(values)
    *parents, last = path.split("/")
    section = values
    for key in parents:
        section = section[int(key)] if isinstance(section, list) else section[key]
    section[last] = value
    return values


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configurations_are_valid(path):
    assert load_config(read_config(path)).tables


RECIPE = {"timesteps": "linear", "clip_sample": True}
TABLE = {"title": "T", "metric": "fd", "datasets": ["digits"], "models": ["base"], "samplers": ["ddpm"], "steps": [2]}
FIGURE = {"title": "F", "kind": "illustration"}
MISTAKES = {
    "unknown key": (
        "models/sa2-lam1/objective",
        {"kind": "sequence-aware", "K": 2, "lamda": 1.0},
        ["models.sa2-lam1.objective", "did you mean 'lambda'"],
    ),
    "K below 2": (
        "models/sa2-lam1/objective/K",
        1,
        ["models.sa2-lam1.objective.K", "greater than or equal to 2", "not 1"],
    ),
    "negative lambda": (
        "models/sa2-lam1/objective/lambda",
        -0.1,
        ["objective.lambda", "greater than or equal to 0", "-0.1"],
    ),
    "unknown window": ("models/sa2-lam1/objective/window", "centred", ["objective.window", "'anchored' or 'sliding'"]),
    "wrong type": ("datasets/digits/num_samples", "many", ["datasets.digits.num_samples", "valid integer", "'many'"]),
    "undeclared model": (
        "tables/table4/models",
        ["base", "sa9"],
        ["tables.table4.models: 'sa9'", "base, sa2-lam1, sa3-slide"],
    ),
    "undeclared data set": (
        "figures/figure2/dataset",
        "cifar",
        ["figures.figure2.dataset: 'cifar'", "digits, patches"],
    ),
    "undeclared sampler": ("tables/table1/samplers", ["euler"], ["tables.table1.samplers: 'euler'", "ddim, ddpm"]),
    "undeclared in also": ("tables/table4/also/0/models", ["nope"], ["tables.table4.models: 'nope'"]),
    "undeclared recipe": (
        "covariances",
        {"x": {"kind": "sn", "recipe": "y"}},
        ["covariances.x.recipe: 'y'", "sa-dpm, bao"],
    ),
    "steps above N": ("tables/table1/steps", [1001], ["tables.table1.steps: 1001", "num_train_timesteps (1000)"]),
    "no steps": ("tables/table1/steps", [0], ["tables.table1.steps: 0 is not from 1"]),
    "stride would run more": (
        "tables/table4/steps",
        [15],
        ["would run 16 steps instead of 15", "does not divide 1000"],
    ),
    "one even step": ("tables/table1/steps", [1], ["need at least 2 steps, not 1"]),
    "gap start above N": ("figures/figure4/start", 2000, ["figures.figure4.start: 2000", "1000"]),
    "start of a theory figure": ("figures/theory/start", 1001, ["figures.theory.start: 1001 is above"]),
    "window above N": ("figures/theory/lengths", [2, 1001], ["figures.theory.lengths: 1001 is above", "(1000)"]),
    "window of nothing": ("figures/theory/lengths", [0], ["figures.theory.lengths.0", "greater than or equal to 1"]),
    "score without classes": (
        "tables/table3/metric",
        "is",
        ["'is' is not to be had: datasets.patches.extractor is 'pixels'"],
    ),
    "labels missing": ("datasets/patches/extractor", "classifier", ["'classifier' learns from labels", "pixels"]),
    "groups": ("datasets/digits/network/norm_num_groups", 3, ["8 is not a multiple of norm_num_groups (3)"]),
    "more jobs than batches": (
        "datasets/patches/shards",
        3,
        ["datasets.patches: shards: 3 jobs can't share 2 batches", "at most 2"],
    ),
    "a batch that GPUs can't share": (
        "datasets/digits/gpus",
        3,
        ["datasets.digits: gpus: 3 can't share training.batch_size (8) equally"],
    ),
    "eta of ddpm": (
        "samplers",
        {"x": {"kind": "ddpm", "eta": 0.5}},
        ["samplers.x: unknown key 'eta'; known are kind, label, epsilon_scale, variance"],
    ),
    "name with a slash": ("models/a|b", {}, ["models", "a|b"]),
    "figure of no kind": ("figures/figure1/kind", "pie", ["figures.figure1", "pie"]),
    "required": ("datasets/digits/training", {}, ["datasets.digits.training.steps: this key is required"]),
    "source that does not exist": (
        "datasets/digits/source",
        "digts",
        ["datasets.digits.source: unknown kind 'digts'", "did you mean 'digits'?"],
    ),
    "source of no kind": (
        "datasets/digits/source",
        {},
        ["datasets.digits.source: say which kind: array, celeba, cifar10, digits, images, photographs, or"],
    ),
    "key of a source": (
        "datasets/digits/source",
        {"kind": "cifar10", "rot": "x"},
        ["datasets.digits.source: unknown key 'rot'", "did you mean 'root'?"],
    ),
    "missing key of a figure": (
        "figures/figure2",
        {"kind": "gap", "dataset": "digits", "models": ["base"]},
        ["figures.figure2.title: this key is required"],
    ),
    "no list": ("tables/table1/models", "base", ["tables.table1.models", "a list, such as [base]"]),
    "empty list": ("tables/table1/steps", [], ["tables.table1.steps: this is empty"]),
    "empty list in also": ("tables/table4/also/0/models", [], ["tables.table4.also.0.models: this is empty"]),
    "no section": ("samplers", 3, ["samplers", "dictionary", "not 3"]),
    "model twice": ("tables/table1/models", ["base", "base"], ["tables.table1.models: 'base' is given twice"]),
    "steps twice": ("figures/figure5/steps", [2, 4, 2], ["figures.figure5.steps: 2 is given twice"]),
    "seed twice": ("seeds", [0, 1, 0], ["seeds: 0 is given twice"]),
    "negative seed": ("seeds", [-1], ["seeds.0", "greater than or equal to 0, not -1"]),
    "negative seed of a table": ("tables/table1/seeds", [-1], ["tables.table1.seeds.0", "not -1"]),
    "seed of 64 bits": ("seeds", [2**63], ["seeds.0", "less than 9223372036854775808"]),
    "two names of one key": (
        "models/sa2-lam1/objective",
        {"kind": "sequence-aware", "K": 2, "lam": 1.0, "lambda": 2.0},
        ["'lam' is another name of 'lambda'"],
    ),
    "a truth in place of a number": ("models/base", {"batch_multiplier": True}, ["batch_multiplier: true and false"]),
    "a truth in a list": ("tables/table1/steps", [True], ["tables.table1.steps: true and false"]),
    "infinite": ("plan", {"assumed_tflops": float("inf")}, ["plan.assumed_tflops", "finite number"]),
    "not a number": ("models/sa2-lam1/objective/lambda", float("nan"), ["objective.lambda", "finite number"]),
    "infinite as text": ("models/sa2-lam1/objective/lambda", "inf", ["objective.lambda", "finite number"]),
    "infinite in a section of numbers": (
        "recipes",
        {"bao": {"timesteps": "linear", "clip_sample": True, "max_variance_pixels": {"ddpm": float("inf")}}},
        ["recipes.bao.max_variance_pixels.ddpm", "finite number"],
    ),
    "kind of timesteps": (
        "recipes",
        {"bao": {"timesteps": "lienar", "clip_sample": True}},
        ["recipes.bao.timesteps: unknown kind of timesteps 'lienar'"],
    ),
    "unseen levels": (
        "datasets/digits/heads/steps",
        3,
        ["datasets.digits.heads: 3 steps of 250 images leave some of 1000 noise levels unseen"],
    ),
    "one sample": ("datasets/digits/num_samples", 1, ["datasets.digits.num_samples", "not 1"]),
    "more columns than samples": (
        "figures/figure2/columns",
        5000,
        ["figures.figure2.columns: 5000 is above datasets.digits.num_samples (60)"],
    ),
    "more images than there are": (
        "figures/figure4/num_images",
        1798,
        ["figures.figure4.num_images: 1798 is above the 1797 images of 'digits'"],
    ),
    "a table like a rule": ("tables/sample", {**TABLE}, ["tables.sample: the workflow has a rule of this name"]),
    "a figure like a target": ("figures/tables", {**FIGURE}, ["figures.tables: the workflow has a rule of this name"]),
    "a table like a figure": ("tables/figure1", {**TABLE}, ["figures.figure1: there is a table of this name"]),
    "a model like a file": ("models/data", {}, ["models.data: a file or folder of the results has this name"]),
}


@pytest.mark.parametrize(("path", "value", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_what_would_be_right(values, path, value, expected):
    with pytest.raises(ConfigError) as error:
        load_config(changed(values, path, value), "my.yaml")
    message = str(error.value)
    assert message.startswith("my.yaml has ")
    if path.split("/")[0] in ("tables", "figures", "models", "seeds", "plan"):
        assert message.startswith("my.yaml has 1 mistake:")
    for part in expected:
        assert part in message
    assert "pydantic" not in message


def test_a_level_that_keeps_nothing_of_the_image_has_no_bounded_errors(values):
    values = changed(changed(values, "schedule", {"kind": "jsd"}), "figures/figure4/start", 1000)
    with pytest.raises(ConfigError, match=r"has 3 mistakes:") as error:
        load_config(values)
    nothing = "level 1000 of the schedule 'jsd' keeps nothing of the image"
    assert f"tables.table5.steps: recipe 'bao': {nothing}, so that there is no bound" in str(error.value)
    assert "figures.figure4: level 1000 of the schedule 'jsd' keeps nothing of the image" in str(error.value)
    assert "start below it" in str(error.value)
    assert "figures.theory: level 1000 of the schedule 'jsd'" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tables/table5/samplers": ["ddim"]},
            r"tables\.table5\.metric: 'bpd' is not to be had of sampler 'ddim': 'ddim' is no chain of DDPM's Gaussian",
        ),
        (
            {"datasets/digits/likelihood": {"num_images": 1798}},
            r"datasets\.digits\.likelihood\.num_images: 1798 is above the 1797 images of the train split of 'digits'",
        ),
        (
            {"datasets/digits/source": {"kind": "digits", "split": "train"},
             "datasets/digits/likelihood": {"num_images": 360, "split": "test"}},
            r"datasets\.digits\.likelihood\.num_images: 360 is above the 359 images of the test split of 'digits'",
        ),
        (
            {"datasets/digits/likelihood": {"split": "test"}},
            r"datasets\.digits: likelihood\.split: 'test' needs images that are not trained on, and the source ",
        ),
        (
            {"datasets/patches/likelihood": {"split": "test"}},
            r"and the source 'photographs' has none as it is; 'cifar10' and 'celeba' have a test split, 'digits'",
        ),
    ],
)  # fmt: skip
def test_bounds_that_are_not_to_be_had_are_told_beforehand(values, changes, message):
    for path, value in changes.items():
        values = changed(values, path, value)
    with pytest.raises(ConfigError, match=f"has 1 mistake:\n.*{message}"):
        load_config(values)


def test_images_of_bounds_matter_where_bounds_are_asked_for(values):
    assert load_config(changed(values, "datasets/patches/likelihood", {"num_images": 10_000}))


def test_a_bound_knows_no_last_noise_and_no_image_sampled(values):
    values = changed(values, "recipes", {"bao": {**RECIPE, "max_variance_pixels": {"ddpm": 2}}})
    others = changed(values, "recipes", {"bao": RECIPE})
    others = changed(others, "datasets/digits/num_samples", 100)
    cells = table_cells(load_config(values), "table5")
    assert likelihood_job(load_config(values), cells) == likelihood_job(load_config(others), cells)
    clipped = changed(values, "recipes", {"bao": {**RECIPE, "clip_sample": False}})
    assert likelihood_job(load_config(values), cells) != likelihood_job(load_config(clipped), cells)


def test_what_nobody_asks_of_bounds_and_splits_is_in_no_jobs_parameters(values):
    """So that the jobs of earlier configurations stay the same."""
    del values["datasets"]["digits"]["likelihood"]
    config = load_config(values)
    assert DataJob(source=config.datasets["digits"].source).model_dump_json() == '{"source":{"kind":"digits"}}'
    assert "split" not in CIFAR10().model_dump()
    assert "likelihood" not in config.model_dump_json()
    assert load_config(changed(values, "datasets/digits/likelihood", {"num_images": 10})).model_dump()["datasets"][
        "digits"
    ]["likelihood"] == {"split": "train", "num_images": 10}


def test_every_mistake_is_listed_at_once(values):
    values = changed(changed(values, "models/sa2-lam1/objective/K", 1), "datasets/digits/num_samples", 0)
    with pytest.raises(ConfigError, match="2 mistakes"):
        load_config(values)


@pytest.mark.parametrize("empty", [None, [], "text"])
def test_an_empty_document_is_an_error(empty):
    with pytest.raises(ConfigError, match=r"start from config/config\.yaml"):
        load_config(empty)


def test_the_users_samplers_join_those_of_the_paper(values):
    config = load_config(changed(values, "samplers", {"half": {"kind": "ddim", "eta": 0.5}}))
    assert set(config.samplers) == {"ddpm", "ddim", "dpm_solver", "unipc", "half"}


def test_declared_solvers_change_no_job_where_they_are_not_used(values):
    assert "unipc" not in table_job(load_config(values), "table1").labels["sampler"]
    named = changed(values, "tables/table1/samplers", ["ddim", "unipc"])
    config = load_config(changed(named, "tables/table1/covariances", ["fixed"]))
    cells = [cell for pack in packs(config).values() for cell in pack if cell.sampler == "unipc"]
    (chain, *_) = sample_job(config, cells).chains
    assert chain.sampler.scheduler == "UniPCMultistepScheduler"
    assert table_job(config, "table1").labels["sampler"]["unipc"] == "UniPC"
    with pytest.raises(ConfigError, match=r"'unipcc' is not declared under samplers \(ddim, ddpm, dpm_solver, unipc\)"):
        load_config(changed(values, "tables/table1/samplers", ["unipcc"]))


def test_what_is_wrong_with_a_solver_is_told_where_it_is_used(values):
    solvers = {"mine": {"kind": "diffusers", "scheduler": "DPMSolverMultistepScheduler", "options": {"order": 2}}}
    config = {**changed(values, "tables/table1/samplers", ["mine"]), "samplers": solvers}
    with pytest.raises(
        ConfigError, match=r"tables.table1: sampler 'mine', covariance 'fixed': options.order: .*solver_order"
    ):
        load_config(config)
    config = changed(changed(values, "tables/table1/samplers", ["unipc"]), "tables/table1/covariances", ["sn"])
    with pytest.raises(ConfigError, match=r"sampler 'unipc', covariance 'sn': .* no variance that a covariance could"):
        load_config(config)


def test_the_documents_example_of_solvers_is_a_configuration(values):
    text = (CONFIGS.parent / "docs/rivals.md").read_text()
    (block,) = (block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "kind: diffusers" in block)
    config = load_config({**values, **yaml.safe_load(block), "figures": {}, "claims": {}})
    assert {cell.sampler for pack in packs(config).values() for cell in pack} == {"ddim", "dpm_solver", "unipc", "deis"}


def test_jobs_survive_the_command_line(values):
    config = load_config(values)
    cells = next(iter(packs(config).values()))
    for job, kind in [
        (train_job(config, "digits", "sa3-slide", 0), TrainJob),
        (covariance_job(config, "digits", 1, ["analytic", "npr"]), CovarianceJob),
        (sample_job(config, cells), SampleJob),
        (score_job(config, cells), ScoreJob),
        (likelihood_job(config, cells), LikelihoodJob),
        (table_job(config, "table4"), TableJob),
        (theory_job(config, "theory", 0), TheoryJob),
        *((figure_job(config, name), FigureJob) for name in config.figures),
    ]:
        assert kind.model_validate_json(job.model_dump_json(by_alias=True)) == job


def test_what_is_watched_is_no_part_of_any_job(values):
    """Not of those either that are told the whole configuration: the plan and the archive."""
    plain, watched = (load_config({**values, **more}) for more in ({}, {"watch": {"tensorboard": True}}))
    assert watched.watch.tensorboard
    assert watched.model_dump_json(by_alias=True) == plain.model_dump_json(by_alias=True)


def test_a_training_job_holds_its_own_lambda_and_no_other(values):
    config = load_config(values)
    other = load_config(changed(values, "models/sa2-lam1/objective/lambda", 0.5))
    assert train_job(config, "digits", "base", 0) == train_job(other, "digits", "base", 0)
    assert train_job(config, "digits", "sa2-lam1", 0) != train_job(other, "digits", "sa2-lam1", 0)


def test_multipliers_of_equal_compute_baselines(values):
    config = load_config(changed(values, "models/base", {"batch_multiplier": 3, "steps_multiplier": 2}))
    training = train_job(config, "digits", "base", 0).training
    assert (training.batch_size, training.steps) == (3 * 8, 2 * 6)


def sections(kind=Section):
    for section in kind.__subclasses__():
        yield section
        yield from sections(section)


AXES = (
    "sadpm.config",
    "sadpm.extractors",
    "sadpm.diffusion",
    "sadpm.sources",
    "sadpm.objectives",
    "sadpm.samplers",
    "sadpm.covariances",
    "sadpm.extractors",
)


@pytest.mark.parametrize(
    "section",
    [s for s in sections() if s.__module__.startswith(AXES) and s.__module__ != "sadpm.config.jobs"],
    ids=lambda s: s.__name__,
)
def test_every_key_is_documented_with_its_default(section):
    rows = [line for line in (CONFIGS / "README.md").read_text().splitlines() if line.startswith("|")]
    for name, field in section.model_fields.items():
        if name == "defined_in":
            continue
        key = field.alias or name
        named = [row for row in rows if re.search(rf"[`.]{re.escape(key)}`", row.split("|")[1])]
        assert named, f"{section.__name__}.{key} is missing from config/README.md"
        default = field.get_default(call_default_factory=True)
        if isinstance(default, int | float) and not isinstance(default, bool):
            numbers = {float(number) for row in named for number in re.findall(r"`(\d[\d.e-]*)`", row)}
            assert default in numbers, f"the default of {section.__name__}.{key} is {default}"


def test_a_data_set_like_a_folder_of_results(values):
    values = changed(values, "datasets/logs", values["datasets"]["patches"])
    with pytest.raises(ConfigError, match=r"datasets\.logs: a file or folder of the results has this name"):
        load_config(values)


def test_there_must_be_something_to_make(values):
    with pytest.raises(ConfigError, match="neither a table nor a figure"):
        load_config({**values, "tables": {}, "figures": {}, "claims": {}})
    assert load_config({**values, "tables": {}}).figures


def dataset(values, **changes):
    """One data set of its own, so that a mistake in it is one line."""
    values = deepcopy(values)
    alone = {**values["datasets"]["patches"], **changes}
    tables = {"t": {**TABLE, "datasets": ["alone"]}}
    return {**values, "datasets": {"alone": alone}, "tables": tables, "figures": {}, "claims": {}}


NETWORK = {"block_out_channels": [8, 8], "attention_resolutions": [], "norm_num_groups": 4}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": {**NETWORK, "block_out_channels": [8] * 5}}, "network: images of 8x8 can't be halved 4 times"),
        ({"network": {**NETWORK, "attention_resolutions": [16]}}, r"network: attention_resolutions: \[16\] not among"),
        ({"network": {**NETWORK, "block_out_channels": [3, 3], "norm_num_groups": 3}}, "3 is not an even number"),
        ({"source": {"kind": "images", "path": "x", "size": 33}}, "network: images of 33x33 can't be halved 1 time$"),
        ({"source": {"kind": "images", "path": "x"}}, r"datasets\.alone\.source\.size: this key is required"),
        ({"gpus": -1}, r"datasets\.alone\.gpus: .*, not -1"),
    ],
)
def test_a_mistake_in_the_only_data_set_is_one_line(values, changes, message):
    with pytest.raises(ConfigError, match=f"has 1 mistake:\n.*{message}"):
        load_config(dataset(values, **changes))


@pytest.mark.parametrize(
    ("metric", "changes", "message"),
    [
        ("precision", {"num_samples": 3}, r"datasets\.alone\.num_samples: 3 are too few for precision: 4 or more"),
        ("kid", {"reference": "x.npz"}, r"datasets\.alone\.reference: kid need the features of real images"),
        ("precision", {"num_samples": 4}, None),
        ("kid", {"num_samples": 2}, None),
        ("memorised", {"reference": "x.npz"}, r"datasets\.alone\.reference: memorised need the features of real"),
        ("memorised", {"num_samples": 2}, None),
        ("is", {"num_samples": 2, "reference": "x.npz"}, None),
    ],
)
def test_what_a_metric_needs_is_known_beforehand(values, metric, changes, message):
    values = dataset(values, extractor="inception", shards=1, **changes)
    values["tables"]["t"]["metric"] = metric
    if message is None:
        assert load_config(values)
    else:
        with pytest.raises(ConfigError, match=f"has 1 mistake:\n.*{message}"):
            load_config(values)


def test_paths_are_expanded_and_otherwise_kept(values, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    paths = {"results": "~/r", "checkpoints": "~/c", "published": "~/p.csv", "plan": {"throughput": "~/t.json"}}
    extractor = {"kind": "inception", "fid_weights": "~/f", "is_weights": "~/i"}
    changes = {"source": {"kind": "array", "path": "~/a.npy"}, "extractor": extractor}
    values = {**dataset(values, **changes, reference="~/s.npz"), **paths}
    values["models"]["base"] = {"checkpoint": {"alone": {"path": "~/m.pth"}}}
    config = load_config(values)
    alone = config.datasets["alone"]
    assert [
        *(config.results, config.checkpoints, config.published, config.plan.throughput, alone.source.path),
        *(alone.extractor.fid_weights, alone.extractor.is_weights, alone.reference),
        config.models["base"].checkpoint["alone"].path,
    ] == [f"/home/me/{name}" for name in ("r", "c", "p.csv", "t.json", "a.npy", "f", "i", "s.npz", "m.pth")]
    for path in ("a b", "it's", 'a"b', "a[b]", "a&b;c", "$HOME", "a*?", "a|b", "ü", "../x", "./a//b/", "a~b", "./~"):
        assert load_config({**values, "results": path}).results == path


PATHS = {
    "": "an empty path",
    "  ": "an empty path",
    "a\0b": "control character",
    "a\nb": "control character",
    "a/{b}": "braces",
    "a}": "braces",
    "a<b>c": "a variable",
    " a": "begins or ends with a space",
    "a ": "begins or ends with a space",
    "-a/b": "begins with a hyphen",
    "./-a/b": "begins with a hyphen",
    "s3://bucket/x": "an address",
    "~nobody-has-this-name/x": "no such home folder",
}


@pytest.mark.parametrize("key", ["results", "checkpoints", "published"])
@pytest.mark.parametrize(("path", "message"), PATHS.items())
def test_paths_that_can_not_work_are_refused(values, key, path, message):
    with pytest.raises(ConfigError, match=f"has 1 mistake:\n  {key}: .*{message}"):
        load_config({**values, key: path})


def test_every_path_is_of_that_type():
    """A key whose meaning is a path, by its documentation, is checked as one."""
    documented = (CONFIGS / "README.md").read_text()
    keys = {key for row in re.findall(r"^\| (.*) \| path \|", documented, re.MULTILINE) for key in row.split("`")[1::2]}
    paths = {
        field.alias or name
        for section in sections()
        if section.__module__.startswith(AXES)
        for name, field in section.model_fields.items()
        if "_usable_path" in repr((field.metadata, field.annotation))
    }
    assert {key.rpartition(".")[2] for key in keys} - {"extends"} == paths - {
        "root",
        "kinds",
        "fid_weights",
        "is_weights",
        "weights",
    }
    assert "root" in paths


@pytest.mark.parametrize("changes", [{}, {"lambda": 2.5, "terms": "plain"}, {"K": 3, "lambda": 3}, {"lambda": 2.5}])
def test_a_loss_without_a_minimum_is_refused(values, changes):
    cross = {"kind": "sequence-aware", "K": 2, "lambda": 2.0, "terms": "cross", **changes}
    values = {**values, "models": {**values["models"], "x": {"objective": cross}}}
    if changes == {"lambda": 2.5}:
        with pytest.raises(ConfigError, match=r"models.x.objective: lambda: 2.5 is above K \(2\).*no minimum"):
            load_config(values)
    else:
        assert load_config(values)
