from collections import Counter

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sadpm.config import load_config
from sadpm.grid import Cell, Draw, all_cells, figure_cells, figure_curves, runs_by_draws, table_cells
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
    wanted += [cell for name in CONFIG.figures for cell in figure_cells(CONFIG, name)]
    cells = all_cells(CONFIG)
    assert set(cells) == set(wanted)
    assert max(Counter(cells).values()) == 1 < max(Counter(wanted).values())


def test_seeds_multiply_cells_and_a_table_may_choose_its_own():
    config = load_config(changed(changed(VALUES, "seeds", [0, 1, 2]), "tables/table3/seeds", [1]))
    assert {cell.seed for cell in table_cells(config, "table1")} == {0, 1, 2}
    assert {cell.seed for cell in table_cells(config, "table3")} == {1}
    assert {curve.seed for curve in figure_curves(config, "figure4")} == {0, 1, 2}
    assert {cell.seed for cell in figure_cells(config, "figure2")} == {0}


@given(budget=st.integers(0, 60))
def test_every_draw_is_in_exactly_one_job_and_no_job_exceeds_the_budget(budget):
    config = load_config(changed(VALUES, "job_steps", budget))
    made = Counter()
    for draws, runs in runs_by_draws(config).items():
        assert len(draws) == 1 or sum(draw.steps for draw in draws) <= budget
        for run in runs:
            made.update((run, draw) for draw in draws)
    wanted = {
        (f"{c.dataset}/{c.model}/seed{c.seed}", Draw(c.sampler, c.covariance, c.steps)) for c in all_cells(config)
    }
    assert made == Counter(wanted)


@pytest.mark.parametrize("budget", [0, 1])
def test_without_a_budget_every_cell_is_a_job(budget):
    config = load_config(changed(VALUES, "job_steps", budget))
    assert all(len(draws) == 1 for draws in runs_by_draws(config))
