"""What reports tell of files that jobs hand on to each other."""

import pytest

from sadpm.config.reports import Report
from sadpm.report.lineage import hashes
from sadpm.running.files import UserError

TUNE = Report("tune", "digits/base/seed0", "digits/base/seed0/tuned/fixed.json", "", "fixed")
SAMPLES = [Report("sample", f"digits/base/seed{k}", f"digits/base/seed{k}/samples/fixed.json", "") for k in (0, 1)]


def told(**inputs):
    return {"draws": [], "provenance": {"inputs": inputs}}


def test_a_choice_may_serve_another_run():
    """And all that it serves have seen the same."""
    seen = {"tuned digits/base/seed0 fixed": "ab"}
    records = {TUNE: told(model="cd"), SAMPLES[0]: told(model="cd", **seen), SAMPLES[1]: told(model="ef", **seen)}
    assert hashes(records) == {
        ("digits/base/seed0", "model"): "cd",
        ("digits/base/seed1", "model"): "ef",
        ("digits/base/seed0", "tuned fixed"): "ab",
    }
    records[SAMPLES[1]] = told(model="ef", **dict.fromkeys(seen, "another"))
    with pytest.raises(UserError, match="different tuned fixed of digits/base/seed0"):
        hashes(records)
