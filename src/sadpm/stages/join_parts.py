"""Join the parts of samples that several jobs have drawn."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from sadpm.config.jobs import SampleJob
from sadpm.running.files import UserError, read_json, write_atomically, write_json
from sadpm.sources.reading.prepared import Pixels, load_samples, write_samples
from sadpm.stages import command


def join_parts(
    params: SampleJob, parts: Sequence[Path], part_reports: Sequence[Path], samples: Path, report: Path
) -> None:
    """Write what one job would have written.

    Raises:
        UserError: the parts are not those of one set of samples.
    """
    facts = joined([read_json(path) for path in part_reports], params)
    arrays = [load_samples(path) for path in parts]
    sizes = [(len(array), *array.shape[2:]) for array in arrays]
    if sizes != [(len(params.chains), *arrays[0].shape[2:])] * len(arrays):
        raise UserError(f"{samples}: its parts hold other numbers of cells, or images of other sizes; delete them")
    if (count := sum(array.shape[1] for array in arrays)) != params.num_samples:
        raise UserError(f"{samples}: its parts hold {count} images, not {params.num_samples}; delete them")

    def images_of(cell: int) -> Iterator[Pixels]:
        return (array[cell] for array in arrays)

    def write(file: IO[bytes]) -> None:
        whole = (len(params.chains), params.num_samples, *arrays[0].shape[2:])
        hashes = write_samples(file, whole, map(images_of, range(len(params.chains))))
        for draw, content in zip(facts["draws"], hashes, strict=True):
            draw["sha256"] = content

    write_atomically(samples, write)
    write_json(report, facts)


def joined(reports: Sequence[dict[str, Any]], job: SampleJob) -> dict[str, Any]:
    """Return the report of the whole: seconds add up, and all else must agree."""
    origins = [report["provenance"] for report in reports]
    expected = [job.model_copy(update={"shard": (i, len(reports))}) for i in range(len(reports))]
    if [origin["job"] for origin in origins] != [part.model_dump(mode="json", by_alias=True) for part in expected]:
        raise UserError("the parts were drawn with other parameters, or are not all there; delete them")
    if any(origin["inputs"] != origins[0]["inputs"] for origin in origins):
        raise UserError("the parts were drawn from different models; delete them")
    executions = [report["execution"] for report in reports if "execution" in report]
    if len({execution["precision"] for execution in executions}) > 1:
        raise UserError("the parts were drawn in different precisions, on devices that can't do the same; delete them")
    draws = [
        {**same_draw[0], "seconds": sum(draw["seconds"] for draw in same_draw)}
        for same_draw in zip(*(report["draws"] for report in reports), strict=True)
    ]
    devices = sorted({report["device"] for report in reports})
    origin = {**origins[0], "job": job.model_dump(mode="json", by_alias=True)}
    facts: dict[str, Any] = {"device": ", ".join(devices)}
    if executions:
        facts["execution"] = executions[0]
    return {**facts, "draws": draws, "provenance": origin}


if __name__ == "__main__":
    command(join_parts)
