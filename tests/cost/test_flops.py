"""Closed counts against torch's flop counter on networks without memory (the meta device)."""

import json
from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import golden_vectors
from sadpm.config.datasets import NetworkConfig
from sadpm.cost.flops import head_cost, unet_flops, unet_parameters
from sadpm.cost.plan import TRAINING
from sadpm.extractors.dinov2 import ARCHITECTURES, Dinov2Extractor
from sadpm.extractors.inception import FLOPS
from sadpm.networks.heads import CovarianceHead
from sadpm.networks.unet import UNet

PAPER = {
    "cifar10": (NetworkConfig(block_out_channels=(128, 256, 256, 256)), 32, 3),
    "celeba": (NetworkConfig(block_out_channels=(128, 256, 256, 256, 512)), 64, 3),
    "celeba-hq": (NetworkConfig(block_out_channels=(128, 128, 256, 256, 512, 512), dropout=0.0), 256, 3),
}
GFLOP = {"cifar10": 12.44, "celeba": 48.10, "celeba-hq": 497.0}
OTHERS = {
    "laptop": (
        NetworkConfig(
            block_out_channels=(16, 32), layers_per_block=1, attention_resolutions=(4,), norm_num_groups=4
        ), 8, 1,
    ),
    "one level": (NetworkConfig(block_out_channels=(24,), attention_resolutions=(), norm_num_groups=8), 8, 3),
    "attention everywhere": (
        NetworkConfig(block_out_channels=(8, 24, 16), layers_per_block=3, attention_resolutions=(28, 14, 7),
                      norm_num_groups=8), 28, 1,
    ),
    "equal widths": (NetworkConfig(block_out_channels=(8, 8), attention_resolutions=(), norm_num_groups=4), 8, 3),
}  # fmt: skip
NETWORKS = PAPER | OTHERS


def counted(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def on_meta(network: NetworkConfig, size: int, channels: int) -> tuple[UNet, torch.Tensor, torch.Tensor]:
    with torch.device("meta"):
        unet = UNet(sample_size=size, in_channels=channels, **network.model_dump())
        return unet, torch.empty(1, channels, size, size), torch.zeros(1)


@pytest.mark.parametrize("name", NETWORKS)
def test_forward_flops_and_parameters_are_those_that_torch_counts(name):
    unet, x, t = on_meta(*NETWORKS[name])
    with torch.no_grad():
        assert unet_flops(*NETWORKS[name]) == counted(lambda: unet(x, t))
    assert unet_parameters(*NETWORKS[name]) == sum(parameter.numel() for parameter in unet.parameters())


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_networks_have_the_known_flops(name):
    assert float(f"{unet_flops(*PAPER[name]) / 1e9:.4g}") == GFLOP[name]


@pytest.mark.parametrize(("name", "golden"), [("cifar10", "cifar10"), ("celeba", "celeba64")])
def test_the_papers_networks_are_those_of_the_recorded_diffusers_configurations(name, golden):
    configs = json.loads((golden_vectors.OWN_FOLDER / "diffusers_unet_configs.json").read_text())
    with torch.device("meta"):
        unet = UNet.from_config(configs[golden])
        x, t = torch.empty(1, 3, unet.sample_size, unet.sample_size), torch.zeros(1)
    with torch.no_grad():
        assert counted(lambda: unet(x, t)) == unet_flops(*PAPER[name])


@pytest.mark.parametrize("name", PAPER)
def test_training_takes_three_forward_passes_to_a_thousandth(name):
    """A little less: nobody asks for the gradient by the image."""
    unet, x, t = on_meta(*PAPER[name])
    assert counted(lambda: unet(x, t).sum().backward()) == pytest.approx(TRAINING * unet_flops(*PAPER[name]), rel=1e-3)


@pytest.mark.parametrize("name", PAPER)
def test_a_product_with_the_jacobian_takes_a_forward_pass_to_three_hundredths(name):
    """A little more, because attention's two products become four."""
    unet, x, t = on_meta(*PAPER[name])
    unet.requires_grad_(False)
    x.requires_grad_()
    both = counted(lambda: unet(x, t).backward(torch.empty_like(x)))
    assert both - unet_flops(*PAPER[name]) == pytest.approx(unet_flops(*PAPER[name]), rel=0.03)


@pytest.mark.parametrize("kind", ["simple", "complex"])
@pytest.mark.parametrize("name", ["cifar10", "laptop"])
def test_head_flops_and_parameters_are_those_that_torch_counts(name, kind):
    network, size, channels = NETWORKS[name]
    width = network.block_out_channels[0]
    with torch.device("meta"):
        head = CovarianceHead(width, channels, 4 * width, network.norm_num_groups, kind)
        h, emb = torch.empty(1, width, size, size), torch.empty(1, 4 * width)
    flops, parameters = head_cost(network, size, channels, kind)
    with torch.no_grad():
        assert flops == counted(lambda: head(h, emb))
    assert parameters == sum(parameter.numel() for parameter in head.parameters())


def test_inception_flops_are_those_that_torch_counts(monkeypatch):
    from pytorch_fid import inception
    from torch_fidelity import feature_extractor_inceptionv3 as fidelity

    for package in (inception, fidelity):
        monkeypatch.setattr(package, "load_state_dict_from_url", lambda *_, **__: {})
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
    with torch.device("meta"), torch.no_grad():
        network = inception.InceptionV3([3])
        assert counted(lambda: network(torch.empty(1, 3, 32, 32))) == FLOPS
    with torch.no_grad():  # its resizing does not work on the meta device
        other = fidelity.FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"]).eval()
        image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
        assert counted(lambda: other(image)) == FLOPS + 2 * 2048 * 1008  # the logits


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_dinov2_flops_are_those_that_torch_counts(name):
    import timm

    with torch.device("meta"), torch.no_grad():
        network = timm.create_model(ARCHITECTURES[name].timm, num_classes=0, img_size=224).eval()
        assert counted(lambda: network(torch.empty(1, 3, 224, 224))) == Dinov2Extractor(architecture=name).flops


@pytest.mark.parametrize(
    ("size", "attention", "message"), [(28, (), "28x28 can't be halved 3 times"), (8, (16,), r"\[16\] not among")]
)
def test_a_network_that_does_not_fit_the_images_has_no_count(size, attention, message):
    with pytest.raises(ValueError, match=message):
        unet_flops(NetworkConfig(attention_resolutions=attention), size, 1)
