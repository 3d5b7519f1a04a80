"""Solvers of diffusers: DPM-Solver++ (Lu et al. 2022), UniPC (Zhao et al. 2023), DEIS and others."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, JsonValue

from sadpm.running.files import UserError
from sadpm.samplers import Manner, Sampler
from sadpm.samplers.scheduler_source import mistake, read

if TYPE_CHECKING:
    from torch import Tensor

    from sadpm.diffusion.samplers import DrawNoise, Predict
    from sadpm.diffusion.schedule import NoiseSchedule

TOLERANCE = 1e-4
"""How far a state may be from the one that is known; diffusers computes in part in float32."""

SolverStep = Callable[[int, "Tensor", "Tensor", "Tensor | None"], "Tensor"]
"""Place of a level in the chain, the predicted noise, the state, standard normal noise -> the state one level below."""


class Diffusers(Sampler):
    """A scheduler of diffusers steps between exactly the recipe's levels; the last step is the prediction of x_0.

    Whatever ways a scheduler has to choose levels, it visits all of a process that has no others. So it is given the
    visited levels as a whole forward process, of which one step is a skip of ours.
    """

    kind: Literal["diffusers"] = "diffusers"
    scheduler: str
    options: dict[str, JsonValue] = Field(default_factory=dict)

    resumes: ClassVar[bool] = False
    declared: ClassVar[dict[str, dict[str, Any]]] = {
        "dpm_solver": {
            "scheduler": "DPMSolverMultistepScheduler",
            "options": {"algorithm_type": "dpmsolver++", "solver_order": 2},
            "label": "DPM-Solver++ 2M",
        },
        "unipc": {"scheduler": "UniPCMultistepScheduler", "options": {"solver_order": 2}, "label": "UniPC"},
    }

    def objection(self, optimal: bool) -> str | None:
        """Return that there is no variance for a covariance to replace, or what is wrong with name or options."""
        if optimal:
            return f"{self.scheduler} has no variance that a covariance could replace; ddpm and ddim have"
        return mistake(self.scheduler, self.options)

    def prepare(self) -> None:
        """Import the scheduler; UserError where that can't be."""
        if objection := self.objection(optimal=False):
            raise UserError(objection)
        self._class()

    def chain(
        self,
        predict: Predict,
        x: Tensor,
        levels: Sequence[int],
        schedule: NoiseSchedule,
        draw_noise: DrawNoise,
        manner: Manner,
        first: int,
    ) -> Iterator[Tensor]:
        """Yield the state after each step; ``first`` is 0, because a solver remembers what it has seen.

        Raises:
            UserError: the scheduler is not there, can't be run with its options, visits other levels than those that
                it was given, or does not do what the recipe asks for.
        """
        from sadpm.diffusion.samplers import predict_x0

        clip = manner.clip_sample
        if objection := self.objection(manner.optimal):
            raise UserError(objection)
        if manner.max_variance is not None:
            raise self._error("it can't bound a variance; remove 'diffusers' from the recipe's max_variance_pixels")
        if not schedule.alphas_cumprod[levels[-1]]:
            raise self._error(f"level {levels[-1]} has no signal from which x_0 could be told; begin a chain below it")
        try:
            is_noisy = len(levels) > 1 and self._rehearse(levels, schedule, clip)
        except UserError:
            raise
        except Exception as error:  # whatever another's program may raise
            raise self._error(f"{type(error).__name__}: {error}") from error
        step = self._solver(levels, schedule, clip)
        for j, place in enumerate(reversed(range(1, len(levels)))):
            noise = predict(x, levels[place]).noise
            x = step(place, noise, x, draw_noise(j) if is_noisy else None)
            yield x
        yield predict_x0(schedule, x, predict(x, levels[0]).noise, levels[0], clip)

    def _solver(self, levels: Sequence[int], schedule: NoiseSchedule, clip: bool) -> SolverStep:
        """Return the step of a new scheduler on these levels."""
        import torch

        source = read(self.scheduler)
        assert source is not None  # else there was an objection
        number, abar = len(levels), schedule.alphas_cumprod[list(levels)]
        own_clip = {"clip_sample": clip, "clip_sample_range": 1.0} if "clip_sample" in source.constructor else {}
        ours = {
            "num_train_timesteps": number,
            "trained_betas": (1 - abar / torch.cat([abar.new_ones(1), abar[:-1]])).tolist(),
            "prediction_type": "epsilon",
            "timestep_spacing": "trailing",
            "final_sigmas_type": "sigma_min",
            # With this bound, the quantile that the threshold follows can't leave 1.
            **(own_clip or {"thresholding": clip, "sample_max_value": 1.0}),
        }
        given = {name: value for name, value in {**ours, **self.options}.items() if name in source.constructor}
        scheduler = self._class()(**given)
        # diffusers multiplies in float32, which leaves three digits of 1 - abar at the lowest level.
        scheduler.alphas_cumprod = abar
        scheduler.set_timesteps(number)
        if (visited := scheduler.timesteps.tolist()) != [*reversed(range(number))]:
            calls = f"{len(visited)} calls in an order of its own, not one at each of {number} levels"
            raise self._error(f"it makes {calls}")
        if hasattr(scheduler, "sigmas"):
            sigmas = ((1 - abar) / abar).sqrt().flip(0)
            scheduler.sigmas = torch.cat([sigmas, sigmas[-1:]])
        more = {name: value for name, value in self.options.items() if name not in source.constructor}

        def step(place: int, noise: Tensor, x: Tensor, drawn: Tensor | None) -> Tensor:
            of_noise = {"variance_noise": drawn} if "variance_noise" in source.step else {}
            after: Tensor = scheduler.step(noise, place, x, **of_noise, **more).prev_sample
            return after

        return step

    def _rehearse(self, levels: Sequence[int], schedule: NoiseSchedule, clip: bool) -> bool:
        """Run a chain of three pixels that can be checked, and return whether the scheduler adds noise.

        The first pixel is of an image that is known for certain, without noise: at level s it is sqrt(abar_s) x_0, by
        whatever solver. The second has nothing in it but what is drawn. The third is of a prediction that clipping
        would change.
        """
        import torch

        step, signal = self._solver(levels, schedule, clip), schedule.alphas_cumprod[list(levels)].sqrt()
        x0 = torch.tensor([0.5, 0.0, 2.0], dtype=torch.float64).reshape(1, 1, 1, 3)
        x, drawn = signal[-1] * x0, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64).reshape(1, 1, 1, 3)
        for place in reversed(range(1, len(levels))):
            x = step(place, schedule.noise_in(x, x0, levels[place]), x, drawn)
            expected = signal[place - 1] * x0
            if not (x - expected)[..., 0].abs() < TOLERANCE:
                raise self._error(f"its state at level {levels[place - 1]} is not what the forward process has there")
        is_clipped = (x - expected)[..., 2].abs() > TOLERANCE
        if bool(is_clipped) != clip:
            raise self._error(
                "with these options it can't clip x_0: use a recipe without clip_sample"
                if clip
                else "it clips x_0 where the recipe has no clip_sample"
            )
        return bool(x[..., 1] != 0)

    def _class(self) -> Any:
        return getattr(importlib.import_module("diffusers"), self.scheduler)

    def _error(self, reason: str) -> UserError:
        return UserError(f"samplers: {self.scheduler} can't be run here with options {self.options}: {reason}")
