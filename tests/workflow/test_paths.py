"""Folders whose names mean something to a shell."""

import re

import pytest
from real_runs import REPOSITORY, Workflow
from test_workflow import variant

NAME = """a b'c"[d]&e;f$g*h(i)|j`k`!?#%~\N{LATIN SMALL LETTER E WITH ACUTE}"""


def test_every_path_in_a_command_is_quoted():
    rules = "".join(path.read_text() for path in (REPOSITORY / "workflow/rules").glob("*.smk"))
    commands = re.findall(r"\n    shell:\n((?:        .*\n)+)", rules)
    assert len(commands) == rules.count("shell:")
    places = [place for command in commands for place in re.findall(r"{(.*?)}", command)]
    assert {place for place in places if not place.endswith(":q")} == {
        "STAGES",
        "resources.checkpoint_seconds",
        "resources.gpu",
    }


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    return Workflow(tmp_path_factory.mktemp("a folder"))


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A grid that runs nearly every rule."""

    def change(values):
        tables, figures = values["tables"], values["figures"]
        few = {"models": ["base"], "samplers": ["ddpm"], "covariances": ["npr"]}
        values["tables"] = {"table1": tables["table1"] | few, "table3": tables["table3"]}
        values["claims"] = {}
        values["figures"] = {"figure3": figures["figure3"], "figure4": figures["figure4"] | {"models": ["base"]}}
        values["results"], values["checkpoint_seconds"] = NAME, 0

    return variant(tmp_path_factory.mktemp("a config"), change)


def test_everything_is_made_in_a_folder_of_any_name(workflow, config):
    workflow.results = workflow.folder / NAME / "test"
    workflow.run("plan", config=config)  # which the page then shows
    workflow.run("all", config=config)
    assert {path.name for path in workflow.folder.iterdir()} == {".snakemake", NAME}
    assert {path.stem for path in workflow.results.glob("tables/*.md")} == {"table1", "table3"}
    assert (workflow.results / "plan.md").exists()
    assert workflow.planned("all", config=config) == []


def test_the_log_in_such_a_folder_says_why_a_job_failed(workflow, config):
    """After the test before it."""
    samples = workflow.results / "patches/base/seed0/samples/fixed.npy"
    samples.write_bytes(samples.read_bytes()[:-1])
    done = workflow.run("table3", config=config, check=False)
    assert done.returncode == 1
    log = workflow.results / "logs/patches/base/seed0/score-fixed.log"
    assert "fixed.npy: not a readable .npy file" in log.read_text()
    assert {path.name for path in workflow.folder.iterdir()} == {".snakemake", NAME}
