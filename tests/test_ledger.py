# SPDX-License-Identifier: Apache-2.0
"""Tests of stretches as events, and of the ledger in memory and on file."""

from __future__ import annotations

import dataclasses
import json
import os

import dp_accounting
import numpy as np
import pytest

from tfartgen.ledger import VERSION, Ledger, Stretch, compose

POISSON = Stretch("poisson", 0.25, 1.5, 0.7, 64, 10)
SHUFFLE = Stretch("shuffle", 0.25, 1.5, 0.7, 64, 10)
CRITIC = dataclasses.replace(POISSON, coordinates=356)
EXACT = Stretch("poisson", 1.0, 1.5, 1.0, 1, 1, "mean embedding", 900, 2**31)


def with_steps(stretch, steps):
    return dataclasses.replace(stretch, steps=steps)


def test_poisson_stretch_is_sampled_gaussians():
    gaussian = dp_accounting.GaussianDpEvent(1.5)
    sampled = dp_accounting.PoissonSampledDpEvent(0.25, gaussian)
    assert POISSON.event() == dp_accounting.SelfComposedDpEvent(sampled, 10)


@pytest.mark.parametrize(("steps", "charges"), [(1, 1), (4, 1), (5, 2), (8, 2), (10, 3)])
def test_shuffled_stretch_is_charged_once_a_started_pass(steps, charges):
    gaussian = dp_accounting.GaussianDpEvent(1.5)
    event = with_steps(SHUFFLE, steps).event()
    assert event == dp_accounting.SelfComposedDpEvent(gaussian, charges)


@pytest.mark.parametrize(("records", "batch"), [(10, 3), (10, 5), (7, 7), (49, 1), (100, 33)])
def test_shuffled_record_is_never_in_more_batches_than_charged(records, batch):
    passes, steps_of_pass = 5, -(-records // batch)
    for steps in range(1, passes * steps_of_pass + 1):
        most = -(-steps // steps_of_pass)
        assert most <= Stretch("shuffle", batch / records, 1.0, 1.0, batch, steps).charges


@pytest.mark.parametrize("sampler", ["poisson", "shuffle"])
def test_edge_events(sampler):
    nothing = Stretch(sampler, 0.1, 0.0, 1.0, 8, 0)
    assert isinstance(nothing.event(), dp_accounting.NoOpDpEvent) and nothing.is_private
    noiseless = Stretch(sampler, 0.1, 0.0, 1.0, 8, 1)
    assert isinstance(noiseless.event(), dp_accounting.NonPrivateDpEvent)
    assert not noiseless.is_private


def test_promise_5_every_step_of_every_stretch_is_composed():
    stretches = [
        POISSON,
        SHUFFLE,
        with_steps(POISSON, 7),
        dataclasses.replace(POISSON, noise_multiplier=2.0),
    ]
    events = compose(stretches).events
    assert [event.count for event in events] == [17, 3, 10]
    assert compose([]).events == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sampler", "uniform"),
        ("sampling_rate", 0.0),
        ("sampling_rate", 1.1),
        ("sampling_rate", float("nan")),
        ("noise_multiplier", -1.0),
        ("noise_multiplier", float("nan")),
        ("noise_multiplier", float("inf")),
        ("noise_multiplier", 1e-7),
        ("noise_multiplier", 1e7),
        ("clip_norm", 0.0),
        ("clip_norm", float("nan")),
        ("batch_size", 0),
        ("batch_size", 1.5),
        ("steps", -1),
        ("steps", 2.5),
        ("steps", False),
        ("steps", float("nan")),
        ("coordinates", 0),
        ("coordinates", 2.5),
        ("coordinates", float("nan")),
        ("grid", 0),
        ("grid", 2.5),
    ],
)
def test_stretch_refuses(field, value):
    with pytest.raises(ValueError, match=f"^{field} must be "):
        dataclasses.replace(POISSON, **{field: value})


@pytest.mark.parametrize(
    "changes",
    [
        {"coordinates": None},
        {"sampling_rate": 0.5},
        {"sampler": "shuffle"},
    ],
)
def test_exact_noise_is_on_a_sum_over_all_records(changes):
    with pytest.raises(ValueError, match="is of exact noise, which takes coordinates and a sum"):
        dataclasses.replace(EXACT, **changes)
    assert EXACT.scale == 1.5 * 2**31


def test_record_merges_only_one_mechanism_that_goes_on():
    ledger = Ledger()
    ledger.record(POISSON)
    ledger.record(with_steps(POISSON, 5))
    ledger.record(dataclasses.replace(POISSON, noise_multiplier=1.6))
    ledger.record(POISSON)
    assert [s.steps for s in ledger.stretches] == [15, 10, 10]
    assert ledger.steps == 35


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling_rate": 0.125},
        {"noise_multiplier": 0.75},
        {"clip_norm": 0.35},
        {"batch_size": 3},
        {"coordinates": 357},
        {"coordinates": None},
    ],
)
def test_record_keeps_apart_what_differs(changes):
    ledger = Ledger([CRITIC])
    ledger.record(dataclasses.replace(CRITIC, **changes))
    assert len(ledger.stretches) == 2


def test_shuffled_sessions_stay_apart_unless_one_goes_on():
    ledger = Ledger([SHUFFLE])
    ledger.record(SHUFFLE)
    assert [s.charges for s in ledger.stretches] == [3, 3]
    ledger.record(with_steps(SHUFFLE, 2), continues=True)
    assert [s.steps for s in ledger.stretches] == [10, 12]
    ledger.record(dataclasses.replace(SHUFFLE, noise_multiplier=1.0), continues=True)
    assert len(ledger.stretches) == 3


@pytest.mark.parametrize(
    ("steps", "left"), [(0, []), (4, [4]), (10, [10]), (11, [10, 1]), (15, [10, 5]), (99, [10, 5])]
)
def test_truncate(steps, left):
    ledger = Ledger([POISSON, with_steps(SHUFFLE, 5)])
    ledger.truncate(steps)
    assert [s.steps for s in ledger.stretches] == left


@pytest.mark.parametrize("steps", [-1, 1.5, float("nan"), True])
def test_truncate_refuses_what_is_no_count(steps):
    with pytest.raises(ValueError, match="^steps must be "):
        Ledger([POISSON]).truncate(steps)


def test_written_ledger_reads_back_the_same(tmp_path):
    path = tmp_path / "ledger.jsonl"
    odd = Stretch("poisson", np.float32(0.1), 1 / 3, 1e-3, np.int64(8), np.int64(3))
    ledger = Ledger([EXACT, CRITIC, POISSON, SHUFFLE, odd])
    ledger.write(path)
    assert Ledger.read(path).stretches == ledger.stretches
    assert Ledger.read(path).version == ledger.version == VERSION
    Ledger([SHUFFLE]).write(path)
    assert Ledger.read(path).stretches == [SHUFFLE]
    assert [entry.name for entry in tmp_path.iterdir()] == ["ledger.jsonl"]


def test_line_holds_every_field_and_the_mechanism(tmp_path):
    Ledger([CRITIC, EXACT]).write(tmp_path / "ledger.jsonl")
    lines = (tmp_path / "ledger.jsonl").read_text().splitlines()
    head, critic, exact = map(json.loads, lines)
    assert head == {"ledger": "tfartgen", "version": 2}
    fields = dataclasses.asdict(CRITIC)
    assert fields.pop("grid") is None  # what says nothing is left out
    assert critic == {"mechanism": "gaussian", **fields}
    assert exact == {"mechanism": "discrete gaussian", **dataclasses.asdict(EXACT)}


def test_ledger_of_version_1_is_read_and_stays_one(tmp_path):
    """Whatever is written to it, nobody takes its draws for those of today."""
    path = tmp_path / "ledger.jsonl"
    path.write_text(f"{GOOD}\n", encoding="utf-8")
    ledger = Ledger.read(path)
    assert (ledger.version, ledger.stretches) == (1, [POISSON])
    ledger.record(POISSON)
    ledger.write(path)
    assert Ledger.read(path).version == 1 and Ledger.read(path).steps == 20
    assert "version" not in path.read_text()


@pytest.mark.parametrize("version", ["3", "1", "null", '"2"'])
def test_ledger_of_a_version_that_nobody_knows_is_refused(tmp_path, version):
    path = tmp_path / "ledger.jsonl"
    path.write_text(f'{{"ledger": "tfartgen", "version": {version}}}\n{GOOD}\n')
    with pytest.raises(ValueError, match="is a ledger of version .* install the tfartgen") as error:
        Ledger.read(path)
    assert "\n" not in str(error.value)


def test_empty_ledger(tmp_path):
    (tmp_path / "ledger.jsonl").write_text("")
    assert Ledger.read(tmp_path / "ledger.jsonl").steps == 0
    Ledger().write(tmp_path / "ledger.jsonl")
    assert Ledger.read(tmp_path / "ledger.jsonl").steps == 0


HEAD = json.dumps({"ledger": "tfartgen", "version": 2})
GOOD = json.dumps(POISSON.as_json())


@pytest.mark.parametrize("first", [HEAD, GOOD], ids=["version 2", "version 1"])
@pytest.mark.parametrize(
    "line",
    [
        GOOD[:-9],
        "",
        "null",
        "[]",
        "7",
        GOOD.replace('"steps": 10', '"steps": 1e1'),
        GOOD.replace('"steps": 10', '"steps": -10'),
        GOOD.replace('"steps": 10', '"step": 10'),
        GOOD.replace(', "steps": 10', ""),
        GOOD.replace("1.5", "NaN"),
        GOOD.replace("1.5", "null"),
        GOOD.replace("gaussian", "laplace"),
        GOOD.replace("gaussian", "discrete gaussian"),
        json.dumps(EXACT.as_json()).replace("discrete ", ""),
        json.dumps(EXACT.as_json()).replace('"coordinates": 900, ', ""),
        GOOD.replace('"mechanism": "gaussian", ', ""),
        GOOD.replace("poisson", "\ufffd"),
        "[" * 100_000,
    ],
)
def test_damaged_line_is_named(tmp_path, line, first):
    path = tmp_path / "ledger.jsonl"
    path.write_text(f"{first}\n{line}\n{GOOD}\n", encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"ledger\.jsonl line 2 is damaged \(.*\); restore"
    ) as caught:
        Ledger.read(path)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_named(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="line 1 is damaged"):
        Ledger.read(path)


def test_failed_write_keeps_the_old_ledger(tmp_path, monkeypatch):
    path = tmp_path / "ledger.jsonl"
    Ledger([POISSON]).write(path)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        Ledger([SHUFFLE]).write(path)
    assert Ledger.read(path).stretches == [POISSON]
    assert len(list(tmp_path.iterdir())) == 1
