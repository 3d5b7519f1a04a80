"""CUDA graphs: work of fixed shapes that is recorded once, and replayed without the host naming each kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

WARM_UP = 3
"""Calls that are really done before one is recorded: libraries choose their kernels, and memory is taken."""

Work = Callable[..., Any]


class Recorder(Protocol):
    """What runs and records work."""

    def run(self, work: Work, inputs: list[Tensor]) -> Any:
        """Do the work where it can be recorded later."""

    def record(self, work: Work, inputs: list[Tensor]) -> tuple[Callable[[], None], Any]:
        """Return what does the work again on the same inputs, and the outputs that it then fills; does no work yet."""


class CudaRecorder:
    """Records CUDA graphs, on a stream of its own as capturing asks for."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()

    def run(self, work: Work, inputs: list[Tensor]) -> Any:
        """Do the work on the stream; what comes before and after on the usual one waits its turn."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            outputs = work(*inputs)
        torch.cuda.current_stream().wait_stream(self._stream)
        return outputs

    def record(self, work: Work, inputs: list[Tensor]) -> tuple[Callable[[], None], Any]:
        """Capture the work in a graph."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            outputs = work(*inputs)
        return graph.replay, outputs


@dataclass
class _Recording:
    inputs: list[Tensor]
    calls: int = 0
    replay: Callable[[], None] | None = None
    outputs: Any = None


class Replayed:
    """A function of tensors that is recorded at its fourth call with inputs of some shapes, and replayed from then on.

    Each call does the work once, so that nothing is done in vain: the first ones as they come, and all others by the
    recording. Inputs are copied to where the recording looks for them; everything random is among them, or comes from
    the device's default generator, whose seed a replay reads anew. Outputs are overwritten by the next call.

    Where the device refuses to record, ``refused`` is told why, and the work is done as it comes.
    """

    def __init__(self, work: Work, recorder: Recorder, refused: Callable[[str], None]) -> None:
        self._work, self._recorder, self._refused = work, recorder, refused
        self._recordings: dict[tuple[tuple[torch.Size, torch.dtype], ...], _Recording] = {}
        self._refuses = False

    def __call__(self, *inputs: Tensor) -> Any:
        """Do the work."""
        if self._refuses:
            return self._work(*inputs)
        kinds = tuple((tensor.shape, tensor.dtype) for tensor in inputs)
        if (known := self._recordings.get(kinds)) is None:
            known = self._recordings[kinds] = _Recording([torch.empty_like(tensor) for tensor in inputs])
        for kept, given in zip(known.inputs, inputs, strict=True):
            kept.copy_(given)
        if known.calls < WARM_UP:
            known.calls += 1
            return self._recorder.run(self._work, known.inputs)
        if known.replay is None:
            try:
                known.replay, known.outputs = self._recorder.record(self._work, known.inputs)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self._refuses = True
                self._refused(str(error.__context__ or error).partition("\n")[0])  # the end of a capture fails as well
                return self._work(*inputs)
        known.replay()
        return known.outputs
