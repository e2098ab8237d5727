# SPDX-License-Identifier: Apache-2.0
"""`bin/invert` as a person meets it, in this process."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import pathlib
import sys

import numpy as np
import pytest
import scripts
import tensorflow as tf
from inversion_samples import CLASS_NAMES, shapes
from PIL import Image

from tfartgen import inversion_judge, inversion_study, inversion_targets, students
from tfartgen.inversion import CLASSIC

QUICK = (
    "--dataset=shapes.npz",
    "--targets=real",
    "--architectures=logistic_regression",
    "--attacks=classic",
    "--classes=down,spot",
    "--seeds=1",
    "--student_steps=60",
    "--judge_steps=25",
)
KINDS = ("real", "shuffled", "untrained")


@pytest.fixture(name="main", scope="module")
def _main():
    with scripts.main_of("invert") as main:
        yield main


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("invert")
    for name, count in (("shapes", 180), ("few", 24)):
        images, labels = shapes(count, 0)
        tests, test_labels = shapes(60, 1)
        np.savez(
            folder / f"{name}.npz",
            images=images,
            labels=labels,
            test_images=tests,
            test_labels=test_labels,
            class_names=np.array(CLASS_NAMES),
        )
    return folder


@pytest.fixture(name="here")
def _here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _quick():
    """An attack of few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(inversion_study.ATTACKS, "classic", dataclasses.replace(CLASSIC, steps=60))
        yield


@pytest.fixture(name="attacked", scope="module")
def _attacked(main, folder):
    """What the program prints."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        patch.chdir(folder)
        assert main(*QUICK) == 0
    return out.getvalue()


def test_an_attack_says_what_it_found_in_80_columns(attacked):
    lines = attacked.splitlines()
    assert max(map(len, lines)) <= 80
    assert "logistic regression, classic attack" in lines
    for name in ("real data", "baseline: shuffled labels", "control: not trained"):
        assert any(line.startswith(name) for line in lines), name
    assert lines[-1] == (
        "Next:      look at evaluations/shapes/inversion_logistic_regression_classic.png"
    )
    assert lines[-3].startswith("Privacy:   PRIVATE. These figures are computed from")
    assert "Written:   evaluations/shapes: inversion_" in attacked


def test_the_files_hold_what_was_found(attacked, here):
    output = here / "evaluations" / "shapes"
    names = {path.name for path in output.iterdir()}
    assert names == {
        "inversion.json",
        "inversion_rates.png",
        "inversion_logistic_regression_classic.png",
        "reconstructions.npz",
        "trials",
    }
    document = json.loads((output / "inversion.json").read_text())
    assert document["schema"] == "tfartgen.inversion/1" and document["releases"] == []
    assert [row["target"] for row in document["rows"]] == list(KINDS)
    assert document["settings"]["classes"] == [1, 5]
    assert document["rows"][0]["top1"]["trials"] == 2
    assert f"{100 * document['rows'][0]['accuracy']['mean']:.1f}" in attacked
    with np.load(output / "reconstructions.npz") as arrays:
        assert set(arrays) == {f"{kind}/logistic_regression/classic" for kind in KINDS}
        picture = arrays["real/logistic_regression/classic"]
    assert (picture.shape, picture.dtype) == ((2, 12, 12, 1), np.uint8) and picture.std() > 10
    for path in output.glob("*.png"):
        assert Image.open(path).size[0] == 1000
    assert str(here) not in (output / "inversion.json").read_text()


def never(*arguments, **more):
    raise AssertionError("computed again")


def test_the_same_command_again_trains_nothing_and_says_the_same(
    attacked, main, here, monkeypatch, capsys
):
    output = here / "evaluations" / "shapes"
    before = {path: path.stat().st_mtime_ns for path in (output / "trials").iterdir()}
    content = {path.name: path.read_bytes() for path in output.glob("*.*")}
    for module, name in (
        (students, "train_student"),
        (inversion_targets, "invert"),
        (inversion_judge, "_trained"),
    ):
        monkeypatch.setattr(module, name, never)
    assert main(*QUICK) == 0
    assert capsys.readouterr().out.strip() == attacked.strip()
    assert {path: path.stat().st_mtime_ns for path in (output / "trials").iterdir()} == before
    assert {path.name: path.read_bytes() for path in output.glob("*.*")} == content


def test_a_model_on_file_is_attacked(main, here, capsys):
    layers = [tf.keras.Input((12, 12, 1)), tf.keras.layers.Flatten(), tf.keras.layers.Dense(6)]
    model = tf.keras.Sequential(layers)
    model.save(here / "m.keras")
    given = [each for each in QUICK if not each.startswith(("--targets", "--arch", "--seeds"))]
    figure = "evaluations/shapes2/inversion_given_classic.png"
    assert main(*given, "--target_model=m.keras", "--output=evaluations/shapes2") == 0
    out = capsys.readouterr().out
    assert "the given model" in out and out.rstrip().endswith(f"look at {figure}")
    document = json.loads(pathlib.Path("evaluations/shapes2/inversion.json").read_text())
    assert [row["target"] for row in document["rows"]] == ["given"]


# Bad input


def one_picture_each(folder):
    """A folder with a split, with one picture of each class in each part."""
    images, labels = shapes(6, 0)
    for part in ("train", "test"):
        for image, label in zip(images, labels):
            path = folder / part / CLASS_NAMES[label] / "0.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(image[..., 0]).save(path)
    return folder


def refused(main, message, *arguments):
    with pytest.raises(ValueError, match=message) as caught:
        main(*arguments)
    assert "\n" not in str(caught.value)
    assert not pathlib.Path("evaluations/few").exists()
    assert not pathlib.Path("evaluations/portraits").exists()


@pytest.mark.parametrize(
    "given, message",
    [
        ("--classes=cat", "--classes=cat is no class of --dataset=few, which has across, down"),
        ("--classes=down,cat", "--classes=cat is no class"),
        ("--classes=", "--classes= is no class"),
        ("--targets=artificial", "--targets=artificial needs a release; give --artificial"),
        ("--targets=real,artificial", "--targets=artificial needs a release"),
        ("--targets=fake", "--targets must be one of real, artificial, dp_sgd, got 'fake'"),
        ("--targets=", "--targets must be one of"),
        ("--target_model=m.keras --targets=real", "--target_model has no use for --targets"),
        ("--target_model=m.keras --seeds=2", "--target_model has no use for --seeds"),
        ("--target_model=m.keras --artificial=a", "--artificial=a: it has no privacy.json"),
        ("--target_model=none.keras", "--target_model=none.keras does not exist"),
        ("--attacks=gan", "--attacks must be one of classic, strong, got 'gan'"),
        ("--attacks=", "--attacks must be one of classic, strong"),
        ("--architectures=vgg", "--architectures must be one of"),
        ("--seeds=0", "--seeds must be a positive whole number, got 0"),
        ("--student_steps=0", "--student_steps must be a positive whole number, got 0"),
        ("--judge_steps=0", "--judge_steps must be a positive whole number, got 0"),
        ("--epsilon=-1", "--epsilon must be a positive number"),
        ("--artificial=nowhere", "--artificial=nowhere: it has no privacy.json"),
    ],
)
def test_bad_input_is_one_line_that_names_the_flag(main, here, given, message):
    del here
    refused(main, message, "--dataset=few.npz", *given.split())


def test_classes_of_one_picture_are_refused(main, here):
    one_picture_each(here / "portraits")
    message = "--dataset=portraits: class across has one training record only"
    refused(main, message, "--dataset=portraits")


def test_faces_without_opencv_are_refused_before_anything_is_read(main, here, monkeypatch):
    del here
    monkeypatch.setitem(sys.modules, "cv2", None)
    refused(main, "--faces needs OpenCV; install it", "--dataset=nowhere.npz", "--faces")
