"""Which of the files of a diffusers folder are read: variants, shards, averaged networks, and what is no model."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sadpm.diffusion.section import ScheduleConfig
from sadpm.networks.model_folder import FORMER_WEIGHTS_FILE, WEIGHTS_FILE, find
from sadpm.networks.released import load_released
from sadpm.networks.unet import UNet, load_unet, save_unet
from sadpm.running.files import UserError

SMALL = {"sample_size": 8, "block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8}
INDEX = f"{WEIGHTS_FILE}.index.json"


def unet_of(seed: int = 0) -> UNet:
    torch.manual_seed(seed)
    return UNet(**SMALL)


def load(path: Path):
    return load_released(path, "auto", unet_of(), ScheduleConfig())


def is_of(seed: int, unet: UNet) -> bool:
    """Whether a network is that of a seed, as far as half precision tells."""
    wanted = unet_of(seed).state_dict()
    return all(torch.allclose(tensor, wanted[key], atol=1e-3) for key, tensor in unet.state_dict().items())


def write_weights(folder: Path, name: str, seed: int, dtype: torch.dtype = torch.float32) -> None:
    state = {key: tensor.to(dtype) for key, tensor in unet_of(seed).state_dict().items()}
    save_file(state, folder / name) if name.endswith("safetensors") else torch.save(state, folder / name)


@pytest.fixture
def folder(tmp_path):
    """A model's folder without weights."""
    save_unet(unet_of(), tmp_path / "model")
    (tmp_path / "model" / WEIGHTS_FILE).unlink()
    return tmp_path / "model"


@pytest.fixture
def sharded(tmp_path):
    """A folder that diffusers wrote in several files."""
    from diffusers import UNet2DModel

    model = UNet2DModel.from_config(unet_of().config)
    model.load_state_dict(unet_of().state_dict())
    model.save_pretrained(tmp_path / "sharded", max_shard_size="50KB")
    assert (tmp_path / "sharded" / INDEX).is_file()
    assert not (tmp_path / "sharded" / WEIGHTS_FILE).exists()
    return tmp_path / "sharded"


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["diffusion_pytorch_model.fp16.safetensors"], 0),
        (["diffusion_pytorch_model.fp16.bin"], 0),
        (["diffusion_pytorch_model.fp16.safetensors", WEIGHTS_FILE], 1),
        (["diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.bin"], 1),
        ([WEIGHTS_FILE, "diffusion_pytorch_model.ema.safetensors"], 1),
        ([WEIGHTS_FILE, "diffusion_pytorch_model.non_ema.safetensors"], 0),
        (["diffusion_pytorch_model.non_ema.safetensors"], 0),
        (["diffusion_pytorch_model.bin", WEIGHTS_FILE], 1),
    ],
)
def test_variants(folder, names, taken):
    for seed, name in enumerate(names):
        write_weights(folder, name, seed, torch.float16 if "fp16" in name else torch.float32)
    released = load(folder)
    assert is_of(taken, released.unet)
    assert {tensor.dtype for tensor in released.unet.state_dict().values()} == {torch.float32}
    assert {file.name for file in released.files} == {"config.json", names[taken]}
    of_variant = f"took the weights {names[taken]}"
    assert (of_variant in released.notes) == (names[taken] not in (WEIGHTS_FILE, FORMER_WEIGHTS_FILE))


def test_a_variant_that_is_not_known(folder):
    write_weights(folder, "diffusion_pytorch_model.mine.safetensors", 0)
    with pytest.raises(UserError, match=rf"only weights of the variants mine; rename what you mean {WEIGHTS_FILE}"):
        load(folder)


def test_a_sharded_folder(sharded):
    assert is_of(0, load(sharded).unet)
    assert is_of(0, load_unet(sharded))


def test_a_sharded_folder_of_half_precision(tmp_path):
    from diffusers import UNet2DModel

    model = UNet2DModel.from_config(unet_of().config)
    model.load_state_dict(unet_of().state_dict())
    model.half().save_pretrained(tmp_path, max_shard_size="50KB", variant="fp16")
    assert (tmp_path / "diffusion_pytorch_model.safetensors.index.fp16.json").is_file()
    assert is_of(0, load(tmp_path).unet)


def changed_index(folder: Path, change) -> None:
    index = json.loads((folder / INDEX).read_text())
    change(index["weight_map"])
    (folder / INDEX).write_text(json.dumps(index))


def test_a_whole_file_beside_an_index(sharded):
    write_weights(sharded, WEIGHTS_FILE, 1)
    with pytest.raises(UserError, match=rf"{WEIGHTS_FILE} lies beside {INDEX}.* nothing says which: remove it"):
        load(sharded)


def test_an_index_of_one_file(folder):
    write_weights(folder, WEIGHTS_FILE, 3)
    names = dict.fromkeys(load_file(folder / WEIGHTS_FILE), WEIGHTS_FILE)
    (folder / INDEX).write_text(json.dumps({"weight_map": names}))
    assert is_of(3, load(folder).unet)


def test_missing_shards_are_named(sharded):
    first, *_, last = sorted(sharded.glob("diffusion_pytorch_model-*"))
    first.unlink()
    last.unlink()
    with pytest.raises(UserError, match=rf"{INDEX} names files that are not there: {first.name}, {last.name}"):
        load(sharded)


def test_shards_of_another_save(sharded):
    name = "conv_in.bias"
    changed_index(sharded, lambda places: places.pop(name))
    with pytest.raises(UserError, match=rf"and its index are of different saves: {name}"):
        load(sharded)


@pytest.mark.parametrize("place", ["../outside.safetensors", "/etc/passwd"])
def test_an_index_names_files_of_its_folder_alone(sharded, place):
    changed_index(sharded, lambda places: places.update({"conv_in.bias": place}))
    with pytest.raises(UserError, match=rf"{INDEX} names files outside its folder: {place}"):
        load(sharded)


@pytest.mark.parametrize("content", ["{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "[]", "{"])
def test_an_index_that_is_none(folder, content):
    (folder / INDEX).write_text(content)
    with pytest.raises(UserError, match=INDEX):
        load(folder)


def test_shards_without_their_index(sharded):
    (sharded / INDEX).unlink()
    with pytest.raises(UserError, match=rf"neither {WEIGHTS_FILE} nor its index; there is .*-00001-of-"):
        load(sharded)


def test_the_averaged_network_of_a_pipeline_is_taken(tmp_path):
    save_unet(unet_of(0), tmp_path / "unet")
    save_unet(unet_of(1), tmp_path / "unet_ema")
    whole, raw, averaged = (load(tmp_path / name) for name in (".", "unet", "unet_ema"))
    assert [is_of(seed, released.unet) for seed, released in ((1, whole), (0, raw), (1, averaged))] == [True] * 3
    assert "took the averaged network in unet_ema, not the raw one in unet beside it" in whole.notes
    assert "took the raw network, as asked; the averaged one lies beside it in unet_ema" in raw.notes
    assert not any("took" in note for note in averaged.notes)


def test_an_averaged_network_that_is_not_complete_does_not_make_way_for_the_raw_one(tmp_path):
    save_unet(unet_of(0), tmp_path / "unet")
    (tmp_path / "unet_ema").mkdir()
    with pytest.raises(UserError, match=r"unet_ema: no config\.json of a model of diffusers; the folder is empty"):
        load(tmp_path)


def test_an_averaged_network_as_diffusers_saves_it(tmp_path):
    from diffusers import UNet2DModel
    from diffusers.training_utils import EMAModel

    model = UNet2DModel.from_config(unet_of().config)
    model.load_state_dict(unet_of(1).state_dict())
    EMAModel(model.parameters(), decay=0.99, model_cls=UNet2DModel, model_config=model.config).save_pretrained(tmp_path)
    released = load(tmp_path)
    assert is_of(1, released.unet)
    assert released.said[str(tmp_path / "config.json")]["decay"] == 0.99


def test_names_of_a_compiled_network(folder):
    state = {f"_orig_mod.{key}": tensor for key, tensor in unet_of(2).state_dict().items()}
    save_file(state, folder / WEIGHTS_FILE)
    assert is_of(2, load(folder).unet)


def test_one_parameter_twice(folder):
    state = unet_of().state_dict()
    save_file({**state, "module.conv_in.bias": state["conv_in.bias"].clone()}, folder / WEIGHTS_FILE)
    with pytest.raises(UserError, match=r"two parameters are conv_in\.bias, one of them"):
        load(folder)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite(folder, value):
    state = unet_of().state_dict()
    state["conv_out.bias"][1] = value
    save_file(state, folder / WEIGHTS_FILE)
    with pytest.raises(UserError, match=rf"{WEIGHTS_FILE}: weights with NaN or infinity.*: conv_out\.bias$"):
        load(folder)
    with pytest.raises(ValueError, match=r"conv_out\.bias"):
        load_unet(folder)


def test_weights_beyond_float32(folder):
    state = unet_of().double().state_dict()
    state["conv_out.bias"][1] = 1e300
    save_file(state, folder / WEIGHTS_FILE)
    with pytest.raises(UserError, match=r"NaN or infinity.*conv_out\.bias"):
        load(folder)


@pytest.mark.parametrize("dtype", [torch.int32, torch.complex64, torch.bool])
def test_weights_that_are_no_floating_point_numbers(folder, dtype):
    state = unet_of().state_dict()
    state["conv_out.bias"] = state["conv_out.bias"].to(dtype)
    torch.save(state, folder / "diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match=rf"no floating-point numbers: conv_out\.bias \({dtype}\)"):
        load(folder)


FOLDERS = {
    "a cache": ("snapshots/abc/config.json", r"cache of huggingface_hub: name the folder snapshots/<revision>"),
    "TensorFlow": ("model.ckpt-790000.data-00000-of-00001", "weights of TensorFlow"),
    "Flax": ("diffusion_flax_model.msgpack", "Flax or TensorFlow can't be read"),
    "LoRA": ("pytorch_lora_weights.safetensors", "LoRA weights, a change to another network"),
    "files of programs": ("model_500_ema.pth", "name the file itself"),
}


@pytest.mark.parametrize(("entry", "expected"), FOLDERS.values(), ids=FOLDERS)
def test_folders_of_something_else(tmp_path, entry, expected):
    (tmp_path / entry).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / entry).touch()
    with pytest.raises(UserError, match=rf"there is {entry.split('/')[0]}; .*{expected}"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[1]", "holds list where options by name are needed"),
        ("<!DOCTYPE html><html>", r"is not JSON .*begins with b'<!DOCTYPE html>"),
        ("version https://git-lfs.github.com/spec/v1\n", r"is not JSON .*begins with b'version https://git-lfs"),
        ('{"_class_name": "UNet2DModel", "block_out_channels": 3}', "block_out_channels: 3 is of the wrong type"),
    ],
)
def test_a_config_that_is_none(folder, content, expected):
    (folder / "config.json").write_text(content)
    write_weights(folder, WEIGHTS_FILE, 0)
    with pytest.raises(UserError, match=expected):
        load(folder)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("_class_name", "UNet2DConditionModel", "only UNet2DModel, an unconditional U-Net on pixels"),
        ("num_class_embeds", 10, "conditioned on classes"),
        ("class_embed_type", "timestep", "conditioned on classes"),
        ("out_channels", 6, "learned variance"),
        ("center_input_sample", True, r"images in 0\.\.1"),
        ("time_embedding_type", "fourier", "told the noise level"),
        ("norm_num_groups", "8", "wrong type"),
        ("flip_sin_to_cos", 1, "wrong type"),
        ("block_out_channels", [16, "32"], "not all whole numbers"),
    ],
)
def test_options_of_other_networks_say_what_they_mean(folder, option, value, expected):
    options = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**options, option: value}))
    write_weights(folder, WEIGHTS_FILE, 0)
    with pytest.raises(UserError, match=rf"{option}: .*{expected}"):
        load(folder)


def test_the_files_on_which_an_import_depends(sharded, tmp_path):
    pipeline = tmp_path / "pipeline"
    (pipeline / "scheduler").mkdir(parents=True)
    sharded.rename(pipeline / "unet")
    beside = {pipeline / "model_index.json", pipeline / "scheduler" / "scheduler_config.json"}
    for file in beside:
        file.write_text("{}")
    (pipeline / "unet" / "notes.txt").touch()
    expected = beside | {file for file in (pipeline / "unet").iterdir() if file.name != "notes.txt"}
    assert set(find(pipeline).files()) == set(find(pipeline / "unet").files()) == expected
