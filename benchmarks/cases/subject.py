"""The network of a data set, as a configuration has it, with random weights and images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sadpm.config.datasets import DatasetConfig
from sadpm.config.experiment import Config
from sadpm.config.jobs import TrainJob
from sadpm.config.telling import execution_of
from sadpm.cost.flops import unet_flops, unet_parameters
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.networks.execution import Executed, missing_precision
from sadpm.networks.section import PLAIN, Precision
from sadpm.networks.unet import UNet
from sadpm.objectives import Objective
from sadpm.objectives.ddpm import DDPM
from sadpm.running.files import UserError
from sadpm.stages.train import new_network


@dataclass(frozen=True)
class Subject:
    """A data set of a configuration, on a device.

    Attributes:
        config: the configuration.
        name: of the data set.
        device: where everything lies.
        compiles: whether networks are compiled and recorded where the configuration asks for it.
    """

    config: Config
    name: str
    device: torch.device
    compiles: bool = True

    @property
    def dataset(self) -> DatasetConfig:
        """Its section."""
        return self.config.datasets[self.name]

    @property
    def image(self) -> tuple[int, int, int]:
        """(C, H, W) of its images.

        Raises:
            UserError: their size is not known before the file is there.
        """
        if (shape := self.dataset.source.shape()) is None:
            raise UserError(f"{self.name}: the size of the images is not known before the file is there")
        return shape.channels, shape.size, shape.size

    @property
    def flops(self) -> int:
        """Operations of one image's forward pass."""
        channels, size, _ = self.image
        return unet_flops(self.dataset.network, size, channels)

    @property
    def parameters(self) -> int:
        """Trained numbers of the network."""
        channels, size, _ = self.image
        return unet_parameters(self.dataset.network, size, channels)

    @property
    def precision(self) -> Precision:
        """What the network is really run in on this device."""
        asked = execution_of(self.config, self.name).precision
        return asked if missing_precision(asked, self.device) is None else "float32"

    def executed(self, plain: bool = False, dropout: float = 0.0) -> Executed:
        """Return how the stages run the network; ``plain``: in the same precision, and as it is for the rest."""
        options = PLAIN if plain else execution_of(self.config, self.name).options()
        if not self.compiles:
            options = options.model_copy(update={"compile": "off", "cuda_graphs": False})
        return Executed(options, self.precision, self.device, dropout=dropout)

    def job(self, objective: Objective | None = None) -> TrainJob:
        """Return the training by an objective, the baseline's if there is none."""
        return TrainJob(
            schedule=self.config.schedule,
            network=self.dataset.network,
            training=self.dataset.training,
            objective=objective or DDPM(),
            seed=0,
            precision=self.precision,
        )

    def network(self) -> UNet:
        """Return the network as training begins with it."""
        channels, *size = self.image
        unet = new_network(self.job(), (1, *size, channels)).to(self.device)
        return unet.to(memory_format=torch.channels_last)

    def frozen(self) -> UNet:
        """Return the network as samplers see it."""
        return self.network().eval().requires_grad_(False)

    def images(self, count: int) -> Tensor:
        """Return random images (count, C, H, W) in [-1, 1]."""
        numbers = torch.rand(count * math.prod(self.image), generator=torch.Generator().manual_seed(0))
        return (numbers * 2 - 1).view(count, *self.image).to(self.device)

    def noises(self) -> NoiseSchedule:
        """Return the forward process on the device."""
        return NoiseSchedule.create(**self.config.schedule.model_dump()).to(self.device)
