import ast
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
import yaml
from real_runs import ENVIRONMENT, REPOSITORY, TEST_CONFIG, Workflow

from holding import Hold
from sadpm.config.files import read_config
from sadpm.config.grid import Cell
from sadpm.config.jobs import ArchiveJob
from sadpm.config.loading import load_config
from sadpm.running.files import read_json, sha256
from sadpm.stages.archive import archive
from sadpm.watch.jobs import read_jobs
from sadpm.watch.look import look

TABLES = {"table1": 16, "table2": 16, "table3": 2, "table4": 3, "table5": 4}
PAGE = "Showing test on a page"
FIGURES = ("figure1", "figure2", "figure3", "figure4", "figure5", "figure6", "theory")


def variant(folder, change):
    """A changed copy of the tests' configuration."""
    values = yaml.safe_load(TEST_CONFIG.read_text())
    change(values)
    path = folder / "variant.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


@pytest.mark.parametrize(("name", "cells"), TABLES.items())
def test_tables_are_complete(finished, name, cells):
    table = pd.read_csv(finished.results / f"tables/{name}.csv")
    assert len(table) == cells
    assert np.isfinite(table["value"]).all()
    assert table["code"].notna().all()
    assert (finished.results / f"tables/{name}.tex").read_text().count(r"\toprule") == 1
    assert (finished.results / f"tables/{name}.md").read_text().strip()


def test_a_run_can_be_watched(finished):
    """All its jobs are listed, by the names of their logs, and done, also those that drew parts which are gone."""
    run = read_jobs(finished.results)
    logs = finished.results / "logs"
    assert {job.name for job in run.jobs} == {
        path.relative_to(logs).with_suffix("").as_posix() for path in logs.rglob("*.log")
    }
    assert {one.standing for one in look(finished.results, run, time.time())} == {"done"}
    assert not list(finished.results.rglob(".*.status"))


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_complete(finished, name):
    assert (finished.results / f"figures/{name}.pdf").read_bytes().startswith(b"%PDF")
    assert (finished.results / f"figures/{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_theorems_are_tabulated_with_their_figure(finished):
    numbers = pd.read_csv(finished.results / "tables/theory.csv")
    assert set(numbers["model"]) == {"sa3-slide"}
    assert len(numbers) == 3 + 3 * 2
    assert (finished.results / "tables/theory.tex").read_text().count(r"\toprule") == 2
    assert "Theorem 2" in (finished.results / "tables/theory.md").read_text()


def test_every_rule_has_logged_and_measured(finished):
    logs = {path.stem for path in finished.results.glob("logs/**/*.log")}
    benchmarks = {path.stem for path in finished.results.glob("benchmarks/**/*.tsv")}
    assert logs == benchmarks
    assert logs >= {
        "prepare_data",
        "train_extractor",
        "measure_reference",
        "train",
        "fit_covariances-analytic+npr+sn",
        *TABLES,
        *FIGURES,
    }


def test_nothing_is_left_behind(finished):
    assert not list(finished.results.glob(".checkpoints/**/*.ckpt"))
    assert not [path for path in finished.results.rglob(".*") if path.is_file()]


def test_a_second_run_does_nothing(finished):
    assert "Nothing to be done" in finished.run("all").stderr


def test_a_changed_lambda_runs_its_own_cells_again_and_no_others(finished, tmp_path):
    def change(values):
        values["models"]["sa2-lam1"]["objective"]["lambda"] = 0.5

    planned = finished.planned("all", config=variant(tmp_path, change))
    about_runs = [line for line in planned if "seed" in line]
    assert any(line.startswith("Training sa2-lam1") for line in about_runs)
    assert all("sa2-lam1" in line for line in about_runs)
    others = {line for line in planned if "seed" not in line}
    drawn = {"Writing table1", "Writing table2", "Drawing figure2", "Drawing figure4"}
    assert others == {*drawn, "Judging the claims of test", PAGE}


def test_a_changed_title_runs_one_table_again(finished, tmp_path):
    def change(values):
        values["tables"]["table3"]["title"] = "Another title"

    assert finished.planned("all", config=variant(tmp_path, change)) == [PAGE, "Writing table3"]


def test_how_a_job_is_run_is_no_reason_to_run_it_again(finished, tmp_path):
    def change(values):
        values["checkpoint_seconds"] = 7
        values["datasets"]["digits"]["gpus"] = 2
        values["execution"] = {"compile": "default", "cuda_graphs": True, "gradient_accumulation": 2}
        values["datasets"]["patches"]["execution"] = {"activation_checkpointing": True}

    assert finished.planned("all", config=variant(tmp_path, change)) == []


def test_another_precision_is_another_model(finished, tmp_path):
    def change(values):
        values["datasets"]["patches"]["execution"] = {"precision": "bfloat16"}

    planned = finished.planned("all", config=variant(tmp_path, change))
    assert "Training base on patches, seed 0" in planned
    assert not any("digits" in line for line in planned)


def test_a_deleted_table_is_rebuilt_alone_and_the_same(finished, tmp_path):
    workflow = finished.copy(tmp_path)
    paths = [workflow.results / f"tables/table1.{form}" for form in ("csv", "tex", "md")]
    before = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    assert workflow.planned("all") == [PAGE, "Writing table1"]
    workflow.run("all")
    assert [path.read_bytes() for path in paths] == before


def test_one_table_can_be_asked_for_by_name(tmp_path):
    workflow = Workflow(tmp_path)
    planned = workflow.planned("table3")
    assert "Writing table3" in planned
    assert not any("digits" in line for line in planned)
    assert workflow.planned("figure1") == ["Drawing figure1"]
    assert len(workflow.planned("results/test/patches/base/seed0/scores/fixed.json")) == 7


def images_by_cell(folder):
    """The hash of each cell's images in a folder of samples."""
    found = {}
    for path in folder.glob("*.npy"):
        draws = read_json(path.with_suffix(".json"))["draws"]
        for draw, images in zip(draws, np.load(path), strict=True):
            assert draw["sha256"] == hashlib.sha256(images.tobytes()).hexdigest()
            found[Cell(**draw["cell"])] = draw["sha256"]
    return found


def test_samples_do_not_depend_on_how_jobs_are_cut(finished, tmp_path):
    """Cells that shared a process get their own, and samples that two jobs had shared are drawn by one."""

    def change(values):
        values["samples_per_job"] = "cell"
        del values["datasets"]["patches"]["shards"]

    workflow, expected = finished.copy(tmp_path), {}
    for run, draws in {
        "digits/base/seed0": ("ddpm-fixed-2", "ddim-fixed-2", "ddpm-npr-2", "ddim-npr-2"),
        "patches/base/seed0": ("ddim-fixed-2",),
    }.items():
        expected |= {
            cell: content
            for cell, content in images_by_cell(workflow.results / run / "samples").items()
            if cell.draw in draws
        }
        shutil.rmtree(workflow.results / run / "samples")
        workflow.run(*(f"results/test/{run}/samples/{draw}.npy" for draw in draws), config=variant(tmp_path, change))
    found = {}
    for run in ("digits/base/seed0", "patches/base/seed0"):
        found |= images_by_cell(workflow.results / run / "samples")
    assert found == expected


def test_rules_are_called_the_same_whatever_shares_a_job(finished):
    shown = finished.run(
        "all",
        "--forcerun",
        "sample",
        "--dry-run",
        "--printshellcmds",
        "--set-resources",
        "sample:checkpoint_seconds=123",
    )
    assert shown.stdout.count("sadpm.stages.sample ") == shown.stdout.count("--checkpoint-seconds 123") == 9
    until = finished.planned("all", "--forceall", "--until", "sample")
    assert any(line.startswith("Sampling npr of base on digits") for line in until)
    assert not any(line.startswith(("Scoring", "Writing")) for line in until)


def test_bounds_sample_nothing_and_samples_have_no_bounds(tmp_path):
    def change(values):
        values["datasets"]["digits"] |= {
            "source": {"kind": "digits", "split": "train"}, "likelihood": {"num_images": 60, "split": "test"}
        }  # fmt: skip

    workflow = Workflow(tmp_path)
    planned = workflow.planned("table5", config=variant(tmp_path, change))
    assert planned == [
        "Fitting analytic+npr+sn to base on digits, seed 0",
        "Measuring the bounds fixed of base on digits, seed 0",
        "Measuring the bounds npr of base on digits, seed 0",
        "Preparing the images of digits",
        "Preparing the test images of digits",
        "Training base on digits, seed 0",
        "Writing table5",
    ]
    others = workflow.planned("table1", "table2", "table3", "table4")
    assert not [line for line in others if "bounds" in line or "test images" in line]


def test_other_images_of_bounds_measure_bounds_again_and_no_more(finished, tmp_path):
    def change(values):
        values["datasets"]["digits"]["likelihood"]["num_images"] = 61

    bounds = [f"Measuring the bounds {pack} of base on digits, seed 0" for pack in ("fixed", "npr")]
    assert finished.planned("all", config=variant(tmp_path, change)) == [*bounds, PAGE, "Writing table5"]


def test_samples_that_nothing_asks_for_are_told(tmp_path):
    target = "results/test/digits/sa3-slide/seed0/scores/npr.json"
    done = Workflow(tmp_path).run(target, "--dry-run", check=False)
    assert done.returncode == 1
    assert "no table, figure or claim asks for samples 'npr' of digits/sa3-slide/seed0" in done.stdout + done.stderr


def test_a_killed_workflow_goes_on_where_training_was(finished, tmp_path):
    """Kill -9 snakemake and its training job, run the same command again, and get the same weights."""

    def change(values):
        values["checkpoint_seconds"] = 0
        values["datasets"]["digits"]["training"]["steps"] = 20

    config = variant(tmp_path, change)
    target = "results/test/digits/base/seed0/training.json"
    weights = "results/test/digits/base/seed0/model/diffusion_pytorch_model.safetensors"
    killed, whole = Workflow(tmp_path / "killed"), Workflow(tmp_path / "whole")
    hold = Hold(tmp_path / "held").at(5)
    process = subprocess.Popen(
        [*killed.command(config), "--cores", "1", target], env={**ENVIRONMENT, **hold.environment},
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and not list(killed.results.glob(".checkpoints/**/*.ckpt")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed.folder / target).exists()
    assert list(killed.results.glob(".checkpoints/**/*.ckpt"))
    killed.run("--unlock", config=config)
    killed.run(target, config=config)
    assert "resuming from" in (killed.results / "logs/digits/base/seed0/train.log").read_text()
    whole.run(target, config=config)
    assert sha256(killed.folder / weights) == sha256(whole.folder / weights)


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_without_a_target_everything_is_made(tmp_path, snakefile):
    workflow = Workflow(tmp_path, REPOSITORY / snakefile)
    assert workflow.planned() == workflow.planned("all") != []


def test_a_configuration_given_by_name_stands_alone(tmp_path):
    def alone(values):
        values.update(tables={"mine": values["tables"]["table3"]}, figures={}, claims={})

    config = variant(tmp_path, alone)
    workflow = Workflow(tmp_path)
    assert "Writing mine" in workflow.planned("all", config=config)
    assert not any("table1" in line or "digits" in line for line in workflow.planned("all", config=config))


def test_the_papers_grid_is_built(tmp_path):
    planned = Workflow(tmp_path).planned("tables", "figures", config=REPOSITORY / "config" / "paper.yaml")
    assert len(planned) > 1000


def test_released_weights_replace_training(tmp_path):
    config = REPOSITORY / "config" / "paper-checkpoints.yaml"
    workflow = Workflow(tmp_path)
    missing = workflow.run("--dry-run", "table3", config=config, check=False)
    assert missing.returncode == 1
    assert "data/checkpoints/ddpm-celebahq-256" in missing.stdout + missing.stderr


def test_a_mistake_in_the_configuration_shows_before_any_job(tmp_path):
    config = variant(tmp_path, lambda values: values["tables"]["table1"].update(models=["bass"]))
    done = Workflow(tmp_path).run("all", config=config, check=False)
    assert done.returncode == 1
    assert "tables.table1.models: 'bass' is not declared under models" in done.stderr + done.stdout
    assert not (tmp_path / "results").exists()


def test_a_failing_job_says_why_and_spares_the_rest(finished, tmp_path):
    workflow = finished.copy(tmp_path)
    samples = workflow.results / "patches/base/seed0/samples/fixed.npy"
    samples.write_bytes(samples.read_bytes()[:-1])
    (workflow.results / "patches/base/seed0/scores/fixed.json").unlink()
    done = workflow.run("table3", check=False)
    assert done.returncode == 1
    (log,) = workflow.results.glob("logs/patches/base/seed0/score-*.log")
    assert log.name in done.stderr
    assert f"{samples.relative_to(tmp_path)}: not a readable .npy file" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert (workflow.results / "tables/table1.csv").exists()


def test_the_graph_is_built_without_torch(tmp_path):
    for heavy in ("torch", "matplotlib"):
        (tmp_path / f"{heavy}.py").write_text("raise ImportError('too heavy for the graph')")
    done = Workflow(tmp_path).run("--dry-run", "all", environment={"PYTHONPATH": str(tmp_path)})
    assert "Job stats" in done.stdout


def test_what_the_graph_imports_of_ours_is_light():
    """Apart from Snakemake, whose plugins import what they like."""
    script = "import sys; from sadpm.config import grid, jobs; print([*sys.modules])"
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert not {"numpy", "pandas", "torch", "matplotlib"}.intersection(ast.literal_eval(modules))


def test_the_report_holds_tables_and_figures(finished, tmp_path):
    finished.run("all", "--report", str(tmp_path / "report.html"))
    report = (tmp_path / "report.html").read_text()
    for name in (*TABLES, *FIGURES):
        assert name in report


def test_lint(tmp_path):
    done = Workflow(tmp_path).run("--lint", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_archive_needs_no_more_than_tables_and_figures(finished, tmp_path):
    assert finished.planned("archive") == ["Packing test"]
    more = [*finished.results.glob("claims*"), *finished.results.glob("report.*")]
    config, code = load_config(read_config(TEST_CONFIG)), REPOSITORY / "workflow"
    crate, report = tmp_path / "archive.zip", tmp_path / "archive.json"
    archive(
        ArchiveJob(config=config), finished.results, crate=crate, report=report, code=[code / "Snakefile"], more=more
    )
    with ZipFile(crate) as file:
        names = {name.removeprefix("results/test/") for name in file.namelist()}
    made = {str(path.relative_to(finished.results)) for path in finished.results.rglob("*") if path.is_file()}
    data = {name for name in made if name.endswith((".npy", ".npz", ".safetensors")) or "/model/" in name}
    assert made - names == {*data, "jobs.json"}  # of the watch, and no result
