"""Results without Snakemake's records of them, as after a copy without the hidden folder."""

import shutil

import pytest
from real_runs import Workflow
from test_workflow import variant

from sadpm.running.files import sha256


@pytest.fixture(scope="module")
def copied(finished, tmp_path_factory):
    workflow = Workflow(tmp_path_factory.mktemp("copied"))
    shutil.copytree(finished.results, workflow.results)
    return workflow


def set_value(values, path, value):
    """Change one value; sections that the file writes once and uses twice become two."""
    *parents, last = path.split("/")
    for key in parents:
        values[key] = dict(values[key])
        values = values[key]
    values[last] = value


def test_nothing_runs_again_without_a_reason(copied):
    assert copied.planned("all") == []


@pytest.mark.parametrize(
    ("path", "value", "told", "planned"),
    [
        ("datasets/patches/source", "digits", "patches/data/dataset.json", "Preparing the images of patches"),
        ("datasets/digits/extractor/steps", 31, "digits/extractor.json", "Training what looks at"),
        ("datasets/patches/extractor", "inception", "patches/reference.json", "Measuring the real images of"),
        ("models/base/batch_multiplier", 2, "digits/base/seed0/training.json", "Training base on digits"),
        ("datasets/digits/heads/steps", 5, "digits/base/seed0/covariance/analytic+npr+sn.json", "Fitting analytic+npr"),
        ("datasets/digits/num_samples", 50, "digits/base/seed0/samples/npr.json", "Sampling npr of base on digits"),
        ("datasets/patches/num_samples", 70, "patches/base/seed0/samples/fixed.json", "Joining the parts of fixed of"),
        ("covariances", {"fixed": {"kind": "fixed", "recipe": "bao"}}, "samples/fixed.json", "Scoring fixed of base"),
        ("figures/figure4/num_images", 5, None, "Measuring the estimation gap of base"),
        ("figures/theory/lengths", [2, 3], "theory/theory.json", "Measuring the theorems of sa3-slide"),
        ("figures/theory/title", "Else", "tables/theory.json", "Tabulating theory"),
        ("tables/table2/metric", "fd", "tables/table2.json", "Writing table2"),
        ("models/base/label", "another", "figures/figure5.json", "Drawing figure5"),
    ],
)  # fmt: skip
def test_changed_parameters_are_noticed(copied, tmp_path, path, value, told, planned):
    config = variant(tmp_path, lambda values: set_value(values, path, value))
    done = copied.run("all", "--dry-run", config=config)
    said = done.stdout + done.stderr
    assert f": {planned}" in said
    if told is not None:
        assert f"{told}: made with other parameters (" in said


def test_whoever_trusts_file_times_alone_may(copied, tmp_path):
    config = variant(tmp_path, lambda values: set_value(values, "models/base/batch_multiplier", 2))
    assert copied.planned("all", "--rerun-triggers", "mtime", config=config) == []


def test_another_learning_rate_gives_another_table_once(copied, tmp_path):
    config = variant(tmp_path, lambda values: set_value(values, "datasets/patches/training/learning_rate", 0.01))
    workflow = copied.copy(tmp_path / "results here")
    shutil.rmtree(workflow.folder / ".snakemake", ignore_errors=True)
    tables = [workflow.results / f"tables/table{i}.md" for i in (1, 3)]
    before = [sha256(path) for path in tables]
    done = workflow.run("tables", config=config)
    assert "training.learning_rate was 0.001 and is 0.01" in done.stdout + done.stderr
    after = [sha256(path) for path in tables]
    assert after[0] == before[0]
    assert after[1] != before[1]
    shutil.rmtree(workflow.folder / ".snakemake")
    assert workflow.planned("tables", config=config) == []
