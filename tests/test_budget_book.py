# SPDX-License-Identifier: Apache-2.0
"""The budget book by itself: what is counted together, what cannot be forgotten, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import pathlib
import shutil
import stat

import numpy as np
import pytest

from tfartgen import accounting, budget_book, budget_entries, record_digests
from tfartgen.budget_book import BudgetBook
from tfartgen.budget_entries import Ceiling, Spending
from tfartgen.ledger import Ledger, Stretch
from tfartgen.whole_files import write_atomically

DELTA = 1e-5
#: A mean embedding of about epsilon 1 at delta 1e-5, and a critic's run of about 2.
ONE = Stretch.of_sums(3.74, 1.0, 1000, stage="mean embedding")
CRITIC = Stretch("poisson", 0.01, 1.0, 1.0, 10, 100, coordinates=50)


def images(count, first=0):
    rng = np.random.default_rng(0)
    return rng.integers(256, size=(first + count, 8, 8, 1)).astype(np.uint8)[first:]


def digests(count=50, first=0):
    return record_digests.digests(images(count, first))


def spending(planned=(ONE,), ran=(), name="a run", records=None, **options):
    known = digests() if records is None else records
    return Spending(name, known, Ledger(ran), list(planned), "images", **options)


def run_folder(path):
    path.mkdir(parents=True, exist_ok=True)
    return path


def finish(reservation, ran=(ONE,), folder=None, weights=None):
    """What a run does once it has spent: it writes its ledger and settles."""
    ledger = Ledger(ran)
    reservation.record(ledger)
    if folder is not None:
        ledger.write(folder / "ledger.jsonl")
    reservation.settle(ledger, weights)


def mechanisms(earlier):
    return [
        (each["state"], [(step["stage"], step["steps"]) for step in each["mechanism"]])
        for each in earlier["releases"]
    ]


SETTLED_ONE = ("settled", [("mean embedding", 1)])
RESERVED_ONE = ("reserved", [("mean embedding", 1)])
LOST_ONE = ("lost", [("mean embedding", 1)])


@pytest.fixture(name="book")
def _book(tmp_path):
    return BudgetBook(tmp_path / "book")


# What is counted


def test_promise_18_runs_that_share_a_record_are_counted_together(book):
    finish(book.reserve(spending()))
    other = book.reserve(spending(records=digests(50, first=49)))  # one record in common
    assert mechanisms(other.earlier()) == [SETTLED_ONE]
    apart = book.reserve(spending(records=digests(50, first=200)))
    assert not apart.earlier()["releases"]


def test_promise_18_a_reservation_counts_before_anything_ran(book):
    book.reserve(spending())
    assert mechanisms(book.reserve(spending(name="b")).earlier()) == [RESERVED_ONE]


def test_promise_18_what_ran_counts_once_while_the_rest_is_reserved(book):
    half = dataclasses.replace(CRITIC, steps=50)
    running = book.reserve(spending([CRITIC]))
    running.record(Ledger([half]))
    found = mechanisms(book.reserve(spending(name="b")).earlier())
    assert found == [("reserved", [("critic", 50), ("critic", 50)])]
    running.settle(Ledger([half]))
    found = mechanisms(book.reserve(spending(name="c", planned=[])).earlier())
    assert ("settled", [("critic", 50)]) in found


def test_promise_18_the_name_the_order_and_the_number_of_records_do_not_matter(book):
    finish(book.reserve(spending(name="alice")))
    turned = digests(51)[::-1]
    assert mechanisms(book.reserve(spending(name="bob", records=turned)).earlier()) == [SETTLED_ONE]


def test_a_run_does_not_count_itself(book, tmp_path):
    folder = run_folder(tmp_path / "run")
    finish(book.reserve(spending(), folder), folder=folder)
    again = book.reserve(spending([], ran=[ONE]), folder)
    assert not again.earlier()["releases"]


# Folders that are deleted, restored, copied, renamed


def test_promise_18_a_folder_that_was_deleted_still_owes(book, tmp_path):
    folder = run_folder(tmp_path / "run")
    finish(book.reserve(spending(), folder), folder=folder)
    shutil.rmtree(folder)
    again = book.reserve(spending(), run_folder(folder))
    assert mechanisms(again.earlier()) == [SETTLED_ONE]


def test_promise_18_an_older_state_that_is_restored_owes_what_the_newer_spent(book, tmp_path):
    folder, copy = run_folder(tmp_path / "run"), tmp_path / "copy"
    first = book.reserve(spending(), folder)
    shutil.copytree(folder, copy)  # before anything ran
    finish(first, folder=folder)
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    again = book.reserve(spending(), folder)  # in the same session's state: its ledger is gone
    assert mechanisms(again.earlier()) == [LOST_ONE]


def test_promise_18_an_older_session_that_is_restored_is_another_run(book, tmp_path):
    folder, copy = run_folder(tmp_path / "run"), tmp_path / "copy"
    book.reserve(spending(), folder).settle(Ledger())
    shutil.copytree(folder, copy)
    finish(book.reserve(spending(), folder), folder=folder)
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    assert mechanisms(book.reserve(spending(), folder).earlier()) == [SETTLED_ONE]


def test_promise_18_of_two_copies_that_go_on_each_counts(book, tmp_path):
    folder, copy = run_folder(tmp_path / "run"), tmp_path / "copy"
    book.reserve(spending(), folder).settle(Ledger())
    shutil.copytree(folder, copy)
    finish(book.reserve(spending(), folder), folder=folder)
    second = book.reserve(spending(), copy)
    assert mechanisms(second.earlier()) == [SETTLED_ONE]
    finish(second, folder=copy)
    third = book.reserve(spending(name="c"), run_folder(tmp_path / "third"))
    assert mechanisms(third.earlier()) == [SETTLED_ONE] * 2


def test_promise_18_a_renamed_folder_is_the_same_run(book, tmp_path):
    folder = run_folder(tmp_path / "run")
    finish(book.reserve(spending(), folder), folder=folder)
    folder.rename(tmp_path / "renamed")
    again = book.reserve(spending([], ran=[ONE]), tmp_path / "renamed")
    assert not again.earlier()["releases"]


def test_promise_18_a_ledger_that_was_cut_is_no_proof(book, tmp_path):
    folder = run_folder(tmp_path / "run")
    finish(book.reserve(spending([CRITIC]), folder), [CRITIC], folder)
    shorter = dataclasses.replace(CRITIC, steps=40)
    again = book.reserve(spending([dataclasses.replace(CRITIC, steps=60)], ran=[shorter]), folder)
    assert mechanisms(again.earlier()) == [("lost", [("critic", 60)])]


def test_a_finished_copy_that_does_nothing_adds_nothing(book, tmp_path):
    folder, copy = run_folder(tmp_path / "run"), tmp_path / "copy"
    finish(book.reserve(spending(), folder), folder=folder)
    shutil.copytree(folder, copy)
    book.reserve(spending([], ran=[ONE]), folder).settle(Ledger([ONE]))
    book.settle_finished(copy, Ledger([ONE]), "0")
    other = book.reserve(spending(name="b"))
    assert mechanisms(other.earlier()) == [SETTLED_ONE]


# Runs that died


def died(book, folder, planned, ran):
    """A run that was killed after its ledger said so much."""
    reservation = book.reserve(spending(planned), run_folder(folder))
    (folder / ".lock").touch()
    if ran:
        reservation.record(Ledger(ran))
        Ledger(ran).write(folder / "ledger.jsonl")


def test_promise_18_a_run_that_died_owes_its_reservation_if_its_folder_is_gone(book, tmp_path):
    died(book, tmp_path / "run", [CRITIC], [])
    shutil.rmtree(tmp_path / "run")
    found = mechanisms(book.reserve(spending(name="b")).earlier())
    assert found == [("reserved", [("critic", 100)])]


def test_a_run_that_died_owes_what_its_ledger_proves(book, tmp_path):
    died(book, tmp_path / "run", [CRITIC], [dataclasses.replace(CRITIC, steps=30)])
    found = mechanisms(book.reserve(spending(name="b")).earlier())
    assert found == [("settled", [("critic", 30)])]


def test_promise_18_what_the_book_was_told_counts_even_if_the_ledger_was_not_written(
    book, tmp_path
):
    folder = tmp_path / "run"
    died(book, folder, [CRITIC], [dataclasses.replace(CRITIC, steps=30)])
    (folder / "ledger.jsonl").unlink()
    found = mechanisms(book.reserve(spending(name="b")).earlier())
    assert found == [("settled", [("critic", 30)])]


def test_a_run_that_goes_on_owes_its_reservation(book, tmp_path):
    import fcntl

    died(book, tmp_path / "run", [CRITIC], [dataclasses.replace(CRITIC, steps=30)])
    with open(tmp_path / "run" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = mechanisms(book.reserve(spending(name="b")).earlier())
    assert found == [("reserved", [("critic", 30), ("critic", 70)])]


@pytest.mark.parametrize("writes", range(10))
def test_promise_18_killed_while_it_reserves_it_goes_on_as_the_same_run(
    book, tmp_path, monkeypatch, writes
):
    folder = run_folder(tmp_path / "run")
    book.reserve(spending(), folder).settle(Ledger())
    left = [writes]

    class Died(BaseException):
        pass

    def write(path, content):
        if not left[0]:
            raise Died
        left[0] -= 1
        write_atomically(path, content, private=True)

    with monkeypatch.context() as patch:
        patch.setattr(budget_entries, "write", write)
        try:
            finish(book.reserve(spending(), folder), folder=folder)
        except Died:
            pass
    path = folder / "ledger.jsonl"
    ran = Ledger.read(path).stretches if path.exists() else []
    again = book.reserve(spending([], ran=ran), folder)
    assert not [each for each in mechanisms(again.earlier()) if each[0] != "lost"]


# A book that is lost


def test_promise_18_a_lost_book_is_rebuilt_from_the_folders_in_sight(book, tmp_path):
    folder = run_folder(tmp_path / "runs" / "a")
    finish(book.reserve(spending(), folder), folder=folder)
    shutil.rmtree(book.path)
    other = book.reserve(spending(name="b"), run_folder(tmp_path / "runs" / "b"))
    assert mechanisms(other.earlier()) == [SETTLED_ONE]
    assert "1 run(s) of before" in other.earlier()["counted_since"]
    apart = book.reserve(
        spending(records=digests(9, first=300)), run_folder(tmp_path / "runs" / "c")
    )
    assert not apart.earlier()["releases"]


def test_runs_in_the_working_folder_are_in_sight(book, tmp_path, monkeypatch):
    folder = run_folder(tmp_path / "runs" / "a")
    finish(book.reserve(spending(), folder), folder=folder)
    shutil.rmtree(book.path)
    monkeypatch.chdir(tmp_path)
    other = book.reserve(spending(name="b"), run_folder(tmp_path / "elsewhere" / "b"))
    assert mechanisms(other.earlier()) == [SETTLED_ONE]


def test_a_run_without_hashes_counts_for_its_data_set_by_name(book, tmp_path):
    folder = run_folder(tmp_path / "runs" / "old")
    Ledger([ONE]).write(folder / "ledger.jsonl")
    (folder / "config.json").write_text(json.dumps({"dataset": "images"}))
    reservation = book.reserve(spending(), run_folder(tmp_path / "runs" / "new"))
    assert mechanisms(reservation.earlier()) == [SETTLED_ONE]
    other = dataclasses.replace(spending(), dataset="others")
    found = book.reserve(other, run_folder(tmp_path / "runs" / "other")).earlier()
    assert mechanisms(found) == [RESERVED_ONE]  # the new run, and not the old one


def test_promise_18_a_book_that_is_taken_away_while_a_run_goes_on_is_made_again(book, tmp_path):
    folder, before = run_folder(tmp_path / "runs" / "a"), run_folder(tmp_path / "runs" / "b")
    finish(book.reserve(spending(name="b"), before), folder=before)
    running = book.reserve(spending(), folder)
    shutil.rmtree(book.path)
    finish(running, folder=folder)
    assert mechanisms(running.earlier()) == [SETTLED_ONE]
    assert mechanisms(book.reserve(spending(name="c")).earlier()) == [SETTLED_ONE] * 2


def test_a_histogram_whose_book_is_taken_away_is_refused(book):
    running = book.reserve(spending())
    shutil.rmtree(book.path)
    with pytest.raises(ValueError, match="lost entry .* restore it"):
        running.settle(Ledger([ONE]))


def test_promise_18_who_asks_for_a_public_start_first_sees_the_same_runs(book, tmp_path):
    folder, asking = run_folder(tmp_path / "runs" / "a"), run_folder(tmp_path / "runs" / "b")
    finish(book.reserve(spending(), folder), folder=folder, weights="abc")
    shutil.rmtree(book.path)
    assert book.shares_records(digests(), "abc", asking=asking) is True
    assert mechanisms(book.reserve(spending(name="b"), asking).earlier()) == [SETTLED_ONE]


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 1}'])
def test_a_damaged_head_is_named(book, content):
    finish(book.reserve(spending()))
    (book.path / "book.json").write_text(content)
    with pytest.raises(ValueError, match="book.json is damaged.*restore"):
        book.reserve(spending(name="b"))


def test_a_book_of_another_format_is_refused(book):
    finish(book.reserve(spending()))
    (book.path / "book.json").write_text('{"format": 2}')
    with pytest.raises(ValueError, match="of format 2, .*install the tfartgen that"):
        book.reserve(spending(name="b"))


def test_a_rebuilt_book_that_died_half_way_is_rebuilt_again(book, tmp_path):
    for name in ("a", "b"):
        folder = run_folder(tmp_path / "runs" / name)
        records = digests(50, first=0 if name == "a" else 100)
        finish(book.reserve(spending(records=records), folder), folder=folder)
    (book.path / "book.json").unlink()
    next((book.path / "entries").glob("*.json")).unlink()
    other = book.reserve(spending(records=digests(150)), run_folder(tmp_path / "runs" / "c"))
    assert mechanisms(other.earlier()) == [SETTLED_ONE] * 2


@pytest.mark.parametrize("content", ["", "[]", "{", '{"id": 1}'])
def test_a_damaged_entry_is_named_and_nothing_is_forgotten(book, content):
    finish(book.reserve(spending()))
    (entry,) = (book.path / "entries").glob("*.json")
    entry.write_text(content)
    with pytest.raises(ValueError, match=f"{entry.name} is damaged.*restore"):
        book.reserve(spending(name="b"))


def test_a_book_that_cannot_be_written_is_named_with_the_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="--budget_book or the environment variable TFARTGEN"):
        BudgetBook(tmp_path / "file" / "book").reserve(spending())


# Ceilings


def epsilon_of(*stretches):
    return accounting.epsilon(list(stretches), DELTA)


def test_promise_18_a_ceiling_refuses_what_would_exceed_it(book):
    ceiling = Ceiling(1.0, DELTA)
    finish(book.reserve(spending(ceiling=ceiling)))
    with pytest.raises(ValueError, match=r"--total_epsilon=1 would be exceeded: with 1 earlier"):
        book.reserve(spending(name="b"))
    with pytest.raises(ValueError, match="would be exceeded"):
        book.reserve(spending(name="c", ceiling=ceiling))
    # What was refused left nothing behind.
    assert len(list((book.path / "entries").glob("*.json"))) == 1


def test_one_run_may_use_all_of_its_ceiling_by_the_better_accountant(book):
    assert 0.99 < epsilon_of(ONE) < 1.0 < accounting.epsilon([ONE], DELTA, "rdp")
    book.reserve(spending(ceiling=Ceiling(1.0, DELTA)))


def test_promise_18_plans_count_against_a_ceiling_not_only_what_ran(book):
    book.reserve(spending(ceiling=Ceiling(1.2, DELTA)))
    with pytest.raises(ValueError, match="would be exceeded"):
        book.reserve(spending(name="b"))


def test_a_ceiling_leaves_room_for_what_fits(book):
    ceiling = Ceiling(2.0, DELTA)
    finish(book.reserve(spending(ceiling=ceiling)))
    second = book.reserve(spending(name="b"))
    assert second.earlier()["total_epsilon"] == 2.0 and second.earlier()["total_delta"] == DELTA
    joint = epsilon_of(ONE, ONE)
    assert 1.4 < joint < 2.0  # ledgers compose, epsilons do not
    finish(second)
    with pytest.raises(ValueError, match="with 2 earlier"):
        book.reserve(spending([ONE, ONE], name="c"))


def test_promise_18_a_ceiling_is_fixed_once(book):
    finish(book.reserve(spending(ceiling=Ceiling(2.0, DELTA))))
    for other in (Ceiling(3.0, DELTA), Ceiling(2.0, 1e-6)):
        with pytest.raises(ValueError, match="differs from the ceiling that was fixed"):
            book.reserve(spending(name="b", ceiling=other))


def test_promise_18_a_ceiling_counts_what_ran_before_it(book):
    finish(book.reserve(spending()))
    with pytest.raises(ValueError, match="would be exceeded"):
        book.reserve(spending(name="b", ceiling=Ceiling(1.0, DELTA)))


def test_noise_less_and_unproven_runs_exceed_every_ceiling(book):
    bare = dataclasses.replace(CRITIC, noise_multiplier=0.0)
    with pytest.raises(ValueError, match="infinite at delta"):
        book.reserve(spending([bare], ceiling=Ceiling(100.0, DELTA)))
    old = Spending("old", digests(), Ledger([ONE], version=1), [], "images")
    book.reserve(old).settle(Ledger([ONE], version=1))
    with pytest.raises(ValueError, match="unbounded at delta"):
        book.reserve(spending(name="b", ceiling=Ceiling(100.0, DELTA)))


def _reserve_in_a_process(path, name, start, results):
    start.wait()
    try:
        BudgetBook(path).reserve(spending(name=name, ceiling=Ceiling(1.2, DELTA)))
        results.put("reserved")
    except ValueError as error:
        results.put(str(error))


def test_promise_18_of_two_processes_at_once_one_gets_what_is_left(book):
    context = multiprocessing.get_context("spawn")
    start, results = context.Event(), context.Queue()
    processes = [
        context.Process(target=_reserve_in_a_process, args=(book.path, name, start, results))
        for name in "ab"
    ]
    for process in processes:
        process.start()
    start.set()
    outcomes = sorted(results.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    assert outcomes[1] == "reserved" and "would be exceeded" in outcomes[0]


# The filter


@pytest.mark.parametrize("epsilon, delta", [(0.1, 1e-6), (1.0, 1e-5), (3.0, 1e-5), (10.0, 1e-8)])
def test_the_filter_never_allows_more_than_the_ceiling(epsilon, delta):
    for sigma in np.geomspace(0.5, 100, 9):
        for parts in (1, 3):
            stretches = [Stretch.of_sums(sigma, 1.0, 1000)] * parts
            if accounting.within_filter(stretches, epsilon, delta):
                assert accounting.epsilon(stretches, delta) <= epsilon


def test_the_order_of_a_filter_depends_on_the_ceiling_alone():
    assert accounting.filter_order(3.0, 1e-5) == 7.5
    assert accounting.filter_order(1.0, 1e-5) > accounting.filter_order(10.0, 1e-5)


def test_the_filter_allows_nearly_all_that_the_renyi_accountant_does():
    sigma = 4.1
    stretch = Stretch.of_sums(sigma, 1.0, 1000)
    best = accounting.epsilon([stretch], 1e-5, "rdp")
    assert accounting.within_filter([stretch], best * 1.01, 1e-5)
    assert not accounting.within_filter([stretch], best * 0.99, 1e-5)


# Secrets


def test_promise_13_no_name_no_path_and_no_hash_is_in_what_statements_get(book, tmp_path):
    folder = run_folder(tmp_path / "run-of-alice")
    finish(book.reserve(spending(name="alice"), folder), folder=folder)
    told = json.dumps(book.reserve(spending(name="bob")).earlier())
    for file in (book.path / "entries").glob("*.json"):
        entry = json.loads(file.read_text())
        for secret in ("alice", entry["id"], entry["token"], entry["key"], str(tmp_path)):
            assert secret not in told


def test_hashes_tell_nothing_without_the_key():
    known = digests()
    one, other = (budget_entries.keyed_hashes(known, key * 16) for key in ("00", "01"))
    assert one.dtype == np.uint64 and len(one) == len(known)
    assert not np.isin(one, other).any()
    np.testing.assert_array_equal(budget_entries.keyed_hashes(known[::-1], "00" * 16), one)


def test_keys_differ_by_book(tmp_path):
    keys = set()
    for name in ("one", "two"):
        BudgetBook(tmp_path / name).reserve(spending())
        keys.add(json.loads((tmp_path / name / "book.json").read_text())["key"])
    assert len(keys) == 2 and {len(key) for key in keys} == {32}


def test_the_book_and_its_copies_are_for_their_owner_alone(book, tmp_path):
    import os

    folder = run_folder(tmp_path / "run")
    before = os.umask(0)
    try:
        finish(book.reserve(spending(), folder), folder=folder)
    finally:
        os.umask(before)
    for path in [book.path, *book.path.rglob("*"), *folder.iterdir()]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


# Where it lies


def test_the_default_place_is_the_users_and_not_the_working_folder(monkeypatch, tmp_path):
    monkeypatch.delenv(budget_book.VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    place = tmp_path / ".local" / "share" / "tfartgen" / "budget_book"
    assert BudgetBook().path == budget_book.default_path() == place
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert BudgetBook().path == tmp_path / "data" / "tfartgen" / "budget_book"
    monkeypatch.setenv(budget_book.VARIABLE, str(tmp_path / "given"))
    assert BudgetBook().path == tmp_path / "given"
    assert BudgetBook(tmp_path / "flag").path == tmp_path / "flag"


# Models that others start from


def test_promise_18_a_model_of_the_same_records_is_known_by_its_weights(book):
    finish(book.reserve(spending()), weights="abc")
    assert book.shares_records(digests(50, first=49), "abc") is True
    assert book.shares_records(digests(50, first=200), "abc") is False
    assert book.shares_records(digests(), "unknown") is None


def test_promise_18_so_is_one_that_started_from_it(book):
    finish(book.reserve(spending()), weights="abc")
    heir = spending(records=digests(50, first=200), sources=("abc",))
    finish(book.reserve(heir), weights="def")
    assert book.shares_records(digests(), "def") is True
    assert book.shares_records(digests(9, first=400), "def") is False


def test_promise_18_a_run_is_known_by_its_folder(book, tmp_path):
    folder = run_folder(tmp_path / "run")
    finish(book.reserve(spending(), folder), folder=folder)
    elsewhere = BudgetBook(tmp_path / "another")
    assert elsewhere.shares_records(digests(1), "no digest", folder) is True
    assert elsewhere.shares_records(digests(1, first=99), "no digest", folder) is False


def test_a_public_start_of_unknown_records_counts(book):
    start = {"version": 2, "mechanism": [ONE.as_json()]}
    reservation = book.reserve(spending(starts=(start,)))
    assert mechanisms(reservation.earlier()) == [("public start", [("mean embedding", 1)])]
    other = book.reserve(spending(name="b"))
    assert ("public start", [("mean embedding", 1)]) in mechanisms(other.earlier())


def test_paths_may_be_relative(book, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = pathlib.Path("runs/a")
    folder.mkdir(parents=True)
    book.reserve(spending(), folder).settle(Ledger())
    (entry,) = (book.path / "entries").glob("*.json")
    assert json.loads(entry.read_text())["run_dir"] == str(tmp_path / "runs" / "a")
