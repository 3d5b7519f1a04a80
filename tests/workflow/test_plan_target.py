"""The target `plan`: it is given the workflow's own configuration, and finds the jobs that Snakemake would run."""

import csv
import json
import re
from collections import Counter

import yaml
from real_runs import REPOSITORY, TEST_CONFIG, Workflow, say

NO_FILES = {".snakemake", "results"}


def planned(folder, target):
    """The jobs of a plan, by rule."""
    jobs = Counter()
    for row in csv.DictReader((folder / "plan.csv").read_text().splitlines()):
        jobs[row["rule"]] += int(row["jobs"]) if row["target"] == target else 0
    return +jobs


def test_jobs_are_those_that_snakemake_would_run(tmp_path):
    """With several files, one of which extends another, a value on the command line, and weights that come later."""
    (tmp_path / "files").mkdir()
    values = {"extends": str(TEST_CONFIG), "models": {"sa2-lam1": {"checkpoint": {"digits": {"path": "weights.pth"}}}}}
    (tmp_path / "files/mine.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "files/more.yaml").write_text("experiment: mine\nsamples_per_job: cell\n")
    here = tmp_path / "here"
    command = [*Workflow(here).command(tmp_path / "files/mine.yaml"), tmp_path / "files/more.yaml", "--cores", "1"]

    def run(*targets):
        arguments = [*command, "--config", "seeds=[1, 2]", "--", *targets]
        done = say(arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("plan")
    assert {path.name for path in here.iterdir()} == NO_FILES
    (here / "weights.pth").touch()
    command += ["--dry-run", "--quiet", "rules"]
    for target in ("figure2", "all"):
        stats = run(target).split("Job stats:")[1].split("total")[0]
        jobs = Counter({rule: int(count) for rule, count in re.findall(r"^(\S+) +(\d+)$", stats, re.MULTILINE)})
        del jobs[target]  # the rule that only names its files
        jobs.pop("report", None)  # the page, which the plan leaves out
        assert planned(here / "results/mine", target) == jobs
    assert jobs["import_model"] == 2


def test_another_workflow_may_ask_for_it_by_another_name(tmp_path):
    inner = {"extends": str(TEST_CONFIG), "figures": None, "claims": None}
    (tmp_path / "outer.yaml").write_text(yaml.safe_dump({"inner": inner}))
    (tmp_path / "Snakefile").write_text(
        'configfile: "outer.yaml"\n'
        f'module sadpm:\n    snakefile: "{REPOSITORY}/workflow/Snakefile"\n    config: config["inner"]\n'
        "use rule * from sadpm as ours_*\n"
    )
    command = ["python", "-m", "snakemake", "--directory", tmp_path, "--cores", "1", "ours_plan"]
    done = say(command, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert planned(tmp_path / "results/test", "table3")["sample_part"] == 2


def test_the_target_needs_no_data_no_other_job_and_nothing_heavy(tmp_path):
    for heavy in ("torch", "matplotlib"):
        (tmp_path / f"{heavy}.py").write_text("raise ImportError('too heavy for a plan')")
    workflow = Workflow(tmp_path / "here")
    done = workflow.run("plan", environment={"PYTHONPATH": str(tmp_path)})
    assert "1 of 1 steps (100%) done" in done.stderr
    assert done.stdout.startswith("# Plan of test")
    assert (workflow.results / "logs/plan.log").read_text() == ""
    assert "Assumed, not measured" in (workflow.results / "plan.md").read_text()
    assert {path.name for path in workflow.folder.iterdir()} == NO_FILES
    speed = {"training": 1e12, "sampling": 2e12}
    content = {"device": "mine", "networks": {"digits": speed}}
    (tmp_path / "throughput.json").write_text(json.dumps(content))
    values = yaml.safe_load(TEST_CONFIG.read_text()) | {"plan": {"throughput": str(tmp_path / "throughput.json")}}
    (tmp_path / "measured.yaml").write_text(yaml.safe_dump(values))
    workflow.run("plan", config=tmp_path / "measured.yaml")
    assert "Measured on mine" in (workflow.results / "plan.md").read_text()
