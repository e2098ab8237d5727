# SPDX-License-Identifier: Apache-2.0
"""The budget book: what was spent on which records, whatever becomes of the folders of runs.

    book.json             since when the book counts, and its key
    entries/<id>.json     a run: its name, its ledger, what it has reserved, its ceiling
    entries/<id>.records  a keyed hash, 64 bits, of every record that it reads

A run reserves its plan before its first noisy step, under the book's lock, and settles when it ends; one that died owes what it
reserved, unless its ledger proves less. Two runs overlap if they share a record; then their ledgers compose. A ceiling on all
runs of some records is fixed by one of them and kept as a Renyi filter (`accounting.within_filter`).

A run's folder holds a copy of its entry, and a token that changes with every session. A folder whose token is not the book's is a
copy, or an older state that was restored: it gets an entry of its own, and the other still owes. From the copies a lost book is
rebuilt. The book is private, and nothing of it but ledgers enters a release. Pure Python; no TensorFlow.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import os
import pathlib
import secrets
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Optional, Union

import numpy as np

from tfartgen import accounting, budget_entries
from tfartgen.budget_entries import (
    LOST,
    MIRROR,
    MIRROR_RECORDS,
    PUBLIC_START,
    RESERVED,
    SETTLED,
    Ceiling,
    Entry,
    Spending,
)
from tfartgen.ledger import VERSION, Ledger, Stretch, excess
from tfartgen.rounding import upwards
from tfartgen.whole_files import for_owner_only

#: Environment variable with the book's folder.
VARIABLE = "TFARTGEN_BUDGET_BOOK"

#: What no book can see, in the words of statements.
NOT_SEEN = (
    "what was released by other means, with another budget book, or before the book began to count",
    "copies of records that were cropped, resized, compressed again or edited before they were read here",
    "other records of the same person",
    "whether budgets were chosen after looking at earlier releases: a joint epsilon supposes that they were not, and only a ceiling "
    "that was fixed before keeps its word all the same",
)

_FORMAT = 1


def default_path() -> pathlib.Path:
    """The folder in the environment variable, or a stable one of the user's; never below the working folder by default."""
    given = os.environ.get(VARIABLE)
    if given:
        return pathlib.Path(given).expanduser()
    data_home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return pathlib.Path(data_home).expanduser() / "tfartgen" / "budget_book"


class BudgetBook:
    """A book in a folder; any number of processes may use it."""

    def __init__(self, path: Union[str, os.PathLike[str], None] = None):
        """Opens the book, which need not exist yet.

        Args:
          path: its folder; None for `default_path`.
        """
        self.path = default_path() if path is None else pathlib.Path(path).expanduser()

    def reserve(
        self, spending: Spending, run_dir: Optional[Union[str, os.PathLike[str]]] = None
    ) -> Reservation:
        """Enters what a run is going to spend, before it spends any.

        Args:
          spending: its ledger and its plan.
          run_dir: its folder, which gets a copy of the entry; None for a release that has none.

        Raises:
          ValueError: a ceiling would be exceeded or differs from the one that was fixed, or the book is damaged.
          OSError: it cannot be written.
        """
        folder = None if run_dir is None else pathlib.Path(run_dir).resolve()
        with self._held(folder) as pages:
            entry = pages.own(spending, folder)
            others = pages.overlapping(entry, spending.digests)
            pages.fix_ceiling(entry, others, spending.ceiling)
            pages.check_ceilings(entry, others)
            pages.enter(entry, spending.digests, folder)
        return Reservation(self, entry.id, spending.digests, folder)

    def settle_finished(
        self, run_dir: Union[str, os.PathLike[str]], ledger: Ledger, weights: str
    ) -> None:
        """Settles a run that died between its export and the book; a copy of its folder settles nothing."""
        folder = pathlib.Path(run_dir).resolve()
        if not (folder / MIRROR).exists():
            return
        with self._held(folder) as pages:
            entry = pages.known(folder)
            if entry is not None and entry.state == RESERVED:
                pages.settle(entry, ledger, weights, folder)

    def earlier(
        self, digests: np.ndarray, dataset: str, besides: Collection[str] = ()
    ) -> dict[str, Any]:
        """What may have been released from some records, as statements have it; but for the joint epsilon.

        Args:
          digests: of the records.
          dataset: see `Spending`.
          besides: digests of releases that the statement prices itself: models, histograms.
        """
        with self._held() as pages:
            asking = pages.blank("", dataset)
            return pages.earlier(asking, digests, besides)

    def shares_records(
        self,
        digests: np.ndarray,
        weights: str,
        run_dir: Optional[pathlib.Path] = None,
        *,
        asking: Optional[pathlib.Path] = None,
    ) -> Optional[bool]:
        """Whether a model was trained on one of these records, as far as the book or the run's folder knows.

        Args:
          digests: of the records.
          weights: digest of the model.
          run_dir: folder of the run, where it is one.
          asking: folder of the run that asks.

        Returns:
          None where its records are not known.
        """
        with self._held(None if asking is None else asking.resolve()) as pages:
            entries = pages.of_weights(weights)
            if run_dir is not None and (run_dir / MIRROR).exists():
                entry = budget_entries.read_mirror(run_dir)[0]
                if entry.id not in pages.entries:
                    pages.write_records(
                        entry, budget_entries.read_records(run_dir / MIRROR_RECORDS)
                    )
                entries.append(pages.entries.get(entry.id, entry))
            known = [pages.share(entry, digests) for entry in entries if entry.records_known]
        return any(known) if known else None

    @contextlib.contextmanager
    def _held(self, run_dir: Optional[pathlib.Path] = None) -> Iterator[_Pages]:
        """The book's content, for this process alone."""
        try:
            with for_owner_only():
                (self.path / "entries").mkdir(parents=True, exist_ok=True)
                with open(self.path / ".lock", "w", encoding="utf-8") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    yield _Pages.read(self.path, run_dir)
        except OSError as error:
            if str(self.path) not in str(error):
                raise
            raise OSError(
                f"the budget book {self.path} cannot be used ({error.strerror or error}); make it writable, or name another "
                f"folder with --budget_book or the environment variable {VARIABLE}"
            ) from None


class Reservation:
    """A run's hold on the book."""

    def __init__(
        self,
        book: BudgetBook,
        entry_id: str,
        digests: np.ndarray,
        run_dir: Optional[pathlib.Path],
    ):
        """Made by `BudgetBook.reserve`."""
        self._book, self._id, self._digests, self._run_dir = book, entry_id, digests, run_dir

    def record(self, ledger: Ledger) -> None:
        """Tells the book what ran by now; the rest of the plan stays reserved."""
        with self._book._held(self._run_dir) as pages:
            entry = self._entry(pages)
            entry.planned = excess([*entry.ledger, *entry.planned], ledger.stretches)
            entry.lost += excess(entry.ledger, ledger.stretches)
            entry.ledger = list(ledger.stretches)
            pages.write(entry, self._run_dir)

    def settle(self, ledger: Ledger, weights: Optional[str] = None) -> None:
        """Tells the book that nothing more will run in this session.

        Args:
          ledger: what ran.
          weights: digest of a model that was exported.
        """
        with self._book._held(self._run_dir) as pages:
            pages.settle(self._entry(pages), ledger, weights, self._run_dir)

    def earlier(self) -> dict[str, Any]:
        """What else may have been released from the same records, as statements have it; but for the joint epsilon."""
        with self._book._held(self._run_dir) as pages:
            return pages.earlier(self._entry(pages), self._digests)

    def _entry(self, pages: _Pages) -> Entry:
        """Its entry; from its folder's copy if the book was taken away meanwhile.

        Raises:
          ValueError: there is no copy.
        """
        if self._id not in pages.entries:
            if self._run_dir is None or pages.known(self._run_dir) is None:
                raise ValueError(
                    f"the budget book {self._book.path} lost entry {self._id} while it was in use; restore it, and start again"
                )
        return pages.entries[self._id]


@dataclasses.dataclass
class _Pages:
    """The content of a book whose lock is held."""

    path: pathlib.Path
    counted_since: str
    key: str
    entries: dict[str, Entry]

    @classmethod
    def read(cls, path: pathlib.Path, run_dir: Optional[pathlib.Path]) -> _Pages:
        files = sorted((path / "entries").glob("*.json"))
        entries = {file.stem: budget_entries.read_entry(file) for file in files}
        head = path / "book.json"
        if not head.exists():
            return cls._rebuilt(path, entries, run_dir)
        fields = budget_entries.read_json(head)
        if fields.get("format") == _FORMAT and not {"counted_since", "key"} <= set(fields):
            raise ValueError(f"{head} is damaged (a field is missing); restore it from a copy")
        if fields.get("format") != _FORMAT:
            raise ValueError(
                f"{head} is of format {fields.get('format')!r}, and this is tfartgen for {_FORMAT}; install the tfartgen that "
                "wrote it"
            )
        return cls(path, str(fields["counted_since"]), str(fields["key"]), entries)

    @classmethod
    def _rebuilt(
        cls, path: pathlib.Path, entries: dict[str, Entry], run_dir: Optional[pathlib.Path]
    ) -> _Pages:
        """A new book, with the runs whose folders are in sight: beside the one that asks, and in `runs`.

        The head is written last, so that a book which was killed meanwhile is rebuilt again.
        """
        pages = cls(path, _now(), secrets.token_hex(16), entries)
        near = [] if run_dir is None else [*run_dir.parent.glob("*/")]
        found_here = [*pathlib.Path("runs").glob("*/"), *pathlib.Path("studies").glob("*/run/")]
        folders = {folder.resolve() for folder in (*near, *found_here)}
        found = [
            each
            for folder in sorted(folders - {run_dir})
            for each in budget_entries.of_folder(folder)
        ]
        for entry, records in found:
            known = pages.entries.get(entry.id)
            if known is not None:
                if known.token == entry.token and not excess(entry.ledger, known.ledger):
                    continue
                entry.id = secrets.token_hex(8)  # a copy that went its own way
            pages.entries[entry.id] = entry
            pages.write_records(entry, records)
            pages.write(entry, None)
        if found:
            pages.counted_since += f", with {len(found)} run(s) of before whose folders were found"
        head = {"format": _FORMAT, "counted_since": pages.counted_since, "key": pages.key}
        budget_entries.write_json(path / "book.json", head)
        return pages

    def own(self, spending: Spending, run_dir: Optional[pathlib.Path]) -> Entry:
        """The entry of the run that asks, brought up to what its ledger says, and reserved."""
        entry = self.known(run_dir)
        if entry is None:
            entry = self.blank(spending.name, spending.dataset)
            entry.version = spending.ledger.version
        entry.lost += excess(entry.ledger, spending.ledger.stretches)
        entry.ledger = list(spending.ledger.stretches)
        entry.planned = [stretch for stretch in spending.planned if stretch.steps]
        entry.state = RESERVED
        entry.name, entry.run_dir = spending.name, None if run_dir is None else str(run_dir)
        entry.starts = [dict(each) for each in spending.starts]
        entry.sources = list(spending.sources)
        return entry

    def blank(self, name: str, dataset: str) -> Entry:
        """A new entry of which nothing is said yet."""
        return Entry(
            id=secrets.token_hex(8),
            token="",
            name=name,
            began=_now(),
            state=RESERVED,
            version=VERSION,
            ledger=[],
            planned=[],
            lost=[],
            starts=[],
            ceiling=None,
            key=self.key,
            run_dir=None,
            dataset=dataset,
        )

    def known(self, run_dir: Optional[pathlib.Path]) -> Optional[Entry]:
        """The entry that a folder's copy belongs to, if it is the folder's latest state."""
        if run_dir is None or not (run_dir / MIRROR).exists():
            return None
        entry, tokens = budget_entries.read_mirror(run_dir)
        known = self.entries.get(entry.id)
        if known is None:  # of another book: it counts here from now on
            self.write_records(entry, budget_entries.read_records(run_dir / MIRROR_RECORDS))
            self.entries[entry.id] = entry
            return entry
        return known if known.token in tokens else None

    def fix_ceiling(self, entry: Entry, others: Sequence[Entry], asked: Optional[Ceiling]) -> None:
        """Puts a run under the ceiling that is asked for, or under that of the runs that it shares records with.

        Raises:
          ValueError: another one was fixed for these records.
        """
        fixed = [each for each in [entry, *others] if each.ceiling is not None]
        for each in fixed:
            if asked is not None and each.ceiling != asked:
                raise ValueError(
                    f"--total_epsilon={asked.epsilon:g} (delta {asked.delta:g}) differs from the ceiling that was fixed for these "
                    f"records with run {each.name} on {each.began[:10]}, {each.ceiling}; leave --total_epsilon and --total_delta "
                    "out to run under that"
                )
        entry.ceiling = asked or next((each.ceiling for each in fixed), None)

    def check_ceilings(self, entry: Entry, others: Sequence[Entry]) -> None:
        """Holds everything that these records owe, the plan included, against every ceiling that they are under.

        Raises:
          ValueError: one would be exceeded.
        """
        ceilings = dict.fromkeys(
            each.ceiling for each in [entry, *others] if each.ceiling is not None
        )
        if not ceilings:
            return
        parts = self._parts(entry, others)
        everything = [*entry.owed, *(stretch for _, _, part in parts for stretch in part)]
        proven = entry.version > 1 and all(version > 1 for _, version, _ in parts)
        for ceiling in ceilings:
            alone = not parts and _costs(everything, ceiling) <= ceiling.epsilon
            within = alone or accounting.within_filter(everything, ceiling.epsilon, ceiling.delta)
            if within and proven:
                continue
            total = upwards(_costs(everything, ceiling)) if proven else "unbounded"
            raise ValueError(
                f"--total_epsilon={ceiling.epsilon:g} would be exceeded: with {len(parts)} earlier release(s) from the same records "
                f"epsilon would be {total} at delta {ceiling.delta:g} (a Renyi filter keeps the ceiling, and needs some room); "
                "give a smaller --epsilon, or train on other records"
            )

    def enter(self, entry: Entry, digests: np.ndarray, run_dir: Optional[pathlib.Path]) -> None:
        """Writes a reservation: the folder learns of the new token first, then the book has it."""
        before, entry.token = entry.token, secrets.token_hex(8)
        records = budget_entries.keyed_hashes(digests, entry.key)
        if entry.id in self.entries:
            records = np.union1d(records, self._records(entry))
        self.entries[entry.id] = entry
        if run_dir is not None:
            budget_entries.write(run_dir / MIRROR_RECORDS, records.tobytes())
            budget_entries.write_mirror(run_dir, entry, [before, entry.token])
        self.write_records(entry, records)
        self.write(entry, run_dir)

    def settle(
        self,
        entry: Entry,
        ledger: Ledger,
        weights: Optional[str],
        run_dir: Optional[pathlib.Path],
    ) -> None:
        """See `Reservation.settle`."""
        entry.lost += excess(entry.ledger, ledger.stretches)
        entry.ledger, entry.planned, entry.state = list(ledger.stretches), [], SETTLED
        if weights is not None and weights not in entry.weights:
            entry.weights.append(weights)
        self.write(entry, run_dir)

    def _records(self, entry: Entry) -> np.ndarray:
        """Hashes of an entry's records, under its key."""
        return budget_entries.read_records(self.path / "entries" / f"{entry.id}.records")

    def write(self, entry: Entry, run_dir: Optional[pathlib.Path]) -> None:
        """Writes an entry, and its copy in the run's folder."""
        budget_entries.write_json(self.path / "entries" / f"{entry.id}.json", entry.as_json())
        if run_dir is not None:
            budget_entries.write_mirror(run_dir, entry, [entry.token])

    def write_records(self, entry: Entry, records: np.ndarray) -> None:
        """Writes an entry's hashes, before the entry."""
        budget_entries.write(self.path / "entries" / f"{entry.id}.records", records.tobytes())

    def overlapping(self, entry: Entry, digests: np.ndarray) -> list[Entry]:
        """Other runs that share a record with an entry's."""
        hashes: dict[str, np.ndarray] = {}
        found = []
        for other in self.entries.values():
            if other.id == entry.id:
                continue
            if not other.records_known:
                if other.dataset == entry.dataset:
                    found.append(other)
                continue
            if other.key not in hashes:
                hashes[other.key] = budget_entries.keyed_hashes(digests, other.key)
            if np.isin(hashes[other.key], self._records(other)).any():
                found.append(other)
        return found

    def share(self, entry: Entry, digests: np.ndarray) -> bool:
        """Whether a run read one of these records, or started from a model of one that did."""
        if np.isin(budget_entries.keyed_hashes(digests, entry.key), self._records(entry)).any():
            return True
        before = [each for source in entry.sources for each in self.of_weights(source)]
        return any(self.share(each, digests) for each in before if each.id != entry.id)

    def of_weights(self, digest: str) -> list[Entry]:
        """Runs that exported a model of that digest."""
        return [entry for entry in self.entries.values() if digest in entry.weights]

    def _parts(
        self, entry: Entry, others: Sequence[Entry], besides: Collection[str] = ()
    ) -> list[tuple[str, int, Sequence[Stretch]]]:
        """State, version and price of what counts beside an entry's own ledger and plan."""
        parts: list[tuple[str, int, Sequence[Stretch]]] = []
        for other in others:
            state, owed = budget_entries.proved(other)
            if owed and not set(other.weights) & set(besides):
                parts.append((state, other.version, owed))
        for each in [entry, *others]:
            parts += [(LOST, each.version, each.lost)] if each.lost else []
            parts += [
                (PUBLIC_START, start["version"], [*map(Stretch.from_json, start["mechanism"])])
                for start in each.starts
            ]
        return parts

    def earlier(
        self, entry: Entry, digests: np.ndarray, besides: Collection[str] = ()
    ) -> dict[str, Any]:
        """See `Reservation.earlier` and `BudgetBook.earlier`."""
        others = self.overlapping(entry, digests)
        parts = self._parts(entry, others, besides)
        ceiling = next((each.ceiling for each in [entry, *others] if each.ceiling), None)
        return {
            "counted_since": self.counted_since,
            "releases": [
                {
                    "state": state,
                    "version": version,
                    "mechanism": [stretch.as_json() for stretch in owed],
                }
                for state, version, owed in parts
            ],
            "total_epsilon": None if ceiling is None else ceiling.epsilon,
            "total_delta": None if ceiling is None else ceiling.delta,
            "not_seen": list(NOT_SEEN),
        }


def _costs(stretches: Sequence[Stretch], ceiling: Ceiling) -> float:
    return accounting.epsilon(stretches, ceiling.delta)


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
