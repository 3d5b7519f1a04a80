from collections import Counter
from copy import deepcopy

import pytest
import yaml

from sadpm.config.grid import (
    Cell,
    all_cells,
    cells_by_run,
    fit_of,
    likelihood_packs,
    metrics_of,
    packs,
    passes,
    sampled_cells,
    table_cells,
)
from sadpm.config.loading import load_config
from test_config import CONFIGS, changed

VALUES = yaml.safe_load((CONFIGS / "test.yaml").read_text())
CONFIG = load_config(VALUES)


def test_a_table_is_the_product_of_its_lists_and_what_is_added():
    cells = table_cells(CONFIG, "table4")
    assert cells == [
        Cell("digits", "base", 0, "ddpm", "fixed", 2),
        Cell("digits", "sa3-slide", 0, "ddpm", "fixed", 2),
        Cell("digits", "base", 0, "ddpm", "fixed", 5),
    ]


def test_cells_shared_by_tables_and_figures_are_computed_once():
    wanted = [cell for name in CONFIG.tables for cell in table_cells(CONFIG, name)]
    wanted += [cell for figure in CONFIG.figures.values() for cell in figure.cells(CONFIG.seeds)]
    cells = all_cells(CONFIG)
    assert set(cells) == set(wanted)
    assert max(Counter(cells).values()) == 1 < max(Counter(wanted).values())


def test_seeds_multiply_cells_and_a_table_may_choose_its_own():
    config = load_config(changed(changed(VALUES, "seeds", [0, 1, 2]), "tables/table3/seeds", [1]))
    assert {cell.seed for cell in table_cells(config, "table1")} == {0, 1, 2}
    assert {cell.seed for cell in table_cells(config, "table3")} == {1}
    assert {curve.seed for curve in config.figures["figure4"].curves(config.seeds)} == {0, 1, 2}
    assert {curve.seed for curve in config.figures["theory"].curves(config.seeds)} == {0}
    assert {cell.seed for cell in config.figures["figure2"].cells(config.seeds)} == {0}


WAYS = ["cell", "row", "covariance", "model"]


@pytest.mark.parametrize("way", WAYS)
def test_every_cell_is_in_exactly_one_job_of_its_run(way):
    config = load_config(changed(VALUES, "samples_per_job", way))
    made = packs(config)
    assert sorted(cell for cells in made.values() for cell in cells) == sampled_cells(config)
    bounds = likelihood_packs(config)
    assert sorted(cell for cells in bounds.values() for cell in cells) == sorted(table_cells(config, "table5"))
    assert all(cell.run == run for (run, _), cells in [*made.items(), *bounds.items()] for cell in cells)


def test_what_only_a_bound_is_asked_of_is_not_sampled_and_has_its_covariance_all_the_same():
    bounded = changed(VALUES, "tables/table5/covariances", ["analytic"])
    config = load_config({**bounded, "tables": {"table5": bounded["tables"]["table5"]}, "figures": {}, "claims": {}})
    assert packs(config) == {}
    assert {pack for _, pack in likelihood_packs(config)} == {"analytic"}
    assert passes(config, cells_by_run(config)["digits/base/seed0"]) == {"analytic": "analytic"}
    assert metrics_of(config, "digits") == ("fd", "is")
    cells = {cell for made in packs(CONFIG).values() for cell in made}
    assert cells.isdisjoint({Cell("digits", "base", 0, "ddpm", covariance, 4) for covariance in ("fixed", "npr")})


def test_a_figure_or_claim_may_ask_for_bounds_as_well():
    figure = {"kind": "quality", "title": "B", "metric": "bpd", "dataset": "digits", "models": ["base"], "steps": [2]}
    claim = {**VALUES["claims"]["a"], "metric": "bpd", "steps": [5]}
    values = {**VALUES, "tables": {}, "figures": {"f": figure}, "claims": {"a": claim}}
    cells = {cell for made in likelihood_packs(load_config(values)).values() for cell in made}
    assert {(cell.model, cell.steps) for cell in cells} == {("base", 2), ("base", 5), ("sa2-lam1", 5)}
    assert packs(load_config(values)) == {}


@pytest.mark.parametrize(
    ("way", "names"),
    [
        ("cell", {"ddpm-fixed-2", "ddpm-fixed-5", "ddim-fixed-2", "ddpm-npr-2", "ddim-npr-2"}),
        ("row", {"ddpm-fixed", "ddim-fixed", "ddpm-npr", "ddim-npr"}),
        ("covariance", {"fixed", "npr"}),
        ("model", {"all"}),
    ],
)
def test_jobs_are_named_after_what_their_cells_share(way, names):
    table = {**VALUES["tables"]["table1"], "covariances": ["fixed", "npr"]}
    values = {**VALUES, "tables": {"t": table, "table4": VALUES["tables"]["table4"]}, "samples_per_job": way}
    config = load_config(values)
    assert {name for run, name in packs(config) if run == "digits/base/seed0"} == names


def test_a_cell_has_a_job_of_its_own_by_default():
    values = {key: value for key, value in VALUES.items() if key != "samples_per_job"}
    assert all(len(cells) == 1 for cells in packs(load_config(values)).values())


@pytest.mark.parametrize(
    ("what", "value", "kept_by"),
    [
        ("covariances", ["fixed", "analytic", "npr", "sn"], ["cell", "row", "covariance"]),
        ("models", ["base", "sa2-lam1", "sa3-slide"], WAYS),
        ("steps", [2, 5], ["cell"]),
    ],
)
def test_further_cells_leave_the_jobs_of_others_as_they_are(what, value, kept_by):
    fewer = {**VALUES, "tables": {}, "figures": {}, "claims": {}}
    fewer = changed(fewer, "tables/t", {**VALUES["tables"]["table1"], "covariances": ["fixed", "npr"]})
    for way in WAYS:
        before, after = (
            packs(load_config(changed(values, "samples_per_job", way)))
            for values in (fewer, changed(fewer, f"tables/t/{what}", value))
        )
        assert (before.items() <= after.items()) == (way in kept_by)


def with_covariance(name, **section):
    """The tests' configuration, of whose tables one asks for one more covariance."""
    values = deepcopy(VALUES)
    values["covariances"] = {name: section}
    values["tables"]["table4"]["covariances"] = ["fixed", name]
    return load_config(values)


def test_covariances_that_agree_in_their_fit_share_it():
    config = with_covariance("mean", kind="npr", average=True, label="NPR, averaged")
    assert fit_of(config, "mean") == fit_of(config, "npr") == "npr"
    assert fit_of(config, "fixed") is None


def test_one_pass_makes_what_is_missing():
    cells = cells_by_run(CONFIG)["digits/base/seed0"]
    assert passes(CONFIG, cells) == dict.fromkeys(("analytic", "npr", "sn"), "analytic+npr+sn")
    assert passes(CONFIG, cells_by_run(CONFIG)["patches/base/seed0"]) == {}
    found = passes(CONFIG, cells, present=["npr", "gone+sn"])
    assert found == {"npr": "npr", "analytic": "analytic+sn", "sn": "analytic+sn"}
    assert passes(CONFIG, cells, present=["analytic+npr+sn"]) == passes(CONFIG, cells)


def test_a_kind_that_needs_more_than_the_forward_pass_has_its_own():
    cells = cells_by_run(CONFIG)["digits/base/seed0"]
    config = load_config(changed(VALUES, "tables/table4/covariances", ["fixed", "ocm"]))
    more = cells_by_run(config)["digits/base/seed0"]
    assert passes(config, more) == {**passes(CONFIG, cells), "ocm": "ocm"}


def test_figures_have_the_cells_and_curves_of_what_they_show():
    for figure in CONFIG.figures.values():
        assert bool(figure.cells(CONFIG.seeds)) == bool(figure.shows & {"samples", "scores"})
        assert bool(figure.curves(CONFIG.seeds)) == bool({"curves", "theorems"} & figure.shows)
        assert bool(figure.metrics) == ("scores" in figure.shows)
        assert any(map(figure.is_about, CONFIG.datasets)) == bool(figure.shows)
    shown = set().union(*(figure.shows for figure in CONFIG.figures.values()))
    assert shown == {"data", "samples", "scores", "details", "curves", "theorems"}


def test_a_gap_figure_may_have_seeds_of_its_own():
    values = {**changed(VALUES, "figures/figure4/seeds", [1]), "seeds": [0, 1, 2], "claims": {}}
    config = load_config(values)
    assert {curve.seed for curve in config.figures["figure4"].curves(config.seeds)} == {1}
