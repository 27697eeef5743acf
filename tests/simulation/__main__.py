"""`make simulate SEEDS=N FROM=seed`: many seeds, on all processors. With `COVERAGE=1`: what they reach of the product."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.reached import Reached, report
from tests.simulation.seeds import EFFECTS, Found, kind_of, run, shortest, silence

PART = 25
"""Seeds that one process takes at once."""


def part(seeds: range) -> list[Found]:
    with silence():
        return [found for seed in seeds if (found := run(seed)) is not None]


def watched(seeds: range) -> Reached:
    reached = Reached()
    with reached.watching():
        part(seeds)
    return reached


def cover(count: int, first: int) -> int:
    """Say what so many seeds reach, and what none of them does."""
    parts = [range(start, min(start + PART, first + count)) for start in range(first, first + count, PART)]
    whole = Reached()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for reached in pool.map(watched, parts):
            whole.add(reached)
    print(f"{count:,} seeds from {first} reached", *report(whole), sep="\n")
    return 0


def main(count: int, first: int) -> int:
    parts = [range(start, min(start + PART, first + count)) for start in range(first, first + count, PART)]
    begun = time.monotonic()
    failed: list[Found] = []
    done = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for seeds, found in zip(parts, pool.map(part, parts), strict=True):
            failed += found
            done += len(seeds)
            print(f"\r{done:,} of {count:,} seeds, {len(failed)} failed", end="", file=sys.stderr, flush=True)
    took = time.monotonic() - begun
    print(file=sys.stderr)
    effects = sum(EFFECTS[kind_of(seed)] for seeds in parts for seed in seeds)
    print(f"{count:,} seeds from {first}, {effects:,} effects: {effects / took:,.0f} a second, {len(failed)} failed")
    if failed:
        with silence():
            first_one = shortest(failed[0].seed) or failed[0]
        print(f"\nseed {first_one.seed}, after {first_one.effects} effects: {first_one.problem}")
        print("", *first_one.history, sep="\n  ")
        print(f"\nall that failed: {', '.join(str(found.seed) for found in failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    asked, covers = [int(word) for word in sys.argv[1:3]], sys.argv[3:] == ["--coverage"]
    sys.exit((cover if covers else main)(*asked))
