# SPDX-License-Identifier: Apache-2.0
"""Entries of a budget book: what they hold, their files, and the copies of them in the folders of runs."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import pathlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from tfartgen import _validate
from tfartgen.ledger import Ledger, Stretch, excess
from tfartgen.whole_files import write_atomically

RESERVED, SETTLED = "reserved", "settled"
LOST, PUBLIC_START = "lost", "public start"

#: A run folder's copy of its entry, and of its records' hashes.
MIRROR, MIRROR_RECORDS = "budget.json", "budget.records"

_HASH_BYTES = 8


@dataclasses.dataclass(frozen=True)
class Ceiling:
    """What all releases from some records together may not exceed.

    Attributes:
      epsilon: `--total_epsilon`.
      delta: `--total_delta`.
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        _validate.positive("--total_epsilon", self.epsilon)
        _validate.probability("--total_delta", self.delta)

    def __str__(self) -> str:
        return f"epsilon {self.epsilon:g} at delta {self.delta:g}"


@dataclasses.dataclass(frozen=True)
class Spending:
    """What a run has spent, and wants to spend.

    Attributes:
      name: of the run, for its owner.
      digests: of the records that it reads, `data.Split.digests`.
      ledger: what ran.
      planned: what is to run.
      dataset: name of the data set, which tells runs of older versions apart; they left no hashes.
      ceiling: on all runs of these records; None for the one that was fixed before, if any.
      starts: releases on unknown records that training starts from, each `version` and `mechanism` as in statements.
      sources: digests of the models that training starts from.
    """

    name: str
    digests: np.ndarray
    ledger: Ledger
    planned: Sequence[Stretch]
    dataset: str
    ceiling: Optional[Ceiling] = None
    starts: tuple[Mapping[str, Any], ...] = ()
    sources: tuple[str, ...] = ()


@dataclasses.dataclass
class Entry:
    """A run in the book.

    Attributes:
      id: random; also the name of its files.
      token: changes with every session, so that copies of a folder are told apart.
      name: of the run.
      began: time of the first reservation, UTC.
      state: `RESERVED` or `SETTLED`.
      version: of the mechanisms.
      ledger: what ran, as far as the book was told.
      planned: what may run besides, while it is reserved.
      lost: what ran and is in no ledger any more.
      starts: see `Spending`.
      ceiling: that it runs under.
      key: of its records' hashes, hexadecimal.
      run_dir: its folder; None where there is none.
      dataset: see `Spending`.
      weights: digests of the models that it exported.
      sources: digests of the models that it started from.
      records_known: False for a run of an older version, which left no hashes.
    """

    id: str
    token: str
    name: str
    began: str
    state: str
    version: int
    ledger: list[Stretch]
    planned: list[Stretch]
    lost: list[Stretch]
    starts: list[dict[str, Any]]
    ceiling: Optional[Ceiling]
    key: str
    run_dir: Optional[str]
    dataset: str
    weights: list[str] = dataclasses.field(default_factory=list)
    sources: list[str] = dataclasses.field(default_factory=list)
    records_known: bool = True

    def as_json(self) -> dict[str, Any]:
        """As on file."""
        fields = dataclasses.asdict(self)
        for name in ("ledger", "planned", "lost"):
            fields[name] = [stretch.as_json() for stretch in getattr(self, name)]
        return fields

    @classmethod
    def from_json(cls, fields: Any) -> Entry:
        """Reads `as_json`; raises ValueError or TypeError for anything else."""
        fields = dict(fields)
        for name in ("ledger", "planned", "lost"):
            fields[name] = [Stretch.from_json(each) for each in fields[name]]
        if fields["ceiling"] is not None:
            fields["ceiling"] = Ceiling(**fields["ceiling"])
        _validate.one_of("state", fields["state"], (RESERVED, SETTLED))
        return cls(**fields)

    @property
    def owed(self) -> list[Stretch]:
        """What it has to be taken to have spent in its own name."""
        return [*self.ledger, *(self.planned if self.state == RESERVED else [])]


def keyed_hashes(digests: np.ndarray, key: str) -> np.ndarray:
    """64 bits for each record that tell nothing without the key: uint64 `[n]`, sorted.

    Args:
      digests: uint8 `[n, bytes]`, `data.Split.digests`.
      key: hexadecimal.
    """
    secret = bytes.fromhex(key)
    each = (
        hashlib.blake2b(row.tobytes(), digest_size=_HASH_BYTES, key=secret).digest()
        for row in digests
    )
    return np.unique(np.frombuffer(b"".join(each), np.uint64))


def proved(entry: Entry) -> tuple[str, list[Stretch]]:
    """What another run has to be taken to have spent: its reservation, or what its folder proves if its process has died."""
    if entry.state == SETTLED or entry.run_dir is None:
        return entry.state, entry.owed
    folder = pathlib.Path(entry.run_dir)
    try:
        with open(folder / ".lock", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while it trains
            if read_mirror(folder)[1] != [entry.token]:
                return entry.state, entry.owed
            path = folder / "ledger.jsonl"
            ledger = Ledger.read(path).stretches if path.exists() else []
    except (OSError, ValueError, KeyError, TypeError):
        return entry.state, entry.owed
    return SETTLED, [*entry.ledger, *excess(ledger, entry.ledger)]


def of_folder(folder: pathlib.Path) -> list[tuple[Entry, np.ndarray]]:
    """The entry of a run, from its folder; none where there is no run in it."""
    ledger_path = folder / "ledger.jsonl"
    ledger = Ledger.read(ledger_path) if ledger_path.exists() else Ledger()
    if (folder / MIRROR).exists():
        entry, _ = read_mirror(folder)
        entry.run_dir = str(folder)  # it may have been moved
        entry.ledger += excess(ledger.stretches, entry.ledger)
        return [(entry, read_records(folder / MIRROR_RECORDS))]
    if not ledger.stretches:
        return []
    config = folder / "config.json"
    settings = read_json(config) if config.exists() else {}
    entry = Entry(
        id=secrets.token_hex(8),
        token="",
        name=folder.name,
        began="before",
        state=SETTLED,
        version=ledger.version,
        ledger=ledger.stretches,
        planned=[],
        lost=[],
        starts=[],
        ceiling=None,
        key=secrets.token_hex(16),
        run_dir=str(folder),
        dataset=str(settings.get("dataset", "")),
        records_known=False,
    )
    return [(entry, np.empty(0, np.uint64))]


def write_mirror(run_dir: pathlib.Path, entry: Entry, tokens: Sequence[str]) -> None:
    """Writes a run folder's copy of its entry, and the tokens by which the book may know it."""
    write_json(run_dir / MIRROR, {"entry": entry.as_json(), "tokens": list(tokens)})


def read_mirror(run_dir: pathlib.Path) -> tuple[Entry, list[str]]:
    """A run folder's copy of its entry, and the tokens by which the book may know it."""
    path = run_dir / MIRROR
    fields = read_json(path)
    return _parsed_entry(fields.get("entry"), path), list(fields.get("tokens", []))


def write_json(path: pathlib.Path, fields: Mapping[str, Any]) -> None:
    """Writes a private file."""
    write(path, (json.dumps(fields, indent=1) + "\n").encode())


def write(path: pathlib.Path, content: bytes) -> None:
    """Writes a private file."""
    write_atomically(path, content, private=True)


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads an object; raises ValueError where a file is damaged."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(fields, dict):
            raise ValueError("no object")
        return fields
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); restore it from a copy") from None


def read_entry(path: pathlib.Path) -> Entry:
    """Reads an entry; raises ValueError where its file is damaged."""
    return _parsed_entry(read_json(path), path)


def _parsed_entry(fields: Any, path: pathlib.Path) -> Entry:
    try:
        return Entry.from_json(fields)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is damaged ({error}); restore it from a copy") from None


def read_records(path: pathlib.Path) -> np.ndarray:
    """Reads hashes, uint64 `[n]`; raises ValueError where their file is damaged."""
    content = path.read_bytes()
    if len(content) % _HASH_BYTES:
        raise ValueError(f"{path} is damaged; restore it from a copy")
    return np.frombuffer(content, np.uint64)
