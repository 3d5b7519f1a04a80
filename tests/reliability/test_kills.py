"""Training, heads and sampling, killed at random moments: the same bytes in the end, and no work begun anew.

``KILLS=100 SEED=7 pytest tests/reliability`` kills more often, at other moments.
"""

import os
import random
import signal

import pytest
from harness import StageProcess
from tiny import FITTED, chain, covariance_job, covariance_outputs, sampling_job, training_job, training_outputs

from holding import Hold
from sadpm.running.files import sha256

KILLS = int(os.environ.get("KILLS", "6"))
SEED = int(os.environ.get("SEED", "0"))


def training(trained, digits, folder):
    outputs = training_outputs(folder)
    checkpoints = outputs.pop("checkpoints")
    return StageProcess("train", training_job(steps=150), {"images": digits}, outputs, checkpoints)


def heads(trained, digits, folder):
    outputs = covariance_outputs(folder)
    checkpoints = outputs.pop("checkpoints")
    inputs = {"images": digits, "model": trained / "model"}
    return StageProcess("fit_covariances", covariance_job(steps=150), inputs, outputs, checkpoints)


def sampling(trained, digits, folder):
    chains = [chain("ddpm", "fixed", 25), chain("ddim", "fixed", 10), chain("ddpm", "sn", 25)]
    job = sampling_job(*chains, num_samples=110, batch_size=50)
    inputs = {"model": trained / "model", "covariances": [trained / FITTED]}
    outputs = {"samples": folder / "s.npy", "report": folder / "s.json"}
    return StageProcess("sample", job, inputs, outputs, folder / "checkpoints")


def hashes(process):
    """Of all outputs but the reports, which tell the seconds."""
    wanted = {name: value for name, value in process.outputs.items() if not name.startswith("report")}
    files = [path for value in wanted.values() for path in (value if isinstance(value, list) else [value])]
    return [sha256(path) for path in files]


@pytest.mark.parametrize("stage", [training, heads, sampling])
def test_killed_at_random_moments_a_stage_ends_with_the_same_bytes(trained, digits, tmp_path, stage):
    rng = random.Random(f"{SEED}/{stage.__name__}")
    whole, killed = (stage(trained, digits, tmp_path / name) for name in ("whole", "killed"))
    starting, working = whole.durations()
    deaths = 0
    for attempt in range(100 * KILLS):
        name, status, said = killed.run_and_kill(rng, starting, working)
        print(f"{stage.__name__}, seed {SEED}, attempt {attempt}: {name}, status {status}")
        if status == 0:
            assert hashes(killed) == hashes(whole)
            killed = stage(trained, digits, tmp_path / f"killed{attempt}")
            continue
        deaths += 1
        assert status in (75, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGUSR1), said
        assert "Traceback" not in said
        if deaths == KILLS:
            break
    assert deaths == KILLS
    saved = list(killed.checkpoints.rglob("*.ckpt"))
    said = killed.finish()
    assert hashes(killed) == hashes(whole)
    assert ("resuming from" in said) == bool(saved)
    assert "is damaged" not in said
    assert not killed.checkpoints.exists() or not list(killed.checkpoints.rglob("*.ckpt"))


@pytest.mark.parametrize("stage", [training, heads, sampling])
def test_a_truncated_checkpoint_costs_one_interval(trained, digits, tmp_path, stage):
    whole, damaged = (stage(trained, digits, tmp_path / name) for name in ("whole", "damaged"))
    whole.finish()
    process = damaged.start_and_hold(Hold(tmp_path / "hold"))
    found = sorted(damaged.checkpoints.rglob("*.ckpt"))
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 75
    newest = sorted(damaged.checkpoints.rglob("*.ckpt"))[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    said = damaged.finish()
    assert f"{newest} is damaged and ignored" in said
    assert f"resuming from {found[-1]}" in said
    assert hashes(damaged) == hashes(whole)
