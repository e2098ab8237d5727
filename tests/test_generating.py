# SPDX-License-Identifier: Apache-2.0
"""A data set is drawn, stopped, resumed, replaced: in this process with a stand-in, and through bin/generate."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from tfartgen import artificial, dataset_formats, generating, output_folder, release, verification
from tfartgen.accounting import Stretch, epsilon
from tfartgen.artificial import DrawPlan, LabelPolicy, ModelSpec
from tfartgen.networks import Generator
from tfartgen.rounding import upwards
from tfartgen.statement import privacy_statement, validate_statement

ROOT = pathlib.Path(__file__).resolve().parents[1]
STRETCH = Stretch("poisson", 0.01, 1.0, 1.0, 16, 50, coordinates=356)
PRIVACY = privacy_statement([STRETCH], 1e-5, critic_steps=50)
#: Above what was spent.
BUDGET = 1.5 * epsilon([STRETCH], 1e-5)
BUDGETED = privacy_statement([STRETCH], 1e-5, critic_steps=50, budget_epsilon=BUDGET)
VOID = privacy_statement(
    [STRETCH], 1e-5, critic_steps=50, budget_epsilon=BUDGET, void_reasons=["x"]
)
UNIFORM = LabelPolicy.uniform(3)
PLAN = DrawPlan(100, 0, UNIFORM, 16)


class StandIn:
    """Draws noise that depends on label and seed, and counts its examples."""

    def __init__(self, offset=0, fail_after=None):
        self.spec = ModelSpec("pets", (8, 8, 1), ("cat", "dog", "eel"), 5, PRIVACY)
        self.offset, self.fail_after, self.drawn = offset, fail_after, 0

    def draw(self, labels, seeds):
        self.drawn += len(labels)
        if self.fail_after is not None and self.drawn > self.fail_after:
            raise OSError("the server is gone")
        words = seeds.view(np.uint64)[:, None] * np.arange(1, 65, dtype=np.uint64)
        images = (words >> np.uint64(50)) + labels[:, None].astype(np.uint64)
        return (images + np.uint64(self.offset)).astype(np.uint8).reshape(-1, 8, 8, 1)


def contents(folder):
    """Digest of every file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def images_of(folder):
    with np.load(folder / "data.npz") as arrays:
        return arrays["images"], arrays["labels"]


def test_data_set_holds_the_plans_examples_and_papers(tmp_path):
    counted = []
    result = generating.generate(
        StandIn(), PLAN, tmp_path / "new" / "out", "npz", progress=counted.append
    )
    images, labels = images_of(tmp_path / "new" / "out")
    expected, expected_labels = artificial.draw_part(StandIn(), PLAN, 0, 100)
    np.testing.assert_array_equal(images, expected)
    np.testing.assert_array_equal(labels, expected_labels)
    assert sorted(os.listdir(tmp_path / "new" / "out")) == [
        "DATASHEET.md",
        "data.npz",
        "preview.png",
        "privacy.json",
    ]
    assert os.listdir(tmp_path / "new") == ["out"]
    stated = json.loads((tmp_path / "new" / "out" / "privacy.json").read_text())
    assert stated == result.statement and validate_statement(stated) == []
    assert stated["epsilon"] == pytest.approx(epsilon([STRETCH], 1e-5))
    assert sum(counted) == 100 and result.notes == ()


@pytest.mark.parametrize("format", dataset_formats.FORMATS)
def test_same_seed_same_bytes_whatever_the_parts(tmp_path, format):
    for size in (100, 16, 7):
        plan = DrawPlan(100, 5, UNIFORM, size)
        generating.generate(StandIn(), plan, tmp_path / str(size), format)
    assert contents(tmp_path / "100") == contents(tmp_path / "16") == contents(tmp_path / "7")
    generating.generate(StandIn(), DrawPlan(100, 6, UNIFORM), tmp_path / "other", format)
    assert contents(tmp_path / "other") != contents(tmp_path / "7")


def test_stopped_draw_goes_on_and_ends_alike(tmp_path):
    generating.generate(StandIn(), PLAN, tmp_path / "whole", "tfds")
    with pytest.raises(OSError, match="the server is gone"):
        generating.generate(StandIn(fail_after=60), PLAN, tmp_path / "out", "tfds")
    assert sorted(os.listdir(tmp_path)) == [".out.parts", "whole"]
    again = StandIn()
    result = generating.generate(again, PLAN, tmp_path / "out", "tfds")
    assert result.notes == ("going on with 3 of 7 parts",)
    assert again.drawn == 3 + 100 - 48  # one image of each class identifies the model
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert sorted(os.listdir(tmp_path)) == ["out", "whole"]


@pytest.mark.parametrize(
    ("model", "plan", "field"),
    [
        (StandIn(offset=1), PLAN, "model"),
        (StandIn(), DrawPlan(100, 1, UNIFORM, 16), "seed"),
        (StandIn(), DrawPlan(99, 0, UNIFORM, 16), "num_examples"),
        (StandIn(), DrawPlan(100, 0, UNIFORM, 17), "part_size"),
        (StandIn(), DrawPlan(100, 0, LabelPolicy("declared", (1.0, 0, 0)), 16), "policy"),
    ],
)
def test_parts_of_another_draw_are_not_mixed_in(tmp_path, model, plan, field):
    with pytest.raises(OSError):
        generating.generate(StandIn(fail_after=60), PLAN, tmp_path / "out", "npz")
    result = generating.generate(model, plan, tmp_path / "out", "npz")
    assert result.notes == (f"starting over: the draw that was stopped had another {field}",)
    images, labels = images_of(tmp_path / "out")
    expected, expected_labels = artificial.draw_part(model, plan, 0, plan.num_examples)
    np.testing.assert_array_equal(images, expected)
    np.testing.assert_array_equal(labels, expected_labels)


def test_promise_9_a_resumed_draw_keeps_the_noised_histogram(tmp_path):
    first, second = (LabelPolicy.noised([50, 30, 20], 3.0) for _ in range(2))
    with pytest.raises(OSError):
        plan = DrawPlan(100, 0, first, 16)
        generating.generate(StandIn(fail_after=60), plan, tmp_path / "out", "npz")
    result = generating.generate(StandIn(), DrawPlan(100, 0, second, 16), tmp_path / "out", "npz")
    assert result.policy == first and result.notes == ("going on with 3 of 7 parts",)
    _, labels = images_of(tmp_path / "out")
    np.testing.assert_array_equal(labels, artificial.example_labels(first, 0, 0, 100))
    assert result.statement["label_policy"]["probabilities"] == list(first.probabilities)
    assert result.statement["epsilon"] == pytest.approx(epsilon([STRETCH, first.stretch()], 1e-5))


def test_damaged_parts_are_drawn_again(tmp_path):
    with pytest.raises(OSError):
        generating.generate(StandIn(fail_after=60), PLAN, tmp_path / "out", "npz")
    dataset_formats.part_path(tmp_path / ".out.parts", 1).write_bytes(b"damaged")
    (tmp_path / ".out.parts" / ".part-00002.npz.abcd.tmp").write_bytes(b"half")
    (tmp_path / ".out.parts" / "assembled").mkdir()
    generating.generate(StandIn(), PLAN, tmp_path / "out", "npz")
    images, _ = images_of(tmp_path / "out")
    np.testing.assert_array_equal(images, artificial.draw_part(StandIn(), PLAN, 0, 100)[0])
    assert os.listdir(tmp_path) == ["out"]


def test_existing_output_is_replaced_only_when_asked_and_at_once(tmp_path, monkeypatch):
    generating.generate(StandIn(), PLAN, tmp_path / "out", "png")
    before = contents(tmp_path / "out")
    with pytest.raises(ValueError, match="--output=.*out exists; give another, or --overwrite"):
        generating.generate(StandIn(), PLAN, tmp_path / "out", "npz")
    with pytest.raises(OSError, match="gone"):
        generating.generate(StandIn(fail_after=60), PLAN, tmp_path / "out", "npz", overwrite=True)
    assert contents(tmp_path / "out") == before
    generating.generate(StandIn(), PLAN, tmp_path / "out", "npz", overwrite=True)
    assert set(contents(tmp_path / "out")) == {
        "DATASHEET.md",
        "data.npz",
        "preview.png",
        "privacy.json",
    }
    # Where two names cannot be swapped, the old one is renamed away first.
    monkeypatch.setattr(output_folder, "_exchange", lambda one, other: False)
    generating.generate(StandIn(), PLAN, tmp_path / "out", "png", overwrite=True)
    assert contents(tmp_path / "out") == before
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_two_folders_are_swapped_in_one_call(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not output_folder._exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot swap names")
    assert os.listdir(tmp_path / "a") == ["b"] and os.listdir(tmp_path / "b") == ["a"]


def test_replacing_that_was_killed_halfway_is_undone(tmp_path):
    generating.generate(StandIn(), PLAN, tmp_path / "out", "npz")
    before = contents(tmp_path / "out")
    (tmp_path / ".out.parts").mkdir()
    os.rename(tmp_path / "out", tmp_path / ".out.parts" / "replaced")
    with pytest.raises(OSError, match="gone"):
        generating.generate(StandIn(fail_after=0), PLAN, tmp_path / "out", "npz")
    assert contents(tmp_path / "out") == before


def test_overwrite_touches_nothing_but_data_sets(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="home holds no artificial data set .*does not touch it"):
        generating.generate(StandIn(), PLAN, tmp_path / "home", "npz", overwrite=True)
    with pytest.raises(ValueError, match="thesis.txt is no folder; give another"):
        generating.generate(
            StandIn(), PLAN, tmp_path / "home" / "thesis.txt", "npz", overwrite=True
        )
    assert os.listdir(tmp_path / "home") == ["thesis.txt"]


def test_full_disk_in_the_middle_leaves_parts_and_nothing_else(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(dataset_formats, "_encoded", full)
        with pytest.raises(OSError, match="No space left"):
            generating.generate(StandIn(), PLAN, tmp_path / "out", "png")
    assert os.listdir(tmp_path) == [".out.parts"]
    left = os.listdir(tmp_path / ".out.parts")
    assert "assembled" not in left and "part-00000.npz" in left
    generating.generate(StandIn(), PLAN, tmp_path / "out", "png")
    assert os.listdir(tmp_path) == ["out"]


def test_failure_before_the_first_part_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="gone"):
        generating.generate(StandIn(fail_after=2), PLAN, tmp_path / "new" / "er" / "out", "npz")
    assert os.listdir(tmp_path) == []


def test_two_processes_do_not_share_an_output(tmp_path):
    with output_folder.work_folder(tmp_path / "out"):
        with pytest.raises(ValueError, match="is being written by another process"):
            generating.generate(StandIn(), PLAN, tmp_path / "out", "npz")
        assert (tmp_path / ".out.parts").is_dir()


def test_policy_and_statement_must_fit_the_model(tmp_path):
    plan = DrawPlan(10, 0, LabelPolicy.uniform(2))
    with pytest.raises(ValueError, match="the label policy has 2 classes and pets has 3"):
        generating.generate(StandIn(), plan, tmp_path / "out", "npz")
    model = StandIn()
    model.spec = ModelSpec("pets", (8, 8, 1), ("cat", "dog", "eel"), 5, {"version": 1})
    with pytest.raises(ValueError, match="the privacy statement of pets cannot be built on"):
        generating.generate(model, PLAN, tmp_path / "out", "npz")
    assert os.listdir(tmp_path) == []


def budgeted_model():
    model = StandIn()
    model.spec = dataclasses.replace(model.spec, privacy=BUDGETED)
    return model


def noised(noise_multiplier):
    return DrawPlan(100, 0, LabelPolicy("noised", (0.5, 0.25, 0.25), noise_multiplier), 16)


def test_promise_12_labels_over_the_budget_are_not_drawn(tmp_path):
    model = budgeted_model()
    with pytest.raises(
        ValueError,
        match=r"=0\.2 makes it epsilon = .* above the budget .* of pets's training; give",
    ) as caught:
        generating.generate(model, noised(0.2), tmp_path / "out", "npz")
    message = str(caught.value)
    assert "\n" not in message and "--label_histogram" in message and "--exceed_budget" in message
    assert model.drawn == 0 and os.listdir(tmp_path) == []
    # The figures in the message are right.
    stretch = noised(0.2).policy.stretch()
    assert f"epsilon = {upwards(epsilon([STRETCH, stretch], 1e-5))} at delta = 1e-05" in message
    least = float(re.search(r"give ([\d.]+) or more", message)[1])
    result = generating.generate(model, noised(least), tmp_path / "out", "npz")
    assert 0.99 * BUDGET < result.statement["epsilon"] <= result.statement["budget_epsilon"]


def test_promise_12_noise_that_cannot_be_within_the_budget_is_told_so():
    spec = dataclasses.replace(StandIn().spec, privacy={**BUDGETED, "budget_epsilon": 0.01})
    with pytest.raises(ValueError, match="no noise brings it below, or draw other labels"):
        generating.check_label_noise(spec, 10.0)
    noiseless = privacy_statement(
        [dataclasses.replace(STRETCH, noise_multiplier=0.0)], 1e-5, critic_steps=50
    )
    spec = dataclasses.replace(spec, privacy={**noiseless, "budget_epsilon": 3.0})
    with pytest.raises(ValueError, match="epsilon = infinity at delta = 1e-05, above the budget 3"):
        generating.check_label_noise(spec, 10.0)


def test_promise_12_statement_over_the_budget_names_none(tmp_path):
    model = budgeted_model()
    result = generating.generate(model, noised(0.2), tmp_path / "out", "npz", exceed_budget=True)
    assert result.notes[0].startswith("the noised class histogram makes it epsilon = ")
    stated = json.loads((tmp_path / "out" / "privacy.json").read_text())
    assert stated["epsilon"] > BUDGET and stated["budget_epsilon"] is None
    assert verification.verify(tmp_path / "out") == []


def test_labels_without_price_and_models_without_budget_are_not_held_against_one():
    for privacy, noise in ((BUDGETED, None), (PRIVACY, 0.2), (VOID, 0.2)):
        spec = dataclasses.replace(StandIn().spec, privacy=privacy)
        assert generating.check_label_noise(spec, noise) == ()


@pytest.mark.parametrize("format", dataset_formats.FORMATS)
def test_promise_22_odd_names_are_refused_before_anything_is_drawn(tmp_path, format):
    for bad in ({"name": "/home/ada/pets"}, {"class_names": ("cat", "dog", "a\u202eb")}):
        model = StandIn()
        model.spec = dataclasses.replace(model.spec, **bad)
        with pytest.raises(ValueError, match="and it is published; rename"):
            generating.generate(model, PLAN, tmp_path / "out", format)
        assert model.drawn == 0 and os.listdir(tmp_path) == []


def test_parts_can_come_from_elsewhere(tmp_path):
    def produce(plan, folder):
        for index, part in enumerate(plan.parts()):
            path = dataset_formats.part_path(folder, index)
            dataset_formats.write_part(path, *artificial.draw_part(StandIn(), plan, *part))

    generating.generate(StandIn(), PLAN, tmp_path / "here", "npz")
    generating.generate(StandIn(), PLAN, tmp_path / "elsewhere", "npz", produce=produce)
    assert contents(tmp_path / "here") == contents(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="part 0 of 7 is missing .* must share that folder"):
        generating.generate(
            StandIn(), PLAN, tmp_path / "never", "npz", produce=lambda plan, folder: None
        )


def test_single_example_and_one_part_too_many(tmp_path):
    for count in (1, 16, 17):
        plan = DrawPlan(count, 0, UNIFORM, 16)
        generating.generate(StandIn(), plan, tmp_path / str(count), "npz")
        assert len(images_of(tmp_path / str(count))[0]) == count


# bin/generate, in processes of its own.


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "pets"
    generator = Generator((8, 8, 1), 3, latent_dim=5, width=8, seed=3)
    generator((tf.zeros([1, 5]), tf.zeros([1], tf.int32)))
    names = ("cat", "dog", "eel")
    release.export_generator(generator, folder, PRIVACY, class_names=names, name="pets")
    return folder


@pytest.fixture(scope="module")
def budget_folder(tmp_path_factory):
    """A generator that was trained within a budget, most of which is spent."""
    folder = tmp_path_factory.mktemp("models") / "pets"
    generator = Generator((8, 8, 1), 3, latent_dim=5, width=8, seed=3)
    generator((tf.zeros([1, 5]), tf.zeros([1], tf.int32)))
    names = ("cat", "dog", "eel")
    release.export_generator(generator, folder, BUDGETED, class_names=names, name="pets")
    return folder


def command(*arguments):
    return [sys.executable, str(ROOT / "bin" / "generate"), *map(str, arguments)]


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def start(folder, *arguments):
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_is_quick_and_needs_no_tensorflow(tmp_path):
    begin = time.monotonic()
    done = start(tmp_path, "--help")
    assert time.monotonic() - begin < 2 and done.returncode == 0 and done.stderr == ""
    assert "bin/generate --model=saved_models/digits" in done.stdout


def test_command_draws_a_tfds_folder_and_says_what_next(tmp_path, model_folder):
    tfds = pytest.importorskip("tensorflow_datasets")
    done = start(tmp_path, f"--model={model_folder}", "--num_examples=50", "--seed=4")
    assert (done.returncode, done.stderr) == (0, "")
    assert "50 labelled images, labels uniform" in done.stdout
    assert done.stdout.rstrip().endswith("bin/generate --verify=artificial/pets")
    builder = tfds.builder_from_directory(tmp_path / "artificial" / "pets")
    drawn = list(builder.as_dataset(split="train", as_supervised=True).as_numpy_iterator())
    plan = DrawPlan(50, 4, UNIFORM)
    images, labels = artificial.draw_part(artificial.LocalModel(model_folder), plan, 0, 50)
    np.testing.assert_array_equal([image for image, _ in drawn], images)
    np.testing.assert_array_equal([label for _, label in drawn], labels)
    assert os.listdir(tmp_path / "artificial") == ["pets"]


def test_killed_command_resumes_and_ends_alike(tmp_path, model_folder):
    arguments = [f"--model={model_folder}", "--num_examples=30000", "--part_size=256"]
    arguments += ["--format=npz"]
    killed = subprocess.Popen(
        command(*arguments, "--output=out"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    limit = time.monotonic() + 60
    while len(list(tmp_path.glob(".out.parts/part-*.npz"))) < 3 and time.monotonic() < limit:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    drawn = len(list(tmp_path.glob(".out.parts/part-*.npz")))
    assert 3 <= drawn < 118 and not (tmp_path / "out").exists()
    done = start(tmp_path, *arguments, "--output=out")
    assert done.returncode == 0
    assert done.stderr == f"note: going on with {drawn} of 118 parts\n"
    start(tmp_path, *arguments[:2], "--format=npz", "--output=whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert sorted(os.listdir(tmp_path)) == ["out", "whole"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--model is missing; give a generator, such as saved_models/digits"),
        (["--model=."], "--model=. holds no SavedModel; give a generator"),
        (["--model=pets", "--version=9"], "--version=9 is not in pets, which has 1"),
        (["--model=pets", "--num_examples=0"], "--num_examples must be a positive whole number"),
        (["--model=pets", "--num_examples=-3"], "--num_examples must be a positive whole number"),
        (["--model=pets", "--output=there"], "there exists; give another, or --overwrite"),
        (["--model=pets", "--label_histogram=bad.json"], "bad.json: label histogram must sum to 1"),
        (["--model=pets", "--label_histogram=none.json"], "none.json: No such file"),
        (
            ["--model=pets", "--label_noise_multiplier=3"],
            "--label_noise_multiplier and --dataset go",
        ),
        (
            ["--model=pets", "--dataset=digits"],
            "--label_noise_multiplier and --dataset go together",
        ),
        (
            ["--model=pets", "--dataset=digits", "--label_noise_multiplier=nan"],
            "--label_noise_multiplier must be a positive number, got nan",
        ),
        (
            ["--model=pets", "--dataset=digits", "--label_noise_multiplier=3"],
            "--dataset has the classes 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and the generator cat, dog, eel",
        ),
        (["--model=pets", "--beam_options=--x=1"], "--beam_options needs --beam_runner"),
        (["--model=pets", "--exceed_budget"], "--exceed_budget is for --label_noise_multiplier"),
    ],
)
def test_bad_input_is_one_line(tmp_path, model_folder, arguments, message):
    (tmp_path / "pets").symlink_to(model_folder)
    (tmp_path / "there").mkdir()
    (tmp_path / "bad.json").write_text('{"cat": 0.5}')
    done = start(tmp_path, *arguments)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("generate: error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["bad.json", "pets", "there"]


def private_npz(path, labels):
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8, 1), np.uint8)
    np.savez(path, images=images, labels=labels, class_names=["cat", "dog", "eel"])


def test_noised_histogram_is_drawn_from_and_priced(tmp_path, model_folder):
    private_npz(tmp_path / "private.npz", np.repeat([0, 1, 2], [200, 200, 0]))
    noise = ["--dataset=private.npz", "--label_noise_multiplier=0.2", "--format=npz"]
    done = start(tmp_path, f"--model={model_folder}", "--num_examples=400", "--output=out", *noise)
    assert (done.returncode, done.stderr) == (0, "")
    assert "released with noise, its cost included" in done.stdout
    _, drawn = images_of(tmp_path / "out")
    assert np.abs(np.bincount(drawn, minlength=3) - [200, 200, 0]).max() < 80
    stated = json.loads((tmp_path / "out" / "privacy.json").read_text())
    assert stated["label_policy"]["kind"] == "noised"
    assert stated["epsilon"] > epsilon([STRETCH], 1e-5)


def test_what_was_drawn_verifies(tmp_path, model_folder):
    pytest.importorskip("tfartgen.verification")
    start(tmp_path, f"--model={model_folder}", "--num_examples=50", "--output=out")
    done = start(tmp_path, "--verify=out")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "verified: out")
    assert done.stdout.startswith("What it says: 4 texts, listed here, and ")
    (tmp_path / "out" / "extra").write_text("call Ada")
    done = start(tmp_path, "--verify=out")
    assert done.returncode == 1 and done.stderr == ""
    assert "'call Ada'" in done.stdout and "extra: is not listed in privacy.json" in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 80


def test_promise_12_labels_over_the_budget_are_refused_before_a_record_is_read(
    tmp_path, budget_folder
):
    """There is no private data to be read: the message is not about that."""
    arguments = [f"--model={budget_folder}", "--dataset=absent.npz", "--format=npz"]
    done = start(tmp_path, *arguments, "--label_noise_multiplier=0.2")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "--label_noise_multiplier=0.2 makes it epsilon = " in done.stderr
    assert "absent.npz" not in done.stderr and os.listdir(tmp_path) == []
    allowed = start(tmp_path, *arguments, "--label_noise_multiplier=0.2", "--exceed_budget")
    assert "absent.npz" in allowed.stderr


def test_beam_draws_the_same_bytes(tmp_path, model_folder):
    pytest.importorskip("apache_beam")
    pytest.importorskip("tfartgen.beam_pipeline")
    arguments = [f"--model={model_folder}", "--num_examples=60", "--part_size=20", "--format=npz"]
    assert start(tmp_path, *arguments, "--output=here").returncode == 0
    done = start(tmp_path, *arguments, "--output=beam", "--beam_runner=DirectRunner")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "here") == contents(tmp_path / "beam")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--server=localhost:1", "--server_retries=0"], "--server=localhost:1 does not answer"),
        (["--server=nonsense"], "--server must be host:port"),
    ],
)
def test_server_that_is_down_is_one_line(tmp_path, arguments, message):
    pytest.importorskip("tensorflow_serving")
    done = start(tmp_path, "--model=pets", *arguments)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and message in done.stderr
    assert os.listdir(tmp_path) == []


#: Runs bin/generate where no file can grow beyond some bytes, as on a disk that is nearly full.
LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
sys.path.insert(0, sys.argv[1])
del sys.argv[:2]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_full_disk_of_the_command_is_one_line_and_resumable(tmp_path, model_folder):
    arguments = [f"--model={model_folder}", "--num_examples=900", "--part_size=300"]
    arguments += ["--format=npz", "--output=out"]
    full = subprocess.run(
        [sys.executable, "-c", LIMITED, str(ROOT), *command(*arguments)[1:]],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert full.returncode == 1 and full.stderr.count("\n") == 1
    assert full.stderr.startswith("generate: error: ")
    assert os.listdir(tmp_path) == [".out.parts"]
    resumed = start(tmp_path, *arguments)
    assert (resumed.returncode, resumed.stderr) == (0, "note: going on with 3 of 3 parts\n")
    assert os.listdir(tmp_path) == ["out"]
