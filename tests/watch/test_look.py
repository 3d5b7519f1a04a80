import os
import socket
import subprocess
import sys

import pytest
from made_up import ELSEWHERE, GONE, NOW, STARTED, Experiment

from sadpm.running.files import UserError
from sadpm.watch.jobs import newest, read_jobs
from sadpm.watch.look import look, starts_jobs

HERE = socket.gethostname()


@pytest.fixture
def made(tmp_path):
    return Experiment(tmp_path / "paper")


def seen(made, name="train-base"):
    found = {one.job.name: one for one in look(made.folder, read_jobs(made.folder), NOW)}
    return found[name]


@pytest.mark.parametrize(
    ("changes", "standing"),
    [
        ({"host": HERE, "pid": os.getpid()}, "running"),
        ({"host": HERE, "pid": GONE}, "stopped"),
        ({"host": HERE, "pid": os.getpid(), "updated": NOW - 61}, "stopped"),  # a number that another process has now
        ({"slurm": "4711"}, "running"),
        ({"updated": NOW + 30}, "running"),  # its clock is ahead
        ({"updated": NOW - 61}, "stopped"),
    ],
)
def test_a_process_that_is_gone_is_never_shown_as_running(made, changes, standing):
    made.tell(made.job("train-base"), **changes)
    found = seen(made)
    assert found.standing == standing
    assert found.seconds_left == (500 if standing == "running" else None)
    assert (standing == "running") or found.note == "killed?; no checkpoint, starts anew"


def test_a_process_that_is_dead_and_nobody_has_looked_at_is_gone(made):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    made.tell(made.job("train-base"), host=HERE, pid=process.pid)
    assert seen(made).standing == "running"
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert seen(made).standing == "stopped"
    process.communicate()
    assert seen(made).standing == "stopped"


def test_it_is_said_where_a_job_runs_and_that_it_went_on(made):
    made.tell(made.job("train-base"), slurm="4711", resumed=400, idle=754)
    assert seen(made).note == f"training, on {ELSEWHERE}, SLURM job 4711, went on from 400, no step for 12 min"


@pytest.mark.parametrize(("state", "word"), [("running", "killed?"), ("stopped", "asked to stop")])
def test_a_job_that_was_stopped_goes_on_from_its_checkpoint(made, state, word):
    made.write(".checkpoints/train-base/ab-000000800.ckpt")
    saved = {"step": 800, "file": ".checkpoints/train-base/ab-000000800.ckpt"}
    message = {"message": word} if state == "stopped" else {}
    made.tell(made.job("train-base"), state=state, updated=NOW - 600, saved=saved, **message)
    assert (seen(made).standing, seen(made).note) == (
        "stopped",
        f"{word}; checkpoint found, goes on from 800 of 5,000",
    )
    (made.folder / saved["file"]).unlink()
    assert seen(made).note == f"{word}; no checkpoint, starts anew"
    made.write(".checkpoints/train-base/other-000000900.ckpt")  # of other parameters
    for step in (600, 700):
        made.write(f".checkpoints/train-base/ab-{step:09d}.ckpt")
    assert seen(made).note == f"{word}; checkpoint found, goes on from 700 of 5,000"


def test_a_job_that_failed_says_why_and_where_its_log_is(made):
    made.tell(made.job("train-base"), state="failed", message="training has diverged", updated=NOW - 600)
    assert (seen(made).standing, seen(made).note) == (
        "failed",
        f"training has diverged (log: {made.folder}/logs/train-base.log)",
    )


def test_what_became_of_a_job_in_an_earlier_run_is_no_more_than_a_note(made):
    made.tell(made.job("train-base"), state="failed", message="no room", updated=STARTED - 5)
    assert (seen(made).standing, seen(made).note) == ("waiting", "no checkpoint, starts anew")


@pytest.mark.parametrize(
    ("log", "time", "standing", "note"),
    [
        (None, 0, "waiting", ""),
        ("Traceback\nImportError: no torch\n", STARTED - 5, "waiting", ""),
        ("", NOW - 20, "waiting", "starting"),
        ("Traceback\nImportError: no torch\n", NOW - 120, "failed", "ImportError: no torch (log: {log})"),
        ("", NOW - 120, "stopped", "killed? before it said anything"),
    ],
)
def test_a_job_without_a_word_is_known_by_its_log(made, log, time, standing, note):
    made.job("train-base")
    if log is not None:
        made.write("logs/train-base.log", log, time)
    expected = note.format(log=made.folder / "logs/train-base.log")
    assert (seen(made).standing, seen(made).note) == (standing, expected)


@pytest.mark.parametrize("text", ["", '{"state": "runn'])
def test_a_status_that_is_half_written_is_none(made, text):
    job = made.job("train-base")
    made.tell(job).write_text(text)
    assert seen(made).standing == "waiting"
    made.make(job)
    assert seen(made).standing == "done"


@pytest.mark.parametrize(
    ("again", "time", "standing"),
    [(True, STARTED - 5, "waiting"), (False, STARTED - 5, "done"), (True, STARTED + 5, "done")],
)
def test_outputs_that_are_to_be_made_again_do_not_count(made, again, time, standing):
    made.make(made.job("train-base", again=again), time)
    assert seen(made).standing == standing


def test_a_job_is_not_done_before_all_outputs_are_there(made):
    made.write(made.job("train-base").outputs[0])
    assert seen(made).standing == "waiting"


def test_what_an_older_process_says_of_a_job_that_is_done_does_not_count(made):
    job = made.job("train-base")
    made.tell(job, updated=NOW - 120)
    made.make(job, NOW - 60)
    assert seen(made).standing == "done"


def test_parts_that_are_gone_because_they_were_joined_are_done(made):
    made.job("draw-0")
    made.job("draw-1")
    joined = made.job("join", needs=("draw-0", "draw-1"))
    assert seen(made, "draw-0").standing == "waiting"
    made.tell(joined)
    assert seen(made, "draw-0").standing == "done"
    made.make(joined, NOW)
    assert [seen(made, name).standing for name in ("draw-0", "draw-1", "join")] == ["done"] * 3


def test_whether_snakemake_is_there(tmp_path):
    for name, pid, expected in (("a", GONE, False), ("b", os.getpid(), True)):
        made = Experiment(tmp_path / name, pid)
        made.job("train-base")
        assert starts_jobs(read_jobs(made.folder)) is expected


def test_the_experiment_that_was_started_last_is_watched(tmp_path):
    with pytest.raises(UserError, match="no experiment in it has jobs yet"):
        newest(tmp_path)
    for name, time in (("early", STARTED), ("late", NOW), ("middle", STARTED + 5)):
        made = Experiment(tmp_path / name)
        made.job("train-base")
        os.utime(made.folder / "jobs.json", (time, time))
    assert newest(tmp_path) == tmp_path / "late"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"no jobs.json is there"),
        ('{"jobs": [', "can't be read"),
        ("[]", "is no list of jobs"),
        ('{"jobs": [{"rule": "train"}]}', "is no list of jobs"),
    ],
)
def test_a_list_of_jobs_that_can_not_be_read_is_told(made, text, message):
    if text is not None:
        made.write("jobs.json", text)
    with pytest.raises(UserError, match=message):
        read_jobs(made.folder)
