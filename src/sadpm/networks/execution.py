"""How a network is really run: what was asked for, as far as the device can do it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from sadpm.networks.memory import InParts, See
from sadpm.networks.section import Execution, Precision
from sadpm.networks.unet import UNet
from sadpm.running.distributed import ALONE, Group
from sadpm.running.graphs import CudaRecorder, Recorder, Replayed

Function = TypeVar("Function", bound=Callable[..., Any])
MODES = {"default": "default", "max-autotune": "max-autotune-no-cudagraphs"}
"""torch.compile's, by what the configuration calls them: graphs are recorded here, around more than the network."""

OF_TRAINING = ("gradient_accumulation", "activation_checkpointing")


class Executed:
    """What is really used of the options. What the device can't do is said in one line and left out.

    ``precision`` is that of the network's forward and backward pass alone: weights, their average, the loss, the
    schedule and the sampler's states are float32 or more.
    """

    def __init__(
        self, asked: Execution, precision: Precision, device: torch.device, group: Group = ALONE, dropout: float = 0.0
    ) -> None:
        """Look at what the device can do.

        Args:
            asked: the options that don't change numbers.
            precision: what the job asks for.
            device: where the network lies.
            group: the processes that train it together.
            dropout: of the network in training.
        """
        self.used: dict[str, Any] = {"precision": precision, **asked.model_dump()}
        self.not_used: dict[str, str] = {}
        self._device, self._group = device, group
        if (reason := missing_precision(precision, device)) is not None:
            self._give_up("precision", "float32", reason)
        if asked.cuda_graphs and (reason := self._no_graphs(dropout)) is not None:
            self._give_up("cuda_graphs", False, reason)
        allow_tf32(device, self.precision == "tf32")

    @property
    def precision(self) -> Precision:
        """What the network is really run in."""
        precision: Precision = self.used["precision"]
        return precision

    @property
    def graphs(self) -> bool:
        """Whether work is recorded and replayed."""
        return bool(self.used["cuda_graphs"])

    @property
    def parts(self) -> int:
        """In how many parts a batch is shown to the network."""
        return int(self.used["gradient_accumulation"])

    def report(self, trained: bool = False) -> dict[str, Any]:
        """Return what reports say: what was used, and why something that was asked for was not.

        ``trained``: name also what a network in training alone knows of.
        """
        used = {name: value for name, value in self.used.items() if trained or name not in OF_TRAINING}
        return {**used, **({"not_used": self.not_used} if self.not_used else {})}

    def inputs(self) -> dict[str, str]:
        """Return what tells checkpoints apart besides the job: another precision than it asks for."""
        return {"precision": self.precision} if "precision" in self.not_used else {}

    def autocast(self) -> AbstractContextManager[object]:
        """Return a context in which a network computes in the precision that is used."""
        return torch.autocast(self._device.type, torch.bfloat16) if self.precision == "bfloat16" else nullcontext()

    def training(self, network: nn.Module, shape: tuple[int, ...]) -> nn.Module:
        """Return a network in training, to be called as it is: its gradients are averaged over the group.

        Args:
            network: what is trained; its weights are shared.
            shape: (b, C, H, W) of the images that it is shown at once.
        """
        if isinstance(network, UNet):
            network.checkpointing = self.used["activation_checkpointing"]

        def rehearse(compiled: nn.Module) -> None:
            images = torch.zeros(shape, device=self._device).to(memory_format=torch.channels_last)
            compiled(images, torch.zeros(len(images), dtype=torch.int64, device=self._device)).sum().backward()
            network.zero_grad()

        whole = Cast(network, self.autocast)
        # Under static_graph, torch allows no step without an exchange, as all but the last of several parts are.
        return self._group.wrap(self._compiled(whole, rehearse), static=self.parts == 1)

    def seeing(
        self,
        unet: UNet,
        images: int,
        within: Callable[[], AbstractContextManager[object]] = torch.no_grad,
        gradients: bool = False,
        times: int = 1,
    ) -> See:
        """Return :meth:`UNet.see` of a frozen network, in float32 whatever it computes in.

        It sees images in parts where memory lacks for all at once, but for gradients, which need all of them.

        Args:
            unet: the network.
            images: how many it is shown at once.
            within: the context in which it will be called: what is compiled serves one alone.
            gradients: whether images are shown that need gradients, within :class:`torch.enable_grad`.
            times: how many it is told: one of all images, or one of each.
        """

        def see(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            with self.autocast():
                noise, h, emb = unet.see(x, t)
            return noise.float(), h.float(), emb.float()

        def rehearse(compiled: See) -> None:
            size = unet.sample_size
            zeros = torch.zeros(images, unet.in_channels, size, size, device=self._device, requires_grad=gradients)
            with within():
                noise, _, _ = in_parts(compiled, zeros, torch.zeros(times, device=self._device))
                if gradients:
                    torch.autograd.grad(noise.sum(), zeros)

        in_parts = InParts(self._shown_in)
        if gradients and self.graphs:
            self._refused("gradients are taken of what the network sees")
        seen: See = self.replayed(self._compiled(see, rehearse))

        def kept(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            noise, h, emb = seen(x, t)
            return noise.clone(), h.clone(), emb.clone()  # the next replay overwrites what it fills

        return seen if gradients else partial(in_parts, kept if self.graphs else seen)

    def replayed(self, work: Function) -> Function | Replayed:
        """Return work of tensors that is recorded and replayed, where graphs are used."""
        return Replayed(work, recorder(), self._refused) if self.graphs else work

    def _compiled(self, function: Function, rehearse: Callable[[Function], None]) -> Function:
        """Return the function compiled, after a rehearsal, or as it is where that fails."""
        if (asked := self.used["compile"]) == "off":
            return function
        try:
            compiled = cast(Function, torch.compile(function, mode=MODES[asked], dynamic=False))
            rehearse(compiled)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # Compilers fail in ways of their own, and none is a reason not to compute.
            self._give_up("compile", "off", f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
            return function
        return compiled

    def _no_graphs(self, dropout: float) -> str | None:
        if self._device.type != "cuda":
            return f"there are none on {self._device.type}"
        if self._group.size > 1:
            return "several processes train together"
        if self.used["activation_checkpointing"] and dropout:
            return "activation_checkpointing repeats dropout masks, which can't be recorded"
        return None

    def _shown_in(self, parts: int) -> None:
        self.used["shown_in_parts"] = parts
        print(f"memory lacks: images are shown to the network in {parts} parts", file=sys.stderr)

    def _refused(self, reason: str) -> None:
        self._give_up("cuda_graphs", False, reason)

    def _give_up(self, option: str, instead: Any, reason: str) -> None:
        self.not_used[option] = f"{self.used[option]}: {reason}"
        if self._group.writes:
            print(f"execution.{option}: {self.used[option]} is not used, {instead} is: {reason}", file=sys.stderr)
        self.used[option] = instead


class Cast(nn.Module):
    """A network that computes within a context, and answers in float32."""

    def __init__(self, network: nn.Module, context: Callable[[], AbstractContextManager[object]]) -> None:
        super().__init__()
        self.network, self._context = network, context

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Predict the noise in x (B, C, H, W) at times t (B,)."""
        with self._context():
            noise: Tensor = self.network(x, t)
        return noise.float()


def recorder() -> Recorder:
    """Return what records work on this machine's GPU."""
    return CudaRecorder()


def allow_tf32(device: torch.device, allowed: bool) -> None:
    """Say whether a GPU's convolutions may round their factors to TF32, as torch's own default lets them.

    Other products never do: losses have some, and these are to be the same whatever a network computes in.
    """
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = allowed, False


@contextmanager
def as_torch_does(device: torch.device) -> Iterator[None]:
    """Let convolutions round as torch's default does, in which all features of images are looked at."""
    before = torch.backends.cudnn.allow_tf32
    allow_tf32(device, True)
    try:
        yield
    finally:
        allow_tf32(device, before)


def missing_precision(precision: Precision, device: torch.device) -> str | None:
    """Return why a device does not compute in a precision; None if it does.

    On the CPU it is always float32: what some processors do faster in other numbers, most do slower.
    """
    if precision == "float32":
        return None
    if device.type != "cuda":
        return f"on {device.type}, everything is computed in float32"
    if torch.cuda.get_device_capability(device)[0] < 8:
        return f"{torch.cuda.get_device_name(device)} does not know {precision} (compute capability 8.0 does)"
    return None
