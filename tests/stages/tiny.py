"""The smallest jobs that exercise a stage."""

from sadpm.config import (
    PAPER_COVARIANCES,
    PAPER_RECIPES,
    PAPER_SAMPLERS,
    HeadsConfig,
    NetworkConfig,
    ScheduleConfig,
    SequenceConfig,
    TrainingConfig,
)
from sadpm.grid import Cell
from sadpm.jobs import Chain, SampleJob, TrainJob

SCHEDULE = ScheduleConfig(num_train_timesteps=50)
NETWORK = NetworkConfig(
    block_out_channels=(8, 8), layers_per_block=1, attention_resolutions=(), norm_num_groups=4, dropout=0.1
)
HEADS = HeadsConfig(steps=8, batch_size=10, ema_decay=0.5, log_every=3)


def training_job(steps=60, sequence=True, **network):
    training = TrainingConfig(steps=steps, batch_size=6, ema_decay=0.5, log_every=3)
    return TrainJob(
        schedule=SCHEDULE,
        network=NETWORK.model_copy(update=network),
        training=training,
        sequence=SequenceConfig(K=2, lam=1.0) if sequence else None,
        seed=0,
    )


def chain(sampler, covariance, steps):
    entry = PAPER_COVARIANCES[covariance]
    cell = Cell("digits", "base", 0, sampler, covariance, steps)
    return Chain(cell=cell, sampler=PAPER_SAMPLERS[sampler], covariance=entry, recipe=PAPER_RECIPES[entry.recipe])


def sampling_job(*chains, num_samples=60, batch_size=500):
    return SampleJob(schedule=SCHEDULE, chains=chains, num_samples=num_samples, batch_size=batch_size, seed=0)


def training_outputs(folder):
    names = {"model": "model", "log": "log.csv", "report": "training.json", "checkpoints": "checkpoints"}
    return {option: folder / name for option, name in names.items()}


def covariance_outputs(folder):
    names = ("analytic.npz", "npr.safetensors", "sn.safetensors")
    outputs = {name.split(".")[0]: folder / "covariance" / name for name in names}
    return {**outputs, "report": folder / "covariance.json", "checkpoints": folder / "covariance-checkpoints"}
