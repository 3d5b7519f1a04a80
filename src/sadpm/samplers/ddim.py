"""The non-Markovian family of DDIM (Song et al. 2021, eq. 12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from sadpm.samplers import Manner
from sadpm.samplers.one_step import OneStep

if TYPE_CHECKING:
    from sadpm.diffusion.samplers import DDIMStep


class DDIM(OneStep):
    """Deterministic with ``eta`` 0; with 1 it has DDPM's variance."""

    kind: Literal["ddim"] = "ddim"
    eta: float = Field(0.0, ge=0, le=1)

    declared: ClassVar[dict[str, dict[str, Any]]] = {"ddim": {"label": "DDIM"}}

    def step(self, manner: Manner) -> DDIMStep:
        """Return the step, with the optimal variance where there is a covariance."""
        from sadpm.diffusion.samplers import DDIMStep

        return DDIMStep(self.eta, "optimal" if manner.optimal else "small", clip_sample=manner.clip_sample)
