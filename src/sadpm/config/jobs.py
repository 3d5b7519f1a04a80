"""What each job is told, by value: exactly the part of the configuration on which its result depends.

The workflow passes a job as one JSON argument, and the stage parses it with the same class. So a changed value re-runs
the jobs whose argument changed and what follows from them, and a logged command can be run again by hand.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sadpm.config.claims import ClaimConfig
from sadpm.config.datasets import HeadsConfig, NetworkConfig, TrainingConfig
from sadpm.config.experiment import Config
from sadpm.config.grid import Cell, GapCurve
from sadpm.config.models import CheckpointConfig
from sadpm.config.outputs import Cost, Figure
from sadpm.config.sampling import RecipeConfig
from sadpm.config.tuning import Part, option_of, with_option
from sadpm.covariances import CovarianceSection
from sadpm.diffusion.section import ScheduleConfig
from sadpm.extractors import ExtractorSection
from sadpm.kinds.section import Metric, Name, SamplesPerJob, Section
from sadpm.networks.section import JobPrecision
from sadpm.objectives import ObjectiveSection
from sadpm.samplers import SamplerSection
from sadpm.sources import SourceSection


class DataJob(Section):
    """Make the one uint8 array of a data set."""

    source: SourceSection


class ExtractorJob(Section):
    """Train what looks at the samples."""

    extractor: ExtractorSection


class ReferenceJob(Section):
    """Measure the feature statistics of the real images, or import published ones."""

    extractor: ExtractorSection
    metrics: tuple[Metric, ...] = ("fd",)
    published: str | None = None


class TrainJob(Section):
    """Train one noise predictor. ``training`` already contains the model's multipliers."""

    schedule: ScheduleConfig
    network: NetworkConfig
    training: TrainingConfig
    objective: ObjectiveSection
    seed: int
    precision: JobPrecision = "float32"

    @property
    def images_seen(self) -> int:
        """How many noisy images the network sees: what a training costs, whatever the machine."""
        return self.training.steps * self.training.batch_size * self.objective.images_per_training_image()


class ImportJob(Section):
    """Read one noise predictor from a released checkpoint, which must agree with the forward process."""

    schedule: ScheduleConfig
    checkpoint: CheckpointConfig
    network: NetworkConfig


class CovarianceJob(Section):
    """Fit covariances to one noise predictor in one pass; their names are those under which they are kept."""

    schedule: ScheduleConfig
    heads: HeadsConfig
    covariances: dict[Name, CovarianceSection]
    seed: int
    precision: JobPrecision = "float32"


class Tuned(Section):
    """An option of a chain's sampler or covariance whose value is the one that was chosen at a cell."""

    part: Part
    option: str
    at: Cell


class Chain(Section):
    """How the samples of one cell are drawn.

    ``fit`` is the name under which the covariance's estimate is kept, ``tuned`` an option that is not as it is said
    here, but as it was chosen.
    """

    cell: Cell
    sampler: SamplerSection
    covariance: CovarianceSection
    fit: Name | None = None
    recipe: RecipeConfig
    tuned: Tuned | None = Field(None, exclude_if=lambda tuned: tuned is None)

    @property
    def steps(self) -> int:
        """How many sampling steps."""
        return self.cell.steps

    def having(self, part: Part, option: str, value: float) -> Chain:
        """Return the chain with a value of an option of its sampler or covariance."""
        return self.model_copy(update={part: with_option(getattr(self, part), option, value)})


class Search(Section):
    """The tuning of one option at one cell.

    ``chain`` has the declared value, which is one of the ``grid``; ``num_samples`` images are drawn with each.
    """

    chain: Chain
    part: Part
    option: str
    grid: tuple[float, ...]
    metric: Metric
    num_samples: int

    @property
    def declared(self) -> float:
        """The value that others are compared with."""
        return option_of(getattr(self.chain, self.part), self.option)


class TuneJob(Section):
    """Tune options at several cells of one model."""

    schedule: ScheduleConfig
    searches: tuple[Search, ...]
    extractor: ExtractorSection
    batch_size: int
    seed: int
    precision: JobPrecision = "float32"

    def drawing(self, search: Search, value: float) -> SampleJob:
        """Return the job that draws the images of one value."""
        return SampleJob(
            schedule=self.schedule,
            chains=(search.chain.having(search.part, search.option, value),),
            num_samples=search.num_samples,
            batch_size=self.batch_size,
            seed=self.seed,
            precision=self.precision,
        )


class SampleJob(Section):
    """Draw the samples of several cells of one model, or the i-th of n parts of each cell's: ``shard`` is (i, n)."""

    schedule: ScheduleConfig
    chains: tuple[Chain, ...]
    num_samples: int
    batch_size: int
    seed: int
    shard: tuple[int, int] = (0, 1)
    precision: JobPrecision = "float32"

    def batches(self) -> list[range]:
        """Return which images are drawn at once, the same whatever n, because rounding depends on the company."""
        all_batches = _batches(self.num_samples, self.batch_size)
        shard, shards = self.shard
        return all_batches[len(all_batches) * shard // shards : len(all_batches) * (shard + 1) // shards]


class ScoreJob(Section):
    """Score the samples of a :class:`SampleJob`; ``recipes`` are the names of the cells' recipes."""

    cells: tuple[Cell, ...]
    recipes: tuple[str, ...]
    extractor: ExtractorSection
    metrics: tuple[Metric, ...] = ("fd",)


class LikelihoodJob(Section):
    """Measure the variational bound of several cells of one model, on images of a split; ``recipes`` are their names.

    The recipes in the chains bound no last noise: that is for the eye, and a bound without it is another number.
    """

    schedule: ScheduleConfig
    chains: tuple[Chain, ...]
    recipes: tuple[str, ...]
    split: Literal["train", "test"]
    num_images: int
    batch_size: int
    seed: int

    def batches(self) -> list[range]:
        """Return which images are looked at together."""
        return _batches(self.num_images, self.batch_size)


class GapJob(Section):
    """Measure the estimation gap of one model."""

    schedule: ScheduleConfig
    start: int
    num_images: int
    seed: int


class TheoryJob(GapJob):
    """Measure the paper's two theorems for one model: the chain of a gap curve, and windows of some lengths K."""

    lengths: tuple[int, ...]


class TableJob(Section):
    """Collect scores into a table.

    ``labels[axis][name]`` is what is printed for a model, sampler or covariance. ``images_seen[dataset][model]`` is
    what training cost, absent where the model is read from a checkpoint.
    """

    name: str
    title: str
    metric: Metric
    cells: tuple[Cell, ...]
    labels: dict[str, dict[str, str]]
    published: str | None = None
    costs: tuple[Cost, ...] = ()
    images_seen: dict[str, dict[str, int]] = Field(default_factory=dict)


class FigureJob(Section):
    """Draw a figure from samples, scores, gap curves or the theorems' numbers, or tabulate the latter."""

    name: str
    figure: Figure
    cells: tuple[Cell, ...]
    curves: tuple[GapCurve, ...]
    labels: dict[str, dict[str, str]]


class PageJob(Section):
    """Show an experiment on one page.

    ``root`` is the folder of results as Snakemake sees it, ``theory`` names CSV files in it, and ``runs`` are models as
    ``<dataset>/<model>/seed<k>``.
    """

    experiment: Name
    root: str
    tables: tuple[Name, ...]
    figures: tuple[Name, ...]
    runs: tuple[str, ...]
    samples_per_job: SamplesPerJob
    claims: bool = False
    theory: tuple[str, ...] = ()


class ClaimsJob(Section):
    """Judge claims.

    ``curves`` are those of gap figures, ``images_seen[dataset][model]`` the costs of training, ``imported`` the data
    sets and models that are not trained here.
    """

    claims: dict[Name, ClaimConfig]
    seeds: tuple[int, ...]
    curves: dict[Name, tuple[GapCurve, ...]]
    images_seen: dict[str, dict[str, int]]
    imported: tuple[tuple[str, str], ...] = ()


class ArchiveJob(Section):
    """Pack the tables and figures with all that says how they were made."""

    config: Config


def _batches(number: int, size: int) -> list[range]:
    return [range(start, min(start + size, number)) for start in range(0, number, size)]


RULES: dict[str, type[Section]] = {
    "prepare_data": DataJob,
    "prepare_held_out": DataJob,
    "train_extractor": ExtractorJob,
    "measure_reference": ReferenceJob,
    "import_model": ImportJob,
    "train": TrainJob,
    "fit_covariances": CovarianceJob,
    "tune": TuneJob,
    "sample": SampleJob,
    "sample_part": SampleJob,
    "join_parts": SampleJob,
    "score": ScoreJob,
    "measure_likelihood": LikelihoodJob,
    "measure_gap": GapJob,
    "measure_theory": TheoryJob,
    "table": TableJob,
    "theory_table": FigureJob,
    "figure": FigureJob,
    "claims": ClaimsJob,
    "report": PageJob,
    "archive": ArchiveJob,
}
"""What the jobs of each rule are told, in the order of the data flow."""
