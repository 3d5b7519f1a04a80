import pytest

import golden_vectors
from sadpm.diffusion.timesteps import exact_timesteps, timesteps

BAO = golden_vectors.load("bao_timesteps")
SA = golden_vectors.load("sadpm_samplers")
OUR_NAME = {"linear_ddim": "ddim-uniform", "quad_ddim": "ddim-quadratic", "quad": "quadratic"}


@pytest.mark.parametrize(("kind", "count"), BAO["meta"]["lists"])
def test_trajectories_of_bao(kind, count):
    levels = timesteps(OUR_NAME.get(kind, kind), BAO["meta"]["N"], count)
    assert levels == BAO[f"{kind}_{count}"].tolist()


@pytest.mark.parametrize(("kind", "count", "reason"), BAO["meta"]["rejected_or_odd"])
def test_odd_trajectories_are_refused(kind, count, reason):
    with pytest.raises(ValueError, match="step"):
        exact_timesteps(OUR_NAME.get(kind, kind), BAO["meta"]["N"], count)
    if reason.startswith("duplicates"):
        levels = timesteps(OUR_NAME.get(kind, kind), BAO["meta"]["N"], count)
        assert len(levels) - len(set(levels)) == int(reason.split()[1])


@pytest.mark.parametrize("name", [name for name in SA if name.startswith(("seqlist_", "seq_"))])
def test_sequences_of_sadpm(name):
    _, kind, count = name.split("_")
    levels = timesteps(OUR_NAME.get(kind, kind), SA["meta"]["T"], int(count))
    assert levels == (SA[name] + 1).tolist()
