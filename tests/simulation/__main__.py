"""`make simulate SEEDS=N FROM=seed`: many seeds, on all processors."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.seeds import EFFECTS, Found, kind_of, run, shortest, silence

PART = 25
"""Seeds that one process takes at once."""


def part(seeds: range) -> list[Found]:
    with silence():
        return [found for seed in seeds if (found := run(seed)) is not None]


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
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
