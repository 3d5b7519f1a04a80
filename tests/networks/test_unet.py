"""The U-Net and the covariance heads against the authors' numbers and against diffusers."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

import golden_vectors
from sadpm.networks.diffusers_folder import from_native_keys, head_from_native_keys
from sadpm.networks.heads import CovarianceHead
from sadpm.networks.model_folder import CONFIG_FILE, WEIGHTS_FILE
from sadpm.networks.unet import UNet, load_unet, save_unet

GOLDEN_UNETS = sorted(path.stem for path in golden_vectors.FOLDER.glob("unet_*.npz"))
GOLDEN_HEADS = [
    (name, kind)
    for name in GOLDEN_UNETS
    for kind in ("simple", "complex")
    if f"head_{kind}_keys" in golden_vectors.load(name)["meta"]
]
OFFICIAL_CONFIGS = json.loads((golden_vectors.OWN_FOLDER / "diffusers_unet_configs.json").read_text())
TINY = {
    "sample_size": 8,
    "in_channels": 1,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "attention_resolutions": (4,),
    "norm_num_groups": 8,
}
SHAPES = {
    "tiny": TINY,
    "colour": {**TINY, "in_channels": 3, "layers_per_block": 2, "attention_resolutions": (8,), "sample_size": 16},
    "single level": {**TINY, "block_out_channels": (24,), "attention_resolutions": ()},
    "odd lowest point": {**TINY, "sample_size": 28, "block_out_channels": (8, 16, 8), "attention_resolutions": (14, 7)},
    "freq_shift 0": {**TINY, "freq_shift": 0},
    "cosine first": {**TINY, "flip_sin_to_cos": True},
    "symmetric padding": {**TINY, "downsample_padding": 1},
    "large epsilon": {**TINY, "norm_eps": 1e-2},
}


NATIVE_NAMES = {
    "time_embedding.linear_1": "temb.dense.0",
    "time_embedding.linear_2": "temb.dense.1",
    "conv_norm_out": "norm_out",
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0": "mid.attn_1",
    "_blocks": "",
    "resnets": "block",
    "attentions": "attn",
    "downsamplers.0": "downsample",
    "upsamplers.0": "upsample",
    "time_emb_proj": "temb_proj",
    "conv_shortcut": "nin_shortcut",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def native_weights(golden: dict[str, Any], part: str, keys: list[str], scales: np.ndarray) -> dict[str, Tensor]:
    """Undo the int8 coding of the recorded weights."""
    return {key: torch.from_numpy(golden[f"{part}/{key}"] * scale) for key, scale in zip(keys, scales, strict=True)}


def golden_unet(golden: dict[str, Any]) -> UNet:
    """Build the recorded U-Net in float64."""
    arch = golden["meta"]["arch"]
    resolutions = [arch["resolution"] >> level for level in range(len(arch["ch_mult"]))]
    unet = UNet(
        sample_size=arch["resolution"],
        in_channels=arch["in_channels"],
        block_out_channels=[arch["ch"] * factor for factor in arch["ch_mult"]],
        layers_per_block=arch["num_res_blocks"],
        attention_resolutions=[size for size in arch["attn_resolutions"] if size in resolutions],
        dropout=arch["dropout"],
    )
    weights = native_weights(golden, "sd", golden["meta"]["sd_keys"], golden["sd_scale"])
    unet.double().load_state_dict(from_native_keys(weights, len(resolutions)))
    return unet.eval()


def recorded_input(golden: dict[str, Any], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the images in `dtype` and the times in float32."""
    return torch.from_numpy(golden["x"]).to(dtype), torch.from_numpy(golden["t"])


def seeded(**options: Any) -> UNet:
    """Build a network in evaluation mode, every parameter of which, norms included, has a value of its own."""
    torch.manual_seed(0)
    unet = UNet(**options)
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return unet.eval()


def images(unet: UNet, batch: int = 3) -> Tensor:
    """Draw standard normal images of the size that the network expects."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, unet.in_channels, unet.sample_size, unet.sample_size, generator=generator)


def tiny(**options: Any) -> UNet:
    """Build the small network of the tests, with changes."""
    return seeded(**{**TINY, **options})


@pytest.mark.parametrize("name", GOLDEN_UNETS)
@torch.no_grad()
def test_official_unet_in_float32(name: str) -> None:
    golden = golden_vectors.load(name)
    prediction = golden_unet(golden).float()(*recorded_input(golden, torch.float32))
    np.testing.assert_allclose(prediction, golden["y_f32"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", GOLDEN_UNETS)
@torch.no_grad()
def test_official_unet_in_float64(name: str) -> None:
    golden = golden_vectors.load(name)
    prediction = golden_unet(golden)(*recorded_input(golden, torch.float64))
    # The sine of the time is float32, as in the official code, and other instructions round it otherwise.
    np.testing.assert_allclose(prediction, golden["y_f64ref"], rtol=0, atol=1e-7)


@pytest.mark.parametrize(("name", "kind"), GOLDEN_HEADS)
@torch.no_grad()
def test_official_head(name: str, kind: str) -> None:
    golden = golden_vectors.load(name)
    unet = golden_unet(golden).float()
    expected = golden[f"y_head_{kind}_f32"]
    groups, channels = unet.norm_num_groups, expected.shape[1] - unet.in_channels
    head = CovarianceHead(unet.block_out_channels[0], channels, unet.time_embed_dim, groups, kind)
    keys, scales = golden["meta"][f"head_{kind}_keys"], golden[f"head_{kind}_scale"]
    head.load_state_dict(head_from_native_keys(native_weights(golden, f"head_{kind}", keys, scales)))
    h, emb = unet.features(*recorded_input(golden, torch.float32))
    np.testing.assert_allclose(torch.cat([unet.output(h), head(h, emb)], dim=1), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@torch.no_grad()
def test_agrees_with_diffusers(shape: str, memory_format: torch.memory_format) -> None:
    from diffusers import UNet2DModel

    unet = seeded(**SHAPES[shape]).to(memory_format=memory_format)
    twin = UNet2DModel.from_config(unet.config).eval()
    twin.load_state_dict(unet.state_dict())
    x, t = images(unet), torch.tensor([0.0, 37.5, 999.0])
    torch.testing.assert_close(unet(x, t), twin(x, t).sample, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "parameters"), [("cifar10", 35_746_307), ("celeba64", 78_700_803)])
def test_full_size_networks_have_the_official_parameters(name: str, parameters: int) -> None:
    from diffusers import UNet2DModel

    with torch.device("meta"):
        unet = UNet.from_config(OFFICIAL_CONFIGS[name])
        twin = UNet2DModel.from_config(OFFICIAL_CONFIGS[name])
    shapes = {key: value.shape for key, value in unet.state_dict().items()}
    assert shapes == {key: value.shape for key, value in twin.state_dict().items()}
    assert sum(parameter.numel() for parameter in unet.parameters()) == parameters
    assert unet.config == OFFICIAL_CONFIGS[name]


def test_starts_from_the_same_distribution_as_diffusers() -> None:
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    unet = UNet(**TINY)
    twin = UNet2DModel.from_config(unet.config).state_dict()
    for name, weight in unet.state_dict().items():
        if name.endswith("weight") and weight.ndim > 1:
            bound = 1 / math.sqrt(weight[0].numel())
            assert weight.abs().max() <= bound
            assert twin[name].abs().max() <= bound
            sampling_error = 4 * bound / math.sqrt(weight.numel())
            assert abs(weight.std() - twin[name].std()) < sampling_error
        elif "norm" in name:
            assert torch.equal(weight, twin[name])


@torch.no_grad()
def test_diffusers_opens_a_saved_folder(tmp_path: Path) -> None:
    from diffusers import UNet2DModel

    unet = tiny(dropout=0.1).to(memory_format=torch.channels_last)
    save_unet(unet, tmp_path / "model")
    twin = UNet2DModel.from_pretrained(tmp_path / "model", low_cpu_mem_usage=False, local_files_only=True)
    torch.testing.assert_close(unet(images(unet), 7), twin(images(unet), 7).sample, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_opens_a_folder_saved_by_diffusers(tmp_path: Path) -> None:
    from diffusers import UNet2DModel

    twin = UNet2DModel.from_config({**tiny().config, "norm_eps": 1e-2, "freq_shift": 0}).eval()
    twin.save_pretrained(tmp_path)
    unet = load_unet(tmp_path)
    torch.testing.assert_close(unet(images(unet), 7), twin(images(unet), 7).sample, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_saved_folder_gives_back_the_network(tmp_path: Path) -> None:
    unet = tiny(dropout=0.1)
    save_unet(unet, tmp_path)
    before = torch.random.get_rng_state()
    loaded = load_unet(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(loaded(images(unet), 7), unet(images(unet), 7))
    assert loaded.config == unet.config
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_loaded_weights_lie_where_their_own_memory_begins(tmp_path: Path) -> None:
    """How a CPU rounds depends on where a tensor lies, and in a mapped file it lies anywhere."""
    save_unet(tiny(), tmp_path)
    addresses = {name: weight.data_ptr() for name, weight in load_unet(tmp_path).state_dict().items()}
    assert {name for name, address in addresses.items() if address % 64} == set()


@torch.no_grad()
def test_opens_folders_with_the_former_attention_names(tmp_path: Path) -> None:
    unet = tiny()
    save_unet(unet, tmp_path)
    state = load_file(tmp_path / WEIGHTS_FILE)
    for current, former in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
        state = {key.replace(current, former): value for key, value in state.items()}
    save_file(state, tmp_path / WEIGHTS_FILE)
    assert torch.equal(load_unet(tmp_path)(images(unet), 7), unet(images(unet), 7))


def test_loading_names_every_parameter_that_does_not_fit(tmp_path: Path) -> None:
    save_unet(tiny(), tmp_path)
    state = load_file(tmp_path / WEIGHTS_FILE)
    state["conv_middle.bias"] = state.pop("conv_in.bias")
    state["conv_out.bias"] = torch.zeros(5)
    save_file(state, tmp_path / WEIGHTS_FILE)
    with pytest.raises(ValueError, match=r"conv_in\.bias is missing") as caught:
        load_unet(tmp_path)
    assert "conv_middle.bias is unexpected" in str(caught.value)
    assert "conv_out.bias has shape (5,) instead of (1,)" in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_loading_names_the_damaged_file(tmp_path: Path, name: str) -> None:
    save_unet(tiny(), tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:100])
    with pytest.raises(ValueError, match=name):
        load_unet(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("_class_name", "UNet2DConditionModel"),
        ("attention_head_dim", 8),
        ("act_fn", "gelu"),
        ("center_input_sample", True),
        ("resnet_time_scale_shift", "scale_shift"),
        ("add_attention", False),
        ("mid_block_type", None),
        ("time_embedding_type", "fourier"),
        ("time_embedding_dim", 128),
        ("num_class_embeds", 10),
        ("downsample_padding", 2),
        ("downsample_type", "resnet"),
        ("out_channels", 6),
        ("sample_size", None),
        ("sample_size", [8, 8]),
        ("sample_size", 7),
        ("down_block_types", ["DownBlock2D", "SkipDownBlock2D"]),
        ("up_block_types", ["UpBlock2D", "UpBlock2D"]),
        ("an_option_of_the_future", 1),
    ],
)
def test_options_that_it_cannot_do_are_named(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=key):
        UNet.from_config({**tiny().config, key: value})


def test_absent_options_have_the_values_that_diffusers_assumes() -> None:
    absent = ("freq_shift", "flip_sin_to_cos", "downsample_padding", "norm_eps")
    unet = UNet.from_config({key: value for key, value in tiny().config.items() if key not in absent})
    assert [unet.config[key] for key in absent] == [0, True, 1, 1e-5]
    with pytest.raises(ValueError, match="attention_head_dim"):
        UNet.from_config({key: value for key, value in tiny().config.items() if key != "attention_head_dim"})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("attention_resolutions", (5,)),
        ("sample_size", 9),
        ("block_out_channels", (15, 30)),
        ("downsample_padding", 3),
    ],
)
def test_impossible_sizes_are_named(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        UNet(**{**TINY, option: value})


@settings(max_examples=25, deadline=None)
@given(
    levels=st.lists(st.sampled_from([(8, True), (16, False), (24, True), (32, False)]), min_size=1, max_size=4),
    lowest=st.integers(1, 7),
    layers=st.integers(1, 3),
    channels=st.integers(1, 4),
    numbers=st.tuples(st.integers(0, 1), st.booleans(), st.integers(0, 1), st.sampled_from([1e-6, 1e-5])),
)
def test_config_describes_the_network(
    levels: list[tuple[int, bool]], lowest: int, layers: int, channels: int, numbers: tuple[int, bool, int, float]
) -> None:
    size = lowest << (len(levels) - 1)
    freq_shift, flip, padding, eps = numbers
    with torch.device("meta"):
        unet = UNet(
            sample_size=size,
            in_channels=channels,
            block_out_channels=[width for width, _ in levels],
            layers_per_block=layers,
            attention_resolutions=[size >> level for level, (_, attends) in enumerate(levels) if attends],
            norm_num_groups=4,
            freq_shift=freq_shift,
            flip_sin_to_cos=flip,
            downsample_padding=padding,
            norm_eps=eps,
        )
        again = UNet.from_config(json.loads(json.dumps(unet.config)))
        assert again.config == unet.config
        assert {key: value.shape for key, value in again.state_dict().items()} == {
            key: value.shape for key, value in unet.state_dict().items()
        }
        x = torch.empty(2, channels, size, size)
        assert again(x, 3.5).shape == x.shape


@settings(max_examples=15, deadline=None)
@given(times=st.lists(st.floats(0, 999, width=32), min_size=2, max_size=4), data=st.data())
@torch.no_grad()
def test_images_of_a_batch_do_not_see_each_other(times: list[float], data: st.DataObject) -> None:
    unet = tiny()
    x, t = images(unet, len(times)), torch.tensor(times)
    order = data.draw(st.permutations(range(len(times))))
    together = unet(x, t)
    torch.testing.assert_close(unet(x[order], t[order]), together[order], rtol=1e-5, atol=1e-5)
    for form in (times[0], t[0], t[:1].double()):
        torch.testing.assert_close(unet(x[:1], form), together[:1], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_one_time_serves_the_whole_batch() -> None:
    unet = tiny()
    x = images(unet)
    for t in (412.5, 3, 0):
        torch.testing.assert_close(unet(x, t), unet(x, torch.full((len(x),), t)), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_forward_is_the_output_of_the_features() -> None:
    unet = tiny()
    h, emb = unet.features(images(unet), torch.arange(3))
    assert h.shape == (3, unet.block_out_channels[0], unet.sample_size, unet.sample_size)
    assert emb.shape == (3, unet.time_embed_dim)
    assert torch.equal(unet.output(h), unet(images(unet), torch.arange(3)))


@torch.no_grad()
def test_keeps_channels_last() -> None:
    unet = tiny(in_channels=3).to(memory_format=torch.channels_last)
    h, emb = unet.features(images(unet), 5)
    head = CovarianceHead(16, 3, unet.time_embed_dim, 8, "complex").to(memory_format=torch.channels_last)
    for result in (h, unet.output(h), head(h, emb)):
        assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@torch.no_grad()
def test_dropout_acts_in_training_only(dropout: float) -> None:
    unet, plain = tiny(dropout=dropout), tiny()
    x = images(unet)
    assert torch.equal(unet(x, 5), plain(x, 5))
    unet.train()
    assert torch.equal(unet(x, 5), plain(x, 5)) == (dropout == 0)
    assert torch.equal(unet(x, 5), unet(x, 5)) == (dropout == 0)


def test_every_parameter_receives_a_gradient() -> None:
    unet = tiny()
    head = CovarianceHead(16, 1, unet.time_embed_dim, 8, "complex")
    h, emb = unet.features(images(unet), torch.tensor([1.0, 50.0, 900.0]))
    (unet.output(h).square().sum() + head(h, emb).square().sum()).backward()
    without = [
        name
        for module in (unet, head)
        for name, parameter in module.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().max() > 0
    ]
    assert without == []


@pytest.mark.parametrize(("kind", "parameters"), [("simple", 3_715), ("complex", 365_059)])
def test_head_sizes_of_the_full_networks(kind: str, parameters: int) -> None:
    head = CovarianceHead(128, 3, 512, 32, kind)
    assert sum(parameter.numel() for parameter in head.parameters()) == parameters
    assert ("resnet.conv1.weight" in head.state_dict()) == (kind == "complex")


def test_head_of_unknown_kind() -> None:
    with pytest.raises(ValueError, match="'simpel'"):
        CovarianceHead(16, 1, 64, 8, "simpel")


def test_native_keys_with_a_prefix_and_a_head_beside_them() -> None:
    golden = golden_vectors.load(GOLDEN_UNETS[0])
    levels = len(golden["meta"]["arch"]["ch_mult"])
    weights = native_weights(golden, "sd", golden["meta"]["sd_keys"], golden["sd_scale"])
    head = {"norm_out2.weight": torch.zeros(4), "before_out.temb_proj.bias": torch.ones(4)}
    wrapped = {f"module.{key}": value for key, value in {**weights, **head}.items()}
    assert from_native_keys(wrapped, levels).keys() == from_native_keys(weights, levels).keys()
    assert head_from_native_keys(wrapped).keys() == {"norm.weight", "resnet.time_emb_proj.bias"}


@pytest.mark.parametrize("name", OFFICIAL_CONFIGS)
def test_native_keys_of_the_full_size_networks(name: str) -> None:
    with torch.device("meta"):
        unet = UNet.from_config(OFFICIAL_CONFIGS[name])
    levels = len(unet.block_out_channels)
    native = {}
    for key, value in unet.state_dict().items():
        module = key
        for ours, theirs in NATIVE_NAMES.items():
            module = module.replace(ours, theirs)
        if module.startswith("up."):
            module = f"up.{levels - 1 - int(module[3])}{module[4:]}"
        is_attention = "attn" in module and value.ndim == 2
        native[module] = value[:, :, None, None] if is_attention else value
    translated = from_native_keys(native, levels)
    assert {key: value.shape for key, value in translated.items()} == {
        key: value.shape for key, value in unet.state_dict().items()
    }


@pytest.mark.parametrize(
    "key",
    [
        "conv_middle.weight",
        "conv_in.running_mean",
        "norm_out3.bias",
        "mid.block_3.conv1.weight",
        "down.0.block.0.conv3.weight",
        "down.0.upsample.conv.weight",
        "down.2.block.0.conv1.weight",
        "up.0.attn.0.to_q.weight",
    ],
)
def test_unknown_native_keys_are_named(key: str) -> None:
    known = {"conv_in.bias": torch.zeros(4)}
    with pytest.raises(ValueError, match=key) as caught:
        from_native_keys({**known, key: torch.zeros(4)}, num_levels=2)
    assert "conv_in.bias" not in str(caught.value)
