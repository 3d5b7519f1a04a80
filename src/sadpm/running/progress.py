"""Progress of long work: a bar on a terminal, a plain line now and then in a log, and in the status of the job."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from sadpm.running import status

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 10


def progress(
    items: Iterable[Item], total: int, what: str, start: int = 0, unit: str = "steps", losses: status.Losses = dict
) -> Iterator[Item]:
    """Yield the items, telling how many of ``total`` are done; ``start`` were done before.

    The job's status tells the same, with the last ``losses`` by name.
    """
    items = status.current.follow(items, total, what, start, unit, losses)
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=what, initial=start)
        return
    begun = last = time.monotonic()
    for done, item in enumerate(items, start):
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last, rate = now, (done - start) / (now - begun)
            print(f"{what}: {done}/{total}, {rate:.3g}/s", file=sys.stderr, flush=True)
        yield item
    print(f"{what}: {total}/{total} after {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
