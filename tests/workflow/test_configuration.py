"""What a configuration says and names is checked before any job, and also where results are there already."""

import re

import pytest
import yaml
from real_runs import REPOSITORY, TEST_CONFIG, Workflow, say
from test_workflow import variant

from sadpm.config.consistency import TARGETS
from sadpm.config.jobs import RULES

SCORE = "results/test/digits/base/seed0/scores/fixed.json"


def checkpoint(values):
    values["models"]["base"]["checkpoint"] = {"digits": {"path": "nowhere.pth"}}


def source(values):
    values["datasets"]["patches"]["source"] = {"kind": "images", "path": "nowhere", "size": 8}


def weights(values):
    values["datasets"]["digits"]["extractor"] = {"kind": "inception", "fid_weights": "nowhere.pth"}


def published(values):
    values["published"] = "nowhere.csv"


def throughput(values):
    values["plan"] = {"throughput": "nowhere.json"}


def seed(values):
    values["seeds"] = [-1]


MISSING = "there is no file nowhere"


@pytest.mark.parametrize(
    ("change", "targets", "message"),
    [
        (checkpoint, ["all"], "models.base.checkpoint.digits.path: there is no file or folder nowhere.pth"),
        (checkpoint, ["table1"], "models.base.checkpoint.digits.path: there is no file or folder nowhere.pth"),
        (checkpoint, [SCORE], "models.base.checkpoint.digits.path: there is no file or folder nowhere.pth"),
        (source, ["results/test/tables/table3.md"], "datasets.patches.source.path: there is no file or folder nowhere"),
        (weights, ["tables"], f"datasets.digits.extractor.fid_weights: {MISSING}.pth"),
        (published, ["table2"], f"published: {MISSING}.csv"),
        (throughput, ["plan"], f"plan.throughput: {MISSING}.json"),
        (seed, ["table1"], "seeds.0: Input should be greater than or equal to 0, not -1"),
    ],
)
def test_finished_results_do_not_hide_a_mistake(finished, tmp_path, change, targets, message):
    done = finished.run(*targets, config=variant(tmp_path, change), check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "Nothing to be done" not in done.stderr


def test_all_files_that_are_missing_are_told_at_once(finished, tmp_path):
    def change(values):
        for mistake in (checkpoint, weights, published, throughput):
            mistake(values)

    done = finished.run("table1", config=variant(tmp_path, change), check=False)
    assert done.returncode == 1
    assert done.stderr.count("nowhere") == 4


def test_what_was_not_asked_for_needs_no_files(finished, tmp_path):
    def change(values):
        for mistake in (checkpoint, source, weights, throughput):
            mistake(values)
        del values["models"]["base"]["checkpoint"]["digits"]
        values["models"]["sa2-lam1"]["checkpoint"] = {"digits": {"path": "nowhere.pth"}}

    targets = ("figure1", "results/test/digits/base/seed0/training.json")
    assert finished.planned(*targets, config=variant(tmp_path, change)) == []


def test_a_plan_needs_no_files(tmp_path):
    def change(values):
        for mistake in (checkpoint, source, weights, published):
            mistake(values)

    workflow = Workflow(tmp_path)
    workflow.run("plan", config=variant(tmp_path, change))
    assert (workflow.results / "plan.md").exists()


def test_data_may_be_missing_in_a_dry_run_only(tmp_path):
    workflow, config = Workflow(tmp_path), variant(tmp_path, source)
    told = "datasets.patches.source.path: there is no file or folder nowhere"
    dry = workflow.run("--dry-run", "table3", config=config)
    assert dry.stderr.count(told) == 1
    assert "Preparing the images of patches" in dry.stdout
    done = workflow.run("table3", config=config, check=False)
    assert done.returncode == 1
    assert told in done.stderr
    assert not workflow.results.exists()


def test_published_names_are_checked_before_any_job(tmp_path):
    config = variant(tmp_path, lambda values: values.update(published="p.csv"))
    header = "table,dataset,model,sampler,covariance,steps,value,source\n"
    row = "table3,patches,base,ddim,fixed,2,1.5,x\n"
    workflow = Workflow(tmp_path)

    def said(text):
        (tmp_path / "p.csv").write_text(text)
        return workflow.run("--dry-run", "table3", config=config, check=False)

    done = said(header + row.replace("base", "bsae"))
    assert done.returncode == 1
    assert "p.csv, line 2: model 'bsae' is not declared under models; did you mean 'base'?" in done.stderr
    done = said(header + row + row)
    assert done.returncode == 1
    assert "p.csv, line 3: this cell has a published value already, in line 2" in done.stderr
    done = said(header + row + row.replace("table3", "tabel3"))
    assert done.returncode == 0
    assert "p.csv, line 3: there is no table 'tabel3' here; did you mean 'table3'?" in done.stderr


def test_a_key_given_twice_is_an_error_in_any_file(tmp_path):
    (tmp_path / "twice.yaml").write_text(TEST_CONFIG.read_text() + "tables: {}\n")
    (tmp_path / "own.yaml").write_text("extends: twice.yaml\n")
    for name in ("twice.yaml", "own.yaml"):
        done = Workflow(tmp_path).run("--dry-run", "figure1", config=tmp_path / name, check=False)
        assert done.returncode == 1
        assert "twice.yaml: 'tables' is given 2 times, in lines " in done.stdout + done.stderr


def test_several_files_are_merged_each_with_what_it_extends_and_then_the_command_line(tmp_path):
    """Nothing is lost, and paths of ``extends`` are those of the file that says them."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one/base.yaml").write_text(TEST_CONFIG.read_text())
    (tmp_path / "one/own.yaml").write_text("extends: base.yaml\nexperiment: own\nfigures: {figure2: null}\n")
    (tmp_path / "more.yaml").write_text("results: elsewhere\nseeds: [1]\n")
    files = (tmp_path / "one/own.yaml", tmp_path / "more.yaml")
    options = ("--config", "seeds=[3]", "tables={table3: {models: [sa2-lam1]}}")
    command = [*Workflow(tmp_path).command(files[0]), files[1], "--cores", "1", "--dry-run", *options]
    said = say([*command, "--", "all"]).stdout
    assert "elsewhere/own/tables/table4.csv" in said
    assert "Training sa2-lam1 on patches, seed 3" in said
    assert not re.search("seed0|seed1|figure2|results/", said)


def test_the_default_file_in_another_encoding_is_no_traceback(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_bytes(TEST_CONFIG.read_bytes().replace(b"Frechet", b"Fr\xe9chet"))
    command = ["python", "-m", "snakemake", "--snakefile", REPOSITORY / "Snakefile", "--directory", tmp_path]
    done = say([*command, "--dry-run"])
    assert done.returncode == 1
    told = done.stdout + done.stderr
    assert re.search(r"config/config\.yaml, line \d+: byte \d+ \(0xe9\) is not UTF-8; save it as UTF-8", told)
    assert "UnicodeDecodeError" not in told


def test_results_may_lie_at_home(tmp_path):
    config = variant(tmp_path, lambda values: values.update(results="~/mine"))
    Workflow(tmp_path / "here").run("plan", config=config, environment={"HOME": str(tmp_path)})
    assert (tmp_path / "mine/test/plan.md").exists()
    assert not list((tmp_path / "here").rglob("~"))


def test_names_of_rules_are_those_that_tables_must_not_have(tmp_path):
    listed = set(Workflow(tmp_path).run("--list-rules").stdout.split())
    values = yaml.safe_load(TEST_CONFIG.read_text())
    ours = listed - values["tables"].keys() - values["figures"].keys()
    assert ours | {"import_model"} == {*RULES, *TARGETS}


def test_another_workflow_hands_over_its_own_values(tmp_path):
    values = {"inner": {"extends": str(TEST_CONFIG), "experiment": "inner", "figures": {"figure2": None}}}
    (tmp_path / "outer.yaml").write_text(yaml.safe_dump(values))
    snakefile = tmp_path / "Snakefile"
    snakefile.write_text(
        'configfile: "outer.yaml"\n'
        f'module sadpm:\n    snakefile: "{REPOSITORY}/workflow/Snakefile"\n    config: config["inner"]\n'
        "use rule * from sadpm as *\n"
    )
    command = ["python", "-m", "snakemake", "--snakefile", snakefile, "--directory", tmp_path, "--dry-run"]
    done = say([*command, "table3"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "results/inner/tables/table3.csv" in done.stdout
