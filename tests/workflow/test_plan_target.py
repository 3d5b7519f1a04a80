"""The plan against Snakemake's own dry run: the same jobs, for everything and for one output alone."""

import csv
import json
import re
from collections import Counter

import pytest
import yaml
from real_runs import REPOSITORY, TEST_CONFIG, Workflow

from sadpm.config.files import read_config
from sadpm.config.loading import load_config
from sadpm.cost.plan import EVERYTHING, Throughput, plan_rows

CONFIGS = REPOSITORY / "config"


def planned(path, target):
    config = load_config(read_config(path))
    rows = plan_rows(config, Throughput.assumed(config))
    jobs = Counter()
    for row in rows:
        jobs[row.rule] += row.cost.jobs if row.target == target else 0
    return +jobs


def dry_run(folder, path, target):
    text = Workflow(folder).run(target, "--dry-run", "--quiet", "rules", config=path).stdout
    stats = re.findall(r"^(\S+) +(\d+)$", text.split("Job stats:")[1].split("total")[0], flags=re.MULTILINE)
    jobs = Counter({rule: int(count) for rule, count in stats})
    del jobs[target]  # the rule that only names its files
    return jobs


@pytest.mark.parametrize(
    ("name", "target"), [("test", "all"), ("config", "all"), ("test", "table4"), ("config", "figure2")]
)
def test_jobs_are_those_that_snakemake_would_run(tmp_path, name, target):
    path = CONFIGS / f"{name}.yaml"
    assert planned(path, EVERYTHING if target == "all" else target) == dry_run(tmp_path, path, target)


def test_imported_models_are_counted_as_snakemake_does(tmp_path):
    values = yaml.safe_load(TEST_CONFIG.read_text())
    values["models"]["sa2-lam1"]["checkpoint"] = {"digits": {"path": "weights.pth"}}
    (tmp_path / "weights.pth").touch()
    path = tmp_path / "imported.yaml"
    path.write_text(yaml.safe_dump(values))
    jobs = dry_run(tmp_path, path, "all")
    assert jobs["import_model"] == 1
    assert planned(path, EVERYTHING) == jobs


def test_the_target_needs_no_data_no_other_job_and_nothing_heavy(tmp_path):
    for heavy in ("torch", "matplotlib"):
        (tmp_path / f"{heavy}.py").write_text("raise ImportError('too heavy for a plan')")
    workflow = Workflow(tmp_path)
    done = workflow.run("plan", environment={"PYTHONPATH": str(tmp_path)})
    assert "1 of 1 steps (100%) done" in done.stderr
    assert "# Plan of test" in done.stdout
    assert "Assumed, not measured" in (workflow.results / "plan.md").read_text()
    rows = list(csv.DictReader((workflow.results / "plan.csv").read_text().splitlines()))
    assert {row["target"] for row in rows} >= {"all", "table1", "figure5"}
    speed = {"training": 1e12, "sampling": 2e12}
    content = {"device": "mine", "networks": {"digits": speed}}
    (tmp_path / "throughput.json").write_text(json.dumps(content))
    values = yaml.safe_load(TEST_CONFIG.read_text()) | {"plan": {"throughput": "throughput.json"}}
    (tmp_path / "measured.yaml").write_text(yaml.safe_dump(values))
    workflow.run("plan", config=tmp_path / "measured.yaml")
    assert "Measured on mine" in (workflow.results / "plan.md").read_text()
