"""Kinds of users: found, carried to the jobs with their hash, and told apart from ours where they are wrong."""

import subprocess
import sys
from textwrap import dedent

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from sadpm.covariances import COVARIANCES
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.extractors import EXTRACTORS
from sadpm.kinds import Axis, kinds_of_file, load_file
from sadpm.kinds.section import ConfigError
from sadpm.objectives import OBJECTIVES, ObjectiveSection
from sadpm.samplers import SAMPLERS
from sadpm.sources import SOURCES

NAMES = ("SOURCES", "OBJECTIVES", "COVARIANCES", "SAMPLERS", "EXTRACTORS")
ADAPTER = TypeAdapter(ObjectiveSection)
HEADER = """
    from typing import Literal
    from pydantic import Field
    from sadpm.objectives import Loss, Objective

"""
ABSOLUTE = """
    class Absolute(Objective):
        kind: Literal["absolute"] = "absolute"
        scale: float = Field(1.0, gt=0)

        def draw(self, shape, num_train_timesteps, generator):
            import torch
            from sadpm.diffusion.losses import antithetic_levels
            return {"n": antithetic_levels(shape[0], num_train_timesteps, generator), "noise": torch.zeros(shape)}

        def loss(self, predict_noise, schedule, x0, draws):
            x = schedule.add_noise(x0, draws["noise"], draws["n"])
            return Loss(self.scale * (predict_noise(x, draws["n"]) - draws["noise"]).abs().sum())
"""


def user_file(folder, body=ABSOLUTE, header=HEADER, name="my_kinds.py"):
    path = folder / name
    path.write_text(dedent(header) + dedent(body))
    return str(path)


def parse(section, *files):
    return ADAPTER.validate_python(section, context={"kinds": [kind for file in files for kind in load_file(file)]})


AXES = {
    SOURCES: ["array", "celeba", "cifar10", "digits", "images", "photographs"],
    OBJECTIVES: ["ddpm", "input-perturbation", "sequence-aware"],
    COVARIANCES: ["analytic", "fixed", "npr", "ocm", "sn"],
    SAMPLERS: ["ddim", "ddpm", "diffusers"],
    EXTRACTORS: ["classifier", "dinov2", "inception", "pixels"],
}


@pytest.mark.parametrize(("axis", "names"), AXES.items(), ids=lambda value: getattr(value, "base", Axis).__name__)
def test_a_module_of_an_axis_has_one_kind(axis, names):
    assert list(axis.built_in) == names
    assert len({kind.__module__ for kind in axis.built_in.values()}) == len(names)
    assert all(kind.__doc__ for kind in axis.built_in.values())


def test_kinds_are_known_without_imports_that_take_time():
    script = f"""
import importlib, sys
for module, name in {[(axis.base.__module__, name) for axis, name in zip(AXES, NAMES, strict=True)]}:
    getattr(importlib.import_module(module), name).built_in
print([name for name in ("torch", "numpy", "pandas") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_name_alone_is_the_kind_with_its_defaults():
    assert parse("ddpm") == parse({"kind": "ddpm"})


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("ddpn", r"unknown kind 'ddpn'; did you mean 'ddpm'\?"),
        ("zzz", "unknown kind 'zzz'; known are ddpm, input-perturbation, sequence-aware"),
        ({"K": 2}, "say which kind: ddpm, input-perturbation, sequence-aware, or one of your own"),
        (None, "say which kind"),
        ({"kind": "sequence-aware", "K": 2, "lambda": 1, "wieghts": "unit"}, "did you mean 'weights'"),
    ],
)
def test_mistakes_in_a_section(section, message):
    with pytest.raises(ValidationError, match=message):
        parse(section)


def test_a_users_kind_is_carried_to_the_jobs(tmp_path):
    file = user_file(tmp_path)
    mine = parse({"kind": "absolute", "scale": 2}, file)
    assert mine.defined_in.file == file
    told = ADAPTER.dump_json(mine, by_alias=True)
    again = ADAPTER.validate_json(told)  # without context, as in a job
    assert again == mine
    x0 = torch.ones(4, 1, 2, 2)
    draws = again.draw(tuple(x0.shape), 10, torch.Generator().manual_seed(0))
    loss = again.loss(lambda x, n: torch.ones_like(x), NoiseSchedule.create(num_train_timesteps=10), x0, draws)
    assert loss.total == 2 * 16


def test_a_changed_file_changes_what_its_jobs_are_told_and_nothing_else(tmp_path):
    before = ADAPTER.dump_json(parse("absolute", user_file(tmp_path)))
    ours = ADAPTER.dump_json(parse("ddpm", user_file(tmp_path)))
    changed = user_file(tmp_path, ABSOLUTE.replace("abs()", "square()"))
    assert ADAPTER.dump_json(parse("absolute", changed)) != before
    assert ADAPTER.dump_json(parse("ddpm", changed)) == ours
    assert b"defined_in" not in ours
    kinds_of_file.cache_clear()  # another process
    with pytest.raises(ValidationError, match=r"my_kinds.py: has changed .*start the workflow again"):
        ADAPTER.validate_json(before)


@pytest.mark.parametrize(
    ("header", "body", "message"),
    [
        ("import no_such_module\n", "", r"my_kinds.py, line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = 1\nclass A(:\n", "", r"my_kinds.py, line 2: SyntaxError"),
        ("def f():\n    return 1 / 0\n\nf()\n", "", r"my_kinds.py, line 2: ZeroDivisionError: division by zero"),
        ("x = 1\n", "", "my_kinds.py: defines no kind"),
        (
            HEADER,
            ABSOLUTE.replace("def loss", "def lost"),
            r"class Absolute lacks loss\(self, predict_noise, schedule, x0",
        ),
        (
            HEADER,
            ABSOLUTE.replace("def draw(self, shape,", "def draw(self, size,"),
            r"line 11: draw\(self, size, num_train_timesteps, generator\) must be draw\(self, shape, num_train_timest",
        ),
    ],
)
def test_a_broken_file_is_told_with_its_line(tmp_path, header, body, message):
    with pytest.raises(ConfigError, match=message):
        load_file(user_file(tmp_path, body, header))


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"kinds: .*none.py: can't be read"):
        load_file(str(tmp_path / "none.py"))


def test_a_name_can_not_be_taken_twice(tmp_path):
    ours = user_file(tmp_path, ABSOLUTE.replace('"absolute"', '"ddpm"'))
    with pytest.raises(ValidationError, match=r"my_kinds.py: there is a kind 'ddpm' already"):
        parse("ddpm", ours)
    twice = [user_file(tmp_path, ABSOLUTE, HEADER + f"    # {name}\n", name) for name in ("a.py", "b.py")]
    with pytest.raises(ValidationError, match=r"b.py: there is a kind 'absolute' already"):
        parse("absolute", *twice)


LOOKING = """
    class Look(Extractor):
        kind: Literal["look"] = "look"
        labels: ClassVar = {"fd": "FD (look)"}

        def create(self, metrics, trained):
            return {}
"""


@pytest.mark.parametrize(
    ("written", "instead", "message"),
    [
        ('    labels: ClassVar = {"fd": "FD (look)"}\n', "", r"my_kinds.py, line 5: class Look lacks labels"),
        ('"fd"', '"fdd"', r"my_kinds.py, line 5: TypeError: labels: no metric fdd; there are fd, is, kid"),
        ("create(self, metrics, trained)", "make(self)", r"line 5: class Look lacks create\(self, metrics, trained\)"),
    ],
)
def test_an_extractor_that_does_not_say_what_it_gives(tmp_path, written, instead, message):
    header = "from typing import ClassVar, Literal\nfrom sadpm.extractors import Extractor\n\n"
    load_file(user_file(tmp_path, LOOKING, header))
    assert written in LOOKING
    with pytest.raises(ConfigError, match=message):
        load_file(user_file(tmp_path, LOOKING.replace(written, instead), header))
