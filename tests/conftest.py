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


LONGEST = ("cluster", "workflow", "reliability")


def share_fixtures(nodeid):
    """What is the same for all tests that one process has to run."""
    file = nodeid.split("::")[0]
    folder = file.rpartition("/")[0]
    return folder if folder.endswith(LONGEST) else file


def pytest_collection_modifyitems(items):
    """Begin with what takes longest, so that several processes end at about the same time."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.parent.name, len(LONGEST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Let several processes share the tests out, as ``--dist`` does not: some folders have fixtures in common."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return share_fixtures(nodeid)

    return Scheduling(config, log)


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
