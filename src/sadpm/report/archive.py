"""An experiment as a Workflow Run RO-Crate: every file with its hash, and every job with what it read and wrote.

Only what reports and benchmarks have recorded is said. They know seconds but no times of day, and no user, so actions
have neither start, end nor agent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from sadpm.config.experiment import Config
from sadpm.config.reports import Report
from sadpm.report.lineage import Key, Records, hashes, inputs_of, outputs_of

if TYPE_CHECKING:
    from rocrate.model.entity import Entity

METADATA = "ro-crate-metadata.json"
CONFIGURATION = "configuration.yaml"
SNAKEFILE = "workflow/Snakefile"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
TERMS = "https://w3id.org/ro/terms/workflow-run/context"
LICENCE_OF_CODE = "Apache-2.0"
TYPES = {
    ".csv": "text/csv", ".html": "text/html", ".json": "application/json", ".md": "text/markdown",
    ".npy": "application/octet-stream", ".pdf": "application/pdf", ".png": "image/png", ".py": "text/x-python",
    ".safetensors": "application/octet-stream", ".tex": "application/x-tex", ".tsv": "text/tab-separated-values",
    ".yaml": "application/yaml", ".yml": "application/yaml",
}  # fmt: skip
BENCHMARKS = "https://snakemake.readthedocs.io/en/stable/snakefiles/rules.html#benchmark-rules"
SECOND, MEBIBYTE = "https://qudt.org/vocab/unit/SEC", "https://qudt.org/vocab/unit/MebiBYTE"


class Member(NamedTuple):
    """A file of the archive: where its bytes are, their hash and their number."""

    source: Path | bytes
    sha256: str
    size: int

    def text(self) -> str:
        """Return the bytes as text."""
        return (self.source if isinstance(self.source, bytes) else self.source.read_bytes()).decode(errors="replace")


def folder_of(config: Config) -> str:
    """Where an experiment's results lie in its archive."""
    return f"results/{config.experiment}"


def metadata(config: Config, members: Mapping[str, Member], records: Records, version: str, published: str) -> bytes:
    """Return ``ro-crate-metadata.json`` of an archive with these files.

    Args:
        config: the experiment.
        members: the files by their paths in the archive.
        records: of each job, what its report holds.
        version: of the workflow whose files are in the archive.
        published: ISO 8601 date of the results.

    Raises:
        UserError: reports do not tell of one and the same files.
    """
    return _Crate(config, members, records, version, published).metadata()


class _Crate:
    def __init__(
        self, config: Config, members: Mapping[str, Member], records: Records, version: str, published: str
    ) -> None:
        from rocrate.model import ContextEntity
        from rocrate.rocrate import ROCrate

        self._config, self._members, self._records = config, members, records
        self._context_entity = ContextEntity
        self._crate = ROCrate(version="1.1")
        self._known = hashes(records)
        self._files = {path: self._file(path, members[path]) for path in sorted(members) if path != SNAKEFILE}
        workflow = self._workflow(version)
        self._describe()
        actions = [self._action(report, content) for report, content in records.items()]
        self._steps(workflow)
        self._root([self._whole(workflow), *actions], published)

    def metadata(self) -> bytes:
        self._crate.metadata.extra_contexts.append(TERMS)
        content = self._crate.metadata.generate()
        content["@graph"].sort(key=lambda entity: entity["@id"])
        for entity in content["@graph"]:  # the specification's form: a list is of two or more
            entity |= {key: value[0] for key, value in entity.items() if isinstance(value, list) and len(value) == 1}
        return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()

    def _entity(self, identity: str, kind: str | list[str], **properties: Any) -> Entity:
        found = self._crate.get(identity)
        return found or self._crate.add(self._context_entity(self._crate, identity, {"@type": kind, **properties}))

    def _file(self, path: str, member: Member) -> Entity:
        facts = {"name": path.rpartition("/")[2], "sha256": member.sha256, "contentSize": str(member.size)}
        kind = TYPES.get(Path(path).suffix, "text/plain")
        return self._crate.add_file(dest_path=path, properties={**facts, "encodingFormat": kind})

    def _describe(self) -> None:
        shown: dict[str, Any] = {**self._config.tables, **self._config.figures}
        for report in self._records:
            if report.about in shown and not report.dataset:
                for file in self._results(report.files):
                    file["description"] = f"{report.rule.capitalize()} {report.about}: {shown[report.about].title}"

    def _workflow(self, version: str) -> Entity:
        member = self._members[SNAKEFILE]
        licence = self._licence(LICENCE_OF_CODE)
        workflow = self._crate.add_workflow(dest_path=SNAKEFILE, main=True, lang="snakemake")
        workflow.properties()["@type"] = [*workflow.type, "HowTo"]
        facts = {"sha256": member.sha256, "contentSize": str(member.size), "encodingFormat": "text/plain"}
        for key, value in {"name": "sadpm", "version": version, "license": licence, **facts}.items():
            workflow[key] = value
        return workflow

    def _licence(self, licence: str | None) -> Entity:
        if licence is None:
            text = "Whoever publishes these results states their licence by the configuration's key archive.license."
            return self._entity("#licence", "CreativeWork", name="No licence stated", description=text)
        address = licence if "://" in licence else f"https://spdx.org/licenses/{licence}"
        return self._entity(address, "CreativeWork", name=licence, description=f"Licence {licence}")

    def _steps(self, workflow: Entity) -> None:
        """One step for each rule that has run, with all versions of the program that did."""
        tools: dict[str, list[Entity]] = {}
        for report, content in self._records.items():
            tool = self._tool(report, content)
            versions = tools.setdefault(report.rule, [])
            versions += [tool] if tool not in versions else []
        workflow["hasPart"] = [tool for versions in tools.values() for tool in versions]
        workflow["step"] = [
            self._entity(f"#step/{rule}", "HowToStep", name=rule, position=str(position), workExample=versions)
            for position, (rule, versions) in enumerate(tools.items())
        ]

    def _tool(self, report: Report, content: Mapping[str, Any]) -> Entity:
        """The program of a job in the versions that it ran in."""
        made, torch = content["provenance"], content.get("torch")
        needed = {"Python": made["python"], **({"PyTorch": torch} if torch else {})}
        software = [
            self._entity(f"#{name}-{version}", "SoftwareApplication", name=name, softwareVersion=version)
            for name, version in needed.items()
        ]
        name = "-".join([f"#sadpm.stages.{report.rule}", made["code"], *needed.values()])
        stage = {"name": f"sadpm.stages.{report.rule}", "softwareVersion": made["code"]}
        return self._entity(name, "SoftwareApplication", **stage, softwareRequirements=software)

    def _action(self, report: Report, content: Mapping[str, Any]) -> Entity:
        name, title = f"#job/{report.log}", " ".join(filter(None, (report.rule, report.about, report.name)))
        files = self._results(report.contents(self._config))
        told = [path for log in report.logs for path in (f"logs/{log}.log", f"benchmarks/{log}.tsv")]
        lists = {
            "object": [*map(self._hashed, inputs_of(report, content)), *self._results(report.reads)],
            "result": [*files, *(self._hashed(key) for key in outputs_of(report, content) if key in self._known)],
            "subjectOf": self._results(told),
            "environment": self._environment(content),
            "resourceUsage": list(self._usage(report, content, name)),
        }
        facts = {key: value for key, value in lists.items() if value}
        text = f"One job of the rule {report.rule}; its report {report.path} has all its parameters"
        return self._entity(
            name, "CreateAction", name=title, description=text, instrument=self._tool(report, content), **facts
        )

    def _environment(self, content: Mapping[str, Any]) -> list[Entity]:
        if (device := content.get("device")) is None:
            return []
        name = f"#device/{quote(device)}"
        return [self._entity(name, "PropertyValue", name="device", value=device)]

    def _results(self, paths: Iterable[str]) -> list[Entity]:
        """Those of the experiment's files that are in the archive."""
        full = (f"{folder_of(self._config)}/{path}" for path in paths)
        return [self._files[path] for path in full if path in self._files]

    def _hashed(self, key: Key) -> Entity:
        """A file that is not in the archive, or not by itself, known by its hash."""
        sha256 = self._known[key]
        return self._entity(f"#sha256-{sha256}", "CreativeWork", name=f"{key[1]} of {key[0]}", sha256=sha256)

    def _usage(self, report: Report, content: Mapping[str, Any], job: str) -> Iterator[Entity]:
        seconds = content.get("seconds")
        if draws := content.get("draws"):
            seconds = sum(draw["seconds"] for draw in draws)
        amounts = [("seconds of computation, all tries", seconds, "seconds", SECOND)]
        path = f"{folder_of(self._config)}/benchmarks/{report.log}.tsv"
        if path in self._members:
            measured = _benchmark(self._members[path].text())
            amounts.append(("seconds of the last try's process", measured.get("s"), BENCHMARKS, SECOND))
            amounts.append(("largest resident memory", measured.get("max_rss"), BENCHMARKS, MEBIBYTE))
        for number, (name, value, kind, unit) in enumerate(amounts):
            if value is not None:
                facts = {"name": name, "value": str(value), "propertyID": kind, "unitCode": unit}
                yield self._entity(f"{job}/usage{number}", "PropertyValue", **facts)

    def _whole(self, workflow: Entity) -> Entity:
        """The workflow as one action, from what comes from outside to the tables and figures."""
        records = self._records.items()
        made = {key for report, content in records for key in outputs_of(report, content)}
        outside = dict.fromkeys(key for report, content in records for key in inputs_of(report, content))
        given = [
            file for path, file in self._files.items() if path.startswith((CONFIGURATION, "configuration/", "kinds/"))
        ]
        shown = [report for report in self._records if not report.dataset]
        return self._entity(
            "#run",
            "CreateAction",
            name=f"All jobs of {self._config.experiment}",
            description="The workflow as a whole, in one run or in several that went on with each other's results",
            instrument=workflow,
            object=[*given, *(self._hashed(key) for key in outside if key not in made)],
            result=[file for report in shown for file in self._results(report.files)],
        )

    def _root(self, actions: Sequence[Entity], published: str) -> None:
        config, root = self._config, self._crate.root_dataset
        versions = sorted({content["provenance"]["code"] for content in self._records.values()})
        left_out = [name for name in ("weights", "samples") if not getattr(config.archive, name)]
        without = f" Not in the archive, but told by their hashes: {' and '.join(left_out)}." if left_out else ""
        root["name"] = f"{config.experiment}: tables and figures of sadpm"
        root["description"] = (
            f"{len(config.tables)} tables and {len(config.figures)} figures of samples by diffusion models, with the "
            f"configuration, the workflow and the records of {len(actions) - 1} jobs, run by sadpm "
            f"{', '.join(versions)}.{without}"
        )
        root["datePublished"] = published
        root["license"] = self._licence(config.archive.license)
        root["conformsTo"] = [
            self._entity(address, "CreativeWork", name=name, version=address.rpartition("/")[2])
            for address, name in PROFILES.items()
        ]
        root["mentions"] = list(actions)


def _benchmark(text: str) -> dict[str, float]:
    """Return the numbers of a file that Snakemake has written: a line of names, and one of values."""
    lines = [line.split("\t") for line in text.splitlines()[:2]]
    found = {}
    for name, value in zip(*lines, strict=False) if len(lines) == 2 else ():
        with suppress(ValueError):  # "-" or "NA", where it could not measure
            found[name] = float(value)
    return found
