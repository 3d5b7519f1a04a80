from functools import cache

import pytest
from harness import hashes


@pytest.fixture(scope="session")
def undisturbed(trained, digits, tmp_path_factory):
    """The hashes of what a stage makes when nothing happens to it, and its seconds, each stage run once."""

    @cache
    def run(stage):
        whole = stage(trained, digits, tmp_path_factory.mktemp(f"{stage.__name__}-whole"))
        starting, working = whole.durations()
        return hashes(whole), starting, working

    return run
