"""Which of the weights in a file are taken, and what is said about files of other networks."""

import gzip
import io
import re
import tarfile

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sadpm.diffusion.section import ScheduleConfig
from sadpm.networks.released import SILENT, load_released, native_name
from sadpm.networks.unet import UNet
from sadpm.running.files import UserError

SMALL = {"sample_size": 8, "block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8}
OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999)}]}


def weights(seed: int, prefix: str = "") -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return {prefix + native_name(key, 2): tensor for key, tensor in UNet(**SMALL).state_dict().items()}


RAW, AVERAGE = weights(0), weights(1)
LIST = list(AVERAGE.values())
DOTLESS = {f"model_ema.{key.replace('.', '')}": tensor for key, tensor in AVERAGE.items()}


def load(tmp_path, content, name="file.pth", **schedule):
    torch.save(content, tmp_path / name)
    with torch.device("meta"):
        unet = UNet(**SMALL)
    return load_released(tmp_path / name, "auto", unet, ScheduleConfig(**schedule))


def taken(released) -> str:
    states = {"raw": RAW, "average": AVERAGE}
    bias = released.unet.conv_in.bias
    return next(name for name, state in states.items() if torch.equal(state["conv_in.bias"], bias))


AVERAGED = {
    "beside model": {"model": RAW, "ema": AVERAGE, "optimizer": OPTIMIZER},
    "before model": {"ema": AVERAGE, "model": RAW},
    "beside state_dict": {"state_dict": RAW, "ema_state_dict": AVERAGE},
    "model_ema": {"model_dict": RAW, "model_ema": AVERAGE, "ema_decay": 0.999},
    "with its decay": {"model": RAW, "ema": {"decay": 0.999, "num_updates": 7, "shadow": AVERAGE}},
    "with its decay, flat": {"model": RAW, "ema": {"decay": 0.999, **AVERAGE}},
    "with a state_dict": {"model": RAW, "ema": {"state_dict": AVERAGE}},
    "inside a wrapper": {"model": {"state_dict": RAW, "ema": AVERAGE}},
    "DDIM's list": [weights(0, "module."), OPTIMIZER, 7, 100, AVERAGE],
    "prefixes": {"state_dict": weights(0, "model.") | weights(1, "ema_model.")},
    "prefixes, parallel": weights(0, "module.online_model.") | weights(1, "module.ema_model."),
    "prefixes, EMA's own": {"model": RAW, "ema": weights(0, "online_model.") | weights(1, "ema_model.")},
}


@pytest.mark.parametrize("content", AVERAGED.values(), ids=AVERAGED)
def test_averaged_weights_are_taken(tmp_path, content):
    released = load(tmp_path, content)
    assert taken(released) == "average"
    assert any(note.startswith("took the averaged weights") and " not " in note for note in released.notes)


NOT_BY_NAME = {
    "score_sde": {"model": RAW, "ema": {"decay": 0.999, "num_updates": 7, "shadow_params": LIST}},
    "a list": {"model": RAW, "ema": LIST},
    "DDIM's list": [RAW, OPTIMIZER, 7, 100, {"shadow": LIST}],
    "without dots": {"state_dict": weights(0, "model.") | DOTLESS},
    "several": {"model": RAW, "ema_0.99": AVERAGE, "ema": AVERAGE, "ema_fast": AVERAGE},
}


@pytest.mark.parametrize("content", NOT_BY_NAME.values(), ids=NOT_BY_NAME)
def test_an_average_that_can_not_be_taken_does_not_make_way_for_the_raw_weights(tmp_path, content):
    with pytest.raises(UserError, match=r"file\.pth holds .*(average|ema)"):
        load(tmp_path, content)


RAW_ALONE = {
    "SA-DPM": ({"model_dict": RAW, "optimizer": OPTIMIZER}, "took the weights under 'model_dict', .* beside optimizer"),
    "no average": ({"model": RAW, "ema": None, "use_ema": False}, "took the weights under 'model'"),
    "an empty average": ({"model": RAW, "ema": {}}, "took the weights under 'model'"),
    "DDIM's list": ([RAW, OPTIMIZER, 7, 100], "took the first of four entries, raw weights"),
}


@pytest.mark.parametrize(("content", "expected"), RAW_ALONE.values(), ids=RAW_ALONE)
def test_raw_weights_are_not_taken_in_silence(tmp_path, content, expected):
    released = load(tmp_path, content)
    assert taken(released) == "raw"
    assert re.match(expected, released.notes[0])


@pytest.mark.parametrize("name", ["ema_file.pth", "file_ema.pth"])
def test_a_file_beside_that_is_called_the_average_is_mentioned(tmp_path, name):
    torch.save(AVERAGE, tmp_path / name)
    torch.save(AVERAGE, tmp_path / "other_ema.pth")
    notes = load(tmp_path, RAW).notes
    assert f"its name says that {name} beside it is the average of these weights" in notes
    assert not any("other" in note for note in notes)
    assert not any("average" in note for note in load(tmp_path, AVERAGE, name).notes)


PREFIXES = ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "net.", "ema.")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_of_what_holds_a_network(tmp_path, prefix):
    assert taken(load(tmp_path, {"state_dict": weights(0, prefix)})) == "raw"


def test_a_part_that_was_compiled_by_itself(tmp_path):
    content = {key.replace("mid.block_1.", "mid.block_1._orig_mod."): tensor for key, tensor in RAW.items()}
    assert taken(load(tmp_path, content)) == "raw"


def test_buffers_of_what_holds_a_network_are_left_aside(tmp_path):
    averaged_model = weights(0, "module.") | {"n_averaged": torch.tensor(7)}
    assert "left aside what is no parameter of a network: n_averaged" in load(tmp_path, averaged_model).notes


@pytest.mark.parametrize(("levels", "agrees"), [(1000, True), (500, False)])
def test_betas_among_the_buffers_must_be_the_configurations(tmp_path, levels, agrees):
    content = {**RAW, "betas": torch.linspace(1e-4, 0.02, levels)}
    if agrees:
        released = load(tmp_path, content)
        assert released.said == {str(tmp_path / "file.pth"): {"trained_betas": "1000 values"}}
        assert SILENT not in released.notes
    else:
        with pytest.raises(UserError, match="trained_betas are 500 values"):
            load(tmp_path, content)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"hyper_parameters": {"beta_schedule": "cosine"}}, r"schedule\.kind would have to be cosine, not linear"),
        ({"config": {"diffusion": {"num_diffusion_timesteps": 500}}}, r"num_train_timesteps would have to be 500"),
        ({"prediction_type": "v_prediction"}, "only networks that predict the noise"),
    ],
)
def test_options_in_a_file_must_agree(tmp_path, options, expected):
    with pytest.raises(UserError, match=expected):
        load(tmp_path, {"state_dict": RAW, **options})


def test_a_file_that_says_nothing(tmp_path):
    assert load(tmp_path, RAW).notes == (SILENT,)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tmp_path, value):
    content = {**RAW, "conv_in.bias": torch.full((16,), value)}
    with pytest.raises(UserError, match=r"weights with NaN or infinity.*: conv_in\.bias$"):
        load(tmp_path, content)


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64])
def test_weights_that_are_no_floating_point_numbers(tmp_path, dtype):
    with pytest.raises(UserError, match=rf"no floating-point numbers: conv_in\.bias \({dtype}\)"):
        load(tmp_path, {**RAW, "conv_in.bias": torch.zeros(16, dtype=dtype)})


OTHERS = {
    "guided-diffusion": ("input_blocks.0.0.weight", "OpenAI's guided-diffusion or improved-diffusion"),
    "guided-diffusion inside": ("model.diffusion_model.output_blocks.0.0.weight", "OpenAI's guided-diffusion"),
    "diffusers": ("down_blocks.0.resnets.0.conv1.weight", "use the folder, with the config.json"),
    "text": ("down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_q.weight", "UNet2DConditionModel"),
    "LoRA": ("unet.down_blocks.0.attentions.0.to_q.lora_A.weight", "LoRA weights, a change to another network"),
    "classes": ("label_emb.weight", "conditioned on classes"),
    "score_sde": ("module.all_modules.0.weight", "score_sde's"),
    "EDM": ("model.enc.32x32_conv.weight", "EDM's networks"),
    "lucidrains": ("init_conv.weight", "denoising-diffusion-pytorch"),
    "DiT": ("x_embedder.proj.weight", "transformer such as DiT"),
    "latent diffusion": ("first_stage_model.encoder.conv_in.weight", "latent diffusion"),
}


@pytest.mark.parametrize(("name", "expected"), OTHERS.values(), ids=OTHERS)
def test_names_of_other_networks(tmp_path, name, expected):
    with pytest.raises(
        UserError, match=rf"file\.pth can't be loaded:(.|\n)*{expected}(.|\n)*What can be loaded"
    ) as caught:
        load(tmp_path, {name: torch.zeros(3)})
    assert ("diffusers'" in str(caught.value)) == (expected.startswith(("use", "UNet2D", "LoRA")))


def test_a_conditional_network_with_official_names(tmp_path):
    with pytest.raises(UserError, match=r"unexpected \(1\): label_emb\.weight\n.*conditioned on classes"):
        load(tmp_path, {**RAW, "label_emb.weight": torch.zeros(10, 64)})


def test_a_learned_variance_with_official_names(tmp_path):
    heads = {"conv_out.weight": torch.zeros(6, 16, 3, 3), "conv_out.bias": torch.zeros(6)}
    with pytest.raises(UserError, match=r"conv_out\.bias \(6,\) instead of \(3,\)(.|\n)*learned variance"):
        load(tmp_path, {**RAW, **heads})


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("weights.pth"))
    return buffer.getvalue()


BEGINNINGS = {
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1f\nsize 9\n", "pointer of git-lfs"),
    "HTML": (b"<!DOCTYPE html>\n<html>", "web page, saved in place of the file"),
    "HTML after a gap": (b"\n\n  <html lang='en'>", "web page"),
    "JSON": (b'{"error": "Repository not found"}', r"is text \(JSON\)"),
    "nothing": (b"", "is empty: the download was interrupted"),
    "gzip": (gzip.compress(b"weights"), "is an archive: unpack it first"),
    "tar": (archive(), "is an archive: unpack it first"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "is HDF5"),
    "NumPy": (b"\x93NUMPY\x01\x00", "is an array of NumPy"),
    "EDM": (b"\x80\x04\x95\x10\x00\x8c\x17torch_utils.persistence\x94", "a network of EDM or StyleGAN"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(("content", "expected"), BEGINNINGS.values(), ids=BEGINNINGS)
def test_files_that_are_no_weights(tmp_path, content, expected, suffix):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{path.name} .*{expected}"):
        load_released(path, "auto", UNet(**SMALL), ScheduleConfig())


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_program_of_torchscript(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Conv2d(1, 1, 1)), tmp_path / "file.pt")
    with pytest.raises(UserError, match=r"it is a program of TorchScript; save the network's state_dict\(\)"):
        load_released(tmp_path / "file.pt", "auto", UNet(**SMALL), ScheduleConfig())


def test_the_content_tells_how_a_file_is_read_whatever_its_name(tmp_path):
    assert taken(load(tmp_path, RAW, "file.safetensors")) == "raw"
    save_file(RAW, tmp_path / "other.pth")
    assert taken(load_released(tmp_path / "other.pth", "auto", UNet(**SMALL), ScheduleConfig())) == "raw"
