import subprocess
import sys

import pytest
from made_up import NOW, Experiment

import sadpm.watch.__main__ as program
from sadpm.watch.view import duration


@pytest.fixture
def made(tmp_path, monkeypatch):
    made = Experiment(tmp_path / "paper")
    gpu = {"taken": 13 * 2**29, "total": 80 * 2**30}
    made.tell(made.job("train-base"), gpu=gpu)
    made.tell(made.job("fit-base"), losses={"npr": 0.25, "sn": 1.5}, rate=None)
    made.tell(made.job("train-sa2"), state="failed", message="[red]diverged[/red]: the loss is nan")
    made.make(made.job("train-sa3"))
    made.job("sample-npr", needs=("train-base",))
    monkeypatch.setattr(program.time, "time", lambda: NOW)
    return made


def lines(capsys, *arguments):
    program.main([*map(str, arguments)])
    return capsys.readouterr().out.splitlines()


def test_one_plain_table_is_printed(made, capsys):
    heading, _, columns, train, fit, failed, _, rules, *counts = lines(capsys, made.folder, "--once")
    assert heading == f"{made.folder}: 2 running, 1 failed, 1 waiting, 1 done; Snakemake does not run"
    assert columns.split() == ["job", "is", "at", "rate", "loss", "left", "GPU"]
    told = "1,000 of 5,000 (20%) 8 steps/s 0.0375 8 min 20 s 6.5 of 80 GiB training, on node17"
    assert " ".join(train.split()) == f"train-base running {told}"
    assert "1,000 of 5,000 (20%)" in fit
    assert "npr 0.25, sn 1.5" in fit
    assert failed.startswith("train-sa2")
    assert f"[red]diverged[/red]: the loss is nan (log: {made.folder}/logs/train-sa2.log)" in failed
    assert rules.split() == ["rule", "running", "failed", "stopped", "waiting", "done"]
    assert [row.split() for row in counts] == [["train", "1", "1", "1"], ["fit", "1"], ["sample", "1"]]


def test_without_a_terminal_it_is_printed_once_and_all_jobs_on_request(made, capsys):
    assert lines(capsys, made.folder) == lines(capsys, made.folder, "--once")
    names = [line.split()[0] for line in lines(capsys, made.folder, "--all")[3:8]]
    assert names == ["train-base", "fit-base", "train-sa2", "sample-npr", "train-sa3"]


def test_on_a_terminal_it_goes_on_until_all_is_done(made, capsys, monkeypatch):
    def all_is_done(seconds):
        for name in ("train-base", "fit-base", "train-sa2", "sample-npr"):
            for form in ("npy", "json"):
                made.write(f"{name}.{form}")

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setattr(program.time, "sleep", all_is_done)
    program.main([str(made.folder)])
    shown = capsys.readouterr().out
    assert shown.index("2 running") < shown.rindex("5 done")
    assert "train-base: training, on node17" in shown


def test_a_folder_without_jobs_is_told_without_a_traceback(tmp_path):
    with pytest.raises(SystemExit, match=r"watch: .*: no jobs.json is there"):
        program.main([str(tmp_path)])


def test_it_pays_for_no_large_library():
    command = "import sadpm.watch.__main__, sys; print({'torch', 'pandas', 'snakemake'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", command], capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (86399, "23 h 59 min"), (93600, "1 d 2 h")],
)
def test_a_time_has_two_units(seconds, words):
    assert duration(seconds) == words
