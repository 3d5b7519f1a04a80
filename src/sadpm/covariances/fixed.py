"""The sampler's own variance: no covariance at all."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from sadpm.covariances import Covariance
from sadpm.kinds.section import Name


class Fixed(Covariance):
    """DDPM's small or large variance, DDIM's by eta."""

    kind: Literal["fixed"] = "fixed"
    recipe: Name = "sa-dpm"

    is_fitted: ClassVar[bool] = False
    declared: ClassVar[dict[str, dict[str, Any]]] = {"fixed": {"label": "fixed"}}
