"""The steps of training, fitting and sampling ask nothing of the device and bring nothing to it.

On the device `meta`, tensors have no values: whatever looks at one, copies it to the host or branches on it, fails.
What comes from the host is counted.
"""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from tiny import chain, covariance_job, training_job
from torch.utils._python_dispatch import TorchDispatchMode

from sadpm.covariances import Fitting
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.networks.execution import Executed
from sadpm.networks.heads import new_head
from sadpm.networks.predictor import Predictor
from sadpm.networks.section import PLAIN, Execution
from sadpm.networks.unet import UNet
from sadpm.objectives.ddpm import DDPM
from sadpm.objectives.sequence_aware import SequenceAware
from sadpm.stages.fit_covariances import fit_step
from sadpm.stages.sample import manner
from sadpm.stages.train import new_network, train
from sadpm.training.batches import TrainingBatches
from sadpm.training.state import TrainingState
from sadpm.training.step import add_gradients, draws_at, loss_of

DEVICE = torch.device("meta")
FROM_HOST = {"aten::lift_fresh", "aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select"}


class Crossings(TorchDispatchMode):
    """Counts tensors made from Python's numbers, numbers made from tensors, and copies between devices."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func._schema.name
        moved = name in ("aten::_to_copy", "aten::copy_") and isinstance(args[0], torch.Tensor)
        other = args[1] if name == "aten::copy_" else args[0]
        if name in FROM_HOST or (moved and other.device != out.device):
            self.seen.append(name)
        return out


@contextmanager
def nothing_crosses():
    with Crossings() as crossings:
        yield
    assert crossings.seen == []


def test_the_counter_counts():
    tensor = torch.ones(2)
    with Crossings() as crossings:
        torch.tensor([1.0])
        tensor[0].item()
        tensor.to(DEVICE)
        torch.empty(2, device=DEVICE).copy_(tensor)
        tensor.double()
    assert crossings.seen == ["aten::lift_fresh", "aten::_local_scalar_dense", "aten::_to_copy", "aten::copy_"]
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.ones(1, device=DEVICE).item()


@pytest.mark.parametrize(
    ("objective", "parts"),
    [
        (DDPM(), 2),
        (SequenceAware(K=2, lam=1.0, terms="cross"), 1),
        (SequenceAware(K=3, lam=0.5, weights="theory", window="sliding"), 1),
    ],
    ids=["ddpm", "cross", "sliding theory"],
)
def test_a_training_step_is_work_of_the_device_alone(objective, parts, monkeypatch):
    monkeypatch.setattr(torch, "_fused_adam_", lambda *_, **__: None)  # with a rate in a tensor, `meta` has none
    job = training_job().model_copy(update={"objective": objective})
    schedule = NoiseSchedule.create(**job.schedule.model_dump()).to(DEVICE)
    network = new_network(job, (10, 8, 8, 1)).to(DEVICE)
    options = {"learning_rate": lambda step: 0.1 / (step + 1), "ema_decay": 0.5, "max_grad_norm": 1.0}
    state = TrainingState(network, **options, log_every=100, replayed=True)
    x0, draws = draws_at(0, job, schedule, torch.zeros(6, 1, 8, 8))
    x0, draws = x0.to(DEVICE), {name: drawn.to(DEVICE) for name, drawn in draws.items()}
    executed = Executed(Execution(gradient_accumulation=parts), "float32", DEVICE)
    trained = executed.training(network, (6 // parts, 1, 8, 8))
    for _ in range(2):
        with nothing_crosses():
            state.begin()
            state.optimizer.zero_grad()
            state.learn(add_gradients(job, schedule, trained, x0, draws, executed.parts))
            state.end()


def test_batches_ask_the_host_for_an_epoch_and_not_for_a_step():
    batches = TrainingBatches(np.zeros((10, 8, 8, 1), np.uint8), 4, 0, DEVICE)
    batches.at(0)
    with nothing_crosses():
        assert batches.at(1).shape == (4, 1, 8, 8)


def test_a_loss_that_looks_at_its_value_is_found():
    class Looking(DDPM):
        def loss(self, predict_noise, schedule, x0, draws):
            loss = super().loss(predict_noise, schedule, x0, draws)
            return loss if loss.total > 0 else None

    job = training_job(sequence=False).model_copy(update={"objective": Looking.model_construct(kind="looking")})
    schedule = NoiseSchedule.create(**job.schedule.model_dump()).to(DEVICE)
    x0 = torch.zeros(6, 1, 8, 8, device=DEVICE)
    draws = {"n": torch.ones(6, dtype=torch.int64, device=DEVICE), "noise": x0}
    with pytest.raises(RuntimeError, match="meta"):
        loss_of(job, schedule, lambda x, t: x, x0, draws)


@pytest.fixture
def unet():
    options = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4, "in_channels": 1}
    return UNet(sample_size=8, **options).to(DEVICE).eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("sampler", "covariance"), [("ddpm", "fixed"), ("ddim", "analytic"), ("ddim", "npr"), ("ddpm", "sn")]
)
def test_a_sampling_step_is_work_of_the_device_alone(unet, sampler, covariance):
    entry, schedule = chain(sampler, covariance, 5), NoiseSchedule.create(num_train_timesteps=50)
    head = {name: tensor.detach() for name, tensor in new_head(unet, "simple").state_dict().items()}
    tensors = {"ms_eps": torch.full((51,), 0.5)} if covariance == "analytic" else head
    loaded = entry.covariance.load(tensors, unet, schedule) if entry.covariance.is_fitted else None
    predict = Predictor(unet, loaded, clip=True, see=Executed(PLAIN, "float32", DEVICE).seeing(unet, 2))
    noise = torch.empty(2, 1, 8, 8, device=DEVICE)
    with torch.inference_mode():
        steps = entry.sampler.chain(predict, noise, [1, 11, 21, 31, 41], schedule, lambda j: noise, manner(entry), 0)
        with Crossings() as crossings:
            for x in steps:
                assert x.device == DEVICE
    # Whether a variance is 0 is asked of the schedule's numbers, which lie on the host.
    assert set(crossings.seen) <= {"aten::_local_scalar_dense"}


def test_a_fitting_step_brings_only_its_levels(unet, monkeypatch):
    monkeypatch.setattr("sadpm.stages.fit_covariances.generator", lambda *arguments: None)
    job = covariance_job()
    schedule = NoiseSchedule.create(num_train_timesteps=50).to(DEVICE)
    fitting = Fitting(unet, schedule, job.heads, 0, DEVICE)
    estimates = {name: covariance.estimate(fitting) for name, covariance in job.covariances.items()}
    see, x0 = Executed(PLAIN, "float32", DEVICE).seeing(unet, 10), torch.empty(10, 1, 8, 8, device=DEVICE)
    fit_step(0, fitting, estimates, x0, see)
    monkeypatch.setattr(
        "sadpm.stages.fit_covariances.stratified_levels", lambda *_: torch.ones(10, dtype=torch.int64, device=DEVICE)
    )
    with nothing_crosses():
        fit_step(1, fitting, estimates, x0, see)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="asks a GPU")
def test_a_gpu_is_not_waited_for(digits, tmp_path):
    """Torch itself raises where the host waits; losses are fetched, and checkpoints written, at the last step alone."""
    from tiny import training_outputs

    job = training_job(steps=20)
    job = job.model_copy(update={"training": job.training.model_copy(update={"log_every": 20})})
    end = TrainingState.end

    def watched(self):
        torch.cuda.set_sync_debug_mode("error" if self.step < 18 else "default")
        end(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingState, "end", watched)
        train(job, digits, **training_outputs(tmp_path))
    assert torch.cuda.get_sync_debug_mode() == 0
