import hashlib
from threading import Event

import pytest
import torch

import sadpm.running.checkpoints as checkpoints_module
from sadpm.config.jobs import DataJob
from sadpm.running.beside import Beside, on_host
from sadpm.running.checkpoints import Checkpoints
from sadpm.running.files import UserError

JOB = DataJob(source={"kind": "digits"})


@pytest.fixture
def held(monkeypatch):
    """Checkpoints are written when the event is set, and not before."""
    event, write = Event(), checkpoints_module.write_atomically

    def later(path, content):
        assert event.wait(60)
        write(path, content)

    monkeypatch.setattr(checkpoints_module, "write_atomically", later)
    return event


def test_one_piece_of_work_follows_the_other():
    beside, order, go = Beside(), [], Event()
    beside.start(lambda: (go.wait(60), order.append(1)))
    assert order == []
    go.set()
    beside.start(lambda: order.append(2))
    beside.wait()
    assert order == [1, 2]


def test_an_error_is_raised_once_by_the_next_call():
    beside = Beside()
    beside.start(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        beside.start(lambda: None)
    beside.wait()


def test_work_goes_on_while_a_checkpoint_is_written_and_does_not_change_it(tmp_path, held):
    saved, weights = Checkpoints(tmp_path / "job", JOB), torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last)
    saved.save(1, {"weights": weights, "history": (rows := [[1, 2.0]])}, wait=False)
    weights += 1
    rows.append([2, 3.0])
    assert not list((tmp_path / "job").glob("*.ckpt"))
    held.set()
    found = saved.latest()
    assert torch.equal(found["weights"], torch.zeros(2, 3, 4, 5))
    assert found["weights"].is_contiguous(memory_format=torch.channels_last)
    assert found["history"] == [[1, 2.0]]


def test_the_bytes_do_not_depend_on_who_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoints, "seconds", 1.0)
    weights = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    state = {"step": 3, "module": weights.state_dict(), "sums": None, "moments": [torch.ones(2), *[torch.ones(())] * 2]}
    hashes = set()
    for wait in (True, False):
        saved = Checkpoints(tmp_path / str(wait), JOB)
        saved.save(1, state, wait=wait)
        assert saved.latest()["step"] == 3
        hashes |= {hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / str(wait)).glob("*.ckpt")}
    assert len(hashes) == 1


def test_the_last_checkpoint_stays_whole_while_the_next_is_written(tmp_path, held):
    saved = Checkpoints(tmp_path / "job", JOB)
    held.set()
    saved.save(1, {"step": 1})
    held.clear()
    saved.save(2, {"step": 2}, wait=False)
    assert Checkpoints(tmp_path / "job", JOB).latest() == {"step": 1}
    held.set()
    assert saved.latest() == {"step": 2}


def test_what_went_wrong_beside_the_work_ends_it(tmp_path, monkeypatch):
    def full(path, content):
        raise UserError(f"{path}: can't be written (no space left)")

    monkeypatch.setattr(checkpoints_module, "write_atomically", full)
    saved = Checkpoints(tmp_path / "job", JOB)
    saved.save(1, {}, wait=False)
    with pytest.raises(UserError, match="no space left"):
        saved.save(2, {}, wait=False)


def test_work_ends_at_the_step_after_its_checkpoint_could_not_be_written(tmp_path, monkeypatch):
    tried = Event()

    def full(path, content):
        tried.set()
        raise UserError(f"{path}: can't be written (no space left)")

    monkeypatch.setattr(checkpoints_module, "write_atomically", full)
    saved, taken = Checkpoints(tmp_path / "job", JOB, every=1e-9), []

    def work():
        for step in saved.steps(10, dict, "work"):
            taken.append(step)
            if step == 1:
                assert tried.wait(60)
                saved._writing._thread.join()
                saved._every = 1e9  # no other checkpoint, which would raise the error as well

    with pytest.raises(UserError, match="no space left"):
        work()
    assert taken == [0, 1]


def test_copies_keep_what_is_no_tensor():
    content = {"a": [1, "b", None], "t": (torch.ones(2), 3.0)}
    copied = on_host(content)
    assert copied["a"] == content["a"]
    assert copied["t"][0] is not content["t"][0]
    assert copied["t"][1] == 3.0
