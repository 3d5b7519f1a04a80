"""Training, heads and sampling, killed at random moments: the same bytes in the end, and no work begun anew.

``KILLS=100 SEED=7 pytest tests/reliability`` kills more often, at other moments.
"""

import os
import random
import signal

import pytest
from harness import hashes, heads, sampling, training

from holding import Hold

KILLS = int(os.environ.get("KILLS", "6"))
SEED = int(os.environ.get("SEED", "0"))


@pytest.mark.parametrize("stage", [training, heads, sampling])
def test_killed_at_random_moments_a_stage_ends_with_the_same_bytes(trained, digits, tmp_path, stage, undisturbed, warm):
    rng = random.Random(f"{SEED}/{stage.__name__}")
    killed = stage(trained, digits, tmp_path / "killed")
    expected, starting, working = undisturbed(stage)
    deaths = 0
    for attempt in range(100 * KILLS):
        name, status, said = killed.run_and_kill(rng, starting, working)
        print(f"{stage.__name__}, seed {SEED}, attempt {attempt}: {name}, status {status}")
        if status == 0:
            assert hashes(killed) == expected
            killed = stage(trained, digits, tmp_path / f"killed{attempt}")
            continue
        deaths += 1
        assert status in (75, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGUSR1), said
        assert "Traceback" not in said
        if deaths == KILLS:
            break
    assert deaths == KILLS
    saved = list(killed.checkpoints.rglob("*.ckpt"))
    said = killed.finish(warm / "python")
    assert hashes(killed) == expected
    assert ("resuming from" in said) == bool(saved)
    assert "is damaged" not in said
    assert not killed.checkpoints.exists() or not list(killed.checkpoints.rglob("*.ckpt"))


@pytest.mark.parametrize("stage", [training, heads, sampling])
def test_a_truncated_checkpoint_costs_one_interval(trained, digits, tmp_path, stage, undisturbed, warm):
    damaged = stage(trained, digits, tmp_path / "damaged")
    process = damaged.start_and_hold(Hold(tmp_path / "hold"))
    found = sorted(damaged.checkpoints.rglob("*.ckpt"))
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 75
    newest = sorted(damaged.checkpoints.rglob("*.ckpt"))[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    said = damaged.finish(warm / "python")
    assert f"{newest} is damaged and ignored" in said
    assert f"resuming from {found[-1]}" in said
    assert hashes(damaged) == undisturbed(stage)[0]
