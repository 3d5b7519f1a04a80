"""Progress of long work: a bar on a terminal, a plain line now and then in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 10


def progress(items: Iterable[Item], total: int, what: str, start: int = 0) -> Iterator[Item]:
    """Yield the items, telling on stderr how many of ``total`` are done; ``start`` were done before."""
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
