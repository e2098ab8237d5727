# SPDX-License-Identifier: Apache-2.0
"""`bin/train` as a person meets it: in processes of its own where they end, else in this one."""

from __future__ import annotations

import functools
import json
import pathlib
import resource
import signal
import time

import numpy as np
import pytest
import scripts
from scripts import ended

from tfartgen.rounding import upwards

ROOT = pathlib.Path(__file__).resolve().parents[1]
TRAIN = ROOT / "bin" / "train"

SMALL = (
    "--generator_width=2",
    "--critic_width=2",
    "--latent_dim=4",
    "--generator_batch_size=4",
    "--projector_images=0",
)
FORMAL = (*SMALL, "--epsilon=5", "--batch_size=16", "--warm_start=0", "--steps=150")
STAGED = (
    *SMALL,
    "--epsilon=5",
    "--batch_size=16",
    "--fourier_features=50",
    "--warm_start_steps=150",
    "--steps=20",
)
ENDLESS = (*SMALL, "--noise_multiplier=1", "--batch_size=16", "--steps=100000")
SAVE_OFTEN = "--checkpoint_minutes=0.001"


start = functools.partial(scripts.start, "train")


def finish(folder, *arguments):
    """Standard output of a run that must go through without a word on standard error."""
    status, out, err = ended(start(folder, *arguments))
    assert (status, err) == (0, "")
    return out


def wait_for_checkpoint(process, run, after=0):
    """Waits until the run has saved more than `after` critic steps."""
    deadline = time.monotonic() + 240
    while saved_steps(run) <= after:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def saved_steps(run):
    names = [path.stem for path in (run / "checkpoints").glob("ckpt-*.index")]
    return max((int(name.partition("-")[2]) for name in names), default=0)


def ledger(run):
    """Stretches of a ledger, below the line that says which version it has."""
    head, *stretches = map(json.loads, (run / "ledger.jsonl").read_text().splitlines())
    assert (head["ledger"], head["version"]) == ("tfartgen", 2)
    return stretches


def statement(folder, name="digits_eps5"):
    path = folder / "saved_models" / name / "1" / "assets.extra" / "privacy.json"
    return json.loads(path.read_text())


@pytest.fixture(name="whole", scope="module")
def _whole(tmp_path_factory):
    """Folder and standard output of a run with a budget that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, finish(folder, *FORMAL)


def test_a_run_says_what_it_did_in_80_columns(whole):
    folder, out = whole
    assert max(map(len, out.splitlines())) <= 80
    assert "150 of 150 critic steps on 1,422 records of digits" in out
    epsilon = statement(folder)["epsilon"]
    assert f"epsilon = {upwards(epsilon)} at delta = 1e-05" in " ".join(out.split())
    assert "add or remove one record" in " ".join(out.split())
    assert "saved_models/digits_eps5/1" in out and "tensorboard --logdir=runs/digits_eps5" in out
    assert {path.name for path in folder.iterdir()} == {"runs", "saved_models"}


def test_promise_6_a_killed_run_resumes_and_spends_what_an_uninterrupted_one_does(whole, tmp_path):
    run = tmp_path / "runs" / "digits_eps5"
    killed = start(tmp_path, *FORMAL, SAVE_OFTEN)
    wait_for_checkpoint(killed, run)
    killed.send_signal(signal.SIGKILL)
    assert ended(killed)[0] == -signal.SIGKILL
    assert 0 < saved_steps(run) < 150 and not (tmp_path / "saved_models").exists()
    out = finish(tmp_path, *FORMAL)
    assert "150 of 150 critic steps" in out
    first, resumed = statement(whole[0]), statement(tmp_path)
    assert (resumed["critic_steps"], resumed["epsilon"]) == (150, first["epsilon"])
    for stated in (first, resumed):
        assert stated["earlier_releases"].pop("counted_since")  # another book
    assert resumed == first and resumed["epsilon"] <= 5
    assert ledger(run) == ledger(whole[0] / "runs" / "digits_eps5")


def test_promise_6_killed_in_the_warm_start_it_releases_nothing_twice(tmp_path):
    run = tmp_path / "runs" / "digits_eps5"
    killed = start(tmp_path, *STAGED, SAVE_OFTEN)
    wait_for_checkpoint(killed, run)
    killed.kill()
    killed.communicate()
    assert saved_steps(run) < 150
    [release] = ledger(run)
    finish(tmp_path, *STAGED)
    first, critic = ledger(run)
    assert first == release and (critic["stage"], critic["steps"]) == ("critic", 20)
    assert statement(tmp_path)["mechanism"] == [first, critic]
    assert 4.9 < statement(tmp_path)["epsilon"] <= 5.0


def test_signals_save_and_stop_and_the_next_start_goes_on(tmp_path):
    run, steps = tmp_path / "runs" / "digits", 0
    for number in (signal.SIGINT, signal.SIGTERM):
        process = start(tmp_path, *ENDLESS, SAVE_OFTEN)
        wait_for_checkpoint(process, run, after=steps)
        process.send_signal(number)
        status, out, err = ended(process)
        assert (status, err) == (128 + number, "")
        assert saved_steps(run) > steps
        steps = saved_steps(run)
        assert [stretch["steps"] for stretch in ledger(run)] == [steps]
        assert f"{steps:,} of 100,000 critic steps" in out
        assert f"by {number.name}; saved in runs/digits" in out
        command = f"{TRAIN} {' '.join(ENDLESS)} {SAVE_OFTEN}"
        assert f"{command}\n" in out and "goes on where it stopped" in out
        others = [line for line in out.splitlines() if str(TRAIN) not in line]
        assert max(map(len, others)) <= 80
    assert not (tmp_path / "saved_models").exists()


def test_help_is_quick_and_shows_how_to_start(tmp_path):
    begin = time.monotonic()
    status, out, err = ended(start(tmp_path, "--help"))
    assert time.monotonic() - begin < 2 and (status, err) == (0, "")
    assert "bin/train --dataset=mnist --epsilon=10 --delta=1e-5" in out
    assert "--epsilon\n" in out and "--total_epsilon\n" in out


def test_bad_input_is_one_line_and_creates_nothing(tmp_path):
    status, out, err = ended(start(tmp_path, "--dataset=nowhere"))
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("train: error: --dataset=nowhere is neither a known data set nor ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--steps=many", "flag --steps=many: "),
        ("--sampling=bootstrap", "flag --sampling=bootstrap: "),
        ("--noise=1", "flag --noise: unknown"),
        ("digits", "unexpected argument 'digits'"),
    ],
)
def test_a_bad_flag_is_one_line_before_tensorflow_starts(tmp_path, flag, message):
    begin = time.monotonic()
    status, out, err = ended(start(tmp_path, flag))
    assert time.monotonic() - begin < 2
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"train: {message}") and "(see --help)" in err
    assert not list(tmp_path.iterdir())


@pytest.fixture(name="main", scope="module")
def _main():
    with scripts.main_of("train") as main:
        yield main


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--dataset=nowhere"], "mnist, fashion_mnist, svhn_cropped, celeb_a, another TFDS"),
        (["--dataset=nowhere/at/all"], "--dataset=nowhere/at/all"),
        (
            ["--epsilon=1", "--noise_multiplier=1"],
            "--epsilon=1.0 and --noise_multiplier=1.0 exclude",
        ),
        (["--epsilon=nan"], "--epsilon must be a positive number, got nan"),
        (["--epsilon=0"], "--epsilon must be a positive number, got 0.0"),
        (["--epsilon=inf"], "--epsilon must be a positive number, got inf"),
        (["--noise_multiplier=-1"], "--noise_multiplier must be a non-negative number, got -1.0"),
        (["--noise_multiplier=nan"], "--noise_multiplier must be a non-negative number, got nan"),
        (["--noise_multiplier=1e-9"], "noise_multiplier must be 0 or between 1e-06 and 1e+06"),
        (["--steps=0"], "--steps must be a positive whole number, got 0"),
        (["--batch_size=-3"], "--batch_size must be a positive whole number, got -3"),
        (["--batch_size=2000"], "exceeds the 1422 training records; lower --batch_size"),
        (["--delta=2"], "--delta must be between 0 and 1 (exclusive), got 2.0"),
        (["--delta=0"], "--delta must be between 0 and 1 (exclusive), got 0.0"),
        (["--clip_norm=nan"], "--clip_norm must be a positive number, got nan"),
        (["--clip_norm=0"], "--clip_norm must be a positive number, got 0.0"),
        (["--clip_norm=1e-7"], "--clip_norm must be at least 1e-06, got 1e-07"),
        (["--critic_learning_rate=-1"], "--critic_learning_rate must be a positive number"),
        (["--penalty_weight=-1"], "--penalty_weight must be a non-negative number, got -1.0"),
        (["--critic_steps=0"], "--critic_steps must be a positive whole number or adaptive"),
        (["--critic_steps=some"], "--critic_steps must be a positive whole number or adaptive"),
        (["--loss=wasserstein", "--critic_steps=adaptive"], "--loss=hinge or non_saturating"),
        (["--checkpoint_minutes=nan"], "checkpoint_minutes must be a positive number, got nan"),
        (["--seed=-1"], "--seed must be a non-negative number, got -1"),
        (["--epsilon=1e-9"], "--epsilon=1e-09 with delta 1e-05 is out of reach"),
    ],
)
def test_bad_settings_are_named_and_create_nothing(main, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as error:
        main(*arguments)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_run_folder_of_other_settings_is_refused(main, whole, monkeypatch):
    monkeypatch.chdir(whole[0])
    with pytest.raises(ValueError, match=r"holds a run with steps=150, not 151; .* --run_dir"):
        main(*FORMAL[:-1], "--steps=151")


def test_a_finished_run_says_so_and_does_nothing(main, whole, monkeypatch, capsys):
    monkeypatch.chdir(whole[0])
    assert main(*FORMAL) == 0
    assert "saved_models/digits_eps5/1 (finished before; nothing to do)" in capsys.readouterr().out
    assert saved_steps(whole[0] / "runs" / "digits_eps5") == 150
    assert len(list((whole[0] / "saved_models" / "digits_eps5").iterdir())) == 1


@pytest.mark.slow
def test_a_batch_of_4096_records_of_28_by_28_stays_under_4_gib(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(16_384, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(16_384) % 10)
    process = start(tmp_path, "--dataset=data.npz", "--batch_size=4096", "--steps=3")
    status, _, err = ended(process)
    assert status == 0, err
    peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert peak_kib < 4 * 2**20
