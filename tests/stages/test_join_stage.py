import numpy as np
import pytest
from tiny import chain, sampling_job

from sadpm.artifacts import UserError, read_json, sha256, write_json
from sadpm.stages.join_parts import join_parts
from sadpm.stages.sample import sample

CHAINS = [chain("ddpm", "npr", 5), chain("ddim", "fixed", 2)]
JOB = sampling_job(*CHAINS, num_samples=170, batch_size=50)


def draw(trained, folder, shard=(0, 1)):
    """Samples and reports of both chains."""
    samples, reports = ([folder / f"{i}.part{shard[0]}.{form}" for i in range(2)] for form in ("npy", "json"))
    covariances = sorted((trained / "covariance").iterdir())
    job = JOB.model_copy(update={"shard": shard})
    sample(job, trained / "model", samples, reports, folder / "checkpoints", covariances)
    return samples, reports


@pytest.fixture
def parts(trained, tmp_path):
    """What join_parts takes: the three parts of both chains."""
    drawn = [draw(trained, tmp_path / "parts", (i, 3)) for i in range(3)]
    files, reports = ([part[kind][i] for i in range(2) for part in drawn] for kind in (0, 1))
    samples, joined = ([tmp_path / f"{i}.{form}" for i in range(2)] for form in ("npy", "json"))
    return {"parts": files, "part_reports": reports, "samples": samples, "reports": joined}


def test_parts_together_are_what_one_job_draws(trained, tmp_path, parts):
    join_parts(JOB, **parts)
    whole, whole_reports = draw(trained, tmp_path / "whole")
    for path, report, expected, expected_report in zip(
        parts["samples"], parts["reports"], whole, whole_reports, strict=True
    ):
        assert sha256(path) == sha256(expected)
        found, wanted = read_json(report), read_json(expected_report)
        assert found.pop("seconds") > 0 < wanted.pop("seconds")
        assert found == wanted


def test_parts_are_of_nearly_the_same_size(parts):
    sizes = [len(np.load(path)) for path in parts["parts"]]
    assert sizes == [50, 50, 70, 50, 50, 70]


def test_seconds_add_up(parts):
    join_parts(JOB, **parts)
    seconds = [read_json(path)["seconds"] for path in parts["part_reports"]]
    assert read_json(parts["reports"][1])["seconds"] == pytest.approx(sum(seconds[3:]))


@pytest.mark.parametrize("changed", [{"seed": 1}, {"num_samples": 150}])
def test_parts_of_another_job_are_refused(parts, changed):
    with pytest.raises(UserError, match="drawn with other parameters"):
        join_parts(JOB.model_copy(update=changed), **parts)
    assert not any(path.exists() for path in parts["samples"])


def test_parts_of_different_models_are_refused(parts):
    report = read_json(parts["part_reports"][1])
    report["provenance"]["inputs"]["model"] = "another"
    write_json(parts["part_reports"][1], report)
    with pytest.raises(UserError, match="drawn from different models"):
        join_parts(JOB, **parts)


def test_a_part_that_misses_images_is_refused(parts):
    np.save(parts["parts"][0], np.load(parts["parts"][0])[:-1])
    with pytest.raises(UserError, match="its parts hold 169 images, not 170"):
        join_parts(JOB, **parts)
