"""What benchmarks take from a finished run: its configuration, its folder, and how its samples are scored."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sadpm.config.experiment import Config
from sadpm.config.files import read_config
from sadpm.config.loading import load_config
from sadpm.extractors.looking.references import load_reference
from sadpm.extractors.looking.scores import score_images

Distance = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""From images (n, H, W, C) to their Frechet distance, and what each adds to it."""


def add_options(parser: ArgumentParser) -> None:
    """Let a run be chosen."""
    parser.add_argument("results", type=Path, help="an experiment's folder, such as results/laptop")
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"))
    parser.add_argument("--dataset", default="digits")


def finished(options: Namespace) -> tuple[Config, Path, Distance]:
    """Return the run that was chosen: its configuration, the data set's folder, and its distance."""
    config = load_config(read_config(options.config), str(options.config))
    folder = options.results / options.dataset
    extractor = config.datasets[options.dataset].extractor
    trained = folder / "extractor.safetensors" if extractor.is_trained else None
    looking, real = extractor.looking(["fd"], trained), load_reference(folder / "reference.npz")

    def distance(images: np.ndarray) -> tuple[float, np.ndarray]:
        score = score_images(images, looking, extractor.labels, real)["fd"]
        assert score.influence is not None, score.entry["no_error"]
        return score.entry["value"], score.influence

    return config, folder, distance
