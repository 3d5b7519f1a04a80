"""Tensors on their way between the host and a GPU, for which neither waits. On the CPU they are where they must be."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on a device; the copy is made from pinned memory, and the host goes on at once."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class Leaving:
    """Tensors that leave their device while work on it goes on."""

    def __init__(self, *tensors: Tensor) -> None:
        # Torch takes pinned memory for what it copies to the host without waiting.
        self._tensors = [tensor.to("cpu", non_blocking=True) for tensor in tensors]
        self._copied = torch.cuda.Event() if any(tensor.is_cuda for tensor in tensors) else None
        if self._copied is not None:
            self._copied.record()

    def arrived(self) -> list[Tensor]:
        """Return them on the host, when they are there."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._tensors
