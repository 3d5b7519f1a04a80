import pytest
from real_runs import WARM, Workflow


@pytest.fixture(scope="session", autouse=True)
def _warm_runs(warm):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(WARM, "PATH", f"{warm}:{WARM['PATH']}")
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Everything that config/test.yaml asks for, made once."""
    workflow = Workflow(tmp_path_factory.mktemp("workflow"))
    workflow.run("all")
    return workflow
