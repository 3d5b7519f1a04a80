"""DINOv2's features against dgm-eval's transforms and a second way to the network's input, with random weights.

The weights are those of a ViT-S/14 in the true format, which looks at an image in about 0.1 s on a CPU.
"""

import sys

import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from sadpm.config.jobs import ReferenceJob
from sadpm.extractors import EXTRACTORS
from sadpm.extractors.dinov2 import ARCHITECTURES, Dinov2Extractor
from sadpm.extractors.looking.dinov2 import FILE, find_weights, interpolate_positions, load_network, preprocess
from sadpm.extractors.looking.scores import score_images
from sadpm.running.files import UserError, sha256
from sadpm.stages.measure_reference import measure_reference
from sadpm.stages.score import checked_reference

METRICS = tuple(Dinov2Extractor.labels)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file as timm publishes it, of weights with which position and every layer show in the features."""
    import timm

    torch.manual_seed(0)
    state = timm.create_model(ARCHITECTURES["vits14"].timm, num_classes=0).state_dict()
    for name, value in state.items():
        if name.endswith(".gamma"):
            torch.nn.init.constant_(value, 1.0)
        elif name.endswith("weight") and value.ndim > 1:
            torch.nn.init.normal_(value, std=0.06)
    torch.nn.init.normal_(state["pos_embed"])
    path = tmp_path_factory.mktemp("weights") / FILE
    save_file(state, path)
    return path


@pytest.fixture(scope="module")
def in_config(weights):
    return Dinov2Extractor(architecture="vits14", weights=str(weights))


@pytest.fixture(scope="module")
def extractor(in_config):
    (extractor,) = {*in_config.looking(METRICS).values()}
    return extractor


def random_images(n=2, side=32, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, channels), dtype=np.uint8)


def as_dgm_eval(images):
    """What the transforms that dgm-eval names make of image files."""
    from torchvision import transforms

    steps = (
        transforms.Resize((224, 224), transforms.InterpolationMode.BICUBIC),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    )
    files = (Image.fromarray(image.squeeze()).convert("RGB") for image in images)
    return torch.stack([transforms.Compose(steps)(file) for file in files])


def sampled_positions(positions, offset):
    """Position embeddings of 16x16 patches by the cubic convolution of the 37x37, written out (a = -0.75)."""
    at = (np.arange(16) + 0.5) / ((16 + offset) / 37) - 0.5
    taps = np.floor(at)[:, None] + np.arange(-1, 3)
    near = np.abs(at[:, None] - taps)
    inner = 1.25 * near**3 - 2.25 * near**2 + 1
    outer = -0.75 * (near**3 - 5 * near**2 + 8 * near - 4)
    matrix = np.zeros((16, 37))
    for row, (columns, values) in enumerate(zip(taps, np.where(near <= 1, inner, outer), strict=True)):
        np.add.at(matrix[row], columns.clip(0, 36).astype(int), values)
    grid = positions[0, 1:].double().numpy().reshape(37, 37, -1)
    resized = np.einsum("ia,jb,abd->ijd", matrix, matrix, grid).reshape(1, 256, -1)
    return torch.cat([positions[:, :1], torch.from_numpy(resized).float()], dim=1)


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (32, 3), (224, 3), (300, 1)])
def test_input_is_that_of_dgm_evals_transforms(side, channels):
    images = random_images(2, side, channels)
    np.testing.assert_allclose(preprocess(images), as_dgm_eval(images), atol=1e-6)


def test_positions_are_sampled_with_the_authors_offset():
    positions = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1370, 5))).float()
    resized = interpolate_positions(positions)
    np.testing.assert_allclose(resized, sampled_positions(positions, 0.1), atol=1e-4)
    assert (resized - sampled_positions(positions, 0.0)).abs().max() > 0.1


def test_features_are_the_class_token_after_the_final_normalisation(weights, extractor):
    import timm

    images = random_images()
    state = load_file(weights)
    network = timm.create_model(ARCHITECTURES["vits14"].timm, num_classes=0, img_size=224).eval()
    network.load_state_dict(state | {"pos_embed": sampled_positions(state["pos_embed"], 0.1)})
    with torch.inference_mode():
        expected = network.norm(network.blocks(network._pos_embed(network.patch_embed(as_dgm_eval(images)))))[:, 0]
    features, logits = extractor.compute(images)
    assert logits is None
    assert features.shape == (2, 384)
    np.testing.assert_allclose(features, expected, atol=1e-3)
    assert np.abs(features[0] - features[1]).max() > 0.1  # else the tolerance would hide what differs


def test_grey_is_repeated_to_rgb(extractor):
    grey = random_images(1, channels=1)
    features, repeated = (extractor.compute(images)[0] for images in (grey, np.repeat(grey, 3, axis=-1)))
    np.testing.assert_array_equal(features, repeated)
    with pytest.raises(UserError, match="DINOv2 looks at grey or RGB images, not at 4 channels"):
        extractor.compute(random_images(1, channels=4))


def test_scores_say_what_they_depend_on(tmp_path, monkeypatch, weights, in_config, extractor):
    np.save(tmp_path / "images.npy", random_images(4))
    monkeypatch.setattr(Dinov2Extractor, "create", lambda _, metrics, __: dict.fromkeys(metrics, extractor))
    files = tmp_path / "reference.npz", tmp_path / "reference.json", [tmp_path / "images.npy"]
    measure_reference(ReferenceJob(extractor=in_config, metrics=METRICS), *files)
    looking = dict.fromkeys(METRICS, extractor)
    reference = checked_reference(tmp_path / "reference.npz", looking, files[2])
    assert reference.features.shape == (4, 384)
    assert reference.facts["weights_sha256"] == reference.facts["features_weights_sha256"] == sha256(weights)
    scores = score_images(random_images(4, seed=1), looking, Dinov2Extractor.labels, reference)
    assert {metric: score.entry["label"] for metric, score in scores.items()} == {
        "fd": "FD-DINOv2",
        "kid": "KID-DINOv2",
        "precision": "precision (DINOv2)",
        "recall": "recall (DINOv2)",
        "memorised": "memorised (DINOv2)",
    }
    for score in scores.values():
        assert np.isfinite(score.entry["value"])
        assert {"standard_error", "no_error"} & {*score.entry}
        described = score.entry["extractor"]
        assert described["weights_sha256"] == sha256(weights)
        assert described["network"].endswith("vit_small_patch14_dinov2, class token")
        assert "224x224" in described["preprocessing"]
        assert score.entry["notes"][0].startswith("Features are those of DINOv2's vits14")


def test_what_the_configuration_says_of_it():
    usual = EXTRACTORS.built_in["dinov2"]()
    assert isinstance(usual, Dinov2Extractor)
    assert (usual.architecture, usual.files(), usual.num_published_features) == ("vitl14", {}, None)
    assert Dinov2Extractor(weights="w.safetensors").files() == {"weights": "w.safetensors"}
    assert [usual.passes(metrics) for metrics in ((), ("fd",), METRICS)] == [0, 1, 1]
    assert usual.flops > Dinov2Extractor(architecture="vitb14").flops > 0
    with pytest.raises(UserError, match="'dinov2' gives fd, kid, precision, recall, memorised, and not is"):
        usual.looking(["is"])


class TestFiles:
    def refused(self, path, message, architecture="vits14"):
        with pytest.raises(UserError, match=message) as error:
            load_network(architecture, path)
        assert str(path) in str(error.value)

    def test_the_mask_token_of_training_is_left_aside(self, tmp_path, weights):
        save_file(load_file(weights) | {"mask_token": torch.zeros(1, 384)}, tmp_path / FILE)
        assert load_network("vits14", tmp_path / FILE).pos_embed.shape == (1, 257, 384)

    def test_another_architecture_is_named(self, weights):
        self.refused(weights, r"of vits14, and not of vitl14; set .*\.extractor\.architecture: vits14", "vitl14")

    def test_names_of_another_program(self, tmp_path):
        save_file({"embeddings.cls_token": torch.zeros(1, 1, 384)}, tmp_path / FILE)
        message = (
            r"not DINOv2's weights of vits14 as timm names them: it lacks cls_token, .*, and 171 more; unknown are"
            r" embeddings\.cls_token\. What is needed is model\.safetensors of timm/vit_small_patch14_dinov2\.lvd142m"
        )
        self.refused(tmp_path / FILE, message)

    def test_another_shape(self, tmp_path, weights):
        save_file(load_file(weights) | {"pos_embed": torch.zeros(1, 257, 384)}, tmp_path / FILE)
        shapes = r"of another shape are pos_embed \(1, 257, 384\), expected \(1, 1370, 384\)\."
        self.refused(tmp_path / FILE, shapes)

    def test_half_precision(self, tmp_path, weights):
        save_file({name: value.half() for name, value in load_file(weights).items()}, tmp_path / FILE)
        self.refused(tmp_path / FILE, r"weights in torch\.float16, whose features are not those of the published")

    def test_nan(self, tmp_path, weights):
        save_file(load_file(weights) | {"norm.bias": torch.full((384,), torch.nan)}, tmp_path / FILE)
        self.refused(tmp_path / FILE, r"norm\.bias has NaN or infinity")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (lambda path: path.read_bytes()[:100_000], "not a safetensors file, or damaged"),
            (lambda path: path.read_bytes()[:5], "not a safetensors file, or damaged"),
            (lambda _: b"PK\x03\x04" + bytes(100), "not a safetensors file, .* no other is read"),
            (lambda _: b"", "is empty: the download was interrupted"),
            (lambda _: b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of git-lfs"),
        ],
        ids=["truncated", "truncated header", "torch.save", "empty", "pointer"],
    )
    def test_damaged(self, tmp_path, weights, content, message):
        (tmp_path / FILE).write_bytes(content(weights))
        self.refused(tmp_path / FILE, message)


class TestMissing:
    def test_named_in_the_configuration(self, tmp_path):
        with pytest.raises(UserError, match=r"datasets\.<name>\.extractor\.weights: no file .*/a$"):
            Dinov2Extractor(weights=str(tmp_path / "a")).looking(["fd"])

    def test_offline(self, tmp_path, monkeypatch):
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(UserError) as error:
            Dinov2Extractor().looking(["fd"])
        message, repository = str(error.value), "timm/vit_large_patch14_dinov2.lvd142m"
        assert f"no DINOv2 weights: model.safetensors of {repository} is not in" in message
        assert f"({tmp_path}) and could not be downloaded" in message
        assert f"run `hf download {repository} model.safetensors --local-dir vitl14`" in message
        assert message.endswith("give its path as datasets.<name>.extractor.weights")

    def test_what_lies_in_the_hubs_cache_is_taken(self, tmp_path, monkeypatch, weights):
        folder = tmp_path / "models--timm--vit_small_patch14_dinov2.lvd142m"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs/main").write_text("a" * 40)
        (folder / f"snapshots/{'a' * 40}").mkdir(parents=True)
        (folder / f"snapshots/{'a' * 40}" / FILE).symlink_to(weights)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        asked = self.listen(monkeypatch, huggingface_hub.hf_hub_download)
        (found,) = Dinov2Extractor(architecture="vits14").looking(["kid"]).values()
        assert found.weights_sha256 == sha256(weights)
        assert asked == [("timm/vit_small_patch14_dinov2.lvd142m", FILE, True)]

    def test_what_is_missing_is_downloaded(self, monkeypatch, weights):
        def download(_, __, local_files_only=False):
            if local_files_only:
                raise huggingface_hub.errors.LocalEntryNotFoundError("not here")
            return str(weights)

        asked = self.listen(monkeypatch, download)
        assert find_weights("vits14", None) == weights
        assert asked == [("timm/vit_small_patch14_dinov2.lvd142m", FILE, local) for local in (True, False)]

    def listen(self, monkeypatch, answer):
        """Have `answer` asked for files, and return with what: repository, file, and whether the cache must have it."""
        asked = []

        def listening(repository, file, local_files_only=False):
            asked.append((repository, file, local_files_only))
            return answer(repository, file, local_files_only=local_files_only)

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", listening)
        return asked

    def test_timm(self, monkeypatch, in_config):
        monkeypatch.setitem(sys.modules, "timm", None)
        with pytest.raises(UserError, match=r"'dinov2' needs one more package: pip install timm$"):
            in_config.looking(["fd"])
