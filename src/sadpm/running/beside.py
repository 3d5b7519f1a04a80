"""Work that a thread does beside the rest, one piece at a time."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from threading import Thread
from typing import Any

import torch
from torch import Tensor


class Beside:
    """Runs one function after the other in a thread; the process does not end before the last one has."""

    def __init__(self) -> None:
        self._thread: Thread | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], object]) -> None:
        """Start it when what was started before has ended, which raises its error."""
        self.wait()
        self._thread = Thread(target=self._run, args=(work,))
        self._thread.start()

    def check(self) -> None:
        """Raise the error that ended what was started, if it has ended."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self) -> None:
        """Return when nothing runs any more; raise the error that ended it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if (error := self._error) is not None:
            self._error = None
            raise error

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error


def on_host(content: Any, made: dict[int, Tensor] | None = None) -> Any:
    """Return dictionaries, lists and tuples with copies of their tensors in the host's memory, laid out as they are.

    A tensor that occurs twice is copied once (``made``, by identity), so that a file of the copy has the same bytes.
    """
    made = {} if made is None else made
    if isinstance(content, Tensor):
        if (known := made.get(id(content))) is not None:
            return known
        host = torch.empty_strided(content.size(), content.stride(), dtype=content.dtype, pin_memory=content.is_cuda)
        made[id(content)] = host.copy_(content, non_blocking=True)
        return host
    if isinstance(content, dict):
        copied = copy(content)  # its class and attributes, which a file of it would show
        copied.update({key: on_host(value, made) for key, value in content.items()})
        return copied
    if isinstance(content, list | tuple):
        return type(content)(on_host(value, made) for value in content)
    return content
