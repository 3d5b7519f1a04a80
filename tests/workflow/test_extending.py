"""docs/extending.md: its files and its configuration, as they stand there, through Snakemake to tables."""

import re
import shutil

import pandas as pd
import pytest
import yaml
from real_runs import REPOSITORY, TEST_CONFIG, Workflow

BLOCKS = re.findall(r"```(python|yaml)\n(.*?)```", (REPOSITORY / "docs/extending.md").read_text(), re.DOTALL)
FILES = {block.split("\n")[0].removeprefix("# "): block for language, block in BLOCKS if language == "python"}
(CONFIGURATION,) = (block for language, block in BLOCKS if language == "yaml")


def lay_out(folder):
    """The document's files in a folder, and its configuration, at the size of the tests'."""
    folder.mkdir(exist_ok=True)
    for name, content in FILES.items():
        (folder / name).write_text(content)
    values = yaml.safe_load(CONFIGURATION)
    small = yaml.safe_load(TEST_CONFIG.read_text())["datasets"]["patches"]
    kept = {key: values["datasets"]["bars"][key] for key in ("source", "extractor")}
    values["datasets"]["bars"] = {**{key: value for key, value in small.items() if key != "shards"}, **kept}
    for table in values["tables"].values():
        table["steps"] = [2]
    values["extends"] = str(TEST_CONFIG)
    (folder / "mine.yaml").write_text(yaml.safe_dump(values))
    return folder / "mine.yaml"


@pytest.fixture(scope="module")
def mine(tmp_path_factory, finished):
    """The tests' experiment, to which one's own rows are added."""
    folder = tmp_path_factory.mktemp("extended") / "here"
    workflow = finished.copy(folder)
    config = lay_out(folder)
    done = workflow.run("mine", "bars", "plan", config=config)
    return workflow, config, done


def copied(mine, folder):
    workflow, _, _ = mine
    shutil.copytree(workflow.folder, folder, symlinks=True)
    return Workflow(folder), folder / "mine.yaml"


def test_files_of_the_document_are_named_in_its_configuration():
    assert yaml.safe_load(CONFIGURATION)["kinds"] == list(FILES)
    assert len(FILES) == 5


def test_rows_of_ones_own_reach_a_table(mine):
    workflow, _, _ = mine
    table = pd.read_csv(workflow.results / "tables/mine.csv")
    cells = table.set_index(["model", "sampler", "covariance"])["value"]
    assert len(cells) == 2 * 2 * 2
    assert cells.nunique() == 8
    text = (workflow.results / "tables/mine.md").read_text()
    for label in ("DDPM, Huber's loss", "half of NPR", "DDIM, noise / 1.01"):
        assert label in text
    assert "FD (profiles)" in (workflow.results / "tables/bars.md").read_text()


def test_they_are_planned(mine):
    plan = pd.read_csv(mine[0].results / "plan.csv")
    fits = plan[(plan["target"] == "mine") & (plan["rule"] == "fit_covariances")]
    assert fits["jobs"].sum() == 2
    assert plan[(plan["target"] == "bars") & (plan["rule"] == "prepare_data")]["bytes"].sum() == 500 * 64


def test_what_was_fitted_before_is_neither_fitted_nor_drawn_again(mine):
    workflow, _, done = mine
    folder = workflow.results / "digits/base/seed0/covariance"
    assert {path.name for path in folder.glob("*.safetensors")} == {
        "analytic+npr+sn.safetensors",
        "half-npr.safetensors",
    }
    begun = re.findall(r"^Job \d+: (.*)", done.stdout + done.stderr, re.MULTILINE)
    assert sorted(job for job in begun if job.startswith(("Fitting", "Training"))) == [
        "Fitting half-npr to base on digits, seed 0",
        "Fitting half-npr to huber on digits, seed 0",
        "Training base on bars, seed 0",
        "Training huber on digits, seed 0",
    ]
    assert not [job for job in begun if job.startswith(("Sampling npr", "Sampling sn", "Sampling analytic"))]


def test_a_changed_file_makes_its_cells_again_and_no_others(mine, tmp_path):
    workflow, config = copied(mine, tmp_path / "here")
    path = workflow.folder / "my_covariance.py"
    path.write_text(path.read_text().replace("self.factor *", "0.9 * self.factor *"))
    planned = workflow.planned("mine", "bars", config=config)
    assert [job for job in planned if job.startswith("Training")] == []
    fits = [job for job in planned if job.startswith("Fitting")]
    assert len(fits) == 2
    assert all("half-npr" in job for job in fits)
    drawn = [job for job in planned if job.startswith("Sampling")]
    assert len(drawn) == 2
    assert all("half-npr" in job for job in drawn)


def test_a_broken_file_is_told_before_any_job(mine, tmp_path):
    workflow, config = copied(mine, tmp_path / "here")
    path = workflow.folder / "my_sampler.py"
    path.write_text(path.read_text().replace("manner, first):", "manner):"))
    done = workflow.run("mine", check=False, config=config)
    assert done.returncode == 1
    line = 1 + path.read_text().split("    def chain")[0].count("\n")
    told = f"my_sampler.py, line {line}: chain(self, predict, x, levels, schedule, draw_noise, manner) must be chain("
    assert told in done.stderr


def test_what_ones_own_code_raises_is_told_with_its_line(mine, tmp_path):
    workflow, config = copied(mine, tmp_path / "here")
    path = workflow.folder / "my_objective.py"
    path.write_text(
        path.read_text().replace('n, noise = draws["n"], draws["noise"]', 'n, noise = draws["n"], draws["x"]')
    )
    done = workflow.run("mine", check=False, config=config)
    assert done.returncode == 1
    (log,) = workflow.results.glob("logs/digits/huber/**/train.log")
    assert log.read_text().splitlines()[-1].endswith("my_objective.py, line 19: KeyError: 'x'")


def test_a_loss_that_is_not_finite_ends_in_no_number(mine, tmp_path):
    workflow, config = copied(mine, tmp_path / "here")
    path = workflow.folder / "my_objective.py"
    path.write_text(path.read_text().replace(".sum(1).mean())", '.sum(1).mean() * float("nan"))'))
    done = workflow.run("mine", check=False, config=config)
    assert done.returncode == 1
    (log,) = workflow.results.glob("logs/digits/huber/**/train.log")
    assert "training has diverged: the loss is nan in steps 1 to 2" in log.read_text()
