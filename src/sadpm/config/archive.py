"""What the target `archive` holds beside tables, figures and how they were made."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sadpm.kinds.section import Section


class ArchiveConfig(Section):
    """Weights and samples are large, so they are put in on request; a licence of results is their owner's to give."""

    weights: bool = False
    samples: bool = False
    license: Annotated[str, Field(pattern=r"^(https?://\S+|[A-Za-z0-9][A-Za-z0-9.+-]*)$")] | None = None
