import os
import signal
import socket
import subprocess
import sys
import textwrap
from urllib.request import urlopen

import pytest

import sadpm.running.interruption as interruption
from sadpm import stages
from sadpm.running.interruption import SIGNALS, STATUS, Interrupted, StopRequest


def run(body, *arguments):
    script = f"import os, signal, sys, time\nfrom sadpm.running.interruption import *\n{textwrap.dedent(body)}"
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_process_that_has_nothing_to_save(number):
    body = """
        stop_when_asked()
        os.kill(os.getpid(), int(sys.argv[1]))
        time.sleep(60)
    """
    done = run(body, int(number))
    assert done.returncode == STATUS == 75
    assert done.stderr == f"stopped by {number.name} with nothing to save\n"


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_work_is_noted_however_often_it_comes(number):
    body = """
        stop_when_asked()
        with StopRequest() as stop:
            assert not stop.made
            for _ in range(3):
                os.kill(os.getpid(), int(sys.argv[1]))
            assert stop.made
        print("saved")
    """
    done = run(body, int(number))
    assert (done.returncode, done.stdout) == (0, "saved\n"), done.stderr


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_process_that_waits_in_c(number):
    """A mutex that is locked twice keeps the thread for ever, and Python's handlers from running."""
    body = """
        import ctypes, threading
        stop_when_asked()
        lock, mutex = ctypes.CDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(64)
        lock(mutex)
        threading.Timer(0.2, os.kill, (os.getpid(), int(sys.argv[1]))).start()
        lock(mutex)
    """
    done = run(body, int(number))
    assert done.returncode == STATUS
    assert done.stderr == f"stopped by {number.name} with nothing to save\n"


def test_a_signal_that_was_noted_ends_nothing_later():
    body = """
        stop_when_asked()
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(2 * GRACE)
        print("written")
    """
    done = run(body)
    assert (done.returncode, done.stdout) == (0, "written\n"), done.stderr


def test_after_the_work_a_signal_ends_the_process_again():
    body = """
        stop_when_asked()
        with StopRequest():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    """
    assert run(body).returncode == STATUS


def test_a_stage_can_be_stopped_while_it_imports():
    """`python -m` imports the package of the stages before torch."""
    script = "import runpy, sys; sys.argv[0] = '-m'; import sadpm.stages, signal; assert 'torch' not in sys.modules; "
    script += "signal.raise_signal(signal.SIGTERM)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == STATUS


def test_a_download_from_a_server_that_says_nothing_fails(monkeypatch):
    monkeypatch.setattr(stages, "SILENCE", 0.1)
    with socket.create_server(("localhost", 0)) as silent:

        def download() -> None:
            urlopen(f"http://localhost:{silent.getsockname()[1]}")

        try:
            with pytest.raises(TimeoutError):
                stages.command(download, [])
        finally:
            socket.setdefaulttimeout(None)


def test_importing_the_stages_changes_no_handlers():
    script = "import sadpm.stages, signal; assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_interrupted_is_no_ordinary_error():
    assert not issubclass(Interrupted, Exception)


@pytest.mark.parametrize(("left", "asked"), [(None, False), (3600.0, False), (interruption.MARGIN - 1.0, True)])
def test_the_end_of_the_walltime_asks_without_a_signal(monkeypatch, left, asked):
    monkeypatch.setattr(interruption, "seconds_left", lambda: left)
    assert StopRequest().made == asked


def test_outside_of_the_main_thread_signals_are_left_alone():
    import threading

    made = []
    before = signal.getsignal(signal.SIGTERM)

    def work():
        with StopRequest() as stop:
            made.append(stop.made)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert made == [False]
    assert signal.getsignal(signal.SIGTERM) == before
    assert os.EX_TEMPFAIL == STATUS
