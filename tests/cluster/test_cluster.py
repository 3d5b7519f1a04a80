"""The workflow on a real SLURM: whatever happens to its jobs, the files are those of a run without SLURM."""

import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from clone import RUNS, STEPS, Clone, kill_group
from throwaway_slurm import ask, facts, wait_until
from tiny import training_outputs

from holding import stop
from sadpm.config.files import read_config
from sadpm.config.jobs import parse_run, train_job
from sadpm.config.loading import load_config
from sadpm.networks.unet import load_unet
from sadpm.running.files import read_json, sha256
from sadpm.stages.train import train

RUN = RUNS[0]


def report(run):
    return f"results/test/{run}/training.json"


@contextmanager
def stopped(process):
    """Let other things happen while a process does nothing."""
    stop(process)
    yield
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGCONT)


def files(clone, *patterns):
    paths = sorted(path for pattern in patterns for path in clone.results.glob(pattern))
    return {path.relative_to(clone.results): sha256(path) for path in paths}


def test_tables_are_those_of_a_run_without_slurm(slurm, tmp_path):
    here, there = Clone(tmp_path / "here"), Clone(tmp_path / "there")
    here.run("--cores", "2", "--", "tables")
    with there.on_cluster("tables"):
        pass
    made = ("tables/*.md", "tables/*.tex", "**/samples/*.npy", "**/*.safetensors")
    assert files(there, *made) == files(here, *made)
    assert len(files(there, "tables/*.csv")) == 4
    jobs = [facts(job) for job, _ in there.submitted()]
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    with_gpu = {job["Comment"].split("_wildcards")[0] for job in jobs if job.get("TresPerJob") == "gres:gpu:1"}
    assert {"rule_train", "rule_fit_covariances"} <= with_gpu
    assert "rule_train_extractor" not in with_gpu
    assert all(job["Partition"] == ("gpu" if "TresPerJob" in job else "main") for job in jobs)


def test_a_job_knows_how_much_time_it_has(slurm, tmp_path):
    said = tmp_path / "said"
    stage = f"{sys.executable} -c 'from sadpm.running.slurm import seconds_left; print(seconds_left())'"
    ask("sbatch", "--wait", "--time=10:00:00", f"--output={said}", "--wrap", f"srun {stage}")
    assert 9 * 3600 < float(said.read_text()) <= 10 * 3600


def test_cancelled_and_failed_jobs_are_tried_again(slurm, local, clone):
    cancelled, failing = RUNS[:2]
    obstacle = clone.results / f".checkpoints/{failing}/train"
    obstacle.parent.mkdir(parents=True)
    obstacle.touch()
    with clone.on_cluster(report(cancelled), report(failing)):
        clone.held_process(cancelled)
        ask("scancel", clone.job_of(cancelled))
        first = clone.job_of(failing)
        wait_until(lambda: facts(first)["JobState"] == "FAILED", "a failure")
        obstacle.unlink()
        clone.hold.release()
    assert len(clone.submitted()) >= 4
    assert [facts(job)["JobState"] for job in clone.jobs_of(cancelled)] == ["CANCELLED", "COMPLETED"]
    assert [facts(job)["JobState"] for job in clone.jobs_of(failing)][::-1][:2] == ["COMPLETED", "FAILED"]
    assert "resuming from" in clone.log(cancelled)
    assert [clone.weights(run) for run in (cancelled, failing)] == [local.weights(run) for run in (cancelled, failing)]


def test_processes_killed_at_random_moments(slurm, local, clone):
    """``KILLS=50 SEED=7 pytest tests/cluster -k killed_at_random`` kills more often, at other moments."""
    kills, seed = int(os.environ.get("KILLS", "20")), int(os.environ.get("SEED", "0"))
    draw, killed = random.Random(seed), set()

    def another():
        """A process that was not killed yet; none can be through."""
        assert snakemake.poll() is None
        processes = {clone.process_of(run) for run in RUNS} - killed - {None}
        return processes and draw.choice(sorted(processes))

    clone.hold.at(STEPS - 1)
    with clone.on_cluster(*map(report, RUNS), options=("--retries", str(kills))) as snakemake:
        while len(killed) < kills:
            process = wait_until(another, "another process")
            time.sleep(moment := draw.uniform(0, 4))
            os.kill(process, signal.SIGKILL)
            killed.add(process)
            print(f"seed {seed}: kill {len(killed)} after {moment:.2f} s")
        clone.hold.release()
    assert len(clone.submitted()) == len(RUNS) + kills
    assert [clone.weights(run) for run in RUNS] == [local.weights(run) for run in RUNS]


def test_a_job_whose_time_is_over_goes_on_in_another(slurm, local, clone):
    """SLURM signals three minutes before the end at most, and looks every 30 s."""
    with clone.on_cluster(report(RUN)):
        clone.held_process(RUN, step=20)
        slurm.end_soon(clone.job_of(RUN))
        # A process that is not asked stays in the step that is held.
        wait_until(lambda: clone.steps_done(RUN) == 21, "the last checkpoint")
        clone.hold.release()
    assert "000000021.ckpt" in clone.log(RUN)
    assert [facts(job)["JobState"] for job, _ in clone.submitted()] == ["FAILED", "COMPLETED"]
    assert clone.weights(RUN) == local.weights(RUN)


def test_a_lost_node(slurm, local, clone):
    with clone.on_cluster(report(RUN)):
        clone.held_process(RUN)
        job = clone.job_of(RUN)
        node = facts(job)["NodeList"]
        slurm.set_node(node, "down")
        try:
            wait_until(lambda: facts(job)["NodeList"] not in (node, "(null)", ""), "another node")
        finally:
            slurm.set_node(node, "resume")
        clone.hold.release()
    assert facts(job)["Restarts"] == "1"
    assert len(clone.submitted()) == 1
    assert "resuming from" in clone.log(RUN)
    assert clone.weights(RUN) == local.weights(RUN)


def test_a_controller_that_is_away_when_snakemake_asks(slurm, local, clone):
    with clone.on_cluster(report(RUN)):
        clone.held_process(RUN)
        slurm.stop_controller()
        wait_until(lambda: "Falling back to 'sacct'" in clone.said(), "a question without an answer")
        slurm.up()
        clone.hold.release()
    assert len(clone.submitted()) == 1
    assert clone.weights(RUN) == local.weights(RUN)


def test_snakemake_killed_and_started_again_beside_its_job(slurm, local, clone):
    """The first process finds out when it wants to save, before the second has gone on."""
    snakemake = clone.start_on_cluster(report(RUN))
    first = clone.held_process(RUN)
    kill_group(snakemake)
    clone.run("--unlock")
    with clone.on_cluster(report(RUN)):
        wait_until(lambda: clone.owner_of_checkpoints(RUN) != first, "a second process")
        with stopped(clone.owner_of_checkpoints(RUN)):
            clone.hold.release()
            wait_until(lambda: not Path(f"/proc/{first}").exists(), "the end of the first")
    assert [facts(job)["JobState"] for job, _ in clone.submitted()] == ["FAILED", "COMPLETED"]
    assert "resuming from" in clone.log(RUN)
    assert clone.weights(RUN) == local.weights(RUN)


def test_two_nodes_train_one_network(slurm, local, tmp_path):
    """By hand, as docs/cluster.md says, because the workflow starts a job's command on one node alone."""
    job = train_job(load_config(read_config(local.folder / "config/mine.yaml")), *parse_run(RUN))
    images = local.results / "digits/data/images.npy"
    alone, together = (training_outputs(tmp_path / name) for name in ("alone", "together"))
    train(job, images, **alone)

    options = {"params": job.model_dump_json(by_alias=True), "images": images, **together}
    stage = ["sadpm.stages.train", *(f"--{name}={value}" for name, value in options.items())]
    with socket.create_server(("localhost", 0)) as free:
        place = f"localhost:{free.getsockname()[1]}"
    meeting = ("--rdzv-backend", "c10d", "--rdzv-id", "two-nodes", "--rdzv-endpoint", place)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", *meeting]
    script, said = tmp_path / "job.sh", tmp_path / "said"
    script.write_text(f"#!/bin/bash\nsrun {shlex.join([*launcher, '-m', '--', *stage])}\n")
    submit = ["sbatch", "--wait", "--nodes=2", "--ntasks-per-node=1", "--time=600", f"--output={said}", script]
    done = subprocess.run(submit, check=False)
    assert done.returncode == 0, said.read_text()
    assert read_json(together["report"])["processes"] == 2
    ours, expected = (load_unet(outputs["model"]).state_dict() for outputs in (together, alone))
    for name, weight in expected.items():
        torch.testing.assert_close(ours[name], weight, rtol=0, atol=2e-4)
