"""The jobs of an experiment and what they need, as Snakemake itself finds them in the workflow."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from sadpm.config.experiment import Config
from sadpm.config.jobs import RULES
from sadpm.kinds.section import Section
from sadpm.running.files import UserError

Told = TypeVar("Told", bound=Section)


@dataclass(frozen=True, eq=False)
class Job:
    """One job of the workflow.

    Attributes:
        rule: its name.
        wildcards: what is special to this job of the rule.
        told: its parameters, all that its stage knows.
        needs: the jobs whose files it reads.
    """

    rule: str
    wildcards: Mapping[str, str]
    told: Section
    needs: tuple[Job, ...] = ()

    @property
    def dataset(self) -> str:
        """The data set that it is about; "" for tables and figures."""
        return self.wildcards.get("dataset") or self.wildcards.get("run", "").split("/")[0]

    @property
    def output(self) -> str:
        """The table or figure that it makes or tabulates, or the claims that it judges; "" for all other jobs."""
        if not self.wildcards:
            return self.rule
        names = (self.wildcards.get(key) for key in ("table", "figure", "theory") if not self.dataset)
        return next(filter(None, names), "")

    def nearest(self, kind: type[Told]) -> Told:
        """Return what one of the jobs that this one rests on, itself included, is told, the nearest that is told this.

        Raises:
            LookupError: it rests on none of them.
        """
        for job in closure([self]):
            if isinstance(job.told, kind):
                return job.told
        raise LookupError(f"{self.rule} {dict(self.wildcards)} rests on no {kind.__name__}")


def closure(jobs: Iterable[Job]) -> list[Job]:
    """Return the jobs and all that they need, each once, the nearest first."""
    found = dict.fromkeys(jobs)
    waiting = list(found)
    for job in waiting:  # which grows meanwhile
        new = [need for need in job.needs if need not in found]
        found |= dict.fromkeys(new)
        waiting += new
    return waiting


def outputs_of(config: Config, snakefile: str) -> list[Job]:
    """Return the jobs that make tables, figures and claims, and all that those need, as if nothing were there yet.

    Snakemake builds the graph in an empty folder, in which it can neither see nor touch what is there. It looks for
    none of the files that the configuration names.

    Args:
        config: the experiment.
        snakefile: path or address of the workflow.

    Raises:
        UserError: the graph can't be built, for a reason which Snakemake tells.
    """
    from snakemake.exceptions import RuleException, WorkflowError

    empty = config.model_copy(update={"results": "results"})  # and not where they may be there already
    try:
        with TemporaryDirectory() as folder:
            jobs = _jobs_of(empty, snakefile, Path(folder))
    except (RuleException, WorkflowError) as error:
        raise UserError(f"the graph of jobs can't be built: {error}") from None
    names = [*config.tables, *config.figures, "claims"]
    return sorted((job for job in jobs if job.output), key=lambda job: names.index(job.output))


def _jobs_of(config: Config, snakefile: str, folder: Path) -> list[Job]:
    from snakemake.api import SnakemakeApi
    from snakemake.settings.enums import Quietness
    from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings

    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as snakemake:
        workflow = snakemake.workflow(
            ResourceSettings(cores=1),
            config_settings=ConfigSettings(config={"planned": config}, config_args=""),
            snakefile=snakefile if "://" in snakefile else Path(snakefile),
            workdir=folder,
        )
        with redirect_stdout(io.StringIO()):  # a drawing, for which the graph is built
            targets = {"tables", "figures", *(["claims"] if config.claims else [])}
            workflow.dag(DAGSettings(targets=targets, forceall=True)).printrulegraph()
        dag, jobs = workflow._workflow.dag, dict[Any, Job]()
        for job in chain.from_iterable(dag.toposorted()):  # each after those that it needs
            if told := RULES.get(job.rule.name):
                needs = sorted((jobs[need] for need in dag.dependencies[job]), key=_place)
                jobs[job] = Job(
                    job.rule.name, job.wildcards_dict, told.model_validate_json(job.params.job), tuple(needs)
                )
        return list(jobs.values())


def _place(job: Job) -> tuple[str, ...]:
    """An order that does not differ from one run to the next, as sums of floating-point numbers else would."""
    return job.rule, *job.wildcards.values()
