"""Join the parts of samples that several jobs have drawn."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from sadpm.artifacts import UserError, read_json, sha256, write_atomically, write_json
from sadpm.data import load_pixels
from sadpm.jobs import SampleJob
from sadpm.stages import command


def join_parts(
    params: SampleJob,
    parts: Sequence[Path],
    part_reports: Sequence[Path],
    samples: Sequence[Path],
    reports: Sequence[Path],
) -> None:
    """Write for each chain what one job would have written; the parts of one chain stand side by side.

    Raises:
        UserError: the parts are not those of one set of samples.
    """
    shards = len(parts) // len(samples)
    for i, (chain, path, report) in enumerate(zip(params.chains, samples, reports, strict=True)):
        of_chain = slice(i * shards, (i + 1) * shards)
        chain_only = params.model_copy(update={"chains": (chain,)})
        images = np.concatenate([load_pixels(part) for part in parts[of_chain]])
        facts = joined([read_json(file) for file in part_reports[of_chain]], chain_only)
        if len(images) != params.num_samples:
            raise UserError(f"{path}: its parts hold {len(images)} images, not {params.num_samples}; delete them")
        write_atomically(path, partial(np.save, arr=images))
        write_json(report, {**facts, "sha256": sha256(path)})


def joined(reports: Sequence[dict], job: SampleJob) -> dict:
    """Return the report of the whole: seconds add up, and all else must agree."""
    origins = [report["provenance"] for report in reports]
    expected = [job.model_copy(update={"shard": (i, len(reports))}) for i in range(len(reports))]
    if [origin["job"] for origin in origins] != [part.model_dump(mode="json", by_alias=True) for part in expected]:
        raise UserError("the parts were drawn with other parameters, or are not all there; delete them")
    if any(origin["inputs"] != origins[0]["inputs"] for origin in origins):
        raise UserError("the parts were drawn from different models; delete them")
    devices = sorted({report["device"] for report in reports})
    origin = {**origins[0], "job": job.model_dump(mode="json", by_alias=True)}
    seconds = sum(report["seconds"] for report in reports)
    return {**reports[0], "seconds": seconds, "device": ", ".join(devices), "provenance": origin}


if __name__ == "__main__":
    command(join_parts)
