"""Results that lie elsewhere: on another path, and in a storage that Snakemake copies to and from."""

import importlib.util
import shutil

import pytest
from running import Workflow
from test_workflow import variant

from sadpm.artifacts import sha256

SAMPLES = "digits/base/seed0/samples/fixed.npy"


def test_results_may_lie_on_another_path(finished, tmp_path):
    def change(values):
        values.update(results=str(tmp_path / "elsewhere"), checkpoints=str(tmp_path / "scratch"), checkpoint_seconds=0)

    workflow = Workflow(tmp_path / "here")
    workflow.run(f"{tmp_path}/elsewhere/test/{SAMPLES}", config=variant(tmp_path, change))
    assert sha256(tmp_path / "elsewhere/test" / SAMPLES) == sha256(finished.results / SAMPLES)
    assert {path.name for path in (tmp_path / "here").iterdir()} == {".snakemake"}
    assert (tmp_path / "scratch/test/digits/base/seed0").is_dir()


@pytest.mark.skipif(not shutil.which("rsync"), reason="the storage plugin needs rsync")
@pytest.mark.skipif(not importlib.util.find_spec("snakemake_storage_plugin_fs"), reason="no storage plugin")
def test_results_may_lie_in_a_storage(finished, tmp_path):
    workflow, storage = Workflow(tmp_path / "here"), tmp_path / "storage"
    places = ("--default-storage-prefix", storage, "--local-storage-prefix", tmp_path / "local")
    workflow.run("table3", "--default-storage-provider", "fs", *places)
    for name in ("tables/table3.md", "patches/base/seed0/samples/fixed.npy"):
        assert sha256(storage / "results/test" / name) == sha256(finished.results / name)
    assert not list((tmp_path / "here").rglob("*.npy"))
    planned = workflow.run("--dry-run", "table3", "--default-storage-provider", "fs", *places)
    assert "Nothing to be done" in planned.stderr + planned.stdout
