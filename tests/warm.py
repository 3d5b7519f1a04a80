"""Python processes that begin with what takes seconds to import, imported already.

They are forked from a server, and stand where ``python -m MODULE`` would: the same modules run as ``__main__`` with the
arguments, folder, environment and standard files of whoever started them, and end with the same status. This project's
own modules are imported anew by each, from where its environment says.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import shlex
import signal
import site
import socket
import subprocess
import sys
from contextlib import contextmanager

# All that a process needs to have another one do its work: as the imports are few, it starts at once.
CLIENT = """
import json, os, signal, socket, sys

request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]) + "\\n"
os.chdir({folder!r})  # an address of any length
with socket.socket(socket.AF_UNIX) as server:
    server.connect("server")
    for asked in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(asked, lambda number, _: server.sendall(bytes([number])))
    socket.send_fds(server, [b"\\n"], [0, 1, 2])
    server.sendall(request.encode())
    status = int(server.makefile().readline())
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
sys.exit(status)
"""
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""As Snakemake gives its jobs, but read at imports."""


@contextmanager
def warm_python(folder):
    """Yield a folder for the PATH, in which ``python`` starts such processes, all with the hash seed of the server."""
    python, ours, client = (
        shlex.quote(str(path)) for path in (sys.executable, folder / "python", folder / "client.py")
    )
    as_usual = f'#!/bin/sh\nexec {python} "$@"\n'
    warm = f'#!/bin/sh\n[ "$1" = -m ] || exec {python} "$@"\nexec {python} -IS {client} {ours} "$@"\n'
    (folder / "client.py").write_text(CLIENT.format(folder=str(folder)))
    (folder / "python").write_text(warm if hasattr(os, "pidfd_open") else as_usual)
    (folder / "python").chmod(0o755)
    environment = os.environ | dict.fromkeys(ONE_THREAD, "1")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, __file__], cwd=folder, env=environment, text=True, **pipes) as server:
        assert server.stdout.readline() == "ready\n"
        yield folder
        server.stdin.close()


def preload():
    """Import what stages and Snakemake import, and forget this project's own modules."""
    import smart_open  # noqa: F401
    import snakemake.cli
    import snakemake.storage
    import snakemake.workflow

    import sadpm.stages

    snakemake.cli.get_argument_parser()  # imports the plugins
    for stage in pkgutil.iter_modules(sadpm.stages.__path__):
        importlib.import_module(f"sadpm.stages.{stage.name}")
    for name in [name for name in sys.modules if name.split(".")[0] == "sadpm"]:
        del sys.modules[name]
    gc.freeze()


def serve(listening):
    """Return in each new process what it was asked for; the server itself ends with its standard input."""
    attending = set()
    while sys.stdin not in select.select([sys.stdin, listening], [], [])[0]:
        connection, _ = listening.accept()
        if (attendant := os.fork()) == 0:
            return attend(connection)
        connection.close()
        attending = {pid for pid in attending | {attendant} if os.waitpid(pid, os.WNOHANG) == (0, 0)}
    return None


def attend(connection):
    """Fork the process that is wanted, hand over signals, and tell its end; whoever asked for it takes it along."""
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    request = json.loads(connection.makefile().readline())
    worker = os.fork()
    if worker == 0:
        connection.close()
        return *request, files
    for file in files:
        os.close(file)
    end = os.pidfd_open(worker)
    while end not in select.select([connection, end], [], [])[0]:
        asked = connection.recv(1)
        signal.pidfd_send_signal(end, asked[0] if asked else signal.SIGKILL)
    _, status = os.waitpid(worker, 0)
    connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def become(arguments, folder, environment, files):
    """Take the place of ``python -m MODULE`` with further arguments; what it starts as Python is of its kind."""
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), *sys.path[1:]]
    sys.executable, option, module, *rest = sys.orig_argv = arguments
    sys.argv = [option, *rest]
    sys.modules.pop("sitecustomize", None)
    site.execsitecustomize()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


class Leaving:
    """Ends the process when all else is done, without the freeing of its memory, which would take longest of all."""

    def __init__(self):
        self.status = 0
        atexit.register(self._leave)  # before anything else, and so the last that is called

    def __enter__(self):
        self.status = 1

    def __exit__(self, kind, error, trace):
        if error is None:
            self.status = 0
        elif isinstance(error, SystemExit):
            self.status = error.code if isinstance(error.code, int) else int(error.code is not None)

    def _leave(self):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(self.status & 0xFF)


if __name__ == "__main__":
    leaving = Leaving()
    preload()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("server")
        listening.listen(64)
        print("ready", flush=True)
        request = serve(listening)
    if request:
        with leaving:
            become(*request)
