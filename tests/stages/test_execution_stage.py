import signal

import pytest
import torch
from tiny import chain, covariance_job, covariance_outputs, sampling_job, training_job, training_outputs

import sadpm.networks.execution as execution_module
import sadpm.stages.train as stage
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.networks.execution import Executed
from sadpm.networks.section import Execution
from sadpm.networks.unet import load_unet
from sadpm.running.files import UserError, read_json, sha256
from sadpm.running.interruption import Interrupted
from sadpm.stages.fit_covariances import fit_covariances
from sadpm.stages.sample import sample
from sadpm.stages.train import train


def in_bfloat16(job):
    return job.model_copy(update={"precision": "bfloat16"})


@pytest.fixture
def anything(monkeypatch):
    """A device that computes in every precision."""
    monkeypatch.setattr(execution_module, "missing_precision", lambda precision, device: None)


class Pretender:
    """Records the work of a training step, and replays it by doing it."""

    def run(self, work, inputs):
        return work(*inputs)

    def record(self, work, inputs):
        return lambda: work(*inputs), None


@pytest.fixture
def graphs(monkeypatch):
    monkeypatch.setattr(Executed, "_no_graphs", lambda self, dropout: None)
    monkeypatch.setattr(execution_module, "recorder", Pretender)


def model_of(job, digits, folder, **options):
    outputs = training_outputs(folder)
    train(job, digits, **outputs, **options)
    return sha256(outputs["model"]), read_json(outputs["report"])["execution"]


def stopped_at(steps, job, digits, outputs, **options):
    """Train until a step, and be stopped there."""
    end = stage.TrainingState.end

    def stop(self):
        end(self)
        if self.step == steps:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage.TrainingState, "end", stop)
        with pytest.raises(Interrupted):
            train(job, digits, **outputs, **options)


def test_a_replayed_training_has_the_same_bytes_also_when_it_was_interrupted(digits, tmp_path, graphs):
    job = training_job(steps=12)
    rate = 2.0**-12  # a replay is told the rate in float32
    job = job.model_copy(update={"training": job.training.model_copy(update={"learning_rate": rate})})
    expected, _ = model_of(job, digits, tmp_path / "as it is")
    asked = Execution(cuda_graphs=True, activation_checkpointing=True)
    found, used = model_of(job, digits, tmp_path / "whole", execution=asked)
    assert used["cuda_graphs"]
    assert found == expected
    outputs = training_outputs(tmp_path / "parts")
    for steps in (2, 8):
        stopped_at(steps, job, digits, outputs, execution=asked)
    train(job, digits, **outputs)
    assert sha256(outputs["model"]) == expected


def test_a_batch_in_parts_is_the_same_training_but_for_rounding(digits, tmp_path):
    models, gradients = [], []
    for parts in (1, 3):
        job, folder = training_job(steps=10, dropout=0.0), tmp_path / str(parts)
        _, used = model_of(job, digits, folder, execution=Execution(gradient_accumulation=parts))
        assert used["gradient_accumulation"] == parts
        models.append(load_unet(folder / "model").state_dict())
        losses = (folder / "log.csv").read_text()
        schedule = NoiseSchedule.create(**job.schedule.model_dump())
        network = stage.new_network(job, (6, 8, 8, 1))
        x0, draws = stage.draws_at(0, job, schedule, torch.zeros(6, 1, 8, 8))
        stage.add_gradients(job, schedule, network, x0, draws, parts)
        gradients.append([parameter.grad for parameter in network.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-4)
    for name, weights in models[0].items():
        torch.testing.assert_close(models[1][name], weights, rtol=1e-3, atol=1e-5)
    assert losses.count("\n") == 4
    with pytest.raises(UserError, match="gradient_accumulation: 4 parts can't share 6 images equally"):
        train(training_job(), digits, **training_outputs(tmp_path), execution=Execution(gradient_accumulation=4))


def test_a_precision_that_the_cpu_has_not_is_reported(trained, digits, tmp_path):
    found, used = model_of(in_bfloat16(training_job()), digits, tmp_path)
    assert found == sha256(trained / "model")
    assert used["precision"] == "float32"
    assert used["not_used"] == {"precision": "bfloat16: on cpu, everything is computed in float32"}


def test_checkpoints_of_another_precision_are_not_gone_on_with(digits, tmp_path, monkeypatch, capsys):
    outputs, job = training_outputs(tmp_path), in_bfloat16(training_job(steps=6))
    stopped_at(4, job, digits, outputs)
    monkeypatch.setattr(execution_module, "missing_precision", lambda precision, device: None)
    train(job, digits, **outputs)
    assert "resuming" not in capsys.readouterr().err
    assert read_json(outputs["report"])["steps_in_this_process"] == 6
    assert read_json(outputs["report"])["execution"]["precision"] == "bfloat16"


def test_bfloat16_reaches_training_fitting_and_sampling(trained, digits, tmp_path, anything):
    """Numbers change, master weights and samples do not lose their types, and each report says so."""
    model, used = model_of(in_bfloat16(training_job()), digits, tmp_path)
    assert model != sha256(trained / "model")
    assert used["precision"] == "bfloat16"
    weights = load_unet(tmp_path / "model").state_dict().values()
    assert {tensor.dtype for tensor in weights} == {torch.float32}
    fitted = covariance_outputs(tmp_path)
    fit_covariances(in_bfloat16(covariance_job()), digits, tmp_path / "model", **fitted)
    assert read_json(fitted["report"])["execution"]["precision"] == "bfloat16"
    hashes = []
    for job in (sampling_job(chain("ddpm", "sn", 5)), in_bfloat16(sampling_job(chain("ddpm", "sn", 5)))):
        samples = [tmp_path / "samples.npy", tmp_path / "samples.json", tmp_path / "saved"]
        sample(job, tmp_path / "model", *samples, covariances=[fitted["fitted"]])
        report = read_json(tmp_path / "samples.json")
        assert report["execution"]["precision"] == job.precision
        hashes.append(report["draws"][0]["sha256"])
    assert len(set(hashes)) == 2


def test_writing_beside_the_work_changes_nothing(trained, digits, tmp_path):
    """Checkpoints are due after each step, and nobody waits for them."""
    whole, beside = {}, {"checkpoint_seconds": 1e-9}
    job, drawing, found = training_job(steps=10), sampling_job(chain("ddpm", "fixed", 5), batch_size=50), []
    for name, options in (("whole", whole), ("beside", beside)):
        folder = tmp_path / name
        model, _ = model_of(job, digits, folder, **options)
        samples = [folder / "samples.npy", folder / "samples.json", folder / "saved"]
        sample(drawing, trained / "model", *samples, **options)
        found.append((model, sha256(samples[0])))
    assert found[0] == found[1]


def test_a_lack_of_memory_says_what_helps(digits, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nand so on")

    monkeypatch.setattr(stage, "add_gradients", full)
    with pytest.raises(UserError, match=r"memory is too small: set execution.gradient_accumulation .* Tried to alloc"):
        train(training_job(), digits, **training_outputs(tmp_path))
