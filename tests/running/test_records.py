import json

import pytest
from tiny import chain, sampling_job, training_job

from sadpm.objectives.ddpm import DDPM
from sadpm.running.files import UserError, provenance, write_json
from sadpm.running.records import difference, entries

JOB = training_job()


@pytest.fixture
def report(tmp_path):
    write_json(tmp_path / "report.json", {"provenance": provenance(JOB)})
    return tmp_path / "report.json"


def test_the_same_job_does_not_differ(report):
    assert difference(report, JOB) is None


def test_a_difference_is_told_with_its_place_and_both_values(report):
    faster = JOB.training.model_copy(update={"learning_rate": 0.5})
    changed = JOB.model_copy(update={"training": faster})
    assert difference(report, changed) == "training.learning_rate was 0.0002 and is 0.5"
    assert difference(report, changed.model_copy(update={"seed": 7})).endswith(" is 0.5, and 1 more")


def test_what_is_left_out_or_added_is_a_difference(report):
    """Here sections, lists and keys that only one of them has."""
    baseline = JOB.model_copy(update={"objective": DDPM()})
    assert difference(report, baseline).startswith("objective.kind was 'sequence-aware' and is 'ddpm'")
    write_json(report, {"provenance": provenance(baseline)})
    assert difference(report, JOB).startswith("objective.kind was 'ddpm' and is 'sequence-aware', and 5 more")
    one, two = sampling_job(chain("ddpm", "fixed", 5)), sampling_job(chain("ddpm", "fixed", 5), chain("ddpm", "sn", 5))
    write_json(report, {"provenance": provenance(one)})
    assert difference(report, two).startswith("chains.1.cell.dataset is 'digits'")
    assert difference(report, JOB) is not None


def test_a_key_that_is_newer_than_the_record_has_its_default(report):
    content = json.loads(report.read_text())
    del content["provenance"]["job"]["training"]["flip"]
    write_json(report, content)
    assert difference(report, JOB) is None
    flipped = JOB.model_copy(update={"training": JOB.training.model_copy(update={"flip": True})})
    assert difference(report, flipped) == "training.flip was False and is True"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"provenance": {}}', "\udcff"])
def test_without_a_record_there_is_nothing_to_compare(report, content):
    report.write_bytes(content.encode(errors="surrogateescape"))
    assert difference(report, JOB) is None
    report.unlink()
    assert difference(report, JOB) is None


@pytest.mark.parametrize("content", [[], {}, {"draws": []}, {"scores": {}}])
def test_a_file_without_scores_is_told(tmp_path, content):
    write_json(tmp_path / "scores.json", content)
    with pytest.raises(UserError, match=r"scores\.json: has no scores; delete it"):
        entries(tmp_path / "scores.json", "scores")
