"""Training in several processes, really launched: the same result as in one process, and as clean an early end."""

import csv
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import training_job, training_outputs

import sadpm.stages.train as stage
from holding import Hold, stop
from sadpm.running import distributed
from sadpm.running.distributed import Group
from sadpm.running.files import UserError, read_json, sha256
from sadpm.running.interruption import STATUS, Interrupted
from sadpm.stages import options_of
from sadpm.stages.train import train
from sadpm.training.step import draws_at

JOB = training_job(steps=60, dropout=0.0)
LAST_RESORT = 600
"""Seconds after which a test fails that waits in vain."""

PATIENCE = {name: str(10 * LAST_RESORT) for name in ("SADPM_PEER_TIMEOUT", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT")}

# Sums are rounded differently, and Adam takes steps of full length also where a gradient is nothing but rounding.
TOLERANCE = 2e-4


def start(outputs, digits, *options, job=JOB, **environment):
    """Start training as the workflow does, with a checkpoint at each step, and more patience than the tests have."""
    given = {"params": job, "images": digits, **outputs, "checkpoint_seconds": 0}
    return subprocess.Popen(
        [sys.executable, "-m", "sadpm.stages.train", *options_of(given), *options],
        env={**os.environ, "SADPM_DEVICE": "cpu", "OMP_NUM_THREADS": "2", **PATIENCE, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process):
    """Wait for a process; return what was said. Its pipe closes when the last of those that share it has ended."""
    _, said = process.communicate(timeout=LAST_RESORT)
    return said


def without_waiting(said):
    """What was said, but for the wait of processes that did not start at the same time."""
    return [line for line in said.splitlines() if "(RANK, WORLD_SIZE) waits for" not in line]


def workers(launcher):
    """The processes that a launcher started, by rank; each has its share of the threads."""
    ranks = {}
    for pid in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split():
        entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
        variables = dict(entry.split("=", 1) for entry in entries if entry)
        assert variables["OMP_NUM_THREADS"] == "1"
        ranks[int(variables["RANK"])] = int(pid)
    return ranks


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for_step(process, checkpoints, step):
    while not any(int(path.stem[-9:]) >= step for path in checkpoints.glob("*.ckpt")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)


def weights(outputs):
    return load_file(outputs["model"] / "diffusion_pytorch_model.safetensors")


def losses(outputs):
    return [list(map(float, row)) for row in list(csv.reader(outputs["log"].read_text().splitlines()))[1:]]


def assert_equal_training(found, expected):
    torch.testing.assert_close(weights(found), weights(expected), rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(losses(found), losses(expected), rtol=1e-5, atol=0)


@pytest.fixture(scope="module")
def alone(digits, tmp_path_factory):
    outputs = training_outputs(tmp_path_factory.mktemp("alone"))
    train(JOB, digits, **outputs)
    return outputs


@pytest.fixture(scope="module")
def together(digits, tmp_path_factory):
    """What two processes make, and what they say."""
    outputs = training_outputs(tmp_path_factory.mktemp("together"))
    process = start(outputs, digits, "--processes=2")
    said = end(process)
    assert process.returncode == 0, said
    return outputs, said


def test_two_processes_train_as_one(alone, together):
    outputs, _ = together
    assert_equal_training(outputs, alone)
    assert read_json(outputs["report"])["processes"] == 2
    assert read_json(alone["report"])["processes"] == 1


def test_one_process_writes_and_speaks(together):
    outputs, said = together
    assert said.count("training: 60/60") == 1
    assert all(line.startswith("training: ") for line in without_waiting(said))
    assert [row[0] for row in losses(outputs)] == list(range(3, 61, 3))
    assert not outputs["checkpoints"].exists()


def test_when_one_process_is_killed_all_end_and_the_next_start_goes_on(together, digits, tmp_path):
    expected, outputs = together[0], training_outputs(tmp_path)
    hold = Hold(tmp_path / "hold").at(10)
    process = start(outputs, digits, "--processes=2", **hold.environment)
    wait_for_step(process, outputs["checkpoints"], 10)
    ranks = workers(process)
    os.kill(ranks[1], signal.SIGKILL)
    said = end(process)
    hold.release()
    assert process.returncode == 1
    assert "process 1 by SIGKILL; the last checkpoint is kept" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert not any(map(is_alive, ranks.values()))
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoints", ".training.json.status"}
    assert not list(outputs["checkpoints"].glob(".*"))
    process = start(outputs, digits, "--processes=2")
    said = end(process)
    assert process.returncode == 0, said
    assert said.count("resuming from") == 1
    assert sha256(outputs["model"]) == sha256(expected["model"])
    torch.testing.assert_close(losses(outputs), losses(expected), rtol=1e-5, atol=0)


def ask_one_process(launcher, ranks):
    """As that process asks itself when its walltime is nearly over."""
    os.kill(ranks[1], signal.SIGTERM)


def ask_the_launcher_twice(launcher, ranks):
    """The second time while it waits for a slow process."""
    stop(ranks[0])
    launcher.send_signal(signal.SIGUSR1)
    while not has_waiting_signal(ranks[0]):
        time.sleep(0.002)
    launcher.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        launcher.wait(timeout=1.5)
    os.kill(ranks[0], signal.SIGCONT)


def has_waiting_signal(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"ShdPnd:\s*(\w+)", status)[1], 16) >> (signal.SIGTERM - 1) & 1


@pytest.mark.parametrize("ask", [ask_one_process, ask_the_launcher_twice])
def test_asked_to_stop_two_processes_save_and_one_goes_on(alone, digits, tmp_path, ask):
    outputs, hold = training_outputs(tmp_path), Hold(tmp_path / "hold").at(10)
    process = start(outputs, digits, "--processes=2", **hold.environment)
    wait_for_step(process, outputs["checkpoints"], 10)
    ranks = workers(process)
    ask(process, ranks)
    hold.release()
    assert process.wait(timeout=LAST_RESORT) == STATUS
    assert not any(map(is_alive, ranks.values()))
    said = end(process)
    assert said.count("training is saved at") == 1
    assert "Traceback" not in said
    train(JOB, digits, **outputs)
    assert read_json(outputs["report"])["steps_in_this_process"] < 50
    assert_equal_training(outputs, alone)


def two_ranks():
    """The variables that a launcher sets for each of two processes."""
    with socket.create_server(("localhost", 0)) as free:
        port = str(free.getsockname()[1])
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    return [{**place, "RANK": str(rank)} for rank in range(2)]


def test_what_one_process_began_two_of_different_machines_end(alone, digits, tmp_path, monkeypatch):
    """Without a launcher of ours: the variables say who is who, as torchrun sets them on each machine.

    They show the network one image at a time, and exchange gradients once a step.
    """
    outputs = training_outputs(tmp_path)

    def interrupted(step, *arguments):
        if step == 19:
            os.kill(os.getpid(), signal.SIGTERM)
        return draws_at(step, *arguments)

    monkeypatch.setattr(stage, "draws_at", interrupted)
    with pytest.raises(Interrupted):
        train(JOB, digits, **outputs)
    parts = '--execution={"gradient_accumulation": 3}'
    both = [start(outputs, digits, parts, OMP_NUM_THREADS="1", **variables) for variables in two_ranks()]
    said = [end(process) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "resuming from" in said[0]
    assert without_waiting(said[1]) == []
    facts = read_json(outputs["report"])
    assert (facts["steps_in_this_process"], facts["processes"]) == (40, 2)
    assert_equal_training(outputs, alone)


def test_processes_whose_launcher_is_killed_save_and_end(digits, tmp_path):
    outputs = training_outputs(tmp_path)
    process = start(outputs, digits, "--processes=2", job=training_job(steps=100_000, dropout=0.0))
    wait_for_step(process, outputs["checkpoints"], 1)
    ranks = workers(process)
    process.kill()
    try:
        assert "training is saved at" in end(process)
        assert not any(map(is_alive, ranks.values()))
    finally:
        for pid in filter(is_alive, ranks.values()):
            os.kill(pid, signal.SIGKILL)


def test_parts_make_the_whole_batch():
    batch = list(range(12))
    parts = [batch[Group(rank, 3).part(12)] for rank in range(3)]
    assert parts == [batch[:4], batch[4:8], batch[8:]]


def test_the_first_process_draws_as_one_process_does_and_the_others_otherwise():
    names = [Group(rank, 3).stream("dropout") for rank in range(3)]
    assert names[0] == "dropout"
    assert len(set(names)) == 3


@pytest.mark.parametrize(("processes", "started"), [(4, "1"), (1, "4"), (2, "4")])
def test_a_batch_that_processes_cannot_share(digits, tmp_path, monkeypatch, processes, started):
    monkeypatch.setenv("WORLD_SIZE", started)
    with pytest.raises(UserError, match="4 processes can't share a batch of 6 images equally"):
        train(JOB, digits, **training_outputs(tmp_path), processes=processes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("device", "gpus"), [("", 2), ("cuda", 2), ("cuda:1", 1)])
def test_more_gpus_than_there_are(digits, tmp_path, monkeypatch, device, gpus):
    monkeypatch.setenv("SADPM_DEVICE", device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=f"3 GPUs are asked for, and this machine has {gpus};"):
        train(JOB, digits, **training_outputs(tmp_path), processes=3)


def test_a_process_without_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.delenv("SADPM_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="LOCAL_RANK=2: there are 2 GPUs here"):
        distributed.join()


ENDS = {
    "pass": (0, ""),
    "threading.Timer(0.2, print, ['told']).start()": (0, ""),
    "sys.exit(75)": (75, ""),
    "sys.exit('what is wrong')": (1, "what is wrong\n"),
    "print('told'); 1 / 0": (1, "ZeroDivisionError: division by zero\n"),
}


@pytest.mark.parametrize("work", ENDS)
def test_one_of_several_processes_ends_as_its_work_did_and_python_prepares_no_end(work, monkeypatch):
    def run():
        program = (
            "import atexit, sys, threading\n"
            "from sadpm.running.distributed import ending_at_once\n"
            "atexit.register(print, 'prepared')\n"
            f"with ending_at_once():\n    {work}\n"
        )
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    told = "told\n" if "'told'" in work else ""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone = run()
    monkeypatch.setenv("WORLD_SIZE", "2")
    one_of_two = run()
    status, said = ENDS[work]
    assert (alone.returncode, alone.stdout) == (status, told + "prepared\n")
    assert (one_of_two.returncode, one_of_two.stdout) == (status, told)
    assert [alone.stderr[-len(said) :], one_of_two.stderr[-len(said) :]] == [said, said]
