"""The display of progress that `make tables` asks for: it hides no reason why a job failed."""

import re
import subprocess
import sys

from real_runs import ENVIRONMENT, REPOSITORY

SNAKEFILE = """
rule all:
    input: "made", "missing"

rule good:
    output: "made"
    shell: "touch {output}"

rule bad:
    output: "missing"
    log: "bad.log"
    shell: "for i in $(seq 200); do echo reason $i; done > {log}; exit 1"
"""


def test_the_whole_log_of_a_job_that_fails_is_shown_and_all_lines_are_kept(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    command = [sys.executable, "-m", "snakemake", "--logger", "rich", "--cores", "1", "--keep-going"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert [int(number) for number in re.findall(r"reason (\d+)", done.stderr)] == list(range(1, 201))
    (log,) = (tmp_path / ".snakemake/log").glob("*.log")
    assert log.name in re.sub(r"\s", "", done.stderr)
    assert "Error in rule bad" in log.read_text()
    assert "2 of 3 steps" not in done.stderr


def test_only_a_terminal_gets_it(tmp_path):
    shown = subprocess.run(
        ["make", "--dry-run", "tables"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    (line,) = (line for line in shown.splitlines() if line.startswith("snakemake"))
    asked = subprocess.run(["sh", "-c", f"echo {line}"], capture_output=True, text=True, check=True).stdout
    assert "--logger" in line
    assert "--logger" not in asked
    profiles = "".join(path.read_text() for path in (REPOSITORY / "profiles").glob("*/config.yaml"))
    assert "logger" not in profiles
