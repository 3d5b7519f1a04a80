"""Ancestral sampling of DDPM (Ho et al. 2020, algorithm 2), for any sub-sequence of levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sadpm.samplers import Manner
from sadpm.samplers.one_step import OneStep

if TYPE_CHECKING:
    from sadpm.diffusion.samplers import DDPMStep


class DDPM(OneStep):
    """x_s is drawn from q(x_s | x_t, x_0) at the predicted x_0; its variance is tilde beta (``small``) or beta."""

    kind: Literal["ddpm"] = "ddpm"
    variance: Literal["small", "large"] = "small"

    declared: ClassVar[dict[str, dict[str, Any]]] = {"ddpm": {"label": "DDPM"}}

    def step(self, manner: Manner) -> DDPMStep:
        """Return the step, with the optimal variance where there is a covariance."""
        from sadpm.diffusion.samplers import DDPMStep

        return DDPMStep("optimal" if manner.optimal else self.variance, clip_sample=manner.clip_sample)

    def objection(self, optimal: bool) -> str | None:
        """Return that a covariance would replace the large variance."""
        return "variance is 'large', which a covariance would replace" if optimal and self.variance == "large" else None

    def objection_to_bound(self) -> str | None:
        """Return nothing: each step is the posterior at the predicted x_0."""
        return None
