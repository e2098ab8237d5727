# SPDX-License-Identifier: Apache-2.0
"""What a study is about, and that a folder holds one study only."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from evaluation_samples import private, shades

from tfartgen import data, study_settings

LOCATION = ("--dataset=shades",)


def make(*train_settings, epsilon=None, delta=None, private_data=None, **changes):
    return study_settings.make(
        private_data or private(), LOCATION, epsilon, delta, train_settings, **changes
    )


def test_settings_are_those_of_training():
    settings = make("steps=5", "noise_multiplier=2")
    assert settings.training == {"steps": 5, "noise_multiplier": 2.0, "delta": 1e-5}
    assert settings.size == (120, 8 * 8)
    assert (settings.has_critic, settings.name) == (True, "shades")


def test_a_formal_study_has_another_name_and_perhaps_no_critic():
    settings = make(epsilon=3.0)
    assert (settings.has_critic, settings.name) == (False, "shades_eps3")
    assert make("warm_start=0.5", epsilon=3.0, name="mine").has_critic
    assert make(epsilon=3.0, name="mine").name == "mine"


def test_delta_is_by_the_number_of_records_and_a_study_keeps_it(tmp_path):
    """What is on file is the delta itself: a default that changes one day makes another study."""
    many = data.Split.from_arrays(np.zeros((20_000, 8, 8, 1), np.uint8), np.zeros(20_000, int))
    private_data = dataclasses.replace(private(), train=many)
    folder = tmp_path / "study"
    folder.mkdir()
    settings = make(private_data=private_data)
    assert settings.training["delta"] == 1e-6
    study_settings.settle(settings, folder)
    assert make(private_data=private_data, delta=1e-6) == settings
    study_settings.settle(make(private_data=private_data, delta=1e-6), folder)
    with pytest.raises(ValueError, match="holds a study with delta=1e-06, not 1e-05"):
        study_settings.check(make(private_data=private_data, delta=1e-5), folder)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epsilon=3", "--train_setting=epsilon=3.0 has a flag; give --epsilon"),
        ("delta=0.1", "give --delta"),
        ("steps=-1", "--steps"),
        ("what=1", "is not NAME=VALUE"),
    ],
)
def test_bad_settings_are_named(setting, message):
    with pytest.raises(ValueError, match=message):
        make(setting)


def test_one_pixel_makes_other_data():
    images, labels = shades(120, 0)
    images[5, 3, 3] ^= 1
    other = dataclasses.replace(private(), train=data.Split.from_arrays(images, labels))
    assert make(private_data=other).data != make().data
    assert make().data == make().data


def test_data_that_is_not_in_memory_is_known_by_its_number():
    streamed = dataclasses.replace(private(), train=private().train.resized(8))
    assert study_settings.identity(streamed)["training_records"] == "120"


def test_flags_name_the_data_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("some.npz", images=np.zeros(1))
    (tmp_path / "digits").mkdir()  # a known name is that data set all the same
    flags = study_settings.data_flags
    assert flags("digits", None, None, "Smiling") == ("--dataset=digits",)
    assert flags("some.npz", "tfds", 16, "Smiling") == (
        f"--dataset={tmp_path}/some.npz",
        f"--data_dir={tmp_path}/tfds",
        "--image_size=16",
    )
    assert flags("celeb_a", None, None, "Young")[-1] == "--attribute=Young"
    (tmp_path / "public").mkdir()
    assert make("init_from=public").training["init_from"] == f"{tmp_path}/public"


def test_a_folder_keeps_its_study(tmp_path):
    folder = tmp_path / "study"
    assert study_settings.check(make(), folder) is False
    folder.mkdir()
    (folder / ".lock").touch()
    study_settings.settle(make(), folder)
    study_settings.settle(make(), folder)
    for other, field in (
        (make("steps=5"), "steps=<none>, not 5"),
        (make(epsilon=3.0), "epsilon=<none>, not 3.0"),
        (make(private_data=private(train=90)), "training_records=120, CRC-32 .*, not 90, CRC-32"),
    ):
        with pytest.raises(ValueError, match=f"holds a study with {field}.*another --output"):
            study_settings.check(other, folder)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(ValueError, match="holds something else than a study .* give another"):
            study_settings.check(make(), path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        (json.dumps({"schema": "tfartgen.study_settings/9", "settings": {}}), "has the schema"),
    ],
)
def test_settings_of_another_schema_are_refused_by_name(tmp_path, content, message):
    (tmp_path / study_settings.SETTINGS_FILE).write_text(content)
    with pytest.raises(ValueError, match=rf"study.json {message}.*another --output"):
        study_settings.check(make(), tmp_path)
