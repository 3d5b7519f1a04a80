"""Jobs in environments that Snakemake makes with conda, whose place a stand-in takes."""

import shutil
import sys
import sysconfig

import pytest
from real_runs import ENVIRONMENT, REPOSITORY, Workflow

IMAGES = "results/test/digits/data/images.npy"

ANOTHER = "raise ImportError('the wrong one')"

# Makes environments of what the tests run on, in which another `sadpm` is installed.
CONDA = f"""#!{sys.executable}
import json, pathlib, subprocess, sys

base = pathlib.Path(__file__).parents[1]
match sys.argv[1:]:
    case ["info", "--json"]:
        print(json.dumps({{"conda_prefix": str(base), "platform": "linux-64"}}))
    case ["--version"]:
        print("conda 26.1.0")
    case ["config", *_]:
        print(json.dumps({{"get": {{"channel_priority": "strict"}}}}))
    case ["env", "create", "--quiet", "--no-default-packages", "--file", _, "--prefix", prefix]:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
        (packages,) = pathlib.Path(prefix).glob("lib/python*/site-packages")
        (packages / "tests.pth").write_text({sysconfig.get_path("purelib")!r})
        (packages / "sadpm.py").write_text({ANOTHER!r})
"""
ACTIVATE = 'export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"'


@pytest.fixture
def conda(tmp_path):
    """The PATH of a shell that finds the stand-in."""
    folder = tmp_path / "conda/bin"
    folder.mkdir(parents=True)
    (folder / "conda").write_text(CONDA)
    (folder / "conda").chmod(0o755)
    (folder / "activate").write_text(ACTIVATE)
    return f"{folder}:{ENVIRONMENT['PATH']}"


def checkout(folder):
    """This one, although another package of its name is installed for Snakemake as well."""
    (folder / "sadpm.py").write_text(ANOTHER)
    return REPOSITORY / "Snakefile"


def module(folder):
    (folder / "sadpm.py").write_text(ANOTHER)
    snakefile = folder / "Snakefile"
    snakefile.write_text(
        f"module ours:\n    snakefile: {str(REPOSITORY / 'workflow/Snakefile')!r}\n    config: config\n\n"
        "use rule * from ours\n"
    )
    return snakefile


def workflow_alone(folder):
    """The package is installed for Snakemake, beside what must not come along into other environments."""
    shutil.copytree(REPOSITORY / "src/sadpm", folder / "sadpm", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "sklearn.py").write_text(ANOTHER)
    shutil.copytree(REPOSITORY / "workflow", folder / "clone/workflow")
    shutil.copy(REPOSITORY / "environment.yml", folder / "clone")
    return folder / "clone/workflow/Snakefile"


@pytest.mark.parametrize("use", [checkout, module, workflow_alone])
def test_jobs_in_conda_environments_use_the_package_of_the_workflow(tmp_path, conda, use):
    installed = tmp_path / "installed"
    installed.mkdir()
    workflow = Workflow(tmp_path / "here", use(installed))
    done = workflow.run(IMAGES, "--sdm", "conda", environment={"PATH": conda, "PYTHONPATH": str(installed)})
    assert "Activating conda environment: .snakemake/conda/" in done.stderr
    (copied,) = workflow.folder.glob(".snakemake/conda/*.yaml")
    assert copied.read_text() == (REPOSITORY / "environment.yml").read_text()


def test_jobs_use_the_package_of_the_workflow_without_conda_too(tmp_path):
    workflow = Workflow(tmp_path / "here", checkout(tmp_path))
    workflow.run(IMAGES, environment={"PYTHONPATH": str(tmp_path)})
    assert (workflow.folder / IMAGES).exists()
