"""Images that are shown to a frozen network in as many parts as the GPU's memory asks for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

See = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""From x_n (B, C, H, W) and the network's times (B,) or (1,) to what :meth:`UNet.see` returns."""


class InParts:
    """Finds out how many parts are needed, by halving them where memory lacks, and stays with that.

    What is seen is the same but for rounding.
    """

    def __init__(self, tell: Callable[[int], None]) -> None:
        """Begin with one part; ``tell`` is called with each larger number."""
        self.parts, self._tell = 1, tell

    def __call__(self, see: See, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the network sees.

        Raises:
            torch.OutOfMemoryError: there is not enough memory for one image.
        """
        while True:
            try:
                return self._seen(see, x, t)
            except torch.OutOfMemoryError:
                if self.parts >= len(x):
                    raise
            # Not within the exception, which holds what has been computed so far.
            self.parts *= 2
            self._tell(self.parts)
            torch.cuda.empty_cache()

    def _seen(self, see: See, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.parts == 1:
            return see(x, t)
        images = x.chunk(self.parts)
        times = t.chunk(self.parts) if len(t) > 1 else [t] * len(images)
        noise, h, emb = zip(*(see(*part) for part in zip(images, times, strict=True)), strict=True)
        return torch.cat(noise), torch.cat(h), torch.cat(emb) if len(t) > 1 else emb[0]
