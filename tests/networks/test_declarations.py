"""What a release says about its network is held against the configuration."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sadpm.diffusion.section import ScheduleConfig
from sadpm.networks.model_folder import PIPELINE_FILE, SCHEDULER_FILE, WEIGHTS_FILE
from sadpm.networks.released import SILENT, load_released
from sadpm.networks.unet import UNet, save_unet
from sadpm.running.files import UserError

SMALL = {"sample_size": 8, "block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8}
COSINE = {"kind": "cosine"}
SCALED_BETAS = {"beta_start": 0.00085, "beta_end": 0.012}
SCALED = {"kind": "quadratic", **SCALED_BETAS}


def load(path: Path, **schedule):
    return load_released(path, "auto", UNet(**SMALL), ScheduleConfig(**schedule))


@pytest.fixture
def pipeline(tmp_path):
    save_unet(UNet(**SMALL), tmp_path / "unet")
    (tmp_path / "scheduler").mkdir()
    return tmp_path


def write(path: Path, content) -> None:
    path.write_text(json.dumps(content))


def with_scheduler(pipeline: Path, **options) -> Path:
    write(pipeline / "scheduler" / SCHEDULER_FILE, options)
    return pipeline


def saved_by_diffusers(pipeline: Path, name: str, **options) -> Path:
    import diffusers

    getattr(diffusers, name)(**options).save_pretrained(pipeline / "scheduler")
    return pipeline


AGREEING = {
    "defaults": ("DDPMScheduler", {}, {}),
    "cosine": ("DDPMScheduler", {"beta_schedule": "squaredcos_cap_v2", "beta_end": 0.5}, COSINE),
    "scaled linear": ("DDIMScheduler", {"beta_schedule": "scaled_linear", **SCALED_BETAS}, SCALED),
    "sigmoid": ("DDPMScheduler", {"beta_schedule": "sigmoid"}, {"kind": "sigmoid"}),
    "fewer levels": ("DDPMScheduler", {"num_train_timesteps": 500}, {"num_train_timesteps": 500}),
    "another variance": ("DDPMScheduler", {"variance_type": "fixed_large"}, {}),
    "no clipping": ("DDPMScheduler", {"clip_sample": False, "clip_sample_range": 2}, {}),
    "PNDM": ("PNDMScheduler", {}, {}),
    "DPM-Solver": ("DPMSolverMultistepScheduler", {"solver_order": 3, "use_karras_sigmas": True}, {}),
    "Euler": ("EulerDiscreteScheduler", {}, {}),
    "betas": ("DDPMScheduler", {"trained_betas": torch.linspace(1e-4, 0.02, 1000).tolist()}, {}),
}  # fmt: skip


@pytest.mark.parametrize(("name", "options", "schedule"), AGREEING.values(), ids=AGREEING)
def test_a_scheduler_that_agrees_is_reported(pipeline, name, options, schedule):
    released = load(saved_by_diffusers(pipeline, name, **options), **schedule)
    assert released.said[str(pipeline / "scheduler" / SCHEDULER_FILE)]["_class_name"] == name
    assert SILENT not in released.notes
    assert len(json.dumps(released.said)) < 4000


DIFFERING = {
    "v-prediction": ({"prediction_type": "v_prediction"}, {}, "prediction_type is 'v_prediction': only .*epsilon"),
    "sample": ({"predict_epsilon": False}, {}, "predict_epsilon is False: only .*epsilon"),
    "cosine": ({"beta_schedule": "squaredcos_cap_v2"}, {}, r"schedule\.kind would have to be cosine, not linear"),
    "linear": ({}, COSINE, r"beta_schedule is 'linear': schedule\.kind would have to be linear, not cosine"),
    "500 levels": ({"num_train_timesteps": 500}, {}, r"schedule\.num_train_timesteps would have to be 500, not 1000"),
    "1000 levels by default": ({}, {"num_train_timesteps": 50}, "is 1000: schedule.num_train_timesteps .*not 50"),
    "levels under their former name": ({"timesteps": 500}, {}, r"schedule\.num_train_timesteps would have to be 500"),
    "beta_start": ({"beta_start": 2e-4}, {}, r"schedule\.beta_start would have to be 0\.0002, not 0\.0001"),
    "beta_end": ({"beta_end": 0.03}, {}, r"schedule\.beta_end would have to be 0\.03, not 0\.02"),
    "beta_end by default": ({}, {"beta_end": 0.03}, r"schedule\.beta_end would have to be 0\.02, not 0\.03"),
    "another schedule": ({"beta_schedule": "laplace"}, {}, "beta_schedule is 'laplace': it is none of linear"),
    "other betas": ({"trained_betas": [0.1] * 1000}, {}, r"1000 values from 0\.1 to 0\.1, .* from 0\.0001 to 0\.02"),
    "fewer betas": ({"trained_betas": [0.1, 0.2]}, {}, "trained_betas are 2 values"),
    "no betas": ({"trained_betas": "all"}, {}, "trained_betas is 'all': not a list of numbers"),
    "a learned variance": ({"variance_type": "learned_range"}, {}, "variance_type is 'learned_range'"),
    "no signal at the end": ({"rescale_betas_zero_snr": True}, {}, "rescale_betas_zero_snr is True"),
    "another range of images": ({"clip_sample_range": 2.0}, {}, r"clip_sample_range is 2\.0: images lie in -1\.\.1"),
    "continuous times": ({"timestep_type": "continuous"}, {}, "timestep_type is 'continuous'"),
    "flow matching": ({"use_flow_sigmas": True}, {}, "use_flow_sigmas is True"),
    "another process": ({"_class_name": "KarrasVeScheduler"}, {}, "scheduler is KarrasVeScheduler: it is not for DDPM"),
    "what nobody knows": ({"an_option_of_the_future": 1}, {}, "an_option_of_the_future is 1: not known here"),
    "nonsense": ({"num_train_timesteps": "many"}, {}, "num_train_timesteps is 'many'"),
}  # fmt: skip


@pytest.mark.parametrize("inside", ["", "unet"], ids=["pipeline", "its unet"])
@pytest.mark.parametrize(("options", "schedule", "expected"), DIFFERING.values(), ids=DIFFERING)
def test_a_scheduler_that_differs_is_refused(pipeline, options, schedule, expected, inside):
    with pytest.raises(UserError, match=expected) as caught:
        load(with_scheduler(pipeline, **options) / inside, **schedule)
    told = str(caught.value)
    assert told.startswith(f"{pipeline / 'scheduler' / SCHEDULER_FILE} does not agree with what is done here:\n")
    assert ("Write the section schedule of the configuration" in told) == ("schedule." in told)


def test_all_that_differs_is_said_at_once(pipeline):
    options = {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 500, "prediction_type": "sample"}
    with pytest.raises(UserError) as caught:
        load(with_scheduler(pipeline, **options))
    assert all(f"  {key} is {value!r}" in str(caught.value) for key, value in options.items())


@pytest.mark.parametrize("place", ["unet", ".", "scheduler"])
def test_where_a_scheduler_lies(pipeline, place):
    write(pipeline / place / SCHEDULER_FILE, {"prediction_type": "v_prediction"})
    with pytest.raises(UserError, match="v_prediction"):
        load(pipeline)


def test_a_checkpoint_of_a_training_has_its_scheduler_above(tmp_path):
    save_unet(UNet(**SMALL), tmp_path / "checkpoint-500" / "unet_ema")
    write(tmp_path / SCHEDULER_FILE, {"prediction_type": "v_prediction"})
    for path in (tmp_path / "checkpoint-500", tmp_path / "checkpoint-500" / "unet_ema"):
        with pytest.raises(UserError, match="v_prediction"):
            load(path)


def test_a_flat_folder_as_google_released_them(tmp_path):
    save_unet(UNet(**SMALL), tmp_path)
    scheduler = {"_class_name": "DDPMScheduler", "clip_sample": True, "timesteps": 1000, "variance_type": "fixed_large"}
    parts = {"scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]}
    write(tmp_path / SCHEDULER_FILE, scheduler)
    write(tmp_path / PIPELINE_FILE, {"_class_name": "DDPMPipeline", **parts})
    said = load(tmp_path).said
    assert said[str(tmp_path / SCHEDULER_FILE)] == scheduler
    assert said[str(tmp_path / PIPELINE_FILE)]["_class_name"] == "DDPMPipeline"


PIPELINES = {
    "latent diffusion": (
        {"vqvae": ["diffusers", "VQModel"]},
        "vqvae is VQModel: only an unconditional",
    ),
    "text": ({"text_encoder": ["transformers", "CLIPTextModel"]}, "text_encoder is CLIPTextModel: only an uncond"),
    "another scheduler": ({"scheduler": ["diffusers", "ScoreSdeVeScheduler"]}, "scheduler is ScoreSdeVeScheduler"),
}


@pytest.mark.parametrize(("parts", "expected"), PIPELINES.values(), ids=PIPELINES)
def test_pipelines_of_other_models_are_refused(pipeline, parts, expected):
    write(pipeline / PIPELINE_FILE, {"_class_name": "X", "unet": ["diffusers", "UNet2DModel"], **parts})
    with pytest.raises(UserError, match=rf"{PIPELINE_FILE} does not agree .*\n  {expected}"):
        load(with_scheduler(pipeline))


def test_a_pipeline_without_its_scheduler_file_is_not_complete(pipeline):
    write(pipeline / PIPELINE_FILE, {"scheduler": ["diffusers", "DDPMScheduler"], "safety_checker": [None, None]})
    with pytest.raises(UserError, match=r"scheduler is DDPMScheduler, whose scheduler_config\.json is not there"):
        load(pipeline)
    load(with_scheduler(pipeline))


def test_a_folder_that_says_nothing(pipeline):
    assert load(pipeline).notes == (SILENT,)


@pytest.mark.parametrize("content", ["", "[]", "<html>", "{"])
def test_a_scheduler_file_that_is_none(pipeline, content):
    (pipeline / "scheduler" / SCHEDULER_FILE).write_text(content)
    with pytest.raises(UserError, match=SCHEDULER_FILE):
        load(pipeline)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"modelspec.prediction_type": "v"}, "prediction_type is 'v'"),
        ({"num_train_timesteps": "500"}, r"schedule\.num_train_timesteps would have to be 500"),
        ({"beta_schedule": "squaredcos_cap_v2"}, r"schedule\.kind would have to be cosine"),
    ],
)
def test_metadata_of_safetensors(pipeline, metadata, expected):
    save_file(UNet(**SMALL).state_dict(), pipeline / "unet" / WEIGHTS_FILE, metadata={"format": "pt", **metadata})
    with pytest.raises(UserError, match=rf"{WEIGHTS_FILE} does not agree(.|\n)*{expected}"):
        load(pipeline)


def test_metadata_that_agrees_is_reported(pipeline):
    metadata = {"modelspec.prediction_type": "epsilon", "num_train_timesteps": "1000", "author": "somebody"}
    save_file(UNet(**SMALL).state_dict(), pipeline / "unet" / WEIGHTS_FILE, metadata=metadata)
    released = load(pipeline)
    assert released.said == {str(pipeline / "unet" / WEIGHTS_FILE): metadata}
    assert SILENT not in released.notes


def test_the_report_beside_one_of_our_own_models(tmp_path):
    save_unet(UNet(**SMALL), tmp_path / "model")
    schedule = {"kind": "cosine", "num_train_timesteps": 50}
    write(tmp_path / "training.json", {"provenance": {"job": {"schedule": schedule}}})
    assert SILENT not in load(tmp_path / "model", **schedule).notes
    with pytest.raises(UserError, match=r"training\.json does not agree(.|\n)*schedule\.kind would have to be cosine"):
        load(tmp_path / "model")
    write(tmp_path / "training.json", {"losses": [1, 2]})
    assert SILENT in load(tmp_path / "model").notes
