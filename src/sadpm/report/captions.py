"""Captions: what was measured and how, how sure it is, and what the marks mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pandas import DataFrame, Series

from sadpm.config.outputs import Cost
from sadpm.kinds.section import OF_LIKELIHOOD
from sadpm.report.long_table import AXES, BETTER, BLOCK
from sadpm.report.wide_table import wide_table

Labels = Mapping[str, Mapping[str, str]]

TIMESTEPS_IN_WORDS = {
    "uniform": "levels 1, 1 + s, 1 + 2s, … with s = N/T for T of N steps",
    "linear": "levels evenly spaced from 1 to N",
}
COSTS_IN_WORDS: Mapping[Cost, str] = {
    "images_seen": "images seen are the noisy images that training showed to the network",
    "network_calls": "network calls are those for one image of each column",
    "seconds": "seconds are those of drawing the images of all columns",
}


def caption(frame: DataFrame, title: str, labels: Labels, costs: Sequence[Cost] = ()) -> str:
    """Return the caption of a long table as plain text."""
    wide = wide_table(frame, costs)
    metric = _by_dataset(frame, lambda rows: str(rows["label"].iloc[0]))
    sentences = [title.rstrip(" .\n"), f"{metric}; {BETTER[frame['metric'].iloc[0]][0]} is better"]
    if fixed := [axis for axis in AXES if axis not in varying(frame, AXES)]:
        names = (f"{axis} {label(labels, axis, frame[axis].iloc[0])}" for axis in fixed)
        sentences.append(f"All rows: {', '.join(names)}")
    sentences += [f"Images behind each number: {_by_dataset(frame, _images)}", *_notes(frame)]
    sentences += [*_errors(frame, labels), *_bold(frame)]
    if wide.mean.isna().to_numpy().any():
        sentences.append("A dash: not run")
    if costs:
        sentences.append(_costs(frame, costs))
    if sources := [source for source in frame["published_source"].dropna().unique() if source]:
        sentences.append(f"In parentheses: the published value ({'; '.join(sources)}), and ours minus it")
    sentences += _tuned(frame, labels)
    recipes = list(frame.groupby("recipe", sort=False))
    sentences += [f"Recipe {_recipe(str(name), rows, labels, len(recipes) > 1)}" for name, rows in recipes]
    return ". ".join(sentences) + "."


def varying(frame: DataFrame, axes: list[str]) -> list[str]:
    """Return the axes that need a column, at least the model."""
    return [axis for axis in axes if frame[axis].nunique() > 1] or ["model"]


def label(labels: Labels, axis: str, name: object) -> str:
    """Return what is printed for a name."""
    return labels.get(axis, {}).get(str(name), str(name))


def _images(rows: DataFrame) -> str:
    real = rows["reference_n"].dropna()
    if rows["metric"].iloc[0] in OF_LIKELIHOOD:
        return f"{rows['n'].iloc[0]:,} of {int(real.iloc[0]):,} real"
    return f"{rows['n'].iloc[0]:,} generated" + (f" and {int(real.iloc[0]):,} real" if len(real) else "")


def _notes(frame: DataFrame) -> list[str]:
    """Each distinct note once; other readers than `from_csv` make a gap of a cell without notes."""
    return list(dict.fromkeys(note for notes in frame["notes"].dropna() for note in notes.split("; ") if note))


def _errors(frame: DataFrame, labels: Labels) -> list[str]:
    """What stands behind ±, of how many training seeds, and why it may be missing."""
    seeds = frame.groupby([*AXES, "steps"], sort=False)["seed"].agg(_listed)
    of_one = frame[frame.groupby([*AXES, "steps"])["seed"].transform("size") == 1]
    known, several = of_one["standard_error"].notna().any(), len(of_one) < len(frame)
    each = list(dict.fromkeys(seeds))
    number = f"{frame['seed'].nunique()} training seeds ({each[0]})" if len(each) == 1 else "training seeds"
    sentences = [f"Mean ± sample standard deviation over {number}"] if several else []
    if known:
        of_which = "" if several or len(each) > 1 else f" ({each[0]})"
        alone = f"of one training seed{of_which}, for these weights alone"
        sentences.append(f"{'Without other seeds, ±' if several else 'Value ±'} sampling error {alone}")
    elif not several:
        sentences.append("Results of one training seed: no error bars")
    if len(each) > 1:
        with_models = seeds.reset_index().groupby("seed", sort=False)["model"].unique()
        models = {one: ", ".join(label(labels, "model", name) for name in with_models[one]) for one in each}
        sentences.append(f"Training seeds: {'; '.join(f'{one} ({models[one]})' for one in each)}")
    unknown = of_one[of_one["standard_error"].isna()]
    if reasons := [reason for reason in unknown["no_error"].dropna().unique() if reason]:
        some = " of some numbers" if known else ""
        sentences.append(f"No sampling error{some}: {'; '.join(reason.rstrip('.') for reason in reasons)}")
    return sentences


def _bold(frame: DataFrame) -> list[str]:
    """The rule by which numbers are bold, by what was compared."""
    rivals = frame.dropna(subset="from_best_seeds")
    if rivals.empty:
        return []
    known = rivals.dropna(subset="from_best_low")
    lacking = ["shares no training seed with the best"] if (rivals["from_best_seeds"] == 0).any() else []
    lacking += ["has a difference of unknown error"] if len(known) < (rivals["from_best_seeds"] > 0).sum() else []
    if known.empty:
        return [f"Nothing is bold: what is not the best {' or '.join(lacking)}"]
    by_error = "sampling error, for these weights alone"
    kinds = {
        (True, False): "Student's t over the training seeds that both have",
        (False, True): by_error,
        (True, True): f"Student's t over the training seeds that both have; where it is but one, {by_error}",
    }
    interval = kinds[bool((known["from_best_seeds"] > 1).any()), bool((known["from_best_seeds"] == 1).any())]
    blocks = " and ".join(axis for axis in BLOCK if frame[axis].nunique() > 1)
    column = f"each column{f' for each {blocks}' if blocks else ''}"
    rule = f"the 95 % interval of its difference from the best reaches 0 ({interval})"
    bold = frame.groupby([*BLOCK, "steps"])["bold"].any()
    undecided = ~bold.loc[rivals.set_index([*BLOCK, "steps"]).index.unique()]
    sentences = [f"Bold in {column}: the best mean, and each that can't be told from it: {rule}"]
    if undecided.all():
        sentences = [f"Nothing is bold: in {column}, nothing can be told from the best mean: {rule}"]
    elif undecided.any():
        sentences.append("A column where this is everything has no bold")
    if lacking:
        sentences.append(f"Not compared, and so not bold, is what {' or '.join(lacking)}")
    return sentences


def _costs(frame: DataFrame, costs: Sequence[Cost]) -> str:
    words = dict(COSTS_IN_WORDS)
    if frame["metric"].iloc[0] in OF_LIKELIHOOD:
        words["seconds"] = "seconds are those of measuring the bounds of all columns"
    beside: dict[Cost, str] = {"seconds": f" ({', '.join(frame['device'].unique())})"}
    if frame["images_seen"].isna().any():
        beside["images_seen"] = " (a dash: weights from elsewhere)"
    return f"Costs: {'; '.join(words[cost] + beside.get(cost, '') for cost in costs)}"


def _tuned(frame: DataFrame, labels: Labels) -> list[str]:
    """Which options were tuned, by what, and the values of each row, or their range over steps and seeds."""
    if "tuned" not in frame:
        return []
    sentences = []
    for (option, metric), numbers in frame[frame["tuned"] != ""].groupby(["tuned", "tuned_by"], sort=False):
        axes = varying(numbers, AXES)
        rows = []
        for _, row in numbers.groupby([*AXES], sort=False):
            name = ", ".join(label(labels, axis, row[axis].iloc[0]) for axis in axes)
            low, high = row["tuned_value"].min(), row["tuned_value"].max()
            rows.append(f"{low:g} ({name})" if low == high else f"{low:g} to {high:g} ({name})")
        notes = numbers["tuned_notes"].str.split("; ").explode()
        counts = [f"{count} {note}" for note, count in notes[notes != ""].value_counts(sort=False).items()]
        of_all = f"; of {len(numbers)} values, {' and '.join(counts)}" if counts else ""
        by = f"Tuned by {str(metric).upper()} of samples that no table shows"
        sentences.append(f"{by}: {option} is {', '.join(rows)}{of_all}")
    return sentences


def _recipe(name: str, rows: DataFrame, labels: Labels, some_rows: bool) -> str:
    """Which rows used a recipe, which levels it visits, what it clips, and how it bounds the last noise."""
    covariances = ", ".join(label(labels, "covariance", covariance) for covariance in rows["covariance"].unique())
    levels = TIMESTEPS_IN_WORDS.get(rows["timesteps"].iloc[0], f"{rows['timesteps'].iloc[0]} levels")
    bounds = rows.dropna(subset="max_variance_pixels").drop_duplicates("sampler")
    pairs = zip(bounds["sampler"], bounds["max_variance_pixels"], strict=True)
    limits = " and ".join(f"{bound:g} ({label(labels, 'sampler', sampler)})" for sampler, bound in pairs)
    last = f"limited to {limits} grey levels in mean absolute value" if limits else "not limited"
    clipped = "clipped to ±1" if rows["clip_sample"].iloc[0] else "not clipped"
    return f"{name}{f' (covariance {covariances})' * some_rows}: {levels}; predicted x₀ {clipped}; last noise {last}"


def _listed(seeds: Series) -> str:
    return ", ".join(map(str, sorted(seeds)))


def _by_dataset(frame: DataFrame, describe: Callable[[DataFrame], str]) -> str:
    """A description of the rows: one if it is the same for all data sets, or one for each."""
    texts = {str(dataset): describe(rows) for dataset, rows in frame.groupby("dataset", sort=False)}
    each = [f"{text} for {dataset}" for dataset, text in texts.items()]
    return ", ".join(each if len(set(texts.values())) > 1 else set(texts.values()))
