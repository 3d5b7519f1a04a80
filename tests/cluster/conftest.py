import shutil

import pytest
from clone import RUNS, STEPS, Clone, warm_snakemake
from throwaway_slurm import SlurmMissing, slurm_on_this_machine


@pytest.fixture(scope="session")
def session_slurm():
    try:
        with slurm_on_this_machine() as slurm:
            yield slurm
    except SlurmMissing as reason:
        pytest.skip(str(reason))


@pytest.fixture
def slurm(session_slurm):
    """A SLURM without jobs."""
    yield session_slurm
    session_slurm.cancel_all()


@pytest.fixture(scope="session")
def local(session_slurm, tmp_path_factory, warm):
    """Some trainings, run without SLURM."""
    clone = Clone(tmp_path_factory.mktemp("local"), warm_snakemake(warm), [warm], steps=STEPS)
    clone.run("--cores", "2", "--", *(f"results/test/{run}/training.json" for run in RUNS))
    return clone


@pytest.fixture
def clone(local, tmp_path):
    """A clone where the data for the same trainings are prepared."""
    clone = Clone(tmp_path, steps=STEPS)
    shutil.copytree(local.results / "digits/data", clone.results / "digits/data")
    yield clone
    clone.kill_all()
