import importlib
import inspect
import json
import os
import re
import signal
import threading
from pathlib import Path

import pytest

from sadpm import stages
from sadpm.config.jobs import DataJob
from sadpm.running import status
from sadpm.running.checkpoints import Checkpoints
from sadpm.running.files import UserError
from sadpm.running.interruption import Interrupted
from sadpm.running.progress import progress
from sadpm.running.status import Status, read_status, status_file, telling
from sadpm.stages import command

JOB = DataJob(source={"kind": "digits"})


@pytest.fixture
def report(tmp_path):
    return tmp_path / "run" / "training.json"


def told(report):
    status.current._tell()  # as the thread does every few seconds
    return read_status(status_file(report))


def test_a_job_tells_how_far_it_is_and_nothing_when_it_is_done(report):
    with telling("train", report):
        first = read_status(status_file(report))
        for step in progress(range(4), 4, "training", losses=lambda: {"loss": 0.5}):
            if step == 3:
                state = told(report)
    assert (first["state"], first["stage"], first["pid"]) == ("running", "train", os.getpid())
    assert (state["what"], state["done"], state["total"], state["unit"]) == ("training", 3, 4, "steps")
    assert state["losses"] == {"loss": 0.5}
    assert state["rate"] > 0
    assert list(report.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (UserError("the disk is full"), "failed", "the disk is full"),
        (ValueError(), "failed", "ValueError"),
        (Interrupted(), "stopped", "asked to stop"),
        (KeyboardInterrupt(), "stopped", "asked to stop"),
    ],
)
def test_a_job_that_ends_early_leaves_a_last_word(report, error, state, message):
    with pytest.raises(type(error)), telling("train", report):
        raise error
    left = told(report)
    assert (left["state"], left["message"]) == (state, message)
    assert status.current._file is None


def test_a_job_that_was_stopped_tells_its_checkpoint_and_goes_on_from_there(report, tmp_path):
    folder = tmp_path / ".checkpoints" / "run" / "train"

    def stopped():
        for step in Checkpoints(folder, JOB, every=3600).steps(10, dict, "training"):
            if step == 3:
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted), telling("train", report):
        stopped()
    left = told(report)
    assert (left["state"], left["saved"]["step"], left["total"]) == ("stopped", 4, 10)
    assert (report.parent / left["saved"]["file"]).samefile(next(folder.glob("*-000000004.ckpt")))
    with telling("train", report):
        again = Checkpoints(folder, JOB, every=3600)
        again.latest()
        for _ in again.steps(10, dict, "training"):
            state = told(report)
            break
    assert (state["state"], state["done"], state["resumed"], state["saved"]["step"]) == ("running", 4, 4, 4)


def test_stretches_of_work_add_up(report, tmp_path):
    """As a job that draws three cells, of which an earlier one has finished the first and half of the second."""
    seen = []
    for every in (0, 3600):
        with telling("sample", report):
            status.current.expect(12)
            for cell in range(3):
                saved = Checkpoints(tmp_path / str(cell), JOB, every=every)
                saved.latest()
                for step in saved.steps(4, dict, f"cell {cell}"):
                    state = told(report)
                    seen.append((state["done"], state["total"], state["resumed"]))
                    if every == 0 and (cell, step) == (1, 2):
                        break
                if every == 0 and cell == 1:
                    break
    assert [done for done, _, _ in seen] == [*range(7), *range(6, 12)]
    assert {total for _, total, _ in seen} == {12}
    assert seen[7] == (6, 12, 6)


def test_the_younger_of_two_processes_tells(report):
    older, younger = Status(status_file(report), "older"), Status(status_file(report), "younger")
    younger._facts["started"] = older._facts["started"] + 1
    older._tell()
    younger._tell()
    older._tell()
    older.end("failed", "one of its processes died")
    assert read_status(status_file(report))["stage"] == "younger"
    younger.end()
    assert not status_file(report).exists()


def test_what_an_older_process_left_is_replaced(report):
    with pytest.raises(UserError), telling("train", report):
        raise UserError("the disk is full")
    with telling("train", report):
        assert read_status(status_file(report))["state"] == "running"


def test_no_word_comes_after_the_last(report):
    with telling("train", report):
        job = status.current
    job._tell()
    assert not status_file(report).exists()


def test_a_job_of_slurm_tells_its_number(report, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    with telling("train", report):
        assert read_status(status_file(report))["slurm"] == "4711"


def test_no_thread_is_left_when_the_work_is_done(report):
    """Python ends those that are at work when it ends itself, which may take the process down."""
    before = threading.active_count()
    with telling("train", report):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_first_of_several_processes_tells(report, monkeypatch, rank):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    with telling("train", report):
        assert status_file(report).exists() == (rank == "0")


def test_a_folder_that_can_not_be_written_stops_nothing(tmp_path):
    (tmp_path / "run").write_text("a file in place of the folder")
    with telling("train", tmp_path / "run" / "training.json"):
        assert list(progress(range(3), 3, "training")) == [0, 1, 2]


def test_a_loss_that_can_not_be_told_stops_nothing(report):
    with telling("train", report):
        assert list(progress(range(3), 3, "training", losses=lambda: {"loss": 1 / 0})) == [0, 1, 2]


@pytest.mark.parametrize("text", ["", '{"state": "runn', "[]", "{}", "3", '{"state": "running"}'])
def test_what_is_not_whole_is_no_status(tmp_path, text):
    file = tmp_path / ".training.json.status"
    file.write_text(text)
    assert read_status(file) is None
    assert read_status(tmp_path / "none") is None


def test_a_stage_tells_beside_its_report(report, capsys):
    seen = []

    def stage(report: os.PathLike) -> None:
        seen.append(json.loads(status_file(report).read_text())["stage"])
        raise UserError("there is no more room")

    stage.__annotations__["report"] = type(report)
    with pytest.raises(SystemExit):
        command(stage, [f"--report={report}"])
    assert seen == ["stage"]
    assert read_status(status_file(report))["message"] == "there is no more room"


def test_the_rate_is_that_of_the_last_minute_if_it_has_enough_steps(report, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(status.time, "monotonic", lambda: clock[0])
    job, rates = Status(status_file(report)), []
    for step in job.follow(range(5000), 5000, "training", 0, "steps", dict):
        if step % 100 == 0:
            job._seen.append((clock[0], job._worked))
            job._tell()
            rates.append(read_status(job._file)["rate"])
        clock[0] += 0.1 if step < 3000 else 20.0
    assert rates[0] is None
    assert rates[20] == pytest.approx(10)
    assert rates[-1] == pytest.approx(1 / 20)
    assert Status(None)._rate(clock[0]) is None
    few = Status(None)
    few._worked, few._begun = 5, clock[0] - 100
    few._seen.append((clock[0] - 60, 3))
    assert few._rate(clock[0]) == pytest.approx(5 / 100)


def test_every_stage_has_the_report_beside_which_it_tells():
    for file in Path(stages.__file__).parent.glob("[!_]*.py"):
        ((name, report),) = re.findall(r'^ +command\((\w+)(?:, report="(\w+)")?\)$', file.read_text(), re.MULTILINE)
        stage = getattr(importlib.import_module(f"sadpm.stages.{file.stem}"), name)
        assert inspect.signature(stage).parameters[report or "report"].annotation in (Path, "Path"), name
