import pytest
import torch

from sadpm.jobs import DataJob
from sadpm.resume import Checkpoints


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "job", DataJob(source={"kind": "digits"}), images="abc")


def test_the_newest_checkpoint_is_found(checkpoints):
    for step in (2, 10, 4):
        checkpoints.save(step, {"step": step, "weights": torch.full((3,), float(step))})
    found = checkpoints.latest()
    assert found["step"] == 10
    assert torch.equal(found["weights"], torch.full((3,), 10.0))


def test_only_the_last_two_are_kept(checkpoints, tmp_path):
    for step in range(5):
        checkpoints.save(step, {"step": step})
    assert [path.name[-9:-5] for path in sorted((tmp_path / "job").iterdir())] == ["0003", "0004"]


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: raw[:40] + b"?" + raw[41:], lambda raw: b""])
def test_a_damaged_one_costs_one_interval(checkpoints, tmp_path, damage, capsys):
    for step in (1, 2):
        checkpoints.save(step, {"step": step})
    newest = max((tmp_path / "job").iterdir())
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
