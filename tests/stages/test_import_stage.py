import subprocess

import numpy as np
import pytest
import torch
from tiny import NETWORK, SCHEDULE, chain, covariance_job, covariance_outputs, sampling_job, training_outputs

from sadpm.config.jobs import ImportJob
from sadpm.config.models import CheckpointConfig
from sadpm.networks.released import native_name
from sadpm.networks.unet import load_unet, save_unet
from sadpm.running.files import UserError, read_json, sha256, write_json
from sadpm.sources.reading.prepared import load_samples
from sadpm.stages.fit_covariances import fit_covariances
from sadpm.stages.import_model import import_model
from sadpm.stages.sample import sample


def job(path, form="auto", **network):
    checkpoint = CheckpointConfig(path=str(path), format=form)
    return ImportJob(schedule=SCHEDULE, checkpoint=checkpoint, network=NETWORK.model_copy(update=network))


def outputs(folder):
    return {name: path for name, path in training_outputs(folder).items() if name != "checkpoints"}


@pytest.fixture(scope="module")
def file(tmp_path_factory, trained):
    """The trained model, saved as SA-DPM's program does."""
    unet, path = load_unet(trained / "model"), tmp_path_factory.mktemp("released") / "model_7_ema.pth"
    levels = len(unet.block_out_channels)
    torch.save({f"module.{native_name(key, levels)}": value for key, value in unet.state_dict().items()}, path)
    return path


def test_outputs_are_those_of_training(trained, digits, file, tmp_path):
    import_model(job(file), digits, **outputs(tmp_path))
    assert sha256(tmp_path / "model") == sha256(trained / "model")
    assert {path.name for path in tmp_path.iterdir()} == {"model", "log.csv", "training.json"}
    assert (trained / "log.csv").read_text().startswith((tmp_path / "log.csv").read_text().rstrip())
    assert (tmp_path / "log.csv").read_text().count("\n") == 1


def test_the_report_says_where_the_weights_come_from(digits, file, tmp_path):
    import_model(job(file), digits, **outputs(tmp_path))
    report = read_json(tmp_path / "training.json")
    unet = load_unet(tmp_path / "model")
    expected = {
        "imported": True,
        "source": str(file),
        "sha256": sha256(file),
        "layout": "native",
        "parameters": sum(parameter.numel() for parameter in unet.parameters()),
    }
    assert report.items() >= expected.items()
    assert report["provenance"]["job"] == job(file).model_dump(mode="json", by_alias=True)
    assert report["provenance"]["inputs"] == {"images": sha256(digits), "checkpoint": sha256(file)}


def test_a_folder_keeps_its_own_options(trained, digits, tmp_path):
    unet = load_unet(trained / "model")
    unet.freq_shift = 0
    save_unet(unet, tmp_path / "released")
    import_model(job(tmp_path / "released", "diffusers", block_out_channels=(16,)), digits, **outputs(tmp_path))
    assert read_json(tmp_path / "model" / "config.json")["freq_shift"] == 0
    assert read_json(tmp_path / "training.json")["layout"] == "diffusers"
    assert sha256(tmp_path / "model") == sha256(tmp_path / "released") != sha256(trained / "model")


def test_the_stages_after_it_go_on(digits, file, tmp_path):
    import_model(job(file), digits, **outputs(tmp_path))
    covariance = covariance_outputs(tmp_path)
    fit_covariances(covariance_job(), digits, tmp_path / "model", **covariance)
    drawing = sampling_job(chain("ddpm", "sn", 3), num_samples=50)
    sample(drawing, tmp_path / "model", tmp_path / "s.npy", tmp_path / "s.json", tmp_path, [covariance["fitted"]])
    assert load_samples(tmp_path / "s.npy").shape == (1, 50, 8, 8, 1)


def test_the_report_says_what_the_release_said(trained, digits, tmp_path, capsys):
    released = tmp_path / "released"
    for part in ("unet", "unet_ema"):
        save_unet(load_unet(trained / "model"), released / part)
    scheduler = {"_class_name": "DDPMScheduler", "num_train_timesteps": 50, "clip_sample": False}
    write_json(released / "scheduler" / "scheduler_config.json", scheduler)
    import_model(job(released), digits, **outputs(tmp_path))
    report = read_json(tmp_path / "training.json")
    assert report["said"] == {str(released / "scheduler" / "scheduler_config.json"): scheduler}
    weights = released / "unet_ema" / "diffusion_pytorch_model.safetensors"
    assert report["files"][str(weights)] == sha256(weights)
    assert not any("unet/" in file for file in report["files"])
    (note,) = report["notes"]
    assert note == "took the averaged network in unet_ema, not the raw one in unet beside it"
    assert capsys.readouterr().err == f"{released}: {note}\n"


def test_a_file_says_nothing_about_its_forward_process_and_the_report_says_so(digits, file, tmp_path, capsys):
    import_model(job(file), digits, **outputs(tmp_path))
    (note,) = read_json(tmp_path / "training.json")["notes"]
    assert "nothing beside the weights says which forward process" in note
    assert note in capsys.readouterr().err


def test_another_forward_process_leaves_nothing_behind(trained, digits, tmp_path):
    save_unet(load_unet(trained / "model"), tmp_path / "released")
    write_json(tmp_path / "released" / "scheduler_config.json", {"num_train_timesteps": 500})
    with pytest.raises(UserError, match=r"schedule\.num_train_timesteps would have to be 500, not 50"):
        import_model(job(tmp_path / "released"), digits, **outputs(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["released"]


@pytest.mark.parametrize(
    ("shape", "network", "expected"),
    [
        ((4, 8, 6, 1), {}, "network: images must be square, not 8x6"),
        ((4, 8, 8, 1), {"attention_resolutions": (5,)}, "network: attention_resolutions"),
        ((4, 8, 8, 3), {}, r"conv_in\.weight \(8, 1, 3, 3\) instead of \(8, 3, 3, 3\)"),
        ((4, 8, 8, 1), {"layers_per_block": 2}, r"missing .*down\.0\.block\.1\.norm1\.weight"),
    ],
)
def test_what_does_not_fit_leaves_nothing_behind(file, tmp_path, shape, network, expected):
    np.save(tmp_path / "images.npy", np.zeros(shape, np.uint8))
    with pytest.raises(UserError, match=expected):
        import_model(job(file, **network), tmp_path / "images.npy", **outputs(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["images.npy"]


def test_a_users_mistake_ends_without_a_traceback(digits, tmp_path, warm):
    options = {"params": job(tmp_path / "no.pth").model_dump_json(by_alias=True), "images": digits, **outputs(tmp_path)}
    command = [warm / "python", "-m", "sadpm.stages.import_model", *(f"--{k}={v}" for k, v in options.items())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"import_model: {tmp_path / 'no.pth'}: there is no such file or folder\n"
