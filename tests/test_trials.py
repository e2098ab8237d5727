# SPDX-License-Identifier: Apache-2.0
"""Trials are computed once, and what is on file is whole."""

from __future__ import annotations

import json
import math
import os
import stat

import pytest

from tfartgen import trials
from tfartgen.trials import Trial, TrialStore


class Computing:
    """Gives a result and counts how often it was asked to."""

    def __init__(self, result):
        self.result, self.calls = result, 0

    def __call__(self):
        self.calls += 1
        return self.result


@pytest.fixture
def store(tmp_path):
    return TrialStore(tmp_path / "some" / "trials")


def files_of(tmp_path):
    return sorted(path for path in tmp_path.rglob("*") if path.is_file())


def test_a_trial_is_computed_once_and_read_by_another_store(store, tmp_path):
    compute = Computing({"accuracy": 0.1 + 0.2})
    trial = Trial("real", {"seed": 3}, compute)
    assert store.peek(trial) is None and not files_of(tmp_path)
    assert store.result(trial) == store.result(trial) == {"accuracy": 0.1 + 0.2}
    other = TrialStore(tmp_path / "some" / "trials")
    same = Trial("real", {"seed": 3}, Computing({"accuracy": 9}))
    assert other.result(same) == other.peek(same) == {"accuracy": 0.1 + 0.2}
    assert (compute.calls, same.compute.calls) == (1, 0)
    (file,) = files_of(tmp_path)
    assert file.name == f"{trial.key}.json" and file.name.startswith("real-")
    assert json.loads(file.read_text())["settings"] == {"seed": 3}


@pytest.mark.parametrize(
    "kind, settings",
    [
        ("pate", {"seed": 3, "student": {"steps": 5}}),
        ("real", {"seed": 4, "student": {"steps": 5}}),
        ("real", {"seed": 3, "student": {"steps": 6}}),
        ("real", {"seed": 3, "student": {"steps": 5}, "more": None}),
        ("real", {"seed": 3}),
    ],
)
def test_other_settings_are_another_trial(store, kind, settings):
    first = Trial("real", {"seed": 3, "student": {"steps": 5}}, Computing({"value": 1}))
    second = Trial(kind, settings, Computing({"value": 2}))
    assert first.key != second.key
    assert (store.result(first), store.result(second)) == ({"value": 1}, {"value": 2})
    assert (store.peek(first), store.peek(second)) == ({"value": 1}, {"value": 2})


def test_the_order_of_settings_and_tuples_for_lists_make_no_other_trial():
    one = Trial("real", {"a": (1, 2), "b": {"c": 3, "d": 4}}, dict)
    other = Trial("real", {"b": {"d": 4, "c": 3}, "a": [1, 2]}, dict)
    assert one.key == other.key


def test_results_of_an_older_version_are_not_taken_for_new(store, monkeypatch):
    trial = Trial("real", {}, Computing({"value": 1}))
    store.result(trial)
    monkeypatch.setattr(trials, "_VERSION", trials._VERSION + 1)
    assert store.peek(trial) is None


def test_what_is_returned_first_is_what_is_read_later(store):
    trial = Trial("real", {}, Computing({"shape": (8, 8), "counts": {1: 2}}))
    first = store.result(trial)
    assert first == store.result(trial) == {"shape": [8, 8], "counts": {"1": 2}}
    assert trial.compute.calls == 1


@pytest.mark.parametrize(
    "content", [b"", b'{"result": {"val', b"\xff\xfe", b"[]", b"null", b"{}", b'{"result": 3}']
)
def test_a_damaged_file_is_computed_again(store, tmp_path, content):
    trial = Trial("real", {}, Computing({"value": 1}))
    store.result(trial)
    (file,) = files_of(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(content)
    assert store.peek(trial) is None
    assert store.result(trial) == {"value": 1} and trial.compute.calls == 2
    assert files_of(tmp_path) == [file] and file.read_bytes() == whole


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_results_that_are_no_numbers_are_refused_and_leave_nothing(store, tmp_path, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.result(Trial("real", {}, Computing({"inner": [value]})))
    assert not files_of(tmp_path)


def test_settings_that_are_no_numbers_are_refused_and_leave_nothing(store, tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.result(Trial("real", {"rate": math.nan}, Computing({"value": 1})))
    assert not files_of(tmp_path)


@pytest.mark.parametrize("value, error", [(math.nan, ValueError), (object(), TypeError)])
def test_settings_that_make_no_key_are_refused_before_the_trial_is_computed(store, value, error):
    trial = Trial("real", {"rate": value}, Computing({"value": 1}))
    with pytest.raises(error, match="JSON"):
        store.result(trial)
    assert trial.compute.calls == 0


@pytest.mark.parametrize("error", [OSError("full"), KeyError("x"), KeyboardInterrupt()])
def test_a_trial_that_fails_leaves_no_file_and_can_be_run_again(store, tmp_path, error):
    def fail():
        raise error

    with pytest.raises(type(error)):
        store.result(Trial("real", {}, fail))
    assert not files_of(tmp_path)
    assert store.result(Trial("real", {}, Computing({"value": 1}))) == {"value": 1}


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "results.csv"
    for text in ("first\n", "zweite Ausführung\n"):
        trials.write_atomically(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert os.listdir(tmp_path) == ["results.csv"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "results.csv"
    trials.write_atomically(path, "old")

    def fail(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="no space"):
        trials.write_atomically(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["results.csv"]


def test_the_old_file_is_there_until_the_new_one_is_on_disk(tmp_path, monkeypatch):
    path, seen = tmp_path / "results.csv", []
    trials.write_atomically(path, "old")

    def fsync(file):
        if stat.S_ISREG(os.fstat(file).st_mode):  # the folder follows
            seen.append((path.read_text(), os.fstat(file).st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    trials.write_atomically(path, "newer")
    assert seen == [("old", len("newer"))] and path.read_text() == "newer"
