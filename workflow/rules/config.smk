"""The configuration: how it is read and checked, and how the files that it names are looked for."""

import sys
from functools import cache
from pathlib import Path

from sadpm.running.files import UserError
from sadpm.config.experiment import Config
from sadpm.config.files import extended, merged, read_config
from sadpm.config.loading import load_config
from sadpm.kinds.section import ConfigError
from sadpm.config.named_files import named_files, source_problems
from sadpm.report.published import left_out, load_published, name_errors
from snakemake.exceptions import WorkflowError

DEFAULT = "config/config.yaml"


def configuration():
    """The user's values, and where they come from.

    Files are read again, because Snakemake lets the last of two equal keys win, and knows nothing of ``extends``.
    """
    if workflow.modifier.skip_configfile:  # used as a module, with values that the workflow around us gives
        return extended(config, Path(*workflow.configfiles[-1:]).parent), "configuration"
    files = workflow.overwrite_configfiles or [Path(DEFAULT)]
    values = {}
    for part in [*map(read_config, files), workflow.config_settings.config]:
        values = merged(values, part)
    return values, ", ".join(map(str, files))


# The plan has the graph of jobs built once more, from the configuration that it was given, and before any file is there.
PLANNING = isinstance(config.get("planned"), Config)

try:
    values, CONFIG_SOURCE = ({}, "plan") if PLANNING else configuration()
    CONFIG = config["planned"] if PLANNING else load_config(values, CONFIG_SOURCE)
except ConfigError as error:
    raise WorkflowError(str(error)) from None


# For Snakemake's own report, and not with --configfile, where it would read the tables of the default one as well.
if not (workflow.overwrite_configfiles or PLANNING):

    configfile: DEFAULT


NAMED_FILES = named_files(CONFIG)


def refuse(problems):
    """End the program: Snakemake forgives all other errors of a job whose output is there from an earlier run."""
    sys.exit("\n".join([f"{CONFIG_SOURCE}:", *(f"  {problem}" for problem in problems)]))


@cache
def warn(line):
    print(f"{CONFIG_SOURCE}: {line}", file=sys.stderr)


@cache
def named(*keys):
    """Those of the files under these keys that the configuration names, of which none may be missing; a plan needs none."""
    if PLANNING:
        return []
    files = [NAMED_FILES[key] for key in keys if key in NAMED_FILES]
    if any(map(problem_of, files)):
        others = [file for file in NAMED_FILES.values() if file not in files]
        refuse(filter(None, map(problem_of, files + others)))
    return [file.path for file in files]


def problem_of(file):
    """What is wrong with a file, unless it lies in a storage, where Snakemake looks for it."""
    in_storage = workflow.storage_settings.default_storage_provider and not Path(file.path).is_absolute()
    return "" if in_storage and file.is_input else file.problem()


@cache
def check_source(dataset):
    """Look for the files of a data set. No inputs: they may be gone when the images are prepared."""
    problems = [] if PLANNING else source_problems(CONFIG, dataset)
    if problems and workflow.executor_plugin and not workflow.dryrun:
        refuse(problems)
    for problem in problems:
        warn(problem)
    return []


@cache
def published_values():
    """The file of published values, if there is one and all names in it are known."""
    files = named("published")
    for file in files if not workflow.storage_settings.default_storage_provider else []:
        try:
            values = load_published(Path(file))
        except UserError as error:
            sys.exit(str(error))
        if errors := name_errors(CONFIG, values, file):
            sys.exit("\n".join(errors))
        for line in left_out(CONFIG, values, file):
            print(line, file=sys.stderr)
    return files
