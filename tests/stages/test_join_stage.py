import numpy as np
import pytest
from tiny import FITTED, chain, sampling_job

from sadpm.running.checkpoints import Checkpoints
from sadpm.running.files import UserError, read_json, sha256, write_json
from sadpm.stages.join_parts import join_parts
from sadpm.stages.sample import sample

CHAINS = [chain("ddpm", "npr", 5), chain("ddim", "fixed", 2)]
JOB = sampling_job(*CHAINS, num_samples=170, batch_size=50)


def draw(trained, folder, shard=(0, 1)):
    """Samples and report of both chains."""
    samples, report = (folder / f"part{shard[0]}.{form}" for form in ("npy", "json"))
    job = JOB.model_copy(update={"shard": shard})
    sample(job, trained / "model", samples, report, folder / "checkpoints", [trained / FITTED])
    return samples, report


@pytest.fixture
def parts(trained, tmp_path):
    """What join_parts takes: the three parts."""
    files, reports = zip(*(draw(trained, tmp_path / "parts", (i, 3)) for i in range(3)), strict=True)
    return {"parts": files, "part_reports": reports, "samples": tmp_path / "s.npy", "report": tmp_path / "s.json"}


def test_parts_together_are_what_one_job_draws(trained, tmp_path, parts):
    join_parts(JOB, **parts)
    whole, whole_report = draw(trained, tmp_path / "whole")
    assert sha256(parts["samples"]) == sha256(whole)
    found, wanted = read_json(parts["report"]), read_json(whole_report)
    for report in (found, wanted):
        assert all(entry.pop("seconds") > 0 for entry in report["draws"])
    assert found == wanted


def test_parts_that_are_drawn_at_the_same_time_have_checkpoints_of_their_own(trained, tmp_path, monkeypatch):
    folders = set()
    monkeypatch.setattr(Checkpoints, "__init__", lambda self, folder, *_, **__: folders.add(folder) or 1 / 0)
    for shard in [(0, 2), (1, 2), (0, 1)]:
        with pytest.raises(ZeroDivisionError):
            draw(trained, tmp_path, shard)
    assert len(folders) == 3


def test_parts_are_of_nearly_the_same_size(parts):
    assert [np.load(path).shape[:2] for path in parts["parts"]] == [(2, 50), (2, 50), (2, 70)]


def test_seconds_add_up(parts):
    join_parts(JOB, **parts)
    seconds = [read_json(path)["draws"][1]["seconds"] for path in parts["part_reports"]]
    assert read_json(parts["report"])["draws"][1]["seconds"] == pytest.approx(sum(seconds))


@pytest.mark.parametrize("changed", [{"seed": 1}, {"num_samples": 150}])
def test_parts_of_another_job_are_refused(parts, changed):
    with pytest.raises(UserError, match="drawn with other parameters"):
        join_parts(JOB.model_copy(update=changed), **parts)
    assert not parts["samples"].exists()


def test_parts_of_different_models_are_refused(parts):
    report = read_json(parts["part_reports"][1])
    report["provenance"]["inputs"]["model"] = "another"
    write_json(parts["part_reports"][1], report)
    with pytest.raises(UserError, match="drawn from different models"):
        join_parts(JOB, **parts)


def test_parts_in_different_precisions_are_refused(parts):
    report = read_json(parts["part_reports"][1])
    report["execution"]["precision"] = "bfloat16"
    write_json(parts["part_reports"][1], report)
    with pytest.raises(UserError, match="drawn in different precisions"):
        join_parts(JOB, **parts)


def test_a_part_that_misses_images_is_refused(parts):
    np.save(parts["parts"][0], np.load(parts["parts"][0])[:, :-1])
    with pytest.raises(UserError, match="its parts hold 169 images, not 170"):
        join_parts(JOB, **parts)


def test_a_part_that_misses_a_cell_is_refused(parts):
    np.save(parts["parts"][0], np.load(parts["parts"][0])[:-1])
    with pytest.raises(UserError, match="its parts hold other numbers of cells"):
        join_parts(JOB, **parts)
