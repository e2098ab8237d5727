# SPDX-License-Identifier: Apache-2.0
"""What a whole study is about: the private data, the budget and the settings of the training; one folder, one study."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any, Optional

from tfartgen.data import KNOWN_NAMES, PrivateData, Split
from tfartgen.study_times import DataSize
from tfartgen.train_config import TrainConfig, configure, default_name, parse_setting
from tfartgen.whole_files import write_json

SCHEMA = "tfartgen.study_settings/1"
SETTINGS_FILE = "study.json"

#: What `bin/reproduce` has flags of its own for.
_OWN_FLAGS = ("epsilon", "delta")

#: What may lie in a folder that is taken for a new study.
_OF_NO_ONE = frozenset([".lock"])


@dataclasses.dataclass(frozen=True)
class StudySettings:
    """A study.

    Attributes:
      location: flags that say where the private data lies; they count for nothing, `data` does.
      data: the private data's identity, flat and JSON-able.
      training: flags of `bin/train`, by name.
      selected: choices made by looking at the private data, for the statement.
      size: of the data, which says how long a study takes.
      has_critic: whether the training takes critic steps.
      name: of the study.
    """

    location: tuple[str, ...]
    data: dict[str, Any]
    training: dict[str, Any]
    selected: tuple[str, ...]
    size: DataSize
    has_critic: bool
    name: str


def make(
    private: PrivateData,
    location: Sequence[str],
    epsilon: Optional[float],
    delta: Optional[float],
    train_settings: Sequence[str],
    selected: Sequence[str] = (),
    name: Optional[str] = None,
) -> StudySettings:
    """Checks the settings of a study, as `bin/train` would.

    Args:
      private: the data.
      location: see `StudySettings`.
      epsilon: budget; None for the small-noise regime.
      delta: of the budget and of the statement; None for the default by the number of records, which the study then keeps.
      train_settings: further flags of `bin/train`, as `NAME=VALUE`.
      selected: see `StudySettings`.
      name: of the study; from the data and the budget if not given.

    Raises:
      ValueError: a setting that there is not, is out of range, or contradicts another.
    """
    training = dict(map(parse_setting, train_settings))
    for flag in _OWN_FLAGS:
        if flag in training:
            raise ValueError(f"--train_setting={flag}={training[flag]} has a flag; give --{flag}")
    if training.get("init_from"):
        training["init_from"] = absolute(training["init_from"])
    if epsilon is not None:
        training["epsilon"] = epsilon
    config: TrainConfig = configure(private, **training, delta=delta)
    training["delta"] = config.delta
    height, width, channels = private.image_shape
    return StudySettings(
        tuple(location),
        identity(private),
        training,
        tuple(selected),
        DataSize(private.train.num_examples, height * width * channels),
        config.steps > 0,
        name or default_name(private.name, training),
    )


def identity(private: PrivateData) -> dict[str, Any]:
    """Tells private data sets apart, by all records where they are in memory, else by name, shape and number."""
    return {
        "dataset": private.name,
        "image_shape": list(private.image_shape),
        "class_names": list(private.class_names),
        "training_records": _split_identity(private.train),
        "held_out_records": _split_identity(private.held_out),
    }


def _split_identity(split: Split) -> str:
    if split.in_memory is None:
        return f"{split.num_examples}"
    return f"{split.num_examples}, CRC-32 {split.checksum():08x}"


def data_flags(
    dataset: str, data_dir: Optional[str], image_size: Optional[int], attribute: str
) -> tuple[str, ...]:
    """The flags that name private data for every program, whatever folder it runs in; arguments as `data.load`."""
    is_path = dataset not in KNOWN_NAMES and pathlib.Path(dataset).expanduser().exists()
    found = [f"--dataset={absolute(dataset) if is_path else dataset}"]
    if data_dir is not None:
        found.append(f"--data_dir={absolute(data_dir)}")
    if image_size is not None:
        found.append(f"--image_size={image_size}")
    if dataset == "celeb_a":
        found.append(f"--attribute={attribute}")
    return tuple(found)


def absolute(path: str) -> str:
    """A path that means the same in another folder."""
    return os.path.abspath(os.path.expanduser(path))


def check(settings: StudySettings, folder: pathlib.Path) -> bool:
    """Holds a study to what its folder has on file.

    Returns:
      Whether there is anything on file yet.

    Raises:
      ValueError: the folder holds another study, or something else.
    """
    path = folder / SETTINGS_FILE
    if not path.exists():
        if folder.exists() and (not folder.is_dir() or {*os.listdir(folder)} - _OF_NO_ONE):
            raise ValueError(
                f"--output={folder} holds something else than a study (no {SETTINGS_FILE}); give another"
            )
        return False
    stored, wanted = _read(path), _on_file(settings)
    for field in dict.fromkeys((*wanted, *stored)):
        was, now = stored.get(field), wanted.get(field)
        if was != now:
            raise ValueError(
                f"--output={folder} holds a study with {field}={_shown(was)}, not {_shown(now)}; give what it was "
                "made with to go on with it, or another --output"
            )
    return True


def settle(settings: StudySettings, folder: pathlib.Path) -> None:
    """Puts a study's settings on file, or checks that they are those on file; errors as `check`."""
    if not check(settings, folder):
        document = {"schema": SCHEMA, "settings": _on_file(settings)}
        write_json(document, folder / SETTINGS_FILE)


def _on_file(settings: StudySettings) -> dict[str, Any]:
    selected = {"selected_on_private_data": list(settings.selected)}
    return {**settings.data, **settings.training, **selected}


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        schema, stored = document["schema"], dict(document["settings"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error!r}); restore it, or give another --output"
        ) from None
    if schema != SCHEMA:
        raise ValueError(
            f"{path} has the schema {schema!r}, not {SCHEMA!r}: another version wrote it; give another --output"
        )
    return stored


def _shown(value: Any) -> str:
    text = "<none>" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
