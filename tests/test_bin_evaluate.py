# SPDX-License-Identifier: Apache-2.0
"""`bin/evaluate` as a person meets it: one run in a process of its own, bad input in this one."""

from __future__ import annotations

import csv
import json
import signal
import time

import numpy as np
import pytest
import scripts
from scripts import ROOT

from tfartgen import evaluation_files

QUICK = (
    "--studies=table,fidelity",
    "--methods=real,artificial",
    "--architectures=logistic_regression",
    "--seeds=2",
    "--student_steps=40",
)


def run(folder, script, *arguments):
    """Exit status, standard output and standard error of a program in `folder`."""
    return scripts.ended(scripts.start(script, folder, *arguments))


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
    """A folder with an artificial data set that was drawn from the committed digits generator."""
    folder = tmp_path_factory.mktemp("evaluate")
    model = f"--model={ROOT / 'saved_models' / 'digits'}"
    drawn = run(folder, "generate", model, "--num_examples=300", "--format=npz")
    assert (drawn[0], drawn[2]) == (0, "")
    return folder


@pytest.fixture(name="evaluated", scope="module")
def _evaluated(folder):
    return run(folder, "evaluate", "--artificial=artificial/digits", *QUICK)


def test_an_evaluation_says_what_it_found_in_80_columns(evaluated, folder):
    status, out, err = evaluated
    assert status == 0
    assert "note: students of artificial data see 300 examples" in err and len(err.split("\n")) < 5
    assert max(map(len, out.splitlines())) <= 80
    document = json.loads((folder / "evaluations/digits/evaluation.json").read_text())
    for row in document["table"]:
        mean, half = row["accuracy"]["mean"], row["accuracy"]["half_width"]
        assert f"{100 * mean:.2f} ± {100 * half:.2f}" in out
    assert f"{document['fidelity'][0]['artificial']['frechet_distance']:.2f}" in out
    assert "Written:   evaluations/digits: " in out


def test_the_files_hold_what_was_printed(evaluated, folder):
    del evaluated
    output = folder / "evaluations/digits"
    names = {path.name for path in output.iterdir()}
    assert names >= {"evaluation.json", "evaluation.csv", "accuracy.png", "fidelity.png", "trials"}
    assert not any(name.startswith(".") for name in names)
    document = json.loads((output / "evaluation.json").read_text())
    with open(output / "evaluation.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["accuracy"]) for row in rows] == [
        row["accuracy"]["mean"] for row in document["table"]
    ]
    assert not any(str(folder) in path.read_text() for path in output.glob("*.json"))


def test_figures_of_an_earlier_evaluation_do_not_stay(evaluated, folder):
    """Beside other figures they would be taken for figures of the same students."""
    document = json.loads((folder / "evaluations/digits/evaluation.json").read_text())
    output = folder / "figures"
    evaluation_files.write(document, output)
    del document["fidelity"]
    assert (output / "fidelity.png").exists()
    names = {path.name for path in evaluation_files.write(document, output)}
    assert {path.name for path in output.iterdir()} == names and "fidelity.png" not in names


def test_the_same_command_again_trains_nothing_and_writes_the_same(evaluated, folder):
    del evaluated
    trials = folder / "evaluations/digits/trials"
    before = {path: path.stat().st_mtime_ns for path in trials.iterdir()}
    content = (folder / "evaluations/digits/evaluation.json").read_bytes()
    assert run(folder, "evaluate", "--artificial=artificial/digits", *QUICK)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in trials.iterdir()} == before
    assert (folder / "evaluations/digits/evaluation.json").read_bytes() == content


def test_an_interrupted_evaluation_says_how_to_go_on_and_keeps_what_it_has(folder):
    output = folder / "interrupted"
    arguments = [argument for argument in QUICK if not argument.startswith("--seeds")]
    process = scripts.start(
        "evaluate",
        folder,
        "--artificial=artificial/digits",
        *arguments,
        "--seeds=500",
        f"--output={output}",
    )
    deadline = time.monotonic() + 120
    while not list(output.glob("trials/*.json")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    status, out, err = scripts.ended(process)
    assert (status, out) == (130, "")
    assert "the same command goes on where this one stopped" in " ".join(err.split())
    assert err.endswith("evaluate: interrupted\n") and "Traceback" not in err
    assert {path.name for path in output.iterdir()} == {"trials"}


@pytest.fixture(name="main", scope="module")
def _main():
    with scripts.main_of("evaluate") as main:
        yield main


def npz(path, shape=(20, 8, 8, 1), classes=2, **more):
    """A data set whose training and test split are the same noise, where no other is given."""
    images = np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)
    labels = np.arange(shape[0]) % classes
    more = {"test_images": images, "test_labels": labels, **more}
    np.savez(path, images=images, labels=labels, **more)
    return str(path)


@pytest.mark.parametrize(
    "data, message",
    [
        ({"shape": (20, 9, 9, 1)}, "has images 8 x 8 x 1, --dataset=other has 9 x 9 x 1"),
        ({}, "has 10 classes, --dataset=other has 2"),
        (
            {"classes": 10, "shape": (40, 8, 8, 1), "class_names": np.array(list("0123456z89"))},
            "calls class 7 '7', --dataset=other calls it 'z'",
        ),
    ],
)
def test_a_release_of_other_data_is_refused(main, folder, tmp_path, monkeypatch, data, message):
    monkeypatch.chdir(tmp_path)
    other = npz(tmp_path / "other.npz", **data)
    with pytest.raises(ValueError, match=message):
        main(f"--dataset={other}", f"--artificial={folder}/artificial/digits")
    assert not (tmp_path / "evaluations").exists()


@pytest.mark.parametrize(
    "given, message",
    [
        ("--artificial=nowhere", "--artificial=nowhere: it has no privacy.json"),
        ("--studies=curve", "--studies=curve needs a release"),
        ("--studies=all", "--studies must be one of table"),
        ("--curve=1,x", "--curve must be whole numbers with commas, got 'x'"),
        ("--student_steps=0", "--student_steps must be a positive whole number"),
        ("--studies=table --public_fraction=1", "--public_fraction must be between"),
        ("--sweep=epsilon:1,2 --artificial=a", "--sweep trains releases of its own"),
        ("--sweep=epsilon", "--sweep=epsilon is not NAME:VALUE"),
        ("--sweep=epsilon:1,2 --studies=curve", "--sweep has no use for --studies; leave it out"),
        ("--sweep=epsilon:1,2 --epsilon=3", "--sweep has no use for --epsilon; leave it out"),
        ("--studies=table --methods=pate --num_teachers=1423", "exceeds the 1422 records"),
    ],
)
def test_bad_input_is_one_line_that_names_the_flag(main, tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        main(*given.split())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "evaluations").exists()


def test_a_class_without_test_images_is_borne_and_has_no_recall(main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(8, 8, 8, 1)).astype(np.uint8)
    other = npz(
        tmp_path / "other.npz",
        class_names=np.array(["cat", "dog"]),
        test_images=images,
        test_labels=np.zeros(8, np.int64),
    )
    settings = ("--studies=table", "--methods=real", "--architectures=logistic_regression")
    main(f"--dataset={other}", *settings, "--seeds=1", "--student_steps=2", "--output=out")
    document = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    [row] = document["table"]
    assert row["recalls"][1] is None and row["macro_recall"]["mean"] == row["recalls"][0]
    csv = (tmp_path / "out" / "evaluation.csv").read_text()
    assert ",cat," in csv and ",dog," not in csv
