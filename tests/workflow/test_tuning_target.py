"""A tuned row, through Snakemake to its table: what is chosen by which job, and what a changed grid makes anew."""

import pandas as pd
import pytest
import yaml
from real_runs import TEST_CONFIG
from test_report_target import rule_graph

from sadpm.config.files import read_config
from sadpm.config.loading import load_config
from sadpm.config.telling import page_job
from sadpm.cost.graph import outputs_of
from sadpm.cost.plan import Throughput, plan_rows
from sadpm.report.costs import measured_jobs
from sadpm.report.flow import draw, edges
from sadpm.running.files import read_json


def write_config(path, grid):
    values = {
        "extends": str(TEST_CONFIG),
        "samplers": {"scaled": {"kind": "ddim", "epsilon_scale": {"b": 1.0}, "label": "DDIM, scaled"}},
        "tune": {"scaled": {"option": "epsilon_scale.b", "grid": grid, "metric": "fd", "num_samples": 50}},
        "tables": dict.fromkeys(["table1", "table2", "table3", "table4", "table5"]),
        "figures": None,
        "claims": None,
    }
    values["tables"]["tuned"] = {
        "title": "Tuned", "metric": "fd", "datasets": ["digits"], "models": ["base"], "samplers": ["ddim", "scaled"],
        "steps": [2, 5],
    }  # fmt: skip
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def workflow(tmp_path_factory, finished):
    """The tests' experiment, with a tuned row beside."""
    workflow = finished.copy(tmp_path_factory.mktemp("tuning"))
    workflow.run("tuned", config=write_config(workflow.folder / "tuned.yaml", [0.9, 1.1]))
    return workflow


def test_the_chosen_value_reaches_the_table(workflow):
    run = workflow.results / "digits/base/seed0"
    (file,) = (run / "tuned").glob("*.json")
    assert file.name == "fixed.json"
    chosen = {entry["cell"]["steps"]: entry["value"] for entry in read_json(file)["tuned"]}
    table = pd.read_csv(workflow.results / "tables/tuned.csv").set_index(["sampler", "steps"])
    assert table["tuned_value"].loc["scaled"].to_dict() == chosen
    assert table["tuned_value"].loc["ddim"].isna().all()
    draws = read_json(run / "samples/fixed.json")["draws"]
    assert {draw["cell"]["steps"]: draw["tuned"]["value"] for draw in draws if "tuned" in draw} == chosen
    assert "Tuned by FD of samples that no table shows" in (workflow.results / "tables/tuned.md").read_text()


def test_a_changed_grid_runs_its_own_jobs_again(workflow, tmp_path):
    config = write_config(tmp_path / "other.yaml", [0.9, 1.05])
    assert workflow.planned("tuned", config=config) == [
        *(f"{what} fixed of base on digits, seed 0" for what in ("Sampling", "Scoring", "Tuning")),
        "Writing tuned",
    ]


def test_tuning_is_planned_and_drawn(workflow):
    path = workflow.folder / "tuned.yaml"
    config = load_config(read_config(path))
    costs = plan_rows(config, outputs_of(config, str(workflow.snakefile)), Throughput.assumed(config))
    (tuning,) = (row.cost for row in costs if (row.target, row.rule) == ("tuned", "tune"))
    assert (tuning.jobs, tuning.calls, tuning.bytes) == (1, 3 * 50 * (2 + 5), 0)
    assert tuning.flops > 0
    job = page_job(config)
    jobs = measured_jobs(workflow.results / "benchmarks", job.runs, job.tables, job.figures)
    # The results are those of the tests' whole experiment, of which this is a part.
    jobs = [job for job in jobs if job.rule not in ("fit_covariances", "measure_gap", "measure_likelihood", "claims")]
    shown = {("score", "table")}
    found = edges(jobs, [], shown)
    assert found == rule_graph(workflow.run("report", "--rulegraph", config=path).stdout)
    assert ("tune", "sample") in found
    corners = {box.rule: box.y for box in draw(jobs, [], shown).boxes}
    assert all(corners[before] < corners[after] for before, after in found)
