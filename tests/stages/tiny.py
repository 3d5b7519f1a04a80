"""The smallest jobs that exercise a stage."""

from sadpm.config.datasets import HeadsConfig, NetworkConfig, TrainingConfig
from sadpm.config.grid import Cell
from sadpm.config.jobs import Chain, CovarianceJob, SampleJob, TrainJob
from sadpm.config.sampling import PAPER_RECIPES
from sadpm.covariances import COVARIANCES
from sadpm.diffusion.section import ScheduleConfig
from sadpm.objectives.ddpm import DDPM
from sadpm.objectives.sequence_aware import SequenceAware
from sadpm.samplers import SAMPLERS

FITTED = "analytic+npr+sn.safetensors"
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
        objective=SequenceAware(K=2, lam=1.0) if sequence else DDPM(),
        seed=0,
    )


def chain(sampler, covariance, steps):
    entry, way = COVARIANCES.built_in[covariance](), SAMPLERS.built_in[sampler]()
    cell = Cell("digits", "base", 0, sampler, covariance, steps)
    fit = covariance if entry.is_fitted else None
    return Chain(cell=cell, sampler=way, covariance=entry, fit=fit, recipe=PAPER_RECIPES[entry.recipe])


def sampling_job(*chains, num_samples=60, batch_size=500):
    return SampleJob(schedule=SCHEDULE, chains=chains, num_samples=num_samples, batch_size=batch_size, seed=0)


def training_outputs(folder):
    names = {"model": "model", "log": "log.csv", "report": "training.json", "checkpoints": "checkpoints"}
    return {option: folder / name for option, name in names.items()}


def covariance_job(names=("analytic", "npr", "sn"), **heads):
    covariances = {name: COVARIANCES.built_in[name]() for name in names}
    return CovarianceJob(schedule=SCHEDULE, heads=HEADS.model_copy(update=heads), covariances=covariances, seed=0)


def covariance_outputs(folder):
    names = {
        "fitted": "analytic+npr+sn.safetensors",
        "report": "covariance.json",
        "checkpoints": "covariance-checkpoints",
    }
    return {option: folder / name for option, name in names.items()}
