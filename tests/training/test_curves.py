import sys

import numpy as np
import pytest
import torch
from tiny import training_job, training_outputs

import sadpm.stages.train as stage
from sadpm.config.watch import VARIABLE, WatchConfig, watch_from_environment
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.networks.unet import load_unet
from sadpm.running.files import UserError, sha256
from sadpm.stages.train import train
from sadpm.training.curves import Curves, Samples, grid

pytest.importorskip("tensorboard")


def events(folder):
    """The steps of each curve and grid, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import IMAGES, SCALARS, EventAccumulator

    read = EventAccumulator(str(folder), size_guidance={SCALARS: 0, IMAGES: 0})
    read.Reload()
    scalars = {name: [event.step for event in read.Scalars(name)] for name in read.Tags()[SCALARS]}
    return scalars | {name: [event.step for event in read.Images(name)] for name in read.Tags()[IMAGES]}


def log_steps(first=3, last=60):
    return list(range(first, last + 1, 3))


def test_a_training_that_is_watched_has_the_same_weights(trained, digits, tmp_path, monkeypatch):
    """Also when it is killed after the checkpoint of a step, and has shown later ones by then."""
    monkeypatch.setenv(VARIABLE, '{"tensorboard": true, "every": 25, "images": 3}')
    outputs, after_step = training_outputs(tmp_path), Curves.after_step

    def killed(curves, *arguments):
        after_step(curves, *arguments)
        if curves._state.step == 40:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Curves, "after_step", killed)
        patch.setattr(stage.Checkpoints, "save", keep_only(20, stage.Checkpoints.save))
        with pytest.raises(KeyboardInterrupt):
            train(training_job(), digits, **outputs, checkpoint_seconds=0)
    curves = tmp_path / "tensorboard"
    assert events(curves)["loss/loss"][-1] == 39
    train(training_job(), digits, **outputs)
    assert sha256(outputs["model"]) == sha256(trained / "model")
    assert outputs["log"].read_bytes() == (trained / "log.csv").read_bytes()
    names = {"loss/loss", "loss/simple", "loss/sequence", "learning_rate", "gradient_norm", "images_per_second"}
    assert events(curves) == {**dict.fromkeys(names, log_steps()), "samples": [25, 50, 60]}


def keep_only(step, save):
    return lambda saved, done, *state, **options: save(saved, done, *state, **options) if done == step else None


def test_a_training_that_starts_anew_shows_nothing_of_another(digits, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, '{"tensorboard": true, "images": 0}')
    for steps in (12, 6):
        train(training_job(steps=steps), digits, **training_outputs(tmp_path))
    found = events(tmp_path / "tensorboard")
    assert found["loss/loss"] == [3, 6]
    assert "samples" not in found
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_samples_come_from_the_same_noise_and_touch_no_random_state(trained):
    unet, schedule = load_unet(trained / "model"), NoiseSchedule.create(num_train_timesteps=50)
    before = torch.get_rng_state()
    first, again, fewer = (Samples((1, 8, 8), count, schedule, 0).of(unet) for count in (60, 60, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert (first.shape, first.dtype) == ((60, 8, 8, 1), np.uint8)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(fewer.astype(float), first[:2].astype(float), atol=1)
    assert not np.array_equal(first[0], first[1])


def test_a_grid_is_nearly_square():
    images = np.arange(1, 6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    np.testing.assert_array_equal(grid(images)[::2, ::2, 0], [[1, 2, 3], [4, 5, 0]])


def test_a_full_disk_ends_the_curves_and_not_the_training(tmp_path, capsys):
    curves = Curves(tmp_path / "tensorboard", type("State", (), {"step": 0}), ("loss",), 1, None)

    class Full:
        def add_scalar(self, *_):
            raise OSError("No space left on device")

    curves._writer = Full()
    for _ in range(2):
        curves._write("add_scalar", "loss", 1.0, 1)
    assert capsys.readouterr().err == "curves for TensorBoard end here: No space left on device\n"


def test_where_no_folder_can_be_made_the_training_goes_on_without_curves(tmp_path, capsys):
    (tmp_path / "tensorboard").write_text("a file")
    state = type("State", (), {"step": 5})
    Curves(tmp_path / "tensorboard", state, ("loss",), 1, None)._write("add_scalar", "loss", 1.0, 1)
    assert capsys.readouterr().err.startswith("curves for TensorBoard end here: ")


def test_a_missing_library_is_told_before_the_training(digits, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, '{"tensorboard": true}')
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setattr(stage, "load_pixels", lambda images: pytest.fail("the images were read"))
    with pytest.raises(UserError, match=r"TensorBoard is not installed .* `pip install 'tensorboard>=2.18'`"):
        train(training_job(), digits, **training_outputs(tmp_path))


@pytest.mark.parametrize("text", ["yes", '{"every": 0}', '{"tensorbord": true}'])
def test_what_is_no_section_in_the_environment_is_told(monkeypatch, text):
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(UserError, match=f"{VARIABLE}=.* must be the section `watch` as JSON"):
        watch_from_environment()


def test_without_a_word_nothing_is_shown(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert watch_from_environment() == WatchConfig()
