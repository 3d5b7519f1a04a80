import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
TEST_CONFIG = REPOSITORY / "config" / "test.yaml"
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
WARM = dict(ENVIRONMENT)
"""Where ``python`` starts what ``tests/warm.py`` has imported already, once its server runs; see conftest.py."""


def say(command, environment=WARM, **options):
    """Run a command to its end, and return it with what it said."""
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, **options)


class Workflow:
    """Snakemake, really run in a folder of its own."""

    def __init__(self, folder: Path, snakefile: Path = REPOSITORY / "Snakefile") -> None:
        self.folder, self.snakefile = folder, snakefile
        self.results = folder / "results" / "test"

    def command(self, config=TEST_CONFIG):
        return [
            *("python", "-m", "snakemake", "--snakefile", self.snakefile),
            *("--directory", self.folder, "--configfile", config),
        ]

    def run(self, *arguments, check=True, environment=None, config=TEST_CONFIG):
        """With paths of its own, a run imports what lies there, and nothing is imported before."""
        environment = environment or {}
        base = ENVIRONMENT if environment.keys() & {"PATH", "PYTHONPATH"} else WARM
        done = say([*self.command(config), "--cores", "2", *arguments], base | environment)
        if check:
            assert done.returncode == 0, done.stdout + done.stderr + self.logs()
        return done

    def planned(self, *arguments, config=TEST_CONFIG):
        """The jobs of a dry run: rule and what it is about."""
        text = self.run("--dry-run", *arguments, config=config).stdout
        return sorted(re.findall(r"^ *Job \d+: (.*)", text, flags=re.MULTILINE))

    def copy(self, folder):
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Workflow(folder)

    def logs(self):
        return "".join(f"\n{path}:\n{path.read_text()}" for path in self.results.glob("logs/**/*.log"))
