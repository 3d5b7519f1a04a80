"""Data sets, with all that is fixed for each of them: network, training, heads, and how samples are scored."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from sadpm.extractors import EXTRACTORS, ExtractorSection
from sadpm.kinds.section import ConfigPath, Section
from sadpm.networks.section import ExecutionConfig, ExecutionSection
from sadpm.sources import SourceSection


class NetworkConfig(Section):
    """The U-Net of Ho et al. (2020) as in SA-DPM's programs; image size and channels come from the data."""

    block_out_channels: tuple[int, ...] = (128, 256, 256, 256)
    layers_per_block: int = Field(2, ge=1)
    attention_resolutions: tuple[int, ...] = (16,)
    dropout: float = Field(0.1, ge=0, lt=1)
    norm_num_groups: int = Field(32, ge=1)

    @model_validator(mode="after")
    def _groups_divide_channels(self) -> Self:
        if not self.block_out_channels:
            raise ValueError("block_out_channels needs at least one level, such as [128, 256]")
        for channels in self.block_out_channels:
            if channels < 1 or channels % self.norm_num_groups:
                raise ValueError(
                    f"block_out_channels: {channels} is not a multiple of norm_num_groups ({self.norm_num_groups})"
                )
        if (width := self.block_out_channels[0]) % 2 or width < 4:
            raise ValueError(f"block_out_channels: {width} is not an even number of at least 4")
        return self

    def check_size(self, size: int) -> None:
        """Raise ValueError unless images of ``size`` x ``size`` can be halved and attended to as the network does."""
        levels = range(len(self.block_out_channels))
        if size < 1 or size % 2 ** (halvings := levels[-1]):
            raise ValueError(f"images of {size}x{size} can't be halved {halvings} time{'s'[: halvings != 1]}")
        if strangers := set(self.attention_resolutions) - (sizes := {size >> level for level in levels}):
            raise ValueError(f"attention_resolutions: {sorted(strangers)} not among the resolutions {sorted(sizes)}")


class TrainingConfig(Section):
    """Optimisation of the noise predictor: Adam, a rate that may rise and fall, and an average of the weights."""

    steps: int = Field(ge=1)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(2e-4, gt=0)
    warmup_steps: int = Field(0, ge=0)
    decay: Literal["none", "linear", "cosine"] = "none"
    ema_decay: float = Field(0.9999, ge=0, lt=1)
    max_grad_norm: float | None = Field(1.0, gt=0)
    flip: bool = False
    log_every: int = Field(100, ge=1)

    @model_validator(mode="after")
    def _warm_before_the_end(self) -> Self:
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps: {self.warmup_steps} is not below steps ({self.steps})")
        return self


class HeadsConfig(Section):
    """The heads of NPR, SN and OCM on the frozen noise predictor, and the Analytic estimate that a pass yields."""

    steps: int = Field(500_000, ge=1)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    ema_decay: float = Field(0.9999, ge=0, lt=1)
    kind: Literal["simple", "complex"] = "simple"
    backbone_dropout: bool = False
    ms_eps: Literal["controlled", "plain"] = "controlled"
    log_every: int = Field(100, ge=1)


class LikelihoodConfig(Section):
    """The images over which bounds in bits/dim are averaged: of those trained on, or of the source's test split."""

    split: Literal["train", "test"] = "train"
    num_images: int = Field(1_000, ge=2)


class DatasetConfig(Section):
    """A data set with all that is fixed for it: network, training, heads, and how samples are scored."""

    source: SourceSection
    extractor: ExtractorSection
    network: NetworkConfig
    training: TrainingConfig
    heads: HeadsConfig = HeadsConfig()
    likelihood: LikelihoodConfig = Field(LikelihoodConfig(), exclude_if=lambda asked: asked == LikelihoodConfig())
    reference: ConfigPath | None = None
    num_samples: int = Field(50_000, ge=2)
    sampling_batch_size: int = Field(500, ge=50, multiple_of=50)
    shards: int = Field(1, ge=1)
    gpus: int = Field(1, ge=0)
    execution: ExecutionSection = ExecutionConfig()

    @model_validator(mode="after")
    def _a_batch_for_each_shard(self) -> Self:
        batches = -(-self.num_samples // self.sampling_batch_size)
        if self.shards > batches:
            raise ValueError(
                f"shards: {self.shards} jobs can't share {batches} batches of sampling_batch_size images; "
                f"shards is at most {batches}"
            )
        return self

    @model_validator(mode="after")
    def _the_batch_is_shared_by_the_gpus(self) -> Self:
        if self.gpus > 1 and self.training.batch_size % self.gpus:
            raise ValueError(f"gpus: {self.gpus} can't share training.batch_size ({self.training.batch_size}) equally")
        return self

    @model_validator(mode="after")
    def _labels_for_what_is_trained(self) -> Self:
        if self.extractor.is_trained and not self.source.has_labels:
            others = [name for name, kind in EXTRACTORS.built_in.items() if not kind.is_trained]
            raise ValueError(
                f"extractor: {self.extractor.kind!r} learns from labels; for {self.source.kind!r} use one of"
                f" {', '.join(others)}"
            )
        return self

    @model_validator(mode="after")
    def _test_images_where_there_are_some(self) -> Self:
        if self.likelihood.split == "test" and self.source.held_out() is None:
            raise ValueError(
                f"likelihood.split: 'test' needs images that are not trained on, and the source {self.source.kind!r} "
                "has none as it is; 'cifar10' and 'celeba' have a test split, 'digits' has one with split: train"
            )
        return self

    @model_validator(mode="after")
    def _published_references_are_of_what_others_use(self) -> Self:
        if self.reference is not None and self.extractor.num_published_features is None:
            others = [name for name, kind in EXTRACTORS.built_in.items() if kind.num_published_features]
            known = f"those of {' and '.join(others)} are published"
            raise ValueError(f"reference: {self.extractor.kind!r} has no published statistics; {known}")
        return self
