import pytest
import torch
from close import assert_matches
from test_samplers import VARIANCE, ms_eps_of, schedule_named
from toy import Toy, ToyModel

import golden_vectors
from sadpm.diffusion.likelihood import bits_per_dimension, variational_bound
from sadpm.diffusion.samplers import DDPMStep

GOLDEN = golden_vectors.load("nelbo")


@pytest.mark.parametrize("i", range(len(GOLDEN["meta"]["cases"])))
def test_variational_bound(i):
    case, meta = GOLDEN["meta"]["cases"][i], GOLDEN["meta"]
    schedule = schedule_named(case["sched"], meta["N"])
    model = ToyModel(Toy(meta["toy"]), schedule, meta, case, ms_eps_of(GOLDEN, case))
    levels = [n for n in GOLDEN[f"case{i}_timesteps"].tolist() if n > 0]
    noise = torch.from_numpy(GOLDEN["noise"])
    step = DDPMStep(VARIANCE[case["rev_var_type"]], clip_sample=case["clip_x0"])
    terms = variational_bound(model, torch.from_numpy(GOLDEN["x0"]), levels, schedule, step, lambda j: noise[j])
    assert_matches(terms, GOLDEN[f"case{i}_terms"], "nelbo")
    assert_matches(terms.sum(0), GOLDEN[f"case{i}_nelbo"], "nelbo")
    assert_matches(bits_per_dimension(terms, meta["data_dim"]), GOLDEN[f"case{i}_bpd"], "nelbo")
