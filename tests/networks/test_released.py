"""Checkpoints in the layouts of the official programs and of diffusers, and files that should not be trusted."""

import argparse
import io
import json
import os
import pickle
import re
import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import golden_vectors
from sadpm.diffusion.section import ScheduleConfig
from sadpm.networks.diffusers_folder import from_native_keys
from sadpm.networks.model_folder import FORMER_WEIGHTS_FILE, WEIGHTS_FILE
from sadpm.networks.released import load_released, native_name
from sadpm.networks.unet import UNet, save_unet
from sadpm.running.files import UserError

NAMES = sorted(path.stem for path in golden_vectors.FOLDER.glob("unet_*.npz"))
OFFICIAL_CONFIGS = json.loads((golden_vectors.OWN_FOLDER / "diffusers_unet_configs.json").read_text())
SMALL = {"sample_size": 8, "block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8}


def native_weights(golden, part="sd"):
    keys, scale = ("sd_keys", "sd_scale") if part == "sd" else (f"{part}_keys", f"{part}_scale")
    pairs = zip(golden["meta"][keys], golden[scale], strict=True)
    return OrderedDict((key, torch.from_numpy(golden[f"{part}/{key}"] * factor).float()) for key, factor in pairs)


def network(golden, **changes):
    """The network that the configuration would describe, without weights."""
    arch = golden["meta"]["arch"]
    sizes = [arch["resolution"] >> level for level in range(len(arch["ch_mult"]))]
    options = {
        "sample_size": arch["resolution"],
        "in_channels": arch["in_channels"],
        "block_out_channels": [arch["ch"] * factor for factor in arch["ch_mult"]],
        "layers_per_block": arch["num_res_blocks"],
        "attention_resolutions": [size for size in arch["attn_resolutions"] if size in sizes],
    }
    with torch.device("meta"):
        return UNet(**{**options, **changes})


def small(**changes):
    torch.manual_seed(0)
    return UNet(**{**SMALL, **changes}).eval()


def loaded(path, form, unet):
    return load_released(path, form, unet, ScheduleConfig()).unet


def prefixed(weights):
    return OrderedDict((f"module.{key}", tensor) for key, tensor in weights.items())


def training_state(weights):
    """What the authors' program saves to go on from."""
    parameters = [torch.nn.Parameter(tensor.clone()) for tensor in weights.values()]
    optimizer = torch.optim.Adam(parameters, lr=2e-4)
    sum(parameter.sum() for parameter in parameters).backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    nested = argparse.Namespace(device=torch.device("cpu"), betas=np.float64(0.9), folder=Path("exp"), dtype=np.float32)
    return {
        "epoch": 7,
        "args": argparse.Namespace(lr=2e-4, model=nested),
        "model_dict": prefixed(weights),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "best": np.float64(0.25),
    }


@pytest.fixture(params=NAMES)
def golden(request):
    return golden_vectors.load(request.param)


@pytest.fixture
def one():
    return golden_vectors.load(NAMES[0])


@torch.no_grad()
def assert_gives_the_recorded_output(unet: UNet, golden) -> None:
    prediction = unet(torch.from_numpy(golden["x"]).float(), torch.from_numpy(golden["t"]))
    np.testing.assert_allclose(prediction, golden["y_f32"], rtol=0, atol=1e-5)


CONTENTS = {
    "SA-DPM model_<epoch>_ema.pth": prefixed,
    "SA-DPM ckpt.pth": training_state,
    "Bao": lambda weights: weights,
    "state_dict": lambda weights: {"state_dict": weights, "epoch": 3},
    "model of a wrapper": lambda weights: {"model": {"state_dict": dict(weights)}},
    "ema": lambda weights: {"ema": weights},
    "float16": lambda weights: {key: tensor.half() for key, tensor in weights.items()},
    "parameters": lambda weights: {key: torch.nn.Parameter(tensor) for key, tensor in weights.items()},
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_layouts_of_the_official_programs(golden, tmp_path, content, legacy):
    path = tmp_path / "file.pth"
    torch.save(content(native_weights(golden)), path, _use_new_zipfile_serialization=not legacy)
    unet = loaded(path, "auto", network(golden))
    assert_gives_the_recorded_output(unet, golden)
    assert not unet.training
    assert {tensor.dtype for tensor in unet.state_dict().values()} == {torch.float32}


def test_safetensors_with_the_official_names(golden, tmp_path):
    save_file(dict(native_weights(golden)), tmp_path / "weights.safetensors")
    unet = loaded(tmp_path / "weights.safetensors", "sa-dpm", network(golden))
    assert_gives_the_recorded_output(unet, golden)


@pytest.mark.parametrize("kind", ["simple", "complex"])
def test_a_head_in_baos_file_is_ignored_and_said_so(one, tmp_path, kind):
    weights = native_weights(one) | native_weights(one, f"head_{kind}")
    torch.save(weights, tmp_path / "bao.pth")
    released = load_released(tmp_path / "bao.pth", "bao", network(one), ScheduleConfig())
    assert_gives_the_recorded_output(released.unet, one)
    (told,) = (note for note in released.notes if "ignored the covariance head" in note)
    assert "conv_out2.weight" in told
    with pytest.raises(UserError, match=r"unexpected \(\d+\): .*conv_out2\.weight"):
        loaded(tmp_path / "bao.pth", "sa-dpm", network(one))


def save_changed(golden, path, change):
    weights = prefixed(native_weights(golden))
    change(weights)
    torch.save(weights, path)


def test_every_key_that_does_not_fit_is_listed(golden, tmp_path):
    def change(weights):
        del weights["module.mid.attn_1.q.weight"], weights["module.up.0.block.1.nin_shortcut.bias"]
        weights["module.conv_middle.weight"] = torch.zeros(3)
        weights["module.down.9.block.0.conv2.weight"] = torch.zeros(3)
        weights["module.down.0.attn.7.q.bias"] = torch.zeros(3)
        weights["module.conv_out.bias"] = torch.zeros(5)

    save_changed(golden, tmp_path / "file.pth", change)
    with pytest.raises(UserError) as caught:
        loaded(tmp_path / "file.pth", "auto", network(golden))
    first, missing, unexpected, shapes = str(caught.value).splitlines()
    assert str(tmp_path / "file.pth") in first
    assert missing.split(": ") == ["  missing (2)", "mid.attn_1.q.weight, up.0.block.1.nin_shortcut.bias"]
    strangers = "module.conv_middle.weight, module.down.9.block.0.conv2.weight, down.0.attn.7.q.bias"
    assert unexpected.split(": ") == ["  unexpected (3)", strangers]
    assert shapes.split(": ") == ["  of another shape (1)", "conv_out.bias (5,) instead of (3,)"]


def test_a_file_with_one_parameter(one, tmp_path):
    torch.save({"conv_out.bias": torch.zeros(3)}, tmp_path / "file.pth")
    with pytest.raises(UserError, match=r"missing \(\d+\).*, and \d+ more$"):
        loaded(tmp_path / "file.pth", "auto", network(one))


def test_one_parameter_under_two_names(one, tmp_path):
    save_changed(one, tmp_path / "file.pth", lambda weights: weights.update({"conv_in.bias": torch.zeros(32)}))
    with pytest.raises(UserError, match=r"unexpected \(1\): conv_in\.bias"):
        loaded(tmp_path / "file.pth", "auto", network(one))


def test_a_network_of_another_size(golden, tmp_path):
    torch.save(native_weights(golden), tmp_path / "file.pth")
    theirs = list(network(golden).block_out_channels)
    ours = [2 * width for width in theirs]
    with pytest.raises(UserError) as caught:
        loaded(tmp_path / "file.pth", "auto", network(golden, block_out_channels=ours))
    message = str(caught.value)
    assert f"its block_out_channels are {theirs}, those of the data set's network {ours}" in message
    assert "conv_in.weight (32, 3, 3, 3) instead of (64, 3, 3, 3)" in message
    listed = next(line for line in message.splitlines() if "of another shape" in line)
    assert listed.count(" instead of ") == 20
    assert re.search(r", and \d+ more$", listed)
    with pytest.raises(UserError, match=r"missing \(\d+\): .*down\.0\.attn\.0\.q\.weight"):
        loaded(
            tmp_path / "file.pth", "auto", network(golden, attention_resolutions=[golden["meta"]["arch"]["resolution"]])
        )


@pytest.mark.parametrize("name", [*NAMES, *OFFICIAL_CONFIGS])
def test_official_names_of_all_parameters(name):
    if name in OFFICIAL_CONFIGS:
        with torch.device("meta"):
            unet = UNet.from_config(OFFICIAL_CONFIGS[name])
    else:
        unet = network(golden_vectors.load(name))
        assert {native_name(key, len(unet.block_out_channels)) for key in unet.state_dict()} == set(
            golden_vectors.load(name)["meta"]["sd_keys"]
        )
    levels = len(unet.block_out_channels)
    for key, tensor in unet.state_dict().items():
        assert from_native_keys({native_name(key, levels): tensor}, levels).keys() == {key}


class Calls:
    """Pickled as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


ATTACKS = {
    "system": lambda path: Calls(os.system, f"touch {path}"),
    "open": lambda path: Calls(io.open, str(path), "w"),
    "eval": lambda path: Calls(eval, f"open({str(path)!r}, 'w')"),
    "getattr": lambda path: Calls(getattr, Path(path), "touch"),
    "torch.load": lambda path: Calls(torch.load, str(path)),
    "exit": lambda path: Calls(sys.exit, 3),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_file_that_would_run_code_is_explained_and_not_run(one, tmp_path, attack, legacy):
    path, created = tmp_path / "evil.pth", tmp_path / "created"
    content = {"model_dict": native_weights(one), "args": attack(created)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError) as caught:
        loaded(path, "auto", network(one))
    assert not created.exists()
    message = str(caught.value)
    assert f"{path} can't be read without running code that it names" in message
    assert content["args"].call[0].__name__ in message
    assert "OrderedDict" not in message
    assert "model_<epoch>_ema.pth" in message
    assert "weights_only=False" in message


def test_the_safe_route_of_the_explanation_works(one, tmp_path, monkeypatch):
    torch.save({"model_dict": native_weights(one), "args": Calls(str.upper, "x")}, tmp_path / "ckpt.pth")
    with pytest.raises(UserError) as caught:
        loaded(tmp_path / "ckpt.pth", "auto", network(one))
    lines = [line.strip() for line in str(caught.value).splitlines() if line.startswith("    ")]
    monkeypatch.chdir(tmp_path)
    exec("\n".join(lines))
    assert_gives_the_recorded_output(loaded(tmp_path / "weights.pth", "auto", network(one)), one)


def test_objects_of_programs_that_are_not_here_are_left_aside(one, tmp_path, monkeypatch):
    module = types.ModuleType("program_of_the_authors")
    module.Options = type("Options", (), {"__module__": module.__name__})
    monkeypatch.setitem(sys.modules, module.__name__, module)
    options = module.Options()
    options.lr, options.more = 1e-4, [module.Options()]
    torch.save({"model_dict": native_weights(one), "options": options}, tmp_path / "ckpt.pth")
    allowed = set(torch.serialization.get_safe_globals())
    monkeypatch.delitem(sys.modules, module.__name__)
    assert_gives_the_recorded_output(loaded(tmp_path / "ckpt.pth", "auto", network(one)), one)
    assert module.__name__ not in sys.modules
    assert set(torch.serialization.get_safe_globals()) == allowed


def test_a_class_that_does_something_when_filled_is_not_the_one_that_is_made(one, tmp_path):
    torch.save({"model_dict": native_weights(one), "trap": Trap()}, tmp_path / "ckpt.pth")
    Trap.sprung = False
    loaded(tmp_path / "ckpt.pth", "auto", network(one))
    assert not Trap.sprung


class Trap:
    sprung = False

    def __new__(cls):
        cls.sprung = True
        return super().__new__(cls)

    def __getstate__(self):
        return {"armed": True}

    def __setstate__(self, state):
        type(self).sprung = True


NO_WEIGHTS = {
    "a list": ([torch.zeros(3)], "holds a list, and no weights"),
    "other keys": ({"generator": {"a": torch.zeros(1)}, "step": 3}, "holds the keys generator, step, and no weights"),
    "nothing": ({}, "holds a dict, and no weights"),
    "a whole module": (argparse.Namespace(weights=1), "holds a Namespace, and no weights"),
    "numbers": ({"model_dict": {"conv_in.bias": 1.0}}, "holds the keys model_dict, and no weights"),
}


@pytest.mark.parametrize(("content", "expected"), NO_WEIGHTS.values(), ids=NO_WEIGHTS)
def test_files_without_weights(one, tmp_path, content, expected):
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(UserError, match=expected):
        loaded(tmp_path / "file.pth", "auto", network(one))


def test_weights_that_hold_themselves(one, tmp_path):
    content = {"model": {}}
    content["model"]["ema"] = content
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(UserError, match="no weights"):
        loaded(tmp_path / "file.pth", "auto", network(one))


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("part", [0.01, 0.5, 0.999])
def test_damaged_files(one, tmp_path, legacy, part):
    path = tmp_path / "file.pth"
    torch.save(native_weights(one), path, _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(UserError, match=f"{path.name} was not written by torch.save, or is damaged"):
        loaded(path, "auto", network(one))


@pytest.mark.parametrize(
    "content", [b"not a pickle", b"PK\x03\x04 not a zip", pickle.dumps({"a": 1}), pickle.dumps([])]
)
def test_other_files(one, tmp_path, content):
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"file\.pth was not written by torch\.save"):
        loaded(tmp_path / "file.pth", "auto", network(one))


def test_a_damaged_safetensors_file(one, tmp_path):
    (tmp_path / "file.safetensors").write_bytes(b"x" * 50)
    with pytest.raises(UserError, match=r"file\.safetensors is not a safetensors file"):
        loaded(tmp_path / "file.safetensors", "auto", network(one))


def with_former_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    former = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    for current, name in former.items():
        state = {key.replace(current, name): tensor for key, tensor in state.items()}
    return state


@pytest.mark.parametrize("inside", ["", "unet"], ids=["model", "pipeline"])
@pytest.mark.parametrize("weights", ["safetensors", "bin", "former"])
@torch.no_grad()
def test_a_folder_of_diffusers_brings_its_own_options(tmp_path, weights, inside):
    from diffusers import UNet2DModel

    unet = small(freq_shift=0, flip_sin_to_cos=True, downsample_padding=1, norm_eps=1e-2)
    folder = tmp_path / inside
    UNet2DModel.from_config(unet.config).save_pretrained(folder, safe_serialization=weights == "safetensors")
    twin = UNet2DModel.from_pretrained(folder, low_cpu_mem_usage=False, use_safetensors=weights == "safetensors")
    if weights == "former":
        state = torch.load(folder / FORMER_WEIGHTS_FILE, weights_only=True)
        torch.save(with_former_names(state), folder / FORMER_WEIGHTS_FILE)
    assert (folder / WEIGHTS_FILE).exists() == (weights == "safetensors")
    ours = loaded(tmp_path, "diffusers", small(block_out_channels=(8,)))
    assert ours.config == unet.config
    x = torch.randn(2, 3, 8, 8)
    times = torch.tensor([7.5, 900.0])
    torch.testing.assert_close(ours(x, times), twin(x, times).sample, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("option", "value"), [("sample_size", 16), ("in_channels", 1)])
def test_a_folder_for_other_images(tmp_path, option, value):
    save_unet(small(**{option: value}), tmp_path)
    with pytest.raises(UserError, match=f"{option} is {value} in config.json, and the images of the data set need"):
        loaded(tmp_path, "auto", small())


def test_a_folder_that_lacks_something(tmp_path):
    with pytest.raises(UserError, match=r"no config\.json of a model of diffusers; the folder is empty"):
        loaded(tmp_path, "auto", small())
    save_unet(small(), tmp_path)
    (tmp_path / WEIGHTS_FILE).unlink()
    with pytest.raises(UserError, match=WEIGHTS_FILE):
        loaded(tmp_path, "auto", small())


def test_keys_of_a_folder_that_do_not_fit(tmp_path):
    save_unet(small(), tmp_path)
    state = load_file(tmp_path / WEIGHTS_FILE)
    state["conv_middle.bias"] = state.pop("conv_in.bias")
    save_file(state, tmp_path / WEIGHTS_FILE)
    with pytest.raises(UserError, match=r"conv_in\.bias is missing; conv_middle\.bias is unexpected"):
        loaded(tmp_path, "auto", small())


def test_a_malicious_bin_file_in_a_folder(tmp_path):
    save_unet(small(), tmp_path)
    (tmp_path / WEIGHTS_FILE).unlink()
    torch.save({"conv_in.bias": Calls(io.open, str(tmp_path / "created"), "w")}, tmp_path / FORMER_WEIGHTS_FILE)
    with pytest.raises(UserError, match="without running code"):
        loaded(tmp_path, "auto", small())
    assert not (tmp_path / "created").exists()


def test_a_format_that_the_path_is_not_of(tmp_path):
    save_unet(small(), tmp_path / "folder")
    file = tmp_path / "folder" / WEIGHTS_FILE
    with pytest.raises(UserError, match="'diffusers' needs a folder, and this is a file"):
        loaded(file, "diffusers", small())
    for form in ("sa-dpm", "bao"):
        with pytest.raises(UserError, match=f"{form!r} needs a file, and this is a folder"):
            loaded(tmp_path / "folder", form, small())
    with pytest.raises(UserError, match="the names are diffusers'; use the folder"):
        loaded(file, "auto", small())
    with pytest.raises(UserError, match="there is no such file or folder"):
        loaded(tmp_path / "nowhere.pth", "auto", small())
