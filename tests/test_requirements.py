"""The lists of packages: pyproject.toml says what is asked for, requirements.lock what is installed."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[1]


def locked():
    return (REPOSITORY / "requirements.lock").read_text().splitlines()


def test_the_environment_of_conda_is_that_of_the_lock():
    """Whole in itself, as Snakemake copies the file elsewhere."""
    python, *others = yaml.safe_load((REPOSITORY / "environment.yml").read_text())["dependencies"]
    assert re.fullmatch(r"python=3\.\d+", python)
    assert others == ["pip", {"pip": locked()}]


def test_the_lock_has_all_that_the_package_asks_for():
    versions = {}
    for line in locked():
        requirement = Requirement(line)
        (pin,) = requirement.specifier
        assert (pin.operator, requirement.url) == ("==", None), line
        versions.setdefault(requirement.name, []).append(pin.version)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for text in (
        *project["dependencies"],
        *(text for extra in project["optional-dependencies"].values() for text in extra),
    ):
        requirement = Requirement(text)
        found = versions.get(canonicalize_name(requirement.name))
        assert found, f"{text} is not in requirements.lock"
        assert all(requirement.specifier.contains(version) for version in found), (text, found)
