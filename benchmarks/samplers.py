"""Time a step of each sampler without the network: all samplers in turn, again and again, and the medians compared.

The prediction costs nothing, so what is timed is the sampler's own share of a chain, its rehearsal included.
"""

import argparse
import statistics
import time

import torch

from sadpm.diffusion.samplers import Prediction
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.diffusion.timesteps import timesteps
from sadpm.running.device import device_name, select_device
from sadpm.samplers import Manner, Sampler
from sadpm.samplers.ddim import DDIM
from sadpm.samplers.diffusers import Diffusers

SAMPLERS: dict[str, Sampler] = {
    "ddim": DDIM(),
    "ddim of diffusers": Diffusers(scheduler="DDIMScheduler"),
    **{name: Diffusers(**section) for name, section in Diffusers.offered.items()},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=4, action="append", help="B C H W, again for another one")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    device = select_device()
    print(f"{device_name(device)}, torch {torch.__version__}, {options.steps} steps, median of {options.rounds} rounds")
    for shape in options.shape or [[500, 1, 8, 8], [500, 3, 32, 32]]:
        for clip in (False, True):
            seconds = measure(torch.randn(*shape, device=device), options.steps, options.rounds, clip)
            ours = statistics.median(seconds["ddim"])
            for name, times in seconds.items():
                more = statistics.median(time - base for time, base in zip(times, seconds["ddim"], strict=True))
                median = statistics.median(times)
                what = f"{shape}, {'clipped' if clip else 'free':7s} {name:18s}"
                beside = f"{1e3 * more:+8.3f} ms beside ddim ({median / ours:.1f} times)"
                print(f"{what} {1e3 * median:8.3f} ms a step, {beside}")


def measure(x: torch.Tensor, steps: int, rounds: int, clip: bool) -> dict[str, list[float]]:
    """Seconds a step, by sampler, of each round but the first."""
    schedule, noise = NoiseSchedule.create(), torch.randn_like(x)
    levels, manner = timesteps("uniform", 1000, steps), Manner(False, clip, None)
    seconds: dict[str, list[float]] = {name: [] for name in SAMPLERS}
    with torch.inference_mode():
        for _ in range(rounds + 1):
            for name, sampler in SAMPLERS.items():
                begun = time.perf_counter()
                for state in sampler.chain(lambda *_: Prediction(noise), x, levels, schedule, None, manner, 0):
                    last = state
                last.sum().item()
                seconds[name].append((time.perf_counter() - begun) / steps)
    return {name: times[1:] for name, times in seconds.items()}


if __name__ == "__main__":
    main()
