import os
import shutil
import signal

import pytest
import torch

from sadpm.config.jobs import DataJob
from sadpm.running.checkpoints import Checkpoints
from sadpm.running.files import UserError
from sadpm.running.interruption import Interrupted

JOB = DataJob(source={"kind": "digits"})


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "job", JOB, images="abc")


def test_the_newest_checkpoint_is_found(checkpoints):
    for step in (2, 10, 4):
        checkpoints.save(step, {"step": step, "weights": torch.full((3,), float(step))})
    found = checkpoints.latest()
    assert found["step"] == 10
    assert torch.equal(found["weights"], torch.full((3,), 10.0))


def test_the_last_one_can_be_read_again_until_it_is_gone(checkpoints, tmp_path, capsys):
    for step in (1, 2):
        checkpoints.save(step, {"step": step})
    assert checkpoints.last()["step"] == 2
    assert not capsys.readouterr().err
    newest = max((tmp_path / "job").glob("*.ckpt"))
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.raises(UserError, match="what was saved last is gone or damaged"):
        checkpoints.last()
    checkpoints.remove()
    with pytest.raises(UserError, match="what was saved last is gone or damaged"):
        checkpoints.last()


def test_only_the_last_two_are_kept(checkpoints, tmp_path):
    for step in range(5):
        checkpoints.save(step, {"step": step})
    assert [path.stem[-4:] for path in sorted((tmp_path / "job").glob("*.ckpt"))] == ["0003", "0004"]


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: raw[:40] + b"?" + raw[41:], lambda raw: b""])
def test_a_damaged_one_costs_one_interval(checkpoints, tmp_path, damage, capsys):
    for step in (1, 2):
        checkpoints.save(step, {"step": step})
    newest = max((tmp_path / "job").glob("*.ckpt"))
    newest.write_bytes(damage(newest.read_bytes()))
    assert checkpoints.latest()["step"] == 1
    assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize(("job", "inputs"), [("photographs", {"images": "abc"}), ("digits", {"images": "other"})])
def test_a_job_with_other_parameters_or_data_starts_anew(checkpoints, tmp_path, job, inputs):
    checkpoints.save(1, {"step": 1})
    assert Checkpoints(tmp_path / "job", DataJob(source={"kind": job}), **inputs).latest() is None


def test_nothing_is_unpickled(checkpoints, tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    checkpoints.save(1, {"step": Evil()})
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        checkpoints.latest()


def test_removing_leaves_no_folder(checkpoints, tmp_path):
    checkpoints.save(1, {})
    checkpoints.remove()
    assert not (tmp_path / "job").exists()


def test_steps_are_saved_when_the_interval_is_over_and_at_the_end(tmp_path):
    always = Checkpoints(tmp_path / "always", JOB, every=0)
    seen = [(step, sorted(int(path.stem[-9:]) for path in (tmp_path / "always").glob("*.ckpt")))
            for step in always.steps(4, dict, "work")]  # fmt: skip
    assert seen == [(0, []), (1, [1]), (2, [1, 2]), (3, [2, 3])]
    seldom = Checkpoints(tmp_path / "seldom", JOB, every=3600)
    assert list(seldom.steps(4, dict, "work")) == [0, 1, 2, 3]
    assert [path.stem[-2:] for path in (tmp_path / "seldom").glob("*.ckpt")] == ["04"]


class Sum:
    """Work whose state is a number."""

    def __init__(self, checkpoints):
        self.checkpoints = checkpoints
        self.total = (checkpoints.latest() or {"total": 0})["total"]

    def add_up(self, numbers, before=lambda step: None):
        for step in self.checkpoints.steps(numbers, lambda: {"total": self.total}, "work"):
            before(step)
            self.total += step
        return self.total


def test_steps_go_on_where_they_were_left(tmp_path):
    Sum(Checkpoints(tmp_path / "job", JOB, every=0)).add_up(7)
    again = Sum(Checkpoints(tmp_path / "job", JOB))
    assert (again.checkpoints.done, again.total) == (7, sum(range(7)))
    assert again.add_up(10) == sum(range(10))


def test_finished_work_is_not_done_again(tmp_path):
    first = Checkpoints(tmp_path / "job", JOB)
    list(first.steps(3, lambda: {"result": 7}, "work"))
    again = Checkpoints(tmp_path / "job", JOB)
    assert again.latest() == {"result": 7}
    assert list(again.steps(3, dict, "work")) == []


def test_seconds_add_up_over_the_tries(tmp_path, monkeypatch):
    clock = iter([0.0, 100.0, 500.0, 500.0, 520.0])
    monkeypatch.setattr("sadpm.running.checkpoints.time.monotonic", lambda: next(clock))
    Checkpoints(tmp_path / "job", JOB).save(1, {})
    again = Checkpoints(tmp_path / "job", JOB)
    again.latest()
    assert again.seconds == 100
    assert again.seconds == 120


def test_a_request_to_stop_saves_and_leaves(tmp_path, capsys):
    work = Sum(Checkpoints(tmp_path / "job", JOB, every=3600))
    with pytest.raises(Interrupted):
        work.add_up(10, before=lambda step: signal.raise_signal(signal.SIGTERM) if step == 3 else None)
    assert "work is saved at 4 of 10" in capsys.readouterr().err
    again = Sum(Checkpoints(tmp_path / "job", JOB))
    assert (again.checkpoints.done, again.total) == (4, 6)


def test_a_request_in_the_last_step_does_not_stop_finished_work(tmp_path):
    saved = Checkpoints(tmp_path / "job", JOB)
    for step in saved.steps(3, dict, "work"):
        if step == 2:
            signal.raise_signal(signal.SIGTERM)
    assert saved.latest() == {}


def test_the_older_of_two_processes_ends(tmp_path):
    older = Checkpoints(tmp_path / "job", JOB)
    older.save(1, {"by": "older"})
    newer = Checkpoints(tmp_path / "job", JOB)
    with pytest.raises(UserError, match=f"taken over by process {os.getpid()} on "):
        older.save(2, {"by": "older"})
    assert newer.latest() == {"by": "older"}
    newer.save(2, {"by": "newer"})
    assert newer.latest() == {"by": "newer"}


def test_a_lease_that_somebody_deleted_is_no_reason_to_stop(tmp_path):
    saved = Checkpoints(tmp_path / "job", JOB)
    shutil.rmtree(tmp_path / "job")
    saved.save(1, {"kept": True})
    assert saved.latest() == {"kept": True}


def test_a_state_that_is_not_sound_is_saved_only_when_somebody_asks_to_stop(tmp_path):
    saved, seen = Checkpoints(tmp_path / "job", JOB, every=0), []

    def work():
        for step in saved.steps(9, dict, "work", sound=lambda: len(seen) <= 3):
            seen.append(step)
            if step == 6:
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        work()
    assert [int(path.stem[-9:]) for path in sorted((tmp_path / "job").glob("*.ckpt"))] == [3, 7]
