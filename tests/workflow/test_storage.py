"""Results that lie elsewhere: on another path, and in a storage that Snakemake copies to and from."""

import hashlib
import importlib.util
import shutil
import subprocess
import sys

import pytest
from real_runs import Workflow
from test_workflow import variant

from sadpm.running.files import sha256

SAMPLES = "digits/base/seed0/samples/fixed.npy"
S3_SERVER = """
import sys
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def s3(tmp_path):
    """The address of an S3 server that only this machine sees; it ends when its standard input does, or we do."""
    command = [sys.executable, "-c", S3_SERVER]
    with (
        (tmp_path / "s3.log").open("w") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as server,
    ):
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"


def objects_of(address):
    """The SHA-256 of every result in the bucket of an S3 server, by its name."""
    import boto3

    server = boto3.resource(
        "s3", endpoint_url=address, region_name="us-east-1", config=boto3.session.Config(proxies={}),
        aws_access_key_id="nobody", aws_secret_access_key="nothing",
    )  # fmt: skip
    return {
        entry.key.removeprefix("sadpm/results/test/"): hashlib.sha256(entry.get()["Body"].read()).hexdigest()
        for entry in server.Bucket("bucket").objects.all()
    }


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


@pytest.mark.skipif(not importlib.util.find_spec("snakemake_storage_plugin_s3"), reason="no storage plugin")
@pytest.mark.skipif(not importlib.util.find_spec("moto"), reason="no S3 server")
def test_results_may_lie_in_s3(finished, tmp_path, s3):
    workflow = Workflow(tmp_path / "here")
    storage = (
        *("--default-storage-provider", "s3", "--default-storage-prefix", "s3://bucket/sadpm"),
        *("--storage-s3-endpoint-url", s3, "--local-storage-prefix", tmp_path / "local"),
    )
    environment = {
        "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "nobody", "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "nothing",
        "no_proxy": "127.0.0.1",
    }  # fmt: skip
    workflow.run("table3", *storage, environment=environment)
    stored = objects_of(s3)
    arrays = [name for name in stored if name.endswith(".npy")]
    assert any("/samples/" in name for name in arrays)
    for name in ("tables/table3.md", *arrays):
        assert stored[name] == sha256(finished.results / name), name
    assert not list((tmp_path / "here").rglob("*.npy"))
    planned = workflow.run("--dry-run", "table3", *storage, environment=environment)
    assert "Nothing to be done" in planned.stderr + planned.stdout
