# SPDX-License-Identifier: Apache-2.0
"""What was spent stays spent: runs whose folders are deleted, damaged, restored, copied and killed, and several runs on the same records."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import stat

import numpy as np
import pytest
from training_samples import (
    COUNT,
    EVERY_STEP,
    SMALL,
    STEPS,
    STOP,
    at_step,
    exported,
    fixed_keys,
    make_config,
    make_data,
    make_formal_config,
    read_ledger,
    read_statement,
    stop_after,
    train,
)

from tfartgen import accounting, budget_book, data, embedding, training, whole_files
from tfartgen.budget_book import BudgetBook
from tfartgen.budget_entries import Ceiling
from tfartgen.ledger import MEAN_EMBEDDING, Ledger, Stretch
from tfartgen.rounding import upwards
from tfartgen.train_config import configure

BUDGET = 3.0


def embedding_only(**changes):
    """The default formal run: one release of the mean embedding, and no critic."""
    settings = {"epsilon": BUDGET, "fourier_features": 20, "warm_start_steps": 2, **SMALL}
    return configure(make_data(), **{**settings, **changes})


def joint(folder, version=1):
    return read_statement(folder, version)["earlier_releases"]["joint_epsilon"]


def states(folder, version=1):
    earlier = read_statement(folder, version)["earlier_releases"]["releases"]
    return [each["state"] for each in earlier]


def twice():
    """Epsilon of two such releases together, priced by hand."""
    noise = accounting.calibrate_noise_multiplier(
        BUDGET,
        1e-5,
        sampler="poisson",
        sampling_rate=1.0,
        batch_size=1,
        clip_norm=1.0,
        steps=1,
        coordinates=10_000,
        grid=2**31,
    )
    together = accounting.epsilon([Stretch.of_sums(noise, 1.0, 10_000, steps=2)], 1e-5)
    assert 4.4 < together < 4.5
    return together


# One folder


def test_promise_18_a_formal_run_whose_checkpoints_are_deleted_is_refused(tmp_path):
    train(tmp_path, embedding_only())
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(ValueError, match=r"would spend epsilon 4\.4\d+, more than --epsilon=3.0"):
        train(tmp_path, embedding_only())
    assert not (tmp_path / "models" / "2").exists()


def test_promise_18_a_run_without_budget_whose_checkpoints_are_deleted_states_both(tmp_path):
    train(tmp_path)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    result = train(tmp_path)
    assert "what its ledger holds is owed all the same" in result.notes[0]
    statement = read_statement(tmp_path, 2)
    assert statement["critic_steps"] == 2 * STEPS
    assert sum(each["steps"] for each in statement["mechanism"]) == 2 * STEPS
    assert statement["epsilon"] > read_statement(tmp_path)["epsilon"]
    assert statement["epsilon"] == result.spent.epsilon == joint(tmp_path, 2)


def test_promise_18_checkpoints_deleted_before_the_export_are_owed_too(tmp_path):
    with stop_after(STOP):
        train(tmp_path)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    train(tmp_path)
    assert read_statement(tmp_path)["critic_steps"] == STOP + STEPS


def test_promise_18_the_whole_folder_deleted_is_counted_by_the_book(tmp_path):
    train(tmp_path, embedding_only())
    shutil.rmtree(tmp_path / "run")
    result = train(tmp_path, embedding_only())
    assert states(tmp_path, 2) == ["settled"]
    assert joint(tmp_path, 2) == pytest.approx(twice(), rel=1e-3)
    assert f"epsilon = {upwards(joint(tmp_path, 2))}" in result.together


def test_promise_18_an_older_copy_that_is_restored_is_counted_by_the_book(tmp_path):
    with stop_after(STOP):
        train(tmp_path, checkpoint_minutes=EVERY_STEP)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    train(tmp_path)
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "copy").rename(tmp_path / "run")
    train(tmp_path)
    # Of its own it has twelve steps, five of them in the copy; the other run's twelve stay owed.
    assert read_statement(tmp_path, 2)["critic_steps"] == STEPS
    [other] = read_statement(tmp_path, 2)["earlier_releases"]["releases"]
    assert sum(each["steps"] for each in other["mechanism"]) == STEPS
    assert joint(tmp_path, 2) > read_statement(tmp_path, 2)["epsilon"]


def test_promise_18_a_ledger_that_was_exported_is_marked_before_the_export(tmp_path, monkeypatch):
    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training.release, "export_generator", die)
        train(tmp_path)
    assert exported(tmp_path) and not (tmp_path / "run" / "finished.json").exists()
    ledger = Ledger.read(tmp_path / "run" / "ledger.jsonl")
    with pytest.raises(ValueError, match="never cut"):
        ledger.truncate(1)


def test_promise_18_nothing_private_runs_before_there_is_a_checkpoint(tmp_path, monkeypatch):
    def release(*_):
        assert list((tmp_path / "run" / "checkpoints").glob("ckpt-0.index"))
        raise KeyboardInterrupt

    monkeypatch.setattr(embedding, "release", release)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, embedding_only())


def test_promise_18_nothing_private_runs_before_the_book_has_the_plan(tmp_path, monkeypatch):
    def release(*_):
        [entry] = (budget_book.default_path() / "entries").glob("*.json")
        entry = json.loads(entry.read_text())
        assert entry["state"] == "reserved"
        assert [each["stage"] for each in entry["planned"]] == [MEAN_EMBEDDING]
        raise KeyboardInterrupt

    monkeypatch.setattr(embedding, "release", release)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, embedding_only())


# Several runs


def as_data(images, labels, name="tiny"):
    return data.PrivateData(
        name,
        images.shape[1:],
        ("a", "b", "c"),
        data.Split.from_arrays(images, labels),
        make_data().held_out,
    )


def with_one_more(private):
    images, labels = private.train.arrays()
    more = np.concatenate([images, images[:1] // 2])
    return as_data(more, np.append(labels, 0), "renamed")


def resized(private):
    return dataclasses.replace(private, image_shape=(16, 16, 1), train=private.train.resized(16))


@pytest.mark.parametrize("change", [lambda private: private, with_one_more, resized])
def test_promise_18_another_run_on_the_same_records_is_counted_together(tmp_path, change):
    train(tmp_path / "first", embedding_only())
    other = change(make_data())
    train(tmp_path / "second", embedding_only(), other)
    assert joint(tmp_path / "second") == pytest.approx(twice(), rel=1e-3)
    with pytest.raises(ValueError, match="--total_epsilon=3 would be exceeded: with 2 earlier"):
        train(tmp_path / "third", embedding_only(), other, ceiling=Ceiling(3.0, 1e-5))
    assert not (tmp_path / "third" / "models").exists()


def test_runs_on_other_records_are_not_counted_together(tmp_path):
    train(tmp_path / "first", embedding_only())
    train(tmp_path / "second", embedding_only(), make_data(seed=1))
    assert states(tmp_path / "second") == []
    assert joint(tmp_path / "second") == read_statement(tmp_path / "second")["epsilon"]


def test_promise_18_a_ceiling_holds_for_later_runs_that_do_not_name_it(tmp_path):
    ceiling = Ceiling(4.0, 1e-5)
    train(tmp_path / "first", embedding_only(), ceiling=ceiling)
    assert read_statement(tmp_path / "first")["earlier_releases"]["total_epsilon"] == 4.0
    with pytest.raises(ValueError, match="--total_epsilon=4 would be exceeded"):
        train(tmp_path / "second", embedding_only())
    train(tmp_path / "third", embedding_only(epsilon=1.0))
    assert joint(tmp_path / "third") <= 4.0


def test_a_throwaway_run_is_in_no_book_and_says_so(tmp_path):
    train(tmp_path, embedding_only(), throwaway=True)
    assert not budget_book.default_path().exists()
    assert "earlier_releases" not in read_statement(tmp_path)


def test_promise_10_noise_that_could_be_predicted_counts_as_none_for_others(tmp_path):
    train(tmp_path / "first", make_config(steps=2, critic_steps="5"), keys=fixed_keys)
    train(tmp_path / "second", embedding_only())
    assert read_statement(tmp_path / "second")["guarantee"] == "formal"
    assert joint(tmp_path / "second") is None


@pytest.mark.parametrize(
    "changes, options, message",
    [
        ({"class_names": ("a", "b", "/home/ada")}, {}, "the class name '/home/ada'"),
        ({"name": ".."}, {}, "the data set's name '..'"),
        ({"class_names": ("a", "b", "c", "d")}, {}, "no training record has the class 'd'"),
        (
            {},
            {"selected_on_private_data": ["see /home/ada"]},
            "--selected_on_private_data must not",
        ),
    ],
)
def test_promise_22_what_must_not_be_published_is_refused_before_training(
    tmp_path, changes, options, message
):
    with pytest.raises(ValueError, match=re.escape(message)):
        train(tmp_path, data=dataclasses.replace(make_data(), **changes), **options)
    assert not (tmp_path / "run").exists()


def test_promise_18_a_run_without_noise_leaves_no_joint_guarantee(tmp_path):
    train(tmp_path / "first", make_config(steps=2, critic_steps="5", noise_multiplier=0.0))
    result = train(tmp_path / "second", embedding_only())
    statement = read_statement(tmp_path / "second")
    assert statement["guarantee"] == "formal" and joint(tmp_path / "second") is None
    assert "there is no guarantee: epsilon is unbounded" in statement["headline"]
    assert "no guarantee" in result.together


# Killed


class Died(BaseException):
    """Stands for SIGKILL: from then on nothing is written any more."""


def run_until(folder, writes, monkeypatch):
    """A run that dies before its so manieth file is in place; whether it did."""
    left = [writes]
    replace = os.replace

    def dying(source, target):
        if left[0] <= 0:
            raise Died
        left[0] -= 1
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(whole_files.os, "replace", dying)
        try:
            train(folder, embedding_only())
        except Died:
            return True
    return False


def released_on_disk(folder):
    """Releases that a run's folder or the book ever knew of."""
    path = folder / "run" / "ledger.jsonl"
    found = Ledger.read(path).stretches if path.exists() else []
    return sum(each.steps for each in found if each.stage == MEAN_EMBEDDING)


def stated_releases(folder):
    statement = read_statement(folder)
    mechanisms = [statement["mechanism"]]
    mechanisms += [each["mechanism"] for each in statement["earlier_releases"]["releases"]]
    return sum(each["steps"] for steps in mechanisms for each in steps)


def check_killed_at(writes, folder, monkeypatch):
    """Starts a run, lets it die, starts it again; how many releases its statement counts, None if it did not die."""
    monkeypatch.setenv(budget_book.VARIABLE, str(folder / "book"))
    if not run_until(folder, writes, monkeypatch):
        return None
    result = train(folder, embedding_only())
    assert result.model_path is not None and result.spent.epsilon <= BUDGET
    assert released_on_disk(folder) == 1
    assert joint(folder) >= read_statement(folder)["epsilon"]
    return stated_releases(folder)


def test_promise_18_killed_between_the_book_and_the_checkpoint_both_releases_are_stated(
    tmp_path, monkeypatch
):
    """The first is on the disk when the run dies, and in no checkpoint, so that there is a second."""
    counted = []

    def record(reservation, ledger):
        counted.append(len(ledger.stretches))
        _record(reservation, ledger)
        if ledger.stretches:
            raise Died

    _record = budget_book.Reservation.record
    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(budget_book.Reservation, "record", record)
        patch.setattr(budget_book.Reservation, "settle", lambda *_: None)
        train(tmp_path, embedding_only())
    assert counted == [0, 1]
    train(tmp_path, embedding_only())
    assert states(tmp_path) == ["lost"] and stated_releases(tmp_path) == 2
    assert joint(tmp_path) == pytest.approx(twice(), rel=1e-3)
    assert read_statement(tmp_path)["epsilon"] <= BUDGET


@pytest.mark.slow
def test_promise_18_killed_at_any_write_it_states_no_less_than_ran(tmp_path, monkeypatch):
    """Each file that a formal run puts in place is once the last; TensorFlow's own writes lie in between."""
    stated = []
    for writes in range(40):
        found = check_killed_at(writes, tmp_path / str(writes), monkeypatch)
        if found is None:
            break
        stated.append(found)
    assert len(stated) > 12 and set(stated) == {1, 2}


def test_a_run_that_died_after_its_export_settles_when_it_is_started_again(tmp_path, monkeypatch):
    def die(*_, **__):
        raise Died

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(budget_book.Reservation, "settle", die)
        train(tmp_path, embedding_only())
    [entry] = (budget_book.default_path() / "entries").glob("*.json")
    assert json.loads(entry.read_text())["state"] == "reserved"
    assert train(tmp_path, embedding_only()).already_finished
    entry = json.loads(entry.read_text())
    assert entry["state"] == "settled" and len(entry["weights"]) == 1


# Public starts


def test_promise_18_a_model_of_the_same_records_is_no_public_start(tmp_path):
    train(tmp_path / "first")
    for source in (tmp_path / "first" / "models", tmp_path / "first" / "run"):
        config = make_config(init_from=str(source))
        with pytest.raises(ValueError, match="so it is not public here"):
            train(tmp_path / "second", config, with_one_more(make_data()))
    assert not (tmp_path / "second" / "models").exists()


def test_promise_18_nor_is_one_whose_book_is_gone_if_it_names_the_data_set(tmp_path, monkeypatch):
    train(tmp_path / "first")
    monkeypatch.setenv(budget_book.VARIABLE, str(tmp_path / "another book"))
    config = make_config(init_from=str(tmp_path / "first" / "models"))
    with pytest.raises(ValueError, match="another data set of that name"):
        train(tmp_path / "second", config)


def test_a_model_of_other_records_is_a_public_start_without_a_price(tmp_path):
    train(tmp_path / "first", data=make_data(seed=1))
    config = make_config(init_from=str(tmp_path / "first" / "models"))
    train(tmp_path / "second", config)
    assert states(tmp_path / "second") == []


def test_promise_18_a_model_of_unknown_records_is_composed(tmp_path, monkeypatch):
    train(tmp_path / "first", embedding_only(), as_data(*make_data(1).train.arrays(), "elsewhere"))
    monkeypatch.setenv(budget_book.VARIABLE, str(tmp_path / "another book"))
    config = embedding_only(init_from=str(tmp_path / "first" / "models"))
    train(tmp_path / "second", config)
    statement = read_statement(tmp_path / "second")
    assert states(tmp_path / "second") == ["public start"]
    assert joint(tmp_path / "second") == pytest.approx(twice(), rel=1e-3)
    [source] = statement["public_sources"]
    assert "first" not in source and "models" not in source and "sha256" in source


# Delta, unit, permissions


def test_promise_19_a_delta_of_one_over_n_is_not_formal(tmp_path):
    result = train(tmp_path, embedding_only(epsilon=1.0, delta=0.5))
    statement = read_statement(tmp_path)
    assert statement["guarantee"] == "none" and statement["epsilon"] <= 1.0
    assert statement["headline"].startswith("No formal privacy guarantee: delta = 0.5 is not below")
    assert result.spent.explanation.startswith("No formal guarantee: delta = 0.5")
    assert not result.spent.is_meaningful


def test_promise_19_a_delta_above_a_tenth_of_that_is_warned_about(tmp_path):
    result = train(tmp_path, embedding_only(delta=1 / (9 * COUNT)))
    statement = read_statement(tmp_path)
    assert statement["guarantee"] == "formal"
    [warning] = statement["warnings"]
    assert "above 1 / (10 n) for 60 records" in warning and warning in result.notes
    assert "warnings" not in _statement_at(1 / (10 * COUNT), tmp_path / "well below")


def _statement_at(delta, folder):
    train(folder, embedding_only(delta=delta))
    return read_statement(folder)


def test_promise_13_a_runs_folder_is_for_its_owner_alone_and_a_model_is_not(tmp_path):
    before = os.umask(0o022)
    try:
        (tmp_path / "run").mkdir()
        with at_step(0, lambda: None):
            train(tmp_path, checkpoint_minutes=EVERY_STEP, projector_images=9)
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    for path in [tmp_path / "run", *(tmp_path / "run").rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
    for path in [tmp_path / "models", *(tmp_path / "models").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644), path


def test_promise_18_a_formal_critic_that_is_stopped_and_resumed_states_its_budget(tmp_path):
    with stop_after(STOP):
        train(tmp_path, make_formal_config())
    book = BudgetBook(budget_book.default_path())
    assert book.path.is_dir()
    train(tmp_path, make_formal_config())
    assert sum(stretch["steps"] for stretch in read_ledger(tmp_path)) == STEPS
    assert joint(tmp_path) == read_statement(tmp_path)["epsilon"] <= 3.0
