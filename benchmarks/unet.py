"""Our U-Net beside diffusers' with the same weights: milliseconds of forward, and forward with backward."""

import statistics
import tempfile
import time
from collections.abc import Callable

import torch
from diffusers import UNet2DModel

from sadpm.networks.unet import UNet, save_unet

ROUNDS = 20
NETWORK = {"block_out_channels": (16, 32), "layers_per_block": 1, "attention_resolutions": (4,), "norm_num_groups": 4}


def main() -> None:
    ours = UNet(sample_size=8, in_channels=1, **NETWORK)
    with tempfile.TemporaryDirectory() as folder:
        save_unet(ours, folder)
        theirs = UNet2DModel.from_pretrained(folder)
    ours = ours.to(memory_format=torch.channels_last)
    predictors = {"sadpm": lambda x, t: ours(x, t), "diffusers": lambda x, t: theirs(x, t).sample}
    for batch in (64, 250):
        for what, run in (("forward", forward), ("forward and backward", backward)):
            medians = compare(predictors, run, torch.randn(batch, 1, 8, 8), torch.randint(0, 1000, (batch,)))
            print(f"batch {batch}, {what}: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in medians.items()))


def compare(predictors: dict[str, Callable], run: Callable, x: torch.Tensor, t: torch.Tensor) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in predictors}
    for _ in range(ROUNDS):
        for name, predict in predictors.items():
            start = time.perf_counter()
            run(predict, x, t)
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def forward(predict: Callable, x: torch.Tensor, t: torch.Tensor) -> None:
    with torch.inference_mode():
        predict(x, t)


def backward(predict: Callable, x: torch.Tensor, t: torch.Tensor) -> None:
    predict(x, t).square().sum().backward()


if __name__ == "__main__":
    main()
