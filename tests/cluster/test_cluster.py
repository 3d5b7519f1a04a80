"""The workflow on a real SLURM: whatever happens to its jobs, the files are those of a run without SLURM."""

import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from clone import RUNS, Clone, kill_group
from throwaway_slurm import ask, facts, wait_until
from tiny import training_outputs

from sadpm.artifacts import read_json, sha256
from sadpm.config import load_config, read_config
from sadpm.jobs import parse_run, train_job
from sadpm.networks import load_unet
from sadpm.stages.train import train

RUN = RUNS[0]


def report(run):
    return f"results/test/{run}/training.json"


@contextmanager
def stopped(process):
    """Let other things happen while a process does nothing."""
    os.kill(process, signal.SIGSTOP)
    yield
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGCONT)


def has_got(number, process):
    """Whether a signal waits for a stopped process, or has ended it already: SLURM may let it go on as well."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return True
    return int(re.search(r"ShdPnd:\s*(\w+)", status)[1], 16) >> (number - 1) & 1


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
    assert "rule_train_classifier" not in with_gpu
    assert all(job["Partition"] == ("gpu" if "TresPerJob" in job else "main") for job in jobs)


def test_a_job_knows_how_much_time_it_has(slurm, tmp_path):
    said = tmp_path / "said"
    stage = f"{sys.executable} -c 'from sadpm.slurm import seconds_left; print(seconds_left())'"
    ask("sbatch", "--wait", "--time=5", f"--output={said}", "--wrap", f"srun {stage}")
    assert 240 < float(said.read_text()) <= 300


def test_cancelled_and_failed_jobs_are_tried_again(slurm, local, clone):
    cancelled, failing = RUNS[:2]
    obstacle = clone.results / f".checkpoints/{failing}/train"
    obstacle.parent.mkdir(parents=True)
    obstacle.touch()
    with clone.on_cluster(report(cancelled), report(failing)):
        clone.training_process(cancelled)
        ask("scancel", clone.job_of(cancelled))
        wait_until(lambda: "Trying to restart" in clone.said(), "a failure")
        obstacle.unlink()
    assert len(clone.submitted()) == 4
    assert "resuming from" in clone.log(cancelled)
    assert [clone.weights(run) for run in (cancelled, failing)] == [local.weights(run) for run in (cancelled, failing)]


def test_processes_killed_at_random_moments(slurm, local, clone):
    """``KILLS=50 SEED=7 pytest tests/cluster -k killed_at_random`` kills more often, at other moments."""
    kills, seed = int(os.environ.get("KILLS", "20")), int(os.environ.get("SEED", "0"))
    draw, killed = random.Random(seed), set()

    def another():
        """A process that was not killed yet, or True when all trainings are through."""
        processes = {clone.process_of(run) for run in RUNS} - killed - {None}
        return snakemake.poll() is not None or (processes and draw.choice(sorted(processes)))

    with clone.on_cluster(*map(report, RUNS), options=("--retries", str(kills))) as snakemake:
        while len(killed) < kills and (process := wait_until(another, "another process", patience=400)) is not True:
            time.sleep(moment := draw.uniform(0, 4))
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
                killed.add(process)
                print(f"seed {seed}: kill {len(killed)} after {moment:.2f} s")
    assert len(clone.submitted()) == len(RUNS) + len(killed) > len(RUNS)
    assert [clone.weights(run) for run in RUNS] == [local.weights(run) for run in RUNS]


def test_a_job_whose_time_is_over_goes_on_in_another(slurm, local, clone):
    """SLURM signals from 105 s before the end on, and looks every 30 s: the process is made to wait for it."""
    short = ("--set-resources", "train:runtime=2", "train:slurm_extra='--signal=TERM@75'")
    with clone.on_cluster(report(RUN), options=short):
        process = clone.training_process(RUN)
        with stopped(process):
            wait_until(lambda: has_got(signal.SIGTERM, process), "the signal", patience=90)
        wait_until(lambda: "asked to stop; training is saved at" in clone.log(RUN), "the last checkpoint")
    assert "resuming from" in clone.log(RUN)
    assert clone.weights(RUN) == local.weights(RUN)


def test_a_lost_node(slurm, local, clone):
    with clone.on_cluster(report(RUN)):
        clone.training_process(RUN)
        job = clone.job_of(RUN)
        node = facts(job)["NodeList"]
        slurm.set_node(node, "down")
        try:
            wait_until(lambda: facts(job)["NodeList"] not in (node, "(null)", ""), "another node")
        finally:
            slurm.set_node(node, "resume")
    assert facts(job)["Restarts"] == "1"
    assert len(clone.submitted()) == 1
    assert "resuming from" in clone.log(RUN)
    assert clone.weights(RUN) == local.weights(RUN)


def test_a_controller_that_is_away_when_snakemake_asks(slurm, local, clone):
    with clone.on_cluster(report(RUN)), stopped(clone.training_process(RUN)):
        slurm.stop_controller()
        wait_until(lambda: "Falling back to 'sacct'" in clone.said(), "a question without an answer")
        slurm.up()
    assert len(clone.submitted()) == 1
    assert clone.weights(RUN) == local.weights(RUN)


def test_snakemake_killed_and_started_again_beside_its_job(slurm, local, clone):
    first = clone.start_on_cluster(report(RUN))
    orphan = clone.training_process(RUN)
    kill_group(first)
    clone.run("--unlock")
    with clone.on_cluster(report(RUN)):
        with stopped(orphan):
            wait_until(lambda: clone.owner_of_checkpoints(RUN) != orphan, "a second process")
        wait_until(lambda: not Path(f"/proc/{orphan}").exists(), "the end of the first", patience=20)
    assert [facts(job)["JobState"] for job, _ in clone.submitted()] == ["FAILED", "COMPLETED"]
    assert "resuming from" in clone.log(RUN)
    assert clone.weights(RUN) == local.weights(RUN)


def test_two_nodes_train_one_network(slurm, local, tmp_path):
    """By hand, as docs/cluster.md says, because the workflow starts a job's command on one node alone."""
    job = train_job(load_config(read_config(local.folder / "config/mine.yaml")), *parse_run(RUN))
    job = job.model_copy(update={"training": job.training.model_copy(update={"steps": 60})})
    images = local.results / "digits/data/images.npy"
    alone, together = (training_outputs(tmp_path / name) for name in ("alone", "together"))
    train(job, images, **alone)

    options = {"params": job.model_dump_json(by_alias=True), "images": images, **together}
    stage = ["sadpm.stages.train", *(f"--{name}={value}" for name, value in options.items())]
    meeting = ("--rdzv-backend", "c10d", "--rdzv-id", "two-nodes", "--rdzv-endpoint", "localhost:29507")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", *meeting]
    script, said = tmp_path / "job.sh", tmp_path / "said"
    script.write_text(f"#!/bin/bash\nsrun {shlex.join([*launcher, '-m', '--', *stage])}\n")
    submit = ["sbatch", "--wait", "--nodes=2", "--ntasks-per-node=1", "--time=10", f"--output={said}", script]
    done = subprocess.run(submit, check=False)
    assert done.returncode == 0, said.read_text()
    assert read_json(together["report"])["processes"] == 2
    ours, expected = (load_unet(outputs["model"]).state_dict() for outputs in (together, alone))
    for name, weight in expected.items():
        torch.testing.assert_close(ours[name], weight, rtol=0, atol=2e-4)
