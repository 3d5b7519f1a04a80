"""Processes that begin with what is imported already are those that Python would start."""

import signal
import subprocess
import sys

import pytest

PROGRAMS = {
    "said": "import sys; print(sys.stdin.read(), sys.argv, __name__, sys.path[0]); print('more', file=sys.stderr)",
    "status": "raise SystemExit(3)",
    "message": "raise SystemExit('a mistake')",
    "stopped": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "later": """
import atexit, threading, time
atexit.register(print, "at the end")
threading.Thread(target=lambda: (time.sleep(0.1), print("by a thread"))).start()
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_they_say_and_end_the_same(warm, tmp_path, name):
    (tmp_path / "program.py").write_text(PROGRAMS[name])

    def run(python):
        command = [python, "-m", "program", "two words"]
        done = subprocess.run(command, cwd=tmp_path, input="given", capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    assert run(warm / "python") == run(sys.executable)


def test_errors_are_told(warm, tmp_path):
    (tmp_path / "program.py").write_text("1 / 0")
    command = [warm / "python", "-m", "program"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_signals_reach_them_and_none_outlives_who_started_it(warm, tmp_path):
    (tmp_path / "program.py").write_text(
        "import os, signal, time\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('asked', flush=True))\n"
        "print(os.getpid(), flush=True)\n"
        "while True:\n    time.sleep(0.01)\n"
    )
    command = [warm / "python", "-m", "program"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == "asked\n"
        process.kill()
        assert process.stdout.read() == ""  # the pipe closes when the last of those that hold it has ended
