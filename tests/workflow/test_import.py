import json
import shutil

import pytest
import torch
import yaml
from real_runs import TEST_CONFIG, Workflow

from sadpm.config.datasets import NetworkConfig
from sadpm.networks.released import native_name
from sadpm.networks.unet import UNet, save_unet

SCORE = "results/test/{dataset}/{model}/seed{seed}/scores/fixed.json"


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    """A folder with a released file and a released folder of networks for the digits."""
    workflow = Workflow(tmp_path_factory.mktemp("import"))
    options = NetworkConfig.model_validate(values()["datasets"]["digits"]["network"]).model_dump()
    unet = UNet.for_images((1, 8, 8, 1), **options)
    native = {f"module.{native_name(key, 2)}": tensor for key, tensor in unet.state_dict().items()}
    torch.save(native, workflow.folder / "model_9_ema.pth")
    save_unet(unet, workflow.folder / "folder")
    return workflow


def values():
    return yaml.safe_load(TEST_CONFIG.read_text())


def config(folder, **paths):
    """The tests' configuration with models for the digits from these paths, and one table of few cells."""
    changed = values()
    for model, path in paths.items():
        changed["models"][model] = {"checkpoint": {"digits": {"path": path}}}
    grid = {"samplers": ["ddim"], "steps": [2], "seeds": [0, 1], "title": "Imported", "metric": "fd"}
    table = {**grid, "datasets": ["digits"], "models": list(paths), "also": [{"datasets": ["patches"]}]}
    path = folder / "import.yaml"
    path.write_text(yaml.safe_dump({**changed, "tables": {"imported": table}, "figures": {}, "claims": {}}))
    return path


def test_a_model_is_imported_and_scored(workflow, tmp_path):
    names = config(tmp_path, ours="model_9_ema.pth")
    target = SCORE.format(dataset="digits", model="ours", seed=0)
    workflow.run(target, config=names)
    (score,) = json.loads((workflow.folder / target).read_text())["scores"]
    assert score["cell"]["model"] == "ours"
    report = json.loads((workflow.results / "digits/ours/seed0/training.json").read_text())
    assert report["imported"]
    assert (workflow.results / "logs/digits/ours/seed0/import_model.log").exists()
    assert (workflow.results / "benchmarks/digits/ours/seed0/import_model.tsv").exists()
    assert "Nothing to be done" in workflow.run(target, config=names).stderr
    changed = torch.load(workflow.folder / "model_9_ema.pth", weights_only=True)
    changed["module.conv_in.bias"] += 1
    torch.save(changed, workflow.folder / "model_9_ema.pth")
    assert "Importing ours on digits, seed 0" in workflow.planned(target, config=names)


def test_a_checkpoint_is_for_the_data_set_that_names_it(workflow, tmp_path):
    planned = workflow.planned("imported", config=config(tmp_path, both="folder", base="model_9_ema.pth"))
    for model in ("both", "base"):
        for seed in (0, 1):
            assert f"Importing {model} on digits, seed {seed}" in planned
            assert f"Training {model} on patches, seed {seed}" in planned
            assert f"Training {model} on digits, seed {seed}" not in planned
            assert f"Importing {model} on patches, seed {seed}" not in planned


def test_a_changed_file_of_a_folder_is_noticed(workflow, tmp_path):
    names = config(tmp_path, kept="folder")
    target = "results/test/digits/kept/seed0/training.json"
    workflow.run(target, config=names)
    assert workflow.planned(target, config=names) == []
    options = workflow.folder / "folder" / "config.json"
    options.write_text(options.read_text().replace('"freq_shift": 1', '"freq_shift": 0'))
    assert workflow.planned(target, config=names) == ["Importing kept on digits, seed 0"]


@pytest.mark.parametrize("path", ["pipeline", "pipeline/unet"])
def test_a_changed_scheduler_is_read_again_and_must_agree(workflow, tmp_path, path):
    pipeline = workflow.folder / "pipeline"
    shutil.copytree(workflow.folder / "folder", pipeline / "unet", dirs_exist_ok=True)
    scheduler = pipeline / "scheduler" / "scheduler_config.json"
    scheduler.parent.mkdir(exist_ok=True)
    scheduler.write_text('{"prediction_type": "epsilon"}')
    model = path.replace("/", "-")
    names = config(tmp_path, **{model: path})
    target = f"results/test/digits/{model}/seed0/training.json"
    workflow.run(target, config=names)
    assert workflow.planned(target, config=names) == []
    scheduler.write_text('{"prediction_type": "v_prediction"}')
    assert workflow.planned(target, config=names) == [f"Importing {model} on digits, seed 0"]
    assert workflow.run(target, config=names, check=False).returncode == 1
    log = (workflow.results / f"logs/digits/{model}/seed0/import_model.log").read_text()
    assert "prediction_type is 'v_prediction': only networks that predict the noise" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("path", ["nowhere.pth", "no/folder"])
def test_a_missing_checkpoint_shows_before_any_job(workflow, tmp_path, path):
    done = workflow.run("--dry-run", "imported", config=config(tmp_path, ours=path), check=False)
    assert done.returncode == 1
    told = done.stdout + done.stderr
    assert f"models.ours.checkpoint.digits.path: there is no file or folder {path}" in told


def test_a_file_of_another_network_is_explained_in_the_log(workflow, tmp_path):
    torch.save({"conv_in.weight": torch.zeros(4, 1, 3, 3)}, workflow.folder / "other.pth")
    target = SCORE.format(dataset="digits", model="other", seed=0)
    assert workflow.run(target, config=config(tmp_path, other="other.pth"), check=False).returncode == 1
    log = (workflow.results / "logs/digits/other/seed0/import_model.log").read_text()
    assert "missing (" in log
    assert "conv_in.weight (4, 1, 3, 3) instead of (8, 1, 3, 3)" in log
    assert "Traceback" not in log
