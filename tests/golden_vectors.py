"""The numbers recorded from the authors' programs; the variable GOLDEN_VECTORS names the folder of another such set."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

OWN_FOLDER = Path(__file__).parent / "golden" / "vectors"
FOLDER = Path(os.environ.get("GOLDEN_VECTORS", OWN_FOLDER))


def load(name: str) -> dict[str, Any]:
    """Return the arrays of `<name>.npz`, with the JSON in `meta` parsed."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as archive:
        arrays: dict[str, Any] = {key: archive[key] for key in archive.files}
    return {**arrays, "meta": json.loads(str(arrays["meta"]))}
