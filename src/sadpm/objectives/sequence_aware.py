"""The sequence-aware loss of SA-K-DPM (AAAI 2024): L_simple + lambda L_sa over K consecutive levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from sadpm.objectives import Loss, Objective

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sadpm.diffusion.losses import PredictNoise
    from sadpm.diffusion.schedule import NoiseSchedule


class SequenceAware(Objective):
    """E ||f - eps||^2 + lambda E ||(1/K) sum_s w_s (f(x_s, s) - eps_s)||^2, with independent noise for each level.

    ``weights`` are 1, as in the authors' program, or tau of Theorem 1. An ``anchored`` window goes down from the level
    of the simple loss, as in the program; a ``sliding`` one is drawn by itself, as in the paper's text, and costs one
    more forward pass. The square of the mean has ``plain`` terms, the squares of the K residuals, which show the
    network more noise a step, and ``cross`` terms, the products of two, which are the method's idea; either may be
    left out. With ``gamma``, each image that the network is shown is perturbed as by
    :class:`~sadpm.objectives.input_perturbation.InputPerturbation`, by a second noise of its own.
    """

    kind: Literal["sequence-aware"] = "sequence-aware"
    K: int = Field(ge=2)
    lam: float = Field(alias="lambda", ge=0)
    weights: Literal["unit", "theory"] = "unit"
    window: Literal["anchored", "sliding"] = "anchored"
    terms: Literal["both", "plain", "cross"] = "both"
    gamma: float = Field(0.0, ge=0, exclude_if=lambda gamma: gamma == 0)

    @model_validator(mode="after")
    def _bounded_below(self) -> Self:
        if self.terms == "cross" and self.weights == "unit" and self.lam > self.K:
            raise ValueError(
                f"lambda: {self.lam:g} is above K ({self.K}), and with terms: cross the loss then has no minimum:"
                " residuals of alternating signs make it as negative as one likes"
            )
        return self

    parts: ClassVar[tuple[str, ...]] = ("simple", "sequence")

    def draw(self, shape: tuple[int, ...], num_train_timesteps: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the levels n (B,), the noises (B, K or K + 1, C, H, W), and the start (B,) of a sliding window.

        The levels, and the first of the noises, are those of the baseline. If gamma is not 0, second noises of the
        shape of the first ones are drawn after all that.
        """
        import torch

        from sadpm.diffusion.losses import antithetic_levels

        device, sliding = generator.device, self.window == "sliding"
        n = antithetic_levels(shape[0], num_train_timesteps, generator)
        noises = (self.K + sliding, *shape)
        draws = {"n": n, "noise": torch.randn(noises, generator=generator, device=device).movedim(0, 1)}
        if sliding:
            bounds = (1 - self.K, num_train_timesteps + 1)
            draws["start"] = torch.randint(*bounds, shape[:1], generator=generator, device=device)
        if self.gamma:
            draws["second_noise"] = torch.randn(noises, generator=generator, device=device).movedim(0, 1)
        return draws

    def loss(self, predict_noise: PredictNoise, schedule: NoiseSchedule, x0: Tensor, draws: dict[str, Tensor]) -> Loss:
        """Return the mean over the batch, and its two terms without lambda."""
        from sadpm.diffusion.losses import sequence_aware_loss

        n, noise, start = draws["n"], draws["noise"].movedim(1, 0), draws.get("start")
        shown = noise + self.gamma * draws["second_noise"].movedim(1, 0) if self.gamma else None
        found = sequence_aware_loss(
            predict_noise, schedule, x0, n, noise,
            lam=self.lam, weights=self.weights, window_start=start, terms=self.terms, shown_noise=shown,
        )  # fmt: skip
        return Loss(found.total, (found.simple, found.sequence))

    def images_per_training_image(self) -> int:
        """Return K, one more with a sliding window, and 1 where lambda is 0 and nothing of the window counts."""
        return self.K + (self.window == "sliding") if self.lam else 1

    def loss_of_zero(self, dimension: int) -> float:
        """Return it for weights of 1, which no weights exceed: the noises are independent, so that products vanish."""
        return dimension * (1 + (0 if self.terms == "cross" else self.lam / self.K))
