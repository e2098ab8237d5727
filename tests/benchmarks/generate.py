#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`bin/generate`: images per second, beside the generator alone; memory; first image; a student through TFDS.

    python tests/benchmarks/generate.py
    python tests/benchmarks/generate.py --memory_examples=1000000    # minutes more

The two processes that are compared both start, load the same SavedModel and draw the same labels and seeds in
the same batches; one writes a TFDS data set with its papers, the other throws the images away. They run in
turns, and ratios are taken turn by turn, so that a machine that slows down slows both.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import _report

_report.quiet()

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BARS = {"ratio_to_generator_alone": 0.8, "memory_gib": 1.5, "student_accuracy_lost": 0.0}

#: What the generator alone does, in a process of its own: argument 1 is the model, 2 the number of images.
ALONE = """
import sys
from tfartgen import artificial
model = artificial.LocalModel(sys.argv[1])
plan = artificial.DrawPlan(int(sys.argv[2]), 0, artificial.LabelPolicy.uniform(model.spec.num_classes))
for part in plan.parts():
    artificial.draw_part(model, plan, *part)
"""

#: Loads, replays the warm-up requests' batches if asked, and times the first image.
FIRST_IMAGE = """
import os, sys, time
import tensorflow as tf
start = time.perf_counter()
loaded = tf.saved_model.load(sys.argv[1])
seeded = loaded.signatures["seeded"]
load = time.perf_counter() - start
start = time.perf_counter()
for size in map(int, sys.argv[2:]):
    seeded(label=tf.zeros([size], tf.int32), seed=tf.zeros([size], tf.int64))["image"].numpy()
warm = time.perf_counter() - start
start = time.perf_counter()
seeded(label=tf.constant([1]), seed=tf.constant([1], tf.int64))["image"].numpy()
print(load, warm, time.perf_counter() - start)
"""


def run(*command):
    """Runs Python; wall seconds, CPU seconds, peak resident GiB and what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen([sys.executable, *command], env=environment, stdout=printed)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status:
            raise SystemExit(f"{command[0]} failed with {os.waitstatus_to_exitcode(status)}")
        printed.seek(0)
        cpu_seconds = usage.ru_utime + usage.ru_stime
        return seconds, cpu_seconds, usage.ru_maxrss / 2**20, printed.read()


def generate(model, count, output, *flags):
    """Runs `bin/generate`; wall seconds, CPU seconds and peak resident GiB."""
    command = [f"--model={model}", f"--num_examples={count}", f"--output={output}", *flags]
    return run(str(REPOSITORY / "bin" / "generate"), *command)[:3]


def measure_speed(model, count, turns, work):
    """Turns of `bin/generate` and of the generator alone; start-up is what one image takes."""
    rows = []
    for turn in range(turns):
        ours = generate(model, count, work / f"speed{turn}")
        alone = run("-c", ALONE, str(model), str(count))
        ours_one = generate(model, 1, work / f"one{turn}")
        alone_one = run("-c", ALONE, str(model), "1")
        rows.append(
            {
                "generate_seconds": ours[0],
                "generate_seconds_without_start_up": ours[0] - ours_one[0],
                "alone_seconds": alone[0],
                "alone_seconds_without_start_up": alone[0] - alone_one[0],
                "ratio": (alone[0] - alone_one[0]) / (ours[0] - ours_one[0]),
                "ratio_whole_processes": alone[0] / ours[0],
                "ratio_of_cpu_time": (alone[1] - alone_one[1]) / (ours[1] - ours_one[1]),
                "memory_gib": ours[2],
            }
        )
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def measure_first_image(model, turns):
    """Milliseconds to load, to warm up, and from a request to its image, cold and warmed up."""
    from tfartgen import artificial, warmup

    folder = str(artificial.find_version(model))
    facts = {}
    for way, sizes in (("cold", ()), ("warmed_up", warmup.BATCH_SIZES)):
        printed = [run("-c", FIRST_IMAGE, folder, *map(str, sizes))[3] for _ in range(turns)]
        times = [[1e3 * float(number) for number in line.split()] for line in printed]
        load, warm, first = (statistics.median(column) for column in zip(*times))
        facts[way] = {"load_ms": load, "warm_up_ms": warm, "first_image_ms": first}
    return facts


def measure_students(model, count, seeds, work):
    """Accuracy on real digits of students of the released folder, and of the arrays that were drawn."""
    import _study
    import numpy as np
    import tensorflow_datasets as tfds

    from tfartgen import artificial, data

    generate(model, count, work / "students")
    builder = tfds.builder_from_directory(work / "students")
    stream = builder.as_dataset(split="train", as_supervised=True).as_numpy_iterator()
    read = [np.array(column) for column in zip(*stream)]
    local = artificial.LocalModel(model)
    policy = artificial.LabelPolicy.uniform(local.spec.num_classes)
    drawn = artificial.draw_part(local, artificial.DrawPlan(count, 0, policy), 0, count)
    held_out = data.load("digits").held_out.arrays()
    classes = local.spec.num_classes
    return {
        way: _study.student_accuracies(*source, held_out, classes, range(seeds))
        for way, source in (("through_tfds", read), ("from_arrays", drawn))
    }


def main():
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mnist_model", default=REPOSITORY / "saved_models" / "mnist")
    parser.add_argument("--digits_model", default=REPOSITORY / "saved_models" / "digits")
    parser.add_argument("--num_examples", type=int, default=60_000, help="of MNIST, for the speed")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--memory_examples", type=int, default=0, help="of digits; 1000000 is long")
    parser.add_argument("--student_examples", type=int, default=5_000)
    parser.add_argument("--seeds", type=int, default=3, help="students of each kind")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        measure(flags, pathlib.Path(temporary))


def measure(flags, work):
    """All measurements, in a folder to throw away."""
    import _study

    count = flags.num_examples
    speed = measure_speed(flags.mnist_model, count, flags.turns, work)
    first = measure_first_image(flags.mnist_model, flags.turns)
    accuracies = measure_students(flags.digits_model, flags.student_examples, flags.seeds, work)
    memory = None
    if flags.memory_examples:
        seconds, _, gib = generate(flags.digits_model, flags.memory_examples, work / "memory")
        memory = {"examples": flags.memory_examples, "seconds": seconds, "gib": gib}
    seconds = {
        "bin/generate, MNIST images/s with start-up": "generate_seconds",
        "the same without start-up": "generate_seconds_without_start_up",
        "generator alone, images/s without start-up": "alone_seconds_without_start_up",
    }
    rates = {name: count / speed[key] for name, key in seconds.items()}
    rows = [(name, f"{rate:,.0f}", "-") for name, rate in rates.items()]
    bar = BARS["ratio_to_generator_alone"]
    rows += [
        ("ratio, without start-up", f"{speed['ratio']:.2f}", bar),
        ("ratio, whole processes", f"{speed['ratio_whole_processes']:.2f}", "-"),
        ("ratio of CPU time, without start-up", f"{speed['ratio_of_cpu_time']:.2f}", "-"),
        (f"peak memory, {count:,} MNIST images, GiB", f"{speed['memory_gib']:.2f}", "-"),
    ]
    if memory:
        name = f"peak memory, {memory['examples']:,} digits images, GiB"
        rows.append((name, f"{memory['gib']:.2f}", BARS["memory_gib"]))
    for way, facts in first.items():
        rows.append(
            (f"first image after loading, {way}, ms", f"{facts['first_image_ms']:.1f}", "-")
        )
    for way, values in accuracies.items():
        rows.append((f"digits student, {way}", _study.summary(values), "-"))
    _report.print_table(("generate", "measured", "bar"), rows)
    facts = {"num_examples": count, "speed": speed, "rates": rates, "first_image": first}
    _report.write("generate", {"bars": BARS, **facts, "memory": memory, "accuracies": accuracies})


if __name__ == "__main__":
    main()
