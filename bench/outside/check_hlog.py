"""Checks open.hlog and *.hgrm of a directory with HdrHistogram's library for Python. See README.md."""

import io
import json
import pathlib
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

HIGHEST_NS = 3_600_000_000_000
BASE_MS = 1_795_426_867_125


def same(what, read, expected):
    if read != expected:
        sys.exit(f"{what}: read {read!r}, expected {expected!r}")


def check_log(directory):
    """Compares every interval, and gives back the sum of each tag."""
    expected = json.loads((directory / "open.hlog.expected.json").read_text())
    reader = HistogramLogReader(str(directory / "open.hlog"), HdrHistogram(1, HIGHEST_NS, 3))
    sums, recorded = {}, 0
    for number, line in enumerate(expected):
        histogram = reader.get_next_interval_histogram()
        if histogram is None:
            sys.exit(f"the log ends before interval {number}")
        where = f"interval {number}"
        same(f"{where}, tag", histogram.get_tag(), line["tag"])
        same(f"{where}, start", round(histogram.get_start_time_stamp()), BASE_MS + line["start"] * 1000)
        same(f"{where}, end", round(histogram.get_end_time_stamp()), BASE_MS + (line["start"] + line["seconds"]) * 1000)
        same(f"{where}, count", histogram.get_total_count(), line["count"])
        values = []
        if line["count"] > 0:
            same(f"{where}, max", histogram.get_max_value(), line["max"])
            for value in histogram.get_recorded_iterator():
                lowest = histogram.get_lowest_equivalent_value(value.value_iterated_to)
                values.append([lowest, value.count_at_value_iterated_to])
        same(f"{where}, values", values, line["values"])
        same(f"{where}, sum", sum(v * c for v, c in values), sum(v * c for v, c in line["values"]))
        sums.setdefault(line["tag"], HdrHistogram(1, HIGHEST_NS, 3)).add(histogram)
        recorded += line["count"]
    same("after the last interval", reader.get_next_interval_histogram(), None)
    print(f"ok: {len(expected)} intervals, {recorded} values")
    return sums


def check_distributions(directory, sums):
    """Looks up every line's value and count in the sum. Lines are not compared as text: this library steps through percentiles otherwise."""
    lines = 0
    for tag, histogram in sums.items():
        values, counts = [], [0]
        for value in histogram.get_recorded_iterator():
            values.append(value.value_iterated_to)
            counts.append(counts[-1] + value.count_at_value_iterated_to)
        total = histogram.get_total_count()
        for unit, nanoseconds in (("us", 1e3), ("ms", 1e6)):
            name = f"{tag}.{unit}.hgrm"
            written = (directory / name).read_text().splitlines()
            for number, line in enumerate(written[2:-3], 3):
                value, share, count, *_ = line.split()
                where = f"{name}:{number}"
                # A count stands for one value, where three decimals may stand for several.
                index = counts.index(int(count)) - 1
                same(f"{where}, value", value, f"{values[index] / nanoseconds:.3f}")
                enough = counts[index + 1] >= float(share) * total - 1e-6
                needed = counts[index] <= float(share) * total + 1e-6
                same(f"{where}, whether the value is the least that reaches the level", (enough, needed), (True, True))
                lines += 1
            output = io.BytesIO()
            histogram.output_percentile_distribution(output, nanoseconds)
            mean, maximum, buckets = output.getvalue().decode().splitlines()[-3:]
            same(f"{name}, mean", written[-3].split(",")[0], mean.split(",")[0])
            same(f"{name}, max", written[-2].split(",")[0], maximum.split(",")[0])
            same(f"{name}, count", written[-2].split("=")[-1].strip(" ]"), str(total))
            same(f"{name}, buckets", written[-1], buckets)
            lines += 3
    print(f"ok: {lines} lines of distributions")


if __name__ == "__main__":
    samples = pathlib.Path(sys.argv[1])
    check_distributions(samples, check_log(samples))
