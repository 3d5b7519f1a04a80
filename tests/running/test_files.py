import errno
import json
import os

import pytest

from sadpm.config.jobs import DataJob
from sadpm.running.files import UserError, code_version, provenance, read_json, sha256, write_atomically, write_json


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "file"
    write_atomically(path, lambda file: file.write(b"first"))

    def dies(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, dies)
    assert path.read_bytes() == b"first"
    assert os.listdir(path.parent) == ["file"]


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="No space left"):
        write_atomically(tmp_path / "file", full)
    assert os.listdir(tmp_path) == []


def test_json_round_trip_and_damage(tmp_path):
    path = tmp_path / "facts.json"
    write_json(path, {"a": 0.1})
    assert read_json(path) == {"a": 0.1}
    path.write_text(path.read_text()[:-4])
    with pytest.raises(UserError, match="delete it"):
        read_json(path)
    with pytest.raises(UserError, match="nowhere"):
        read_json(tmp_path / "nowhere.json")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_holds_no_numbers_that_are_not_finite(tmp_path, value):
    path = tmp_path / "facts.json"
    with pytest.raises(UserError, match=r"facts.json: would hold numbers that are not finite"):
        write_json(path, {"a": [1.0, {"b": value}]})
    assert not path.exists()
    path.write_text(json.dumps({"a": value}))
    with pytest.raises(UserError, match=r"facts.json: can't be read \(it holds (NaN|Infinity)\); delete it"):
        read_json(path)


def test_the_hash_of_a_folder_depends_on_names_and_contents(tmp_path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    first = sha256(tmp_path)
    (tmp_path / "a").write_text("2")
    (tmp_path / "b").write_text("1")
    assert sha256(tmp_path) != first


def test_provenance_names_code_job_and_inputs(tmp_path):
    (tmp_path / "in").write_bytes(b"")
    record = provenance(DataJob(source="digits"), data=tmp_path / "in")
    assert record["code"] == code_version()
    assert record["job"] == {"source": {"kind": "digits"}}
    assert record["inputs"]["data"].startswith("e3b0c442")
    json.dumps(record)
