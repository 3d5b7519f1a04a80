import re
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from sadpm.config import ConfigError, Section, load_config, read_config
from sadpm.grid import packs
from sadpm.jobs import (
    CovarianceJob,
    FigureJob,
    SampleJob,
    ScoreJob,
    TableJob,
    TrainJob,
    figure_job,
    sample_job,
    score_job,
    table_job,
    train_job,
)

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
    assert load_config(read_config(path)).tables.keys() >= {"table1", "table2", "table3", "table4"}


MISTAKES = {
    "unknown key": (
        "models/sa2-lam1/sequence",
        {"K": 2, "lamda": 1.0},
        ["models.sa2-lam1.sequence", "did you mean 'lambda'"],
    ),
    "K below 2": (
        "models/sa2-lam1/sequence/K",
        1,
        ["models.sa2-lam1.sequence.K", "greater than or equal to 2", "not 1"],
    ),
    "negative lambda": (
        "models/sa2-lam1/sequence/lambda",
        -0.1,
        ["sequence.lambda", "greater than or equal to 0", "-0.1"],
    ),
    "unknown window": ("models/sa2-lam1/sequence/window", "centred", ["sequence.window", "'anchored' or 'sliding'"]),
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
    "undeclared sampler": ("tables/table1/samplers", ["euler"], ["tables.table1.samplers: 'euler'", "ddpm, ddim"]),
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
    "score without classes": (
        "tables/table3/metric",
        "is",
        ["'is' is not to be had: datasets.patches.extractor is 'pixels'"],
    ),
    "labels missing": ("datasets/patches/extractor", "classifier", ["'classifier' is for the digits", "'pixels'"]),
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
        {"x": {"family": "ddpm", "eta": 0.5}},
        ["samplers.x", "eta belongs to the family 'ddim'"],
    ),
    "name with a slash": ("models/a|b", {}, ["models", "a|b"]),
    "figure of no kind": ("figures/figure1/kind", "pie", ["figures.figure1", "pie"]),
    "required": ("datasets/digits/training", {}, ["datasets.digits.training.steps: this key is required"]),
}


@pytest.mark.parametrize(("path", "value", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_what_would_be_right(values, path, value, expected):
    with pytest.raises(ConfigError) as error:
        load_config(changed(values, path, value), "my.yaml")
    message = str(error.value)
    assert message.startswith("my.yaml has ")
    for part in expected:
        assert part in message
    assert "pydantic" not in message


def test_every_mistake_is_listed_at_once(values):
    values = changed(changed(values, "models/sa2-lam1/sequence/K", 1), "datasets/digits/num_samples", 0)
    with pytest.raises(ConfigError, match="2 mistakes"):
        load_config(values)


@pytest.mark.parametrize("empty", [None, [], "text"])
def test_an_empty_document_is_an_error(empty):
    with pytest.raises(ConfigError, match=r"start from config/config\.yaml"):
        load_config(empty)


def test_the_users_samplers_join_those_of_the_paper(values):
    config = load_config(changed(values, "samplers", {"half": {"family": "ddim", "eta": 0.5}}))
    assert set(config.samplers) == {"ddpm", "ddim", "half"}


def test_jobs_survive_the_command_line(values):
    config = load_config(values)
    cells = next(iter(packs(config).values()))
    for job, kind in [
        (train_job(config, "digits", "sa3-slide", 0), TrainJob),
        (CovarianceJob(schedule=config.schedule, heads=config.datasets["digits"].heads, seed=1), CovarianceJob),
        (sample_job(config, cells), SampleJob),
        (score_job(config, cells), ScoreJob),
        (table_job(config, "table4"), TableJob),
        *((figure_job(config, name), FigureJob) for name in config.figures),
    ]:
        assert kind.model_validate_json(job.model_dump_json(by_alias=True)) == job


def test_a_training_job_holds_its_own_lambda_and_no_other(values):
    config = load_config(values)
    other = load_config(changed(values, "models/sa2-lam1/sequence/lambda", 0.5))
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


@pytest.mark.parametrize(
    "section", [s for s in sections() if s.__module__.startswith("sadpm.config")], ids=lambda s: s.__name__
)
def test_every_key_is_documented_with_its_default(section):
    rows = [line for line in (CONFIGS / "README.md").read_text().splitlines() if line.startswith("|")]
    for name, field in section.model_fields.items():
        key = field.alias or name
        named = [row for row in rows if re.search(rf"[`.]{re.escape(key)}`", row.split("|")[1])]
        assert named, f"{section.__name__}.{key} is missing from config/README.md"
        default = field.get_default(call_default_factory=True)
        if isinstance(default, int | float) and not isinstance(default, bool):
            numbers = {float(number) for row in named for number in re.findall(r"`(\d[\d.e-]*)`", row)}
            assert default in numbers, f"the default of {section.__name__}.{key} is {default}"


def test_a_file_that_extends_another_says_only_the_differences(tmp_path):
    (tmp_path / "base.yaml").write_text("experiment: a\nmodels: {x: {label: X}, y: {label: Y}}\nseeds: [0, 1]\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "middle.yaml").write_text("extends: ../base.yaml\nmodels: {y: {batch_multiplier: 2}}\n")
    (tmp_path / "own.yaml").write_text("extends: deep/middle.yaml\nexperiment: b\nseeds: [7]\nmodels: {x: null}\n")
    assert read_config(tmp_path / "own.yaml") == {
        "experiment": "b",
        "models": {"y": {"label": "Y", "batch_multiplier": 2}},
        "seeds": [7],
    }


@pytest.mark.parametrize(
    ("content", "message"), [("extends: no.yaml", r"no\.yaml"), ("- 1", "not a configuration"), ("a: [", "own")]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, message):
    (tmp_path / "own.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_config(tmp_path / "own.yaml")
