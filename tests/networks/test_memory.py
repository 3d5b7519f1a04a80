import pytest
import torch

from sadpm.networks.execution import Executed
from sadpm.networks.memory import InParts
from sadpm.networks.section import PLAIN
from sadpm.networks.unet import UNet


@pytest.fixture
def unet():
    torch.manual_seed(0)
    options = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4, "in_channels": 1}
    return UNet(sample_size=8, dropout=0.0, **options).eval().requires_grad_(False)


def with_memory_for(most, see, asked):
    def limited(x, t):
        asked.append(len(x))
        if len(x) > most:
            raise torch.OutOfMemoryError("too little")
        return see(x, t)

    return limited


@pytest.mark.parametrize("times", [1, 7])
def test_images_are_shown_in_as_few_halved_parts_as_there_is_memory_for(unet, times):
    x, t = torch.randn(7, 1, 8, 8), torch.arange(3.0, 3.0 + times)
    told, asked = [], []
    in_parts = InParts(told.append)
    for _ in range(2):
        seen = in_parts(with_memory_for(2, unet.see, asked), x, t)
        for found, expected in zip(seen, unet.see(x, t), strict=True):
            torch.testing.assert_close(found, expected)
    assert told == [2, 4]
    assert asked == [7, 4, *[2, 2, 2, 1] * 2]


def test_where_one_image_is_too_much_the_lack_is_told(unet):
    with pytest.raises(torch.OutOfMemoryError):
        InParts(lambda _: None)(with_memory_for(0, unet.see, []), torch.randn(3, 1, 8, 8), torch.ones(1))


def test_the_report_says_in_how_many_parts(unet, monkeypatch, capsys):
    executed = Executed(PLAIN, "float32", torch.device("cpu"))
    monkeypatch.setattr(unet, "see", with_memory_for(3, unet.see, []))
    executed.seeing(unet, 5)(torch.randn(5, 1, 8, 8), torch.ones(1))
    assert executed.report()["shown_in_parts"] == 2
    assert capsys.readouterr().err == "memory lacks: images are shown to the network in 2 parts\n"
