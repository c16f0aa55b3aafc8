"""Checks a server's histograms (stages.json, stages.txt of a directory) with HdrHistogram's library for Python. See README.md."""

import json
import math
import pathlib
import sys

from hdrh.histogram import HdrHistogram

HIGHEST_NS = 3_600_000_000_000
STAGES = ("queue", "wait", "append", "sync", "apply", "reply")


def same(what, read, expected):
    if read != expected:
        sys.exit(f"{what}: read {read!r}, expected {expected!r}")


def values_of(histogram):
    """Every value that was recorded, as the lowest equivalent, with its count."""
    values = []
    # The library's iterator does not end where nothing was recorded.
    if histogram.get_total_count() > 0:
        for value in histogram.get_recorded_iterator():
            lowest = histogram.get_lowest_equivalent_value(value.value_iterated_to)
            values.append([lowest, value.count_at_value_iterated_to])
    return values


class Found:
    """A histogram, and what was recorded in it."""

    def __init__(self, histogram):
        self.histogram = histogram
        self.values = values_of(histogram)
        self.count = histogram.get_total_count()
        same("sum of counts", sum(count for _, count in self.values), self.count)

    def sums(self):
        """The sums of the lowest and of the highest times that the histogram may stand for."""
        highest = self.histogram.get_highest_equivalent_value
        low = sum(value * count for value, count in self.values)
        return low, sum(highest(value) * count for value, count in self.values)

    def quantile(self, share):
        """The highest time equivalent to the least one that so large a share of all does not exceed."""
        needed, seen = max(1, math.ceil(share * self.count)), 0
        for value, count in self.values:
            seen += count
            if seen >= needed:
                return self.histogram.get_highest_equivalent_value(value)
        return 0


def read_cores(path):
    """By the core's name, operation and stage: what was found. `all cores` has what the library makes of adding them."""
    cores, found, sums = json.loads(path.read_text())["cores"], {}, {}
    for core in cores:
        for operation, stages in core["operations"].items():
            for stage, encoded in stages.items():
                one = found[f"core {core['core']}", operation, stage] = Found(HdrHistogram.decode(encoded))
                added, by_hand = sums.setdefault((operation, stage), (HdrHistogram(1, HIGHEST_NS, 3), {}))
                added.add(one.histogram)
                for value, count in one.values:
                    by_hand[value] = by_hand.get(value, 0) + count
    recorded = sum(one.count for one in found.values())
    print(f"ok: {len(found)} histograms of {len(cores)} cores, with {recorded} values")
    for (operation, stage), (added, by_hand) in sums.items():
        total = found["all cores", operation, stage] = Found(added)
        same(f"{operation} {stage}, different values", len(total.values), len(by_hand))
        for (value, count), expected in zip(total.values, sorted(by_hand.items())):
            same(f"{operation} {stage}, value and count", (value, count), expected)
    print(f"ok: {len(sums)} sums over the cores are those of their values")
    return found


def check_residency(found):
    """Stages sum to residency to the nanosecond, so that the bounds which the histograms leave to both meet."""
    places = sorted({key[:2] for key in found})
    for place in places:
        parts = [found[*place, stage].sums() for stage in STAGES if (*place, stage) in found]
        low, high = (sum(part[side] for part in parts) for side in (0, 1))
        residency_low, residency_high = found[*place, "residency"].sums()
        where = f"{place}: {low} to {high} ns in stages, {residency_low} to {residency_high} ns of residency"
        same(f"{where}: whether they meet", low <= residency_high and residency_low <= high, True)
    print(f"ok: {len(places)} times the stages sum to residency")


def check_table(path, found):
    """The table for people has the figures of the same histograms; those of all cores were added by the program itself."""
    operation, core, rows = None, None, set()
    for line in path.read_text().splitlines():
        if line and not line.startswith(" "):
            operation, core = line[:24].strip().split(", ")
        elif line:
            stage, count, _share, _mean, *times = line.split()
            one = found[core, operation, stage]
            rows.add((core, operation, stage))
            same(f"{operation}, {core}, {stage}: count", int(count), one.count)
            expected = [f"{one.quantile(share) / 1e3:.1f}" for share in (0.5, 0.99, 0.999, 1)]
            same(f"{operation}, {core}, {stage}: times", times, expected)
    same("rows of the table", sorted(rows), sorted(found))
    print(f"ok: {len(rows)} rows of the table")


if __name__ == "__main__":
    directory = pathlib.Path(sys.argv[1])
    everything = read_cores(directory / "stages.json")
    check_residency(everything)
    check_table(directory / "stages.txt", everything)
    totals = {f"{key[1]} {key[2]}": one.values for key, one in everything.items() if key[0] == "all cores"}
    (directory / "sums.json").write_text(json.dumps(totals))
