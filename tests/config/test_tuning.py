"""What is tuned: which cells use whose choice, what jobs are told of it, and which mistakes are named."""

from copy import deepcopy

import pytest
import yaml

from sadpm.config.grid import Cell, cells_by_run, metrics_of, packs, tuning_packs
from sadpm.config.jobs import TuneJob
from sadpm.config.loading import load_config
from sadpm.config.reports import reports
from sadpm.config.telling import sample_job, tune_job
from sadpm.config.tuning import tuned_at
from sadpm.kinds.section import ConfigError
from sadpm.samplers.one_step import EpsilonScale
from test_config import CONFIGS, changed

VALUES = yaml.safe_load((CONFIGS / "test.yaml").read_text())
VALUES |= {
    "seeds": [3, 4],
    "samplers": {"scaled": {"kind": "ddim", "epsilon_scale": {"b": 1.0}}, "noisy": {"kind": "ddim", "eta": 0.5}},
    "tune": {"scaled": {"option": "epsilon_scale.b", "grid": [1.02, 0.98], "metric": "fd", "num_samples": 50}},
}
TABLE = {"title": "Tuned", "metric": "is", "datasets": ["digits"], "models": ["base"], "steps": [2, 5]}
VALUES["tables"]["tuned"] = {**TABLE, "samplers": ["ddim", "scaled"]}


def test_each_cell_is_tuned_by_itself():
    config = load_config(VALUES)
    cell = Cell("digits", "base", 4, "scaled", "fixed", 5)
    assert tuned_at(config, cell) == cell
    assert tuned_at(config, Cell("digits", "base", 4, "ddim", "fixed", 5)) is None
    assert {run: [cell.draw for cell in cells] for (run, _), cells in tuning_packs(config).items()} == {
        f"digits/base/seed{seed}": ["scaled-fixed-2", "scaled-fixed-5"] for seed in (3, 4)
    }


def test_one_choice_may_serve_all_seeds_and_numbers_of_steps():
    values = changed(changed(VALUES, "tune/scaled/seeds", "first"), "tune/scaled/at_steps", 4)
    config = load_config(changed(values, "tables/tuned/seeds", [4]))
    at = Cell("digits", "base", 3, "scaled", "fixed", 4)
    assert tuned_at(config, Cell("digits", "base", 4, "scaled", "fixed", 5)) == at
    assert tuning_packs(config) == {("digits/base/seed3", "fixed"): (at,)}
    assert at in cells_by_run(config)["digits/base/seed3"]
    assert at not in packs(config)["digits/base/seed3", "fixed"]
    config = load_config(changed(values, "samples_per_job", "cell"))
    assert list(tuning_packs(config)) == [("digits/base/seed3", "scaled-fixed-4")]


def test_the_job_is_told_the_declared_value_as_well():
    config = load_config(VALUES)
    job = tune_job(config, tuning_packs(config)["digits/base/seed4", "fixed"])
    assert [search.grid for search in job.searches] == [(0.98, 1.0, 1.02)] * 2
    assert (job.seed, job.searches[0].num_samples, job.searches[0].declared) == (4, 50, 1.0)
    (drawn,) = job.drawing(job.searches[0], 1.02).chains
    assert drawn.sampler.epsilon_scale == EpsilonScale(b=1.02)
    assert TuneJob.model_validate_json(job.model_dump_json(by_alias=True)) == job
    cells = packs(config)["digits/base/seed4", "fixed"]
    told = {chain.cell.draw: chain.tuned for chain in sample_job(config, cells).chains}
    assert {name: tuned.at.draw for name, tuned in told.items() if tuned} == {
        name: name for name in ("scaled-fixed-2", "scaled-fixed-5")
    }


def test_the_precision_is_told_to_what_draws_each_value():
    config = load_config({**VALUES, "execution": {"precision": "bfloat16"}})
    job = tune_job(config, tuning_packs(config)["digits/base/seed4", "fixed"])
    assert job.precision == job.drawing(job.searches[0], 1.02).precision == "bfloat16"


def test_the_grid_is_told_to_the_tuning_alone():
    """Samples follow the choice, and what is not tuned follows nothing."""
    config, other = (load_config(changed(VALUES, "tune/scaled/grid", grid)) for grid in ([1.02], [1.02, 1.04]))
    for (run, pack), cells in packs(config).items():
        assert sample_job(config, cells) == sample_job(other, cells), (run, pack)
    tunings = tuning_packs(config)
    assert all(tune_job(config, cells) != tune_job(other, cells) for cells in tunings.values())


def test_metrics_and_reports_of_tuning_are_there():
    values = deepcopy(VALUES)
    values["datasets"]["digits"]["extractor"] = "inception"
    values["tune"]["scaled"]["metric"] = "kid"
    config = load_config(values)
    assert "kid" in metrics_of(config, "digits")
    assert "kid" not in metrics_of(config, "patches")
    found = [report for report in reports(config) if report.rule == "tune"]
    assert [(report.about, report.path) for report in found] == [
        (f"digits/base/seed{seed}", f"digits/base/seed{seed}/tuned/fixed.json") for seed in (3, 4)
    ]


MISTAKES = {
    "unknown name": ("tune/x", VALUES["tune"]["scaled"], r"tune.x: 'x' is declared neither under samplers \(ddim, "),
    "two of one name": ("covariances", {"scaled": {"kind": "npr"}}, "tune.scaled: a sampler and a covariance have"),
    "unknown option": (
        "tune/scaled/option",
        "epsilon_scale.c",
        "tune.scaled.option: no number 'epsilon_scale.c' is declared, with which others could be compared; known are b",
    ),
    "nothing declared": (
        "samplers/scaled",
        {"kind": "ddim"},
        "tune.scaled.option: no number 'epsilon_scale.b' is decl",
    ),
    "no number": ("tune/scaled/option", "kind", "tune.scaled.option: 'kind' is 'ddim', and only a number can be tuned"),
    "empty grid": ("tune/scaled/grid", [], "tune.scaled.grid: this is empty"),
    "one value": ("tune/scaled/grid", [1], "tune.scaled.grid: has only 1, the declared value of 'epsilon_scale.b'"),
    "words": ("tune/scaled/grid", ["much"], r"tune.scaled.grid.0: .*'much'"),
    "out of range": ("tune/scaled/grid", [0], "tune.scaled.grid: 0: Input should be greater than 0"),
    "k below 0": (
        "samplers/scaled",
        {"kind": "ddim", "epsilon_scale": {"k": -0.25}},
        r"tables.tuned: sampler 'scaled', 5 steps: epsilon_scale: k i \+ b is 0 at level 801, and must be above 0",
    ),
    "below 0 with a value of the grid": (
        "tune/scaled",
        {**VALUES["tune"]["scaled"], "option": "epsilon_scale.k", "grid": [-0.4]},
        r"tune.scaled.grid: -0.4: sampler 'scaled', 5 steps: epsilon_scale: k i \+ b is -0.2 at level 601",
    ),
    "metric": ("tune/scaled/metric", "kid", "tune.scaled.metric: 'kid' is not to be had: datasets.digits.extractor is"),
    "few samples": ("tune/scaled/num_samples", 1, "tune.scaled.num_samples"),
    "steps": ("tune/scaled/at_steps", 3, "tune.scaled.steps: recipe 'sa-dpm': .*instead of 3"),
}


@pytest.mark.parametrize(("path", "value", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named(path, value, message):
    with pytest.raises(ConfigError, match=message) as error:
        load_config(changed(VALUES, path, value))
    assert "has 1 mistake:" in str(error.value)


def test_a_metric_needs_as_many_samples_for_tuning_as_for_a_table():
    values = changed(changed(VALUES, "datasets/digits/extractor", "inception"), "tune/scaled/metric", "precision")
    load_config(changed(values, "tune/scaled/num_samples", 4))
    with pytest.raises(ConfigError, match=r"tune\.scaled\.num_samples: 3 are too few for precision: 4 or more"):
        load_config(changed(values, "tune/scaled/num_samples", 3))


def test_a_bound_is_not_had_of_what_samples_have_tuned():
    """A metric of samples has chosen it, and so it is another rival's."""
    values = changed(VALUES, "samplers/scaled", {"kind": "ddpm", "epsilon_scale": {"b": 1.0}})
    bounds = {**TABLE, "metric": "bpd", "samplers": ["scaled"]}
    with pytest.raises(ConfigError, match=r"'bpd' is not to be had of sampler 'scaled': 'scaled' is tuned by samples"):
        load_config(changed(values, "tables/bounds", bounds))


@pytest.mark.parametrize("apart", [True, False])
def test_an_option_of_a_covariance_is_tuned_where_nothing_fitted_depends_on_it(tmp_path, apart):
    as_fitted = """
    def as_fitted(self):
        return super().as_fitted().model_copy(update={"factor": 1.0})
"""
    (tmp_path / "factor.py").write_text(f"""
from typing import Literal

from sadpm.covariances.npr import NPR


class Scaled(NPR):
    kind: Literal["scaled-npr"] = "scaled-npr"
    factor: float = 1.0
{as_fitted if apart else ""}""")
    values = {**VALUES, "kinds": [str(tmp_path / "factor.py")], "covariances": {"part": {"kind": "scaled-npr"}}}
    values["tune"] = {"part": {"option": "factor", "grid": [0.5], "metric": "fd"}}
    values = changed(values, "tables/tuned/covariances", ["part"])
    if apart:
        config = load_config(values)
        (job, *_) = (tune_job(config, cells) for cells in tuning_packs(config).values())
        assert {(search.part, search.grid) for search in job.searches} == {("covariance", (0.5, 1.0))}
        assert job.drawing(job.searches[0], 0.5).chains[0].covariance.factor == 0.5
        values["tune"] = {**values["tune"], **VALUES["tune"]}
        with pytest.raises(ConfigError, match="tune: sampler 'scaled' and covariance 'part' are both tuned"):
            load_config(values)
    else:
        with pytest.raises(ConfigError, match=r"tune.part.option: what is fitted of 'part' depends on 'factor', so"):
            load_config(values)
