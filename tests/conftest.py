from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from tiny import covariance_job, covariance_outputs, training_job, training_outputs

from sadpm.sources.reading.embedded import handwritten_digits
from sadpm.stages.fit_covariances import fit_covariances
from sadpm.stages.train import train
from warm import warm_python

# As in the workflow's jobs; two threads of a tiny network wait for each other when the machine is busy.
torch.set_num_threads(1)

# How long an example takes says something about the machine alone.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    """A folder whose ``python`` needs no seconds to import what Snakemake and the stages need."""
    with warm_python(tmp_path_factory.mktemp("warm")) as folder:
        yield folder


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "images.npy"
    np.save(path, list(islice(handwritten_digits().images, 100)))
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory, digits):
    """A folder with a model and its covariances."""
    folder = tmp_path_factory.mktemp("run")
    train(training_job(), digits, **training_outputs(folder))
    fit_covariances(covariance_job(), digits, folder / "model", **covariance_outputs(folder))
    return folder
