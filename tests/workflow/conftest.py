import pytest
from real_runs import Workflow


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Everything that config/test.yaml asks for, made once."""
    workflow = Workflow(tmp_path_factory.mktemp("workflow"))
    workflow.run("all")
    return workflow
