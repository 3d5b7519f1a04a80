"""Pack an experiment's tables and figures with all that says how they were made, as an RO-Crate."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile, ZipInfo

import yaml

from sadpm.config.experiment import Config
from sadpm.config.jobs import ArchiveJob
from sadpm.config.reports import Report, reports
from sadpm.report.archive import CONFIGURATION, METADATA, SNAKEFILE, Member, folder_of, metadata
from sadpm.running.files import (
    UserError,
    code_version,
    provenance,
    read_json,
    sha256,
    write_atomically,
    write_json,
)
from sadpm.stages import command

LARGE = (".npy", ".npz", ".safetensors")
EPOCH = "SOURCE_DATE_EPOCH"


def archive(
    params: ArchiveJob,
    root: Path,
    crate: Path,
    report: Path,
    code: Sequence[Path],
    configs: Sequence[Path] = (),
    published: Sequence[Path] = (),
    more: Sequence[Path] = (),
    lock: Sequence[Path] = (),
) -> None:
    """Write the archive, whose bytes depend on its files and their date alone, and a report with its hash.

    ``root`` is the folder of the experiment's results, ``code`` the workflow's Snakefile and then its rules,
    ``configs`` the files of the configuration, and ``more`` what lies in ``root`` beside tables and figures.

    Raises:
        UserError: something is missing, or the results are not of one run.
    """
    config = params.config
    jobs = [*reports(config, lambda run: made_passes(root / run)), *_reports_of(root, more)]
    sources = dict(results(config, root, jobs, more))
    if missing := [path for path in sources.values() if not path.is_file()]:
        raise UserError(f"{len(missing)} files are missing, first {missing[0]}; `snakemake archive` makes them")
    sources |= workflow_files(code, lock)
    named = {"configuration": [*configs, *published], "kinds": [Path(path) for path in config.kinds]}
    placed = {folder: dict(_apart(folder, files)) for folder, files in named.items()}
    sources |= {name: file for files in placed.values() for name, file in files.items()}
    members = {name: member_of(path) for name, path in sources.items()}
    members[CONFIGURATION] = _member(effective(config, placed).encode())
    records = {job: record(root / job.path) for job in jobs}
    text = metadata(config, members, records, code_version(), date_of(root, jobs))
    members[METADATA] = _member(text)
    write_atomically(crate, lambda file: write_zip(file, members))
    write_json(report, {"sha256": sha256(crate), "files": len(members), "provenance": provenance(params)})
    if told := sorted(name for name, member in members.items() if tells_of_home(name, member)):
        print(f"{crate}: look at these before you publish it; they name your home folder: {', '.join(told)}")


def made_passes(run: Path) -> list[str]:
    """Return the passes that have fitted covariances of a run."""
    return [path.stem for path in (run / "covariance").glob("*.json")]


def results(config: Config, root: Path, jobs: Iterable[Report], more: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Yield the files of the results by their names in the archive; logs and benchmarks as far as they are there."""
    folder = folder_of(config)
    for job in jobs:
        yield from ((f"{folder}/{path}", root / path) for path in job.contents(config))
        for path in (path for log in job.logs for path in (f"logs/{log}.log", f"benchmarks/{log}.tsv")):
            if (root / path).is_file():
                yield f"{folder}/{path}", root / path
    yield from ((f"{folder}/{path.relative_to(root).as_posix()}", path) for path in more)


def _reports_of(root: Path, more: Iterable[Path]) -> Iterator[Report]:
    """Yield the reports among further files; each is of those whose names begin like its own."""
    paths = [path.relative_to(root).as_posix() for path in more]
    for path in paths:
        name, suffix = os.path.splitext(path)
        if suffix == ".json":
            files = tuple(other for other in paths if other.startswith(name) and other != path)
            yield Report(name, "", path, name, files=files)


def workflow_files(code: Sequence[Path], lock: Sequence[Path]) -> dict[str, Path]:
    """Return the files of the workflow by their names in the archive."""
    if not code or code[0].name != "Snakefile":
        raise UserError(
            "the workflow's own files were not found, without which nobody could run it again; start Snakemake with "
            "the Snakefile of a checkout"
        )
    folder = code[0].parent
    found = {f"workflow/{path.relative_to(folder).as_posix()}": path for path in code}
    assert SNAKEFILE in found
    return found | {path.name: path for path in lock}


def _apart(folder: str, files: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Yield files by their names in a folder of the archive; of two of one name the second has its own folder there."""
    taken: dict[str, int] = {}
    for path in dict.fromkeys(files):
        number = taken[path.name] = taken.get(path.name, 0) + 1
        yield "/".join([folder, *([str(number)] if number > 1 else []), path.name]), path


def effective(config: Config, placed: Mapping[str, Mapping[str, Path]]) -> str:
    """Return the whole configuration as YAML, which can be run where the archive is unpacked.

    Files that the archive holds are named as they lie there, and the user's home folder is ``~``.
    """
    content = _portable(config.model_dump(mode="json", by_alias=True))
    kinds, others = placed["kinds"], {path: name for name, path in placed["configuration"].items()}
    content |= {"results": "results", "checkpoints": None, "kinds": list(kinds)}
    if config.published is not None:
        content["published"] = others.get(Path(config.published), content["published"])
    head = "# The configuration with all defaults and all that it extends.\n"
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def _portable(content: Any) -> Any:
    """A configuration without the marks of users' kinds, which are made anew on reading, and with ``~``."""
    if isinstance(content, dict):
        return {key: _portable(value) for key, value in content.items() if key != "defined_in"}
    if isinstance(content, list):
        return [_portable(value) for value in content]
    home = f"{Path.home()}/"
    return f"~/{content.removeprefix(home)}" if isinstance(content, str) and content.startswith(home) else content


def record(path: Path) -> dict[str, Any]:
    """Read a report.

    Raises:
        UserError: it does not say how it was made.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not {"code", "python", "inputs"} <= set(content.get("provenance", ())):
        raise UserError(f"{path}: does not say how it was made; delete it, and the workflow makes it again")
    return content


def date_of(root: Path, jobs: Iterable[Report]) -> str:
    """Return the day on which the last table or figure was made, or that of the environment, as ISO 8601."""
    epoch = os.environ.get(EPOCH)
    if epoch is not None and not epoch.isdecimal():
        raise UserError(f"{EPOCH} must be seconds since 1970, not {epoch!r}")
    last = max((root / path).stat().st_mtime for job in jobs if not job.dataset for path in job.files)
    return datetime.fromtimestamp(last if epoch is None else int(epoch), UTC).date().isoformat()


def member_of(path: Path) -> Member:
    """Return a file of the disk as one of the archive."""
    return Member(path, sha256(path), path.stat().st_size)


def _member(content: bytes) -> Member:
    return Member(content, hashlib.sha256(content).hexdigest(), len(content))


def write_zip(file: IO[bytes], members: Mapping[str, Member]) -> None:
    """Write a zip whose bytes say nothing but names and contents: sorted, of one date, and stored as they are.

    What compresses is small, and another zlib would compress it to other bytes.
    """
    with ZipFile(file, "w") as archive:
        for name in sorted(members):
            entry = ZipInfo(name)
            entry.create_system, entry.external_attr, entry.file_size = 3, 0o644 << 16, members[name].size
            with archive.open(entry, "w") as place, _open(members[name]) as content:
                shutil.copyfileobj(content, place)


def _open(member: Member) -> IO[bytes]:
    return BytesIO(member.source) if isinstance(member.source, bytes) else member.source.open("rb")


def tells_of_home(name: str, member: Member) -> bool:
    """Tell whether a text names the user's home folder."""
    home = str(Path.home())
    return home != "/" and not name.endswith(LARGE) and home in member.text()


if __name__ == "__main__":
    command(archive)
