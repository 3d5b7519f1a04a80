"""What a launcher says wrongly, or says although nobody else was started: told at once, and no endless wait."""

import socket

import pytest
from test_distributed import end, start, two_ranks
from tiny import training_outputs

from sadpm.running import distributed
from sadpm.running.distributed import ALONE
from sadpm.running.files import UserError
from sadpm.running.interruption import SIGNALS, STATUS

PLACE = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}  # where nobody listens


@pytest.fixture
def environment(monkeypatch):
    """Sets what a launcher sets, and nothing else of it."""

    def launch(**variables):
        for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"SADPM_DEVICE": "cpu", **variables}.items():
            monkeypatch.setenv(name, value)

    return launch


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"WORLD_SIZE": "2", "RANK": "0"},
            "WORLD_SIZE=2, .* without MASTER_ADDR, MASTER_PORT, .*; .* unset WORLD_SIZE",
        ),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two in the environment: must be a whole number of 1 or more"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0 in the environment"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE=-2 in the environment"),
        ({"WORLD_SIZE": "1.5"}, r"WORLD_SIZE=1\.5 in the environment"),
        ({**PLACE, "RANK": "2"}, "RANK=2 in the environment: must be a whole number from 0 to 1"),
        ({**PLACE, "RANK": "first"}, "RANK=first in the environment"),
        ({**PLACE, "RANK": "0", "MASTER_PORT": "70000"}, "MASTER_PORT=70000 in the environment: .* from 1 to 65535"),
        ({**PLACE, "RANK": "0", "LOCAL_RANK": "a"}, "LOCAL_RANK=a in the environment"),
        ({**PLACE, "RANK": "0", "SADPM_PEER_TIMEOUT": "soon"}, "SADPM_PEER_TIMEOUT=soon in the environment"),
        (
            {**PLACE, "RANK": "1", "SADPM_PEER_TIMEOUT": "1"},
            "process 1 of 2 .* did not meet .* at localhost:1 .*refused",
        ),
    ],
)
def test_what_a_launcher_says_wrongly(environment, variables, message):
    environment(**variables)
    with pytest.raises(UserError, match=message):
        distributed.join()


@pytest.mark.parametrize(
    "variables", [{}, {"WORLD_SIZE": ""}, {"WORLD_SIZE": "1"}, {"RANK": "1", **PLACE, "WORLD_SIZE": " "}]
)
def test_one_process_joins_nobody(environment, variables):
    environment(**variables)
    assert distributed.join() is ALONE


def test_the_first_process_gives_up_when_nobody_comes(environment):
    environment(**two_ranks()[0], SADPM_PEER_TIMEOUT="1")
    with pytest.raises(UserError, match=r"process 0 of 2 .* did not meet .* 1/2 clients joined"):
        distributed.join()


def test_a_port_that_another_program_uses(environment):
    with socket.create_server(("", 0)) as used:
        environment(**{**PLACE, "RANK": "0", "MASTER_PORT": str(used.getsockname()[1])})
        with pytest.raises(UserError, match=r"process 0 of 2 .* did not meet .*address already in use"):
            distributed.join()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_says_for_whom_it_waits_and_ends_when_asked(digits, tmp_path, rank, number):
    """Also while torch waits in C++."""
    variables = two_ranks()[rank]
    process = start(training_outputs(tmp_path), digits, **variables)
    said = process.stderr.readline()
    where = f"localhost:{variables['MASTER_PORT']}"
    assert f"process {rank} of 2 (RANK, WORLD_SIZE) waits for 1 more at {where}" in said
    process.send_signal(number)
    assert end(process) == f"stopped by {number.name} with nothing to save\n"
    assert process.returncode == STATUS
    assert not list(tmp_path.glob("[!.]*"))
