import csv
import os
import signal
import subprocess
import sys
import time
from itertools import product

import numpy as np
import pytest
import torch
from tiny import training_job, training_outputs

import sadpm.diffusion.losses as losses_module
import sadpm.stages.train as stage
from holding import Hold
from sadpm.diffusion.losses import sequence_aware_loss
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.networks.unet import load_unet
from sadpm.objectives import Loss
from sadpm.objectives.ddpm import DDPM
from sadpm.objectives.input_perturbation import InputPerturbation
from sadpm.objectives.sequence_aware import SequenceAware
from sadpm.running.checkpoints import Checkpoints
from sadpm.running.distributed import ALONE, Group
from sadpm.running.files import UserError, read_json, sha256
from sadpm.running.status import read_status, status_file
from sadpm.sources.reading.prepared import load_pixels
from sadpm.stages.train import new_network, train
from sadpm.training.batches import TrainingBatches
from sadpm.training.state import TrainingState
from sadpm.training.step import draws_at, loss_of
from sadpm.watch.look import is_alive


def loss_at(step, job, schedule, network, x0, group=ALONE):
    """The loss of one training step, as one process of a group has it."""
    return loss_of(job, schedule, network, *draws_at(step, job, schedule, x0, group))


def command_line(job, digits, outputs, python=sys.executable):
    options = {"params": job.model_dump_json(by_alias=True), "images": digits, **outputs}
    return [python, "-m", "sadpm.stages.train", *(f"--{name}={value}" for name, value in options.items())]


def test_outputs_are_complete_and_the_checkpoints_gone(trained):
    outputs = training_outputs(trained)
    assert load_unet(outputs["model"]).in_channels == 1
    rows = list(csv.DictReader(outputs["log"].read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == list(range(3, 61, 3))
    for row in rows:
        total, simple, sequence = (float(row[name]) for name in ("loss", "simple", "sequence"))
        assert total == pytest.approx(simple + sequence, rel=1e-6)
    assert read_json(outputs["report"])["provenance"]["job"]["objective"]["lambda"] == 1.0
    assert not outputs["checkpoints"].exists()


@pytest.mark.parametrize("survived", [1, 20, 40])
def test_a_killed_training_goes_on_to_the_same_bytes(trained, digits, tmp_path, survived, warm):
    """Kill -9 when the checkpoint of some step lies there, then run the same command again."""
    job, outputs, hold = training_job(), training_outputs(tmp_path), Hold(tmp_path / "held").at(survived)
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), **hold.environment}
    command = [*command_line(job, digits, outputs), "--checkpoint-seconds=0"]
    process = subprocess.Popen(command, env=environment)
    while process.poll() is None:
        if list(outputs["checkpoints"].glob(f"*-{survived:09d}.ckpt")):
            process.send_signal(signal.SIGKILL)
            process.wait()
        time.sleep(0.002)
    hold.release()
    assert process.returncode == -signal.SIGKILL
    assert not outputs["report"].exists()
    left = read_status(status_file(outputs["report"]))
    assert not is_alive(left, time.time())
    assert left.get("saved", {"step": 0})["step"] in (survived - 1, survived)
    again = [warm / "python", *command[1:]]
    done = subprocess.run(again, env=environment, capture_output=True, text=True, check=True)
    assert "resuming from" in done.stderr
    expected = training_outputs(trained)
    assert sha256(outputs["model"]) == sha256(expected["model"])
    assert outputs["log"].read_bytes() == expected["log"].read_bytes()
    assert read_json(outputs["report"])["steps_in_this_process"] == job.training.steps - survived
    assert not status_file(outputs["report"]).exists()


def test_the_average_of_the_weights_is_saved(trained, digits):
    job, pixels = training_job(), load_pixels(digits)
    training = job.training
    network = new_network(job, pixels.shape).to(memory_format=torch.channels_last)
    options = training.model_dump(include={"learning_rate", "ema_decay", "max_grad_norm", "log_every"})
    state, schedule = TrainingState(network, **options), NoiseSchedule.create(**job.schedule.model_dump())
    batches = TrainingBatches(pixels, training.batch_size, 0, torch.device("cpu"))
    for step in range(training.steps):
        state.update(loss_at(step, job, schedule, network, batches.at(step)).total)
    saved = load_unet(trained / "model").state_dict()
    for name, average in state.ema.state_dict().items():
        torch.testing.assert_close(saved[name], average, rtol=0, atol=0)


def test_checkpoints_of_another_lambda_are_not_used(trained, digits, tmp_path):
    outputs = training_outputs(tmp_path)
    other = Checkpoints(outputs["checkpoints"], training_job(sequence=False), images=sha256(digits))
    other.save(4, {"step": 4, "module": {}})
    train(training_job(), digits, **outputs)
    assert sha256(outputs["model"]) == sha256(training_outputs(trained)["model"])


def test_seeds_and_lambda_change_the_weights(trained, digits, tmp_path):
    hashes = {sha256(trained / "model")}
    for i, job in enumerate([training_job(sequence=False), training_job().model_copy(update={"seed": 1})]):
        train(job, digits, **training_outputs(tmp_path / str(i)))
        hashes.add(sha256(tmp_path / str(i) / "model"))
    assert len(hashes) == 3


@pytest.mark.parametrize("objective", [SequenceAware(K=2, lam=1.0, gamma=0.5), InputPerturbation(gamma=0.5)])
def test_a_step_is_a_function_of_its_position(digits, objective):
    job = training_job().model_copy(update={"objective": objective})
    pixels = load_pixels(digits)
    schedule, network = NoiseSchedule.create(**job.schedule.model_dump()), new_network(job, pixels.shape)
    batches = TrainingBatches(pixels, 6, 0, torch.device("cpu"))

    def loss(step):
        return loss_at(step, job, schedule, network, batches.at(step)).total.item()

    first = [loss(step) for step in (0, 1, 2)]
    torch.manual_seed(99)
    torch.rand(3)
    assert [loss(step) for step in (2, 0, 1)] == [first[2], first[0], first[1]]
    assert len(set(first)) == 3


def test_every_step_has_its_own_noise(digits):
    job = training_job(dropout=0.0)
    pixels = load_pixels(digits)
    schedule, network = NoiseSchedule.create(**job.schedule.model_dump()), new_network(job, pixels.shape)
    x0 = TrainingBatches(pixels, 6, 0, torch.device("cpu")).at(0)
    losses = [loss_at(step, job, schedule, network, x0).total.item() for step in range(5)]
    assert len(set(losses)) == 5


def test_weights_and_window_of_the_sequence_reach_the_loss(digits):
    pixels, losses, images_seen = load_pixels(digits), [], []
    for weights, window in product(("unit", "theory"), ("anchored", "sliding")):
        job = training_job(dropout=0.0)
        job = job.model_copy(update={"objective": SequenceAware(K=3, lam=1.0, weights=weights, window=window)})
        schedule, network = NoiseSchedule.create(**job.schedule.model_dump()), new_network(job, pixels.shape)
        network.register_forward_hook(lambda _, inputs, __: images_seen.append(len(inputs[0])))
        x0 = TrainingBatches(pixels, 6, 0, torch.device("cpu")).at(0)
        losses.append(loss_at(0, job, schedule, network, x0).parts[1].item())
    unit_anchored, unit_sliding, theory_anchored, theory_sliding = losses
    assert images_seen == [18, 24, 18, 24]
    assert unit_anchored != unit_sliding
    assert theory_anchored < 0.05 * unit_anchored
    assert theory_sliding < 0.05 * unit_sliding


def test_a_sliding_window_starts_anywhere_from_below_the_first_level(digits, monkeypatch):
    pixels, starts = load_pixels(digits), []
    job = training_job(dropout=0.0)
    job = job.model_copy(update={"objective": SequenceAware(K=4, lam=1.0, window="sliding")})
    schedule, network = NoiseSchedule.create(**job.schedule.model_dump()), new_network(job, pixels.shape)

    def spy(*arguments, window_start, **options):
        starts.extend(window_start.tolist())
        return sequence_aware_loss(*arguments, window_start=window_start, **options)

    monkeypatch.setattr(losses_module, "sequence_aware_loss", spy)
    batches = TrainingBatches(pixels, 100, 0, torch.device("cpu"))
    for step in range(20):
        loss_at(step, job, schedule, network, batches.at(step))
    assert set(starts) == set(range(-3, 51))


@pytest.mark.parametrize(
    "objective",
    [
        DDPM(),
        InputPerturbation(gamma=0.5),
        SequenceAware(K=3, lam=1.0),
        SequenceAware(K=3, lam=1.0, window="sliding", gamma=0.5),
    ],
    ids=lambda objective: objective.kind,
)
def test_the_losses_of_the_parts_of_a_batch_average_to_that_of_the_whole(digits, objective):
    pixels, job = load_pixels(digits), training_job(dropout=0.0).model_copy(update={"objective": objective})
    schedule, network = NoiseSchedule.create(**job.schedule.model_dump()), new_network(job, pixels.shape)
    x0 = TrainingBatches(pixels, 6, 0, torch.device("cpu")).at(0)
    whole = loss_at(0, job, schedule, network, x0)
    parts = [loss_at(0, job, schedule, network, x0, Group(rank, 3)) for rank in range(3)]
    for i, term in enumerate((whole.total, *whole.parts)):
        average = torch.stack([(part.total, *part.parts)[i] for part in parts]).mean()
        torch.testing.assert_close(average, term, rtol=1e-5, atol=0)


def test_each_process_has_dropout_masks_of_its_own():
    job, schedule, dropped = training_job(sequence=False), NoiseSchedule.create(num_train_timesteps=50), []
    for rank in range(2):

        def network(x, _):
            dropped.append(torch.nn.functional.dropout(torch.ones_like(x)))
            return x

        loss_at(0, job, schedule, network, torch.zeros(2, 1, 8, 8), Group(rank, 2))
    assert not torch.equal(*dropped)


def test_the_baseline_and_sa_k_start_alike(digits):
    """Same weights, images, levels and main noise in step 0, so that models differ by the loss and nothing else."""
    pixels = load_pixels(digits)
    losses = []
    for job in (training_job(sequence=False, dropout=0.0), training_job(dropout=0.0)):
        schedule, network = NoiseSchedule.create(**job.schedule.model_dump()), new_network(job, pixels.shape)
        x0 = TrainingBatches(pixels, 6, 0, torch.device("cpu")).at(0)
        losses.append(loss_at(0, job, schedule, network, x0))
    torch.testing.assert_close(losses[0].total, losses[1].parts[0])
    assert losses[0].parts == ()
    assert losses[1].parts[1] > 0


@pytest.mark.parametrize(
    ("shape", "network", "expected"),
    [((8, 8, 6, 1), {}, "square"), ((8, 8, 8, 1), {"attention_resolutions": (5,)}, "attention_resolutions")],
)
def test_images_that_the_network_cannot_take(tmp_path, shape, network, expected):
    np.save(tmp_path / "images.npy", np.zeros(shape, np.uint8))
    with pytest.raises(UserError, match=expected):
        train(training_job(**network), tmp_path / "images.npy", **training_outputs(tmp_path))
    assert not (tmp_path / "model").exists()


def with_training(job, **changes):
    return job.model_copy(update={"training": job.training.model_copy(update=changes)})


@pytest.mark.parametrize("log_every", [3, 1000])
@pytest.mark.parametrize(("rate", "bound"), [(1e30, 1.0), (10.0, None)])
def test_a_training_that_diverges_writes_nothing(digits, tmp_path, rate, bound, log_every):
    job = with_training(training_job(), learning_rate=rate, max_grad_norm=bound, log_every=log_every)
    outputs = training_outputs(tmp_path)
    with pytest.raises(UserError, match=f"diverged: .* Lower learning_rate \\(now {rate:g}".replace("+", r"\+")):
        train(job, digits, **outputs)
    assert not any(outputs[name].exists() for name in ("model", "log", "report"))
    assert not list(outputs["checkpoints"].glob("*.ckpt"))


def test_the_last_sound_checkpoint_of_a_training_that_diverges_is_kept(digits, tmp_path, monkeypatch):
    outputs, draws_of_step = training_outputs(tmp_path), stage.draws_at

    def lost(step, *arguments):
        x0, draws = draws_of_step(step, *arguments)
        return (x0 * float("nan") if step == 40 else x0), draws

    monkeypatch.setattr(stage, "draws_at", lost)
    with pytest.raises(UserError, match="the loss is nan in steps 40 to 41"):
        train(training_job(), digits, **outputs, checkpoint_seconds=0)
    assert max(int(path.stem[-9:]) for path in outputs["checkpoints"].glob("*.ckpt")) == 40


def test_a_job_without_a_gpu_is_trained_by_one_process(trained, digits, tmp_path):
    outputs = training_outputs(tmp_path)
    train(training_job(), digits, **outputs, processes=0)
    assert sha256(outputs["model"]) == sha256(training_outputs(trained)["model"])


class Careless(DDPM):
    def draw(self, shape, num_train_timesteps, generator):
        draws = super().draw(shape, num_train_timesteps, generator)
        if self.kind == "turns" and generator.initial_seed() % 2:
            return dict(reversed(draws.items()))
        return draws if self.kind != "few" else {**draws, "noise": draws["noise"][:-1]}

    def loss(self, predict_noise, schedule, x0, draws):
        loss = super().loss(predict_noise, schedule, x0, draws)
        parts = {"turns": Loss(loss.total), "vector": Loss(loss.total.expand(2))}
        return parts.get(self.kind) or Loss(loss.total, (loss.total,))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("few", "objective 'few': what draw returns as 'noise' has not one entry for each of 6 images"),
        ("turns", r"objective 'turns': draw returns \['(n|noise)', '(n|noise)'\] after \['(n|noise)', '(n|noise)'\]"),
        ("vector", r"objective 'vector': the loss is a total of shape \(2,\) and 0 parts, not one number"),
        (
            "terms",
            r"objective 'terms': the loss is a total of shape \(\) and 1 parts, not one number and the parts \(\)",
        ),
    ],
)
def test_an_objective_that_does_not_keep_its_contract_is_told(digits, tmp_path, kind, message):
    objective = Careless.model_construct(kind=kind)
    with pytest.raises(UserError, match=message):
        train(training_job().model_copy(update={"objective": objective}), digits, **training_outputs(tmp_path))


def test_a_users_mistake_ends_without_a_traceback(tmp_path, warm):
    missing = tmp_path / "images.npy"
    command = command_line(training_job(), missing, training_outputs(tmp_path), warm / "python")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "images.npy" in done.stderr
    assert "Traceback" not in done.stderr
