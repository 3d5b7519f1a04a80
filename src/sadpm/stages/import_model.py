"""Take one noise predictor from a released checkpoint."""

import sys
import time
from pathlib import Path

import torch

from sadpm.config.jobs import ImportJob
from sadpm.networks.released import layout, load_released
from sadpm.networks.unet import UNet, save_unet
from sadpm.running.files import UserError, provenance, sha256, write_json, write_text
from sadpm.sources.reading.prepared import load_pixels
from sadpm.stages import command
from sadpm.training.state import LOSS_COLUMNS


def import_model(params: ImportJob, images: Path, model: Path, log: Path, report: Path) -> None:
    """Write what training would have written: a folder that diffusers opens, a log (without losses), and a report."""
    begun = time.monotonic()
    checkpoint = Path(params.checkpoint.path)
    network = empty_network(params, load_pixels(images).shape)
    released = load_released(checkpoint, params.checkpoint.format, network, params.schedule)
    for note in released.notes:
        print(f"{checkpoint}: {note}", file=sys.stderr)
    made = provenance(params, images=images, checkpoint=checkpoint)
    save_unet(released.unet, model)
    write_text(log, ",".join(LOSS_COLUMNS) + "\n")
    facts = {
        "imported": True,
        "source": params.checkpoint.path,
        "sha256": made["inputs"]["checkpoint"],
        "layout": layout(checkpoint, params.checkpoint.format),
        "files": {str(file): sha256(file) for file in released.files},
        "said": released.said,
        "notes": released.notes,
        "parameters": sum(parameter.numel() for parameter in released.unet.parameters()),
        "seconds": time.monotonic() - begun,
    }
    write_json(report, {**facts, "torch": torch.__version__, "provenance": made})


def empty_network(params: ImportJob, shape: tuple[int, ...]) -> UNet:
    """Return the data set's U-Net for images of this shape (n, H, W, C), without memory for its weights."""
    try:
        with torch.device("meta"):
            return UNet.for_images(shape, **params.network.model_dump())
    except ValueError as error:
        raise UserError(f"network: {error}") from error


if __name__ == "__main__":
    command(import_model)
