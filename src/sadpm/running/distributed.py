"""Several processes that train one network together, each on its part of a batch, with a GPU or CPU cores of its own.

Torch's `DistributedDataParallel` averages the gradients. What the processes have to agree on goes over gloo from CPU
to CPU, also where gradients go over NCCL, so that no step waits for a GPU.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sadpm.running.files import UserError
from sadpm.running.interruption import MARGIN, SIGNALS, STATUS, Interrupted
from sadpm.running.peers import Meeting, number_from_environment, patience, started


@dataclass(frozen=True)
class Group:
    """The processes of one training, and the place of this one among them: alone by default. A context manager.

    ``launcher`` is the process that started this one and watches over it; None where nobody does.
    """

    rank: int = 0
    size: int = 1
    launcher: int | None = None

    @property
    def writes(self) -> bool:
        """Whether this is the one process of the group that writes files and tells about progress."""
        return self.rank == 0

    @property
    def abandoned(self) -> bool:
        """Whether the launcher has died without a word to this process."""
        return self.launcher not in (None, os.getppid())

    def part(self, total: int) -> slice:
        """Return which of the ``total`` images of a batch are this process's; the parts are equal."""
        each = total // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def stream(self, name: str) -> str:
        """Return the name of a stream of random numbers that each process has of its own."""
        return f"{name}/{self.rank}" if self.rank else name

    def wrap(self, network: nn.Module, static: bool = True) -> nn.Module:
        """Return the network with gradients that are averaged over the group; it shares its weights.

        They are exchanged while the backward pass goes on, from where the optimiser reads them. ``static``: each step
        is like the first, so that torch need not look which weights take part.
        """
        if self.size == 1:
            return network
        return nn.parallel.DistributedDataParallel(network, gradient_as_bucket_view=True, static_graph=static)

    def apart(self, network: nn.Module) -> AbstractContextManager[object]:
        """Return a context in which gradients of a wrapped network are added up and not exchanged yet."""
        if isinstance(network, nn.parallel.DistributedDataParallel):
            unsynchronised: AbstractContextManager[object] = network.no_sync()
            return unsynchronised
        return nullcontext()

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over the group, the same in every process; all call this at the same step."""
        if self.size == 1:
            return values
        values = values.clone()
        dist.all_reduce(values)
        return values / self.size

    def any(self, *flags: bool) -> list[bool]:
        """Return which of the flags are set in any process; all call this at the same step."""
        return [value > 0 for value in self._maximum(*flags)]

    def agrees_on(self, number: int) -> bool:
        """Return whether the number is the same in every process; all call this at the same step."""
        largest, minus_smallest = self._maximum(number, -number)
        return largest == -minus_smallest

    def _maximum(self, *numbers: int) -> list[int]:
        if self.size == 1:
            return list(numbers)
        shared = torch.tensor(numbers)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return shared.tolist()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Part from the others; where one has died, which any communication shows, that is a UserError."""
        if self.size == 1:
            return
        if error is None:
            dist.destroy_process_group()
            return
        for number in SIGNALS:  # The launcher sends them as soon as one process has ended; the others are ending, too.
            signal.signal(number, signal.SIG_IGN)
        if isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error)):
            raise UserError(
                f"another process of this training has died, or did not answer for {patience()} s (SADPM_PEER_TIMEOUT)"
            ) from error


ALONE = Group()


def join() -> Group:
    """Meet the other processes that the launcher started, and take GPU ``LOCAL_RANK``, where there are GPUs.

    Raises:
        UserError: the launcher's environment variables are incomplete or wrong, there is no such GPU, or the others
            have not come in time.
    """
    if started() == 1:
        return ALONE
    gpus, index = gpu_count(), number_from_environment("LOCAL_RANK", default=0)
    if gpus:
        if index >= gpus:
            raise UserError(f"LOCAL_RANK={index}: there are {gpus} GPUs here, and each process needs its own")
        torch.cuda.set_device(index)
    watched = "TORCHELASTIC_RUN_ID" in os.environ
    meeting = Meeting.from_environment()
    meeting.attend("cpu:gloo,cuda:nccl" if gpus else "gloo", watched)
    return Group(meeting.rank, meeting.size, os.getppid() if watched else None)


def launch(processes: int, module: str, arguments: Sequence[str]) -> None:
    """Run a module in several processes of this machine under torch's own launcher, until all have ended.

    Raises:
        Interrupted: somebody asked the processes to stop; they have.
        UserError: one of them failed, which ended the others, or there are not enough GPUs.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if 0 < (gpus := gpu_count()) < processes:
        raise UserError(
            f"{processes} GPUs are asked for, and this machine has {gpus}; set `gpus` of the data set to that"
        )
    os.environ["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // processes))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(MARGIN))
    # Not all releases of the launcher know of SIGUSR1, and all pass SIGTERM on.
    signal.signal(signal.SIGUSR1, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    command = [sys.executable, "-m", module, *arguments]
    try:
        with TemporaryDirectory() as folder:
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=processes,
                run_id=uuid.uuid4().hex,
                rdzv_backend="c10d",
                rdzv_endpoint="localhost:0",
                local_addr="localhost",
                max_restarts=0,
                logs_specs=DefaultLogsSpecs(folder),
            )
            elastic_launch(config, command[0])(*command[1:])
    except SignalException:
        raise Interrupted from None
    except ChildFailedError as error:
        ends = {rank: failure.exitcode for rank, failure in sorted(error.failures.items())}
        if set(ends.values()) == {STATUS}:
            raise Interrupted from None
        told = ", ".join(f"process {rank} by {_end(status)}" for rank, status in ends.items())
        raise UserError(
            f"ended early: {told}; the last checkpoint is kept, and the same command goes on from it"
        ) from None


@contextmanager
def ending_at_once() -> Iterator[None]:
    """End the process with the block, where it is one of several, and spare it the end that Python would prepare.

    Torch leaves threads of gloo's behind, which may be about to free a tensor that Python has known. They want Python's
    lock for that, and a thread that wants it while Python ends aborts the process: its work is done, and it has failed.
    """
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    status: object = 0
    try:
        yield
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    if not isinstance(status, int):
        print(status, file=sys.stderr)
        status = 1
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()  # as Python would, for it may be writing a checkpoint
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def gpu_count() -> int:
    """Return how many GPUs this machine has, as far as the environment variable SADPM_DEVICE allows their use."""
    allowed = os.environ.get("SADPM_DEVICE") or "cuda"
    if allowed == "cuda":
        return torch.cuda.device_count()
    return 1 if allowed.startswith("cuda") else 0


def _end(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"
