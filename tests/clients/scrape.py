"""Scrapes /metrics again and again, as Prometheus does, and looks whether it makes sense.

    PYTHONPATH=<prometheus-client> scrape.py HOST PORT SCRAPES
"""

import sys
import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

OF_EVERY_PROCESS = {
    "process_cpu_seconds",
    "process_start_time_seconds",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_open_fds",
    "process_max_fds",
}


def scrape(url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        kind = answer.headers["Content-Type"]
        assert kind == "text/plain; version=0.0.4; charset=utf-8", kind
        assert answer.headers["Access-Control-Allow-Origin"] is None
        text = answer.read().decode()
    assert text.endswith("\n")
    families = {}
    for family in text_string_to_metric_families(text):
        assert family.name not in families, f"{family.name} comes twice"
        families[family.name] = family
    return families


def series(sample, without=()):
    labels = sorted((k, v) for k, v in sample.labels.items() if k not in without)
    return sample.name, tuple(labels)


def check_form(family):
    assert family.documentation, f"{family.name} has no HELP"
    assert family.type in ("counter", "gauge", "histogram"), f"{family.name}: {family.type}"
    assert family.name.startswith(("litecached_", "process_")), family.name
    assert family.samples, f"{family.name} has no sample"
    if family.type == "counter":
        assert all(sample.name == family.name + "_total" for sample in family.samples), family
    seen = [series(sample) for sample in family.samples]
    assert len(seen) == len(set(seen)), f"{family.name} has a series twice"


def check_histogram(family):
    buckets, counts, sums = {}, {}, {}
    for sample in family.samples:
        _, labels = series(sample, without=("le",))
        if sample.name.endswith("_bucket"):
            buckets.setdefault(labels, []).append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_count"):
            counts[labels] = sample.value
        else:
            assert sample.name.endswith("_sum"), sample
            sums[labels] = sample.value
    assert buckets.keys() == counts.keys() == sums.keys(), family.name
    for labels, found in buckets.items():
        bounds = [bound for bound, _ in found]
        values = [value for _, value in found]
        assert bounds == sorted(set(bounds)) and bounds[-1] == float("inf"), (family.name, bounds)
        assert values == sorted(values), (family.name, labels, values)
        assert values[-1] == counts[labels], (family.name, labels)
        # All that is in a bucket is at least as much as the bucket before it ends with.
        least = sum(
            low * (there - before)
            for (low, before), (_, there) in zip([(0, 0)] + found, found)
            if there > before
        )
        assert sums[labels] >= least * 0.999, (family.name, labels, sums[labels], least)


def main():
    host, port, scrapes = sys.argv[1], sys.argv[2], int(sys.argv[3])
    before, moved = {}, set()
    for number in range(scrapes):
        families = scrape(f"http://{host}:{port}/metrics")
        assert OF_EVERY_PROCESS <= families.keys(), OF_EVERY_PROCESS - families.keys()
        now = {}
        for family in families.values():
            check_form(family)
            if family.type == "histogram":
                check_histogram(family)
            if family.type != "gauge":
                now.update({series(sample): sample.value for sample in family.samples})
        assert number == 0 or before.keys() == now.keys(), before.keys() ^ now.keys()
        for of, value in now.items():
            assert value >= before.get(of, 0), f"{of} fell from {before[of]} to {value}"
            if number > 0 and value > before[of]:
                moved.add(of[0])
        before = now
        time.sleep(0.02)
    for name in (
        "litecached_commands_total",
        "litecached_command_duration_seconds_count",
        "litecached_commit_operations_count",
        "litecached_received_bytes_total",
    ):
        assert name in moved, f"{name} did not move under load"
    print(f"passed: {scrapes} scrapes of {len(families)} families, {len(moved)} moved")


main()
