"""How a stage is started: from the package that Snakemake itself runs on, whichever the job's environment holds.

An environment that Snakemake makes with conda holds none.
"""

import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import sadpm


def alone(package):
    """A folder in which Python finds this package, but not what is installed beside it."""
    folder = Path(".snakemake/packages").absolute() / sha256(bytes(package)).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        (folder / package.name).symlink_to(package)
    return folder


# A variable, for a command with another path in it would be another command: everything would run again.
os.environ.update(SADPM_PACKAGE=str(alone(Path(sadpm.__file__).resolve().parent)))
STAGES = "PYTHONPATH=$SADPM_PACKAGE${{PYTHONPATH:+:$PYTHONPATH}} exec python -m sadpm.stages"
