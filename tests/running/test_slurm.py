import pytest

from sadpm.running.slurm import parse_time, seconds_left


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """Puts a script in the place of squeue, and this process in job 7."""

    def install(script):
        path = tmp_path / "squeue"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    return install


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:09", 9),
        ("12:34", 754),
        ("1:02:03", 3723),
        ("2-00:00:01", 172801),
        ("UNLIMITED", None),
        ("INVALID", None),
        ("", None),
    ],
)
def test_times_are_read_as_squeue_prints_them(text, seconds):
    assert parse_time(text) == seconds


def test_squeue_is_asked_about_this_job(squeue):
    squeue("""[ "$*" = "--noheader --jobs 7 --format %L" ] && echo "      10:00" """)
    assert seconds_left() == 600


@pytest.mark.parametrize("script", ["echo 10:00; exit 1", "echo UNLIMITED", "true"])
def test_without_an_answer_no_time_is_known(squeue, script):
    squeue(script)
    assert seconds_left() is None


def test_without_squeue_no_time_is_known(monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert seconds_left() is None


def test_outside_of_slurm_nobody_is_asked(squeue, monkeypatch):
    squeue("echo 10:00")
    monkeypatch.delenv("SLURM_JOB_ID")
    assert seconds_left() is None
