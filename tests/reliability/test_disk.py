"""A full and a read-only disk: a clear error, nothing half-written, and the work goes on when there is room."""

import signal
import subprocess

import pytest
from harness import hashes, heads, sampling, training

from holding import Hold


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, which ``remount`` changes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def remount(folder, option):
    subprocess.run(["mount", "-o", f"remount,{option}", folder], check=True)


def assert_refused(process, reason, warm):
    """Run a stage that can't write, and see that it says so."""
    refused = process.start(python=warm / "python")
    _, said = refused.communicate()
    assert refused.returncode == 1
    assert f"can't be written ({reason})" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("stage", [training, heads, sampling])
def test_a_full_disk_is_told_and_the_work_goes_on_when_there_is_room(
    trained, digits, small_disk, stage, undisturbed, warm
):
    process = stage(trained, digits, small_disk)
    remount(small_disk, "size=16k")
    assert_refused(process, "No space left on device", warm)
    assert not list(small_disk.rglob("*.partial"))
    remount(small_disk, "size=64m")
    process.finish(warm / "python")
    assert hashes(process) == undisturbed(stage)[0]


def test_a_read_only_disk_is_told_and_the_checkpoints_stay_good(
    trained, digits, tmp_path, small_disk, undisturbed, warm
):
    process = training(trained, digits, small_disk)
    running = process.start_and_hold(Hold(tmp_path / "hold"))
    running.send_signal(signal.SIGKILL)
    running.communicate()
    remount(small_disk, "ro")
    assert_refused(process, "Read-only file system", warm)
    remount(small_disk, "rw")
    assert "resuming from" in process.finish(warm / "python")
    assert hashes(process) == undisturbed(training)[0]
