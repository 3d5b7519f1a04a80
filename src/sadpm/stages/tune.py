"""Choose the value of an option by a metric of samples that no table shows."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sadpm.config.jobs import Search, TuneJob
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.extractors.looking.features import FeatureExtractor
from sadpm.extractors.looking.references import Reference
from sadpm.kinds.section import Metric
from sadpm.metrics.uncertainty import OverSeeds, standard_error
from sadpm.networks.execution import Executed, as_torch_does
from sadpm.networks.memory import See
from sadpm.networks.predictor import load_network
from sadpm.networks.section import PLAIN, Execution
from sadpm.networks.unet import UNet
from sadpm.report.long_table import BETTER
from sadpm.running.checkpoints import Checkpoints
from sadpm.running.device import device_name, memory_advice, select_device
from sadpm.running.files import UserError, provenance, write_json
from sadpm.stages import command
from sadpm.stages.sample import OUT_OF_MEMORY, draw_images, predictor
from sadpm.stages.score import checked_reference, checked_scores

STREAM = "tuning"
"""The noise of tuning: another one than that of samples, whatever the seed."""


def tune(
    params: TuneJob,
    model: Path,
    reference: Path,
    report: Path,
    checkpoints: Path,
    covariances: Sequence[Path] = (),
    weights: Sequence[Path] = (),
    images: Sequence[Path] = (),
    checkpoint_seconds: int = 600,
    execution: Execution = PLAIN,
) -> None:
    """Write what each value of each option scores, and which one is chosen.

    ``covariances`` are files of what was fitted; weights and images are as in scoring.
    """
    device = select_device()
    schedule = NoiseSchedule.create(**params.schedule.model_dump())
    unet = load_network(model, device)
    executed = Executed(execution, params.precision, device)
    images_at_once = min(params.batch_size, max(search.num_samples for search in params.searches))
    with memory_advice(OUT_OF_MEMORY):
        see = executed.seeing(unet, images_at_once, torch.inference_mode)
    metrics = tuple(dict.fromkeys(search.metric for search in params.searches))
    extractors = params.extractor.looking(metrics, next(iter(weights), None))
    real = checked_reference(reference, extractors, images)
    fitted = {name: path for path in covariances for name in path.stem.split("+")}
    origin = provenance(params, model=model, reference=reference, **{path.stem: path for path in covariances})
    tuned, finished = [], []
    for search in params.searches:
        file = None if search.chain.fit is None else fitted.get(search.chain.fit)
        inputs = {name: origin["inputs"][name] for name in ("model", "reference", *([file.stem] if file else []))}
        inputs |= executed.inputs()
        alone = params.model_copy(update={"searches": (search,)})
        saved = Checkpoints(checkpoints / search.chain.cell.draw, alone, checkpoint_seconds, **inputs)
        state = saved.latest() or {"tried": [], "influence": []}
        for value in search.grid[saved.done :]:
            drawing = Checkpoints(saved.folder / repr(value), alone, checkpoint_seconds, **inputs)
            entry, influence = _try(alone, value, unet, see, schedule, file, device, drawing, extractors, real)
            state = {"tried": [*state["tried"], entry], "influence": [*state["influence"], influence]}
            saved.save(len(state["tried"]), state)
            drawing.remove()
        tuned.append(choice(search, state["tried"], state["influence"]))
        finished.append(saved)
    facts = {"device": device_name(device), "execution": executed.report()}
    write_json(report, {**facts, "tuned": tuned, "provenance": origin})
    for saved in finished:
        saved.remove()


def _try(
    params: TuneJob,
    value: float,
    unet: UNet,
    see: See,
    schedule: NoiseSchedule,
    fitted: Path | None,
    device: torch.device,
    saved: Checkpoints,
    extractors: Mapping[Metric, FeatureExtractor],
    reference: Reference,
) -> tuple[dict[str, Any], torch.Tensor | None]:
    """Return what one value of the only search scores, and each image's part in that, (n,), where it is known."""
    (search,) = params.searches
    what = f"{search.chain.cell.draw}, {search.option} {value:g}"
    job = params.drawing(search, value)
    (chain,) = job.chains
    shape = (unet.in_channels, unet.sample_size, unet.sample_size)
    print(f"{what}:", file=sys.stderr)
    try:
        predict = predictor(chain, unet, schedule, fitted, see)
        with memory_advice(OUT_OF_MEMORY):
            draw_images(job, chain, predict, shape, schedule, device, saved, STREAM)
    except UserError as error:
        raise UserError(f"{what}: {error}; or take this value out of the grid") from error
    images, metric = saved.last()["drawn"].numpy(), search.metric
    with as_torch_does(device):
        found = checked_scores(what, images, {metric: extractors[metric]}, params.extractor.labels, reference)[metric]
    said: dict[str, Any] = {
        key: found.entry[key] for key in ("standard_error", "no_error", "label") if key in found.entry
    }
    entry = {"value": value, "score": found.entry["value"], **said, "seconds": saved.seconds}
    print(f"{what}: {entry['label']} {entry['score']:g}", file=sys.stderr)
    return entry, None if found.influence is None else torch.from_numpy(found.influence)


def choice(
    search: Search, tried: Sequence[Mapping[str, Any]], influence: Sequence[torch.Tensor | None]
) -> dict[str, Any]:
    """Return the best value of a grid, the nearest to the declared one of equals, and how sure that is.

    Its score is never worse than that of the declared value, which is in the grid.
    """
    sign = 1 if BETTER[search.metric][1] == "min" else -1
    places, declared = range(len(search.grid)), search.grid.index(search.declared)
    best = min(places, key=lambda i: (sign * tried[i]["score"], abs(search.grid[i] - search.declared)))
    difference = tried[best]["score"] - tried[declared]["score"]
    error, unknown = _error_of_difference(tried, influence, best, declared)
    notes = ["at the edge of the grid"] if best in (0, places[-1]) else []
    if best != declared and error is None:
        notes.append("better than the declared value by an unknown error")
    elif best != declared and error is not None:
        low, high = OverSeeds((difference,), (error,)).interval()
        notes += ["not told from the declared value"] if low <= 0 <= high else []
    return {
        "cell": search.chain.cell.as_dict(),
        "part": search.part,
        "option": search.option,
        "metric": search.metric,
        "num_samples": search.num_samples,
        "declared": search.declared,
        "value": search.grid[best],
        "difference": {"value": difference, "standard_error": error, **({"no_error": unknown} if unknown else {})},
        "notes": notes,
        "tried": list(tried),
    }


def _error_of_difference(
    tried: Sequence[Mapping[str, Any]], influence: Sequence[torch.Tensor | None], a: int, b: int
) -> tuple[float | None, str]:
    """The sampling error of one score less another, paired by image; or why it is not known."""
    first, second = influence[a], influence[b]
    if first is not None and second is not None:
        return standard_error(first.double().numpy() - second.double().numpy()), ""
    reasons = [tried[i].get("no_error") for i in (a, b)]
    return None, next(filter(None, reasons), f"{tried[a]['label']} has no error that could be paired")


if __name__ == "__main__":
    command(tune)
