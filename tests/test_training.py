# SPDX-License-Identifier: Apache-2.0
"""A run: what it spends and remembers, how it stops, resumes and fails, and what it writes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import shutil
import signal

import dp_accounting
import numpy as np
import pytest
import tensorflow as tf
from dp_accounting import pld
from training_samples import (
    COUNT,
    EVERY_STEP,
    PROJECTED,
    SMALL,
    STEPS,
    STOP,
    all_differ,
    assert_same,
    at_step,
    checkpointed,
    copy_of,
    fixed_keys,
    held_out_is_read,
    iterations,
    make_config,
    make_data,
    make_formal_config,
    read_ledger,
    read_statement,
    stop_after,
    train,
    without_book,
    write_ledger,
)

from tfartgen import (
    accounting,
    assembly,
    budget_book,
    callbacks,
    run_folder,
    summary,
    training,
)
from tfartgen.data import PrivateData, Split
from tfartgen.noise import operating_system_keys
from tfartgen.train_config import TrainConfig, configure


@pytest.fixture(name="finished", scope="module")
def _finished(tmp_path_factory):
    """A run that went through without a stop; tests must not change it."""
    folder = tmp_path_factory.mktemp("finished")
    with at_step(0, lambda: None):
        result = train(folder, checkpoint_minutes=EVERY_STEP, projector_images=PROJECTED)
    assert result.stopped_by is None and not result.already_finished
    return folder


@pytest.fixture(name="stopped", scope="module")
def _stopped(tmp_path_factory):
    """The same run, stopped by SIGTERM before its end; tests must not change it."""
    folder = tmp_path_factory.mktemp("stopped")
    with stop_after(STOP):
        result = train(folder, checkpoint_minutes=EVERY_STEP)
    assert (result.stopped_by, result.model_path) == (signal.SIGTERM, None)
    assert (result.steps, result.total_steps) == (STOP, STEPS)
    assert not (folder / "models").exists()
    return folder


@pytest.fixture(name="formal", scope="module")
def _formal(tmp_path_factory):
    """A run with a budget and an adaptive schedule, stopped before its end; tests must not change it."""
    folder = tmp_path_factory.mktemp("formal")
    with stop_after(STOP):
        train(folder, make_formal_config())
    return folder


@pytest.fixture(name="resumed", scope="module")
def _resumed(formal, tmp_path_factory):
    """The same, gone on with to its end; tests must not change it."""
    folder = copy_of(formal, tmp_path_factory.mktemp("resumed"))
    train(folder, make_formal_config())
    return folder


def snapshot(folder):
    """Content and time of every file but the logs and the lock."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"]
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


def assert_one_line(error, *parts):
    assert "\n" not in str(error)
    for part in parts:
        assert part in str(error)


# What is priced.


def assert_every_step_priced(folder, steps):
    assert sum(stretch["steps"] for stretch in read_ledger(folder)) == steps
    assert iterations(folder) == steps


def test_promise_5_every_critic_step_is_priced(finished):
    assert_every_step_priced(finished, STEPS)
    statement = read_statement(finished)
    assert statement["critic_steps"] == STEPS
    assert sum(stretch["steps"] for stretch in statement["mechanism"]) == STEPS


def test_promise_5_every_critic_step_is_priced_after_a_stop(stopped):
    assert_every_step_priced(stopped, STOP)


def test_promise_5_every_critic_step_is_priced_after_resume_and_adaptive_pace(formal, resumed):
    assert_every_step_priced(formal, STOP)
    assert_every_step_priced(resumed, STEPS)
    assert read_statement(resumed)["critic_steps"] == STEPS


def test_promise_6_a_resumed_run_spends_what_an_uninterrupted_one_does_and_no_noise_twice(
    finished, stopped, tmp_path, monkeypatch
):
    """Also when the ledger is ahead of the checkpoint, as after a crash between the two."""
    first, second = (copy_of(stopped, tmp_path / name) for name in ("first", "second"))
    [stretch] = read_ledger(second)
    write_ledger(second, [{**stretch, "steps": STOP + 2}])
    for folder in (first, second):
        monkeypatch.setenv(budget_book.VARIABLE, str(folder / "book"))  # they are one run
        result = train(folder, checkpoint_minutes=EVERY_STEP)
        assert (result.steps, result.stopped_by) == (STEPS, None)
        assert_every_step_priced(folder, STEPS)
        assert without_book(read_statement(folder)) == without_book(read_statement(finished))
        assert result.spent.epsilon == read_statement(finished)["epsilon"]
    assert all_differ(checkpointed(first, "critic"), checkpointed(second, "critic"))


def test_promise_6_the_plan_cannot_be_extended(finished):
    with pytest.raises(ValueError, match=f"steps={STEPS}, not {STEPS + 1}"):
        train(finished, make_config(steps=STEPS + 1))


def test_promise_6_a_calibrated_run_stays_within_its_budget(resumed):
    statement = read_statement(resumed)
    assert 0.9 * 3.0 < statement["epsilon"] <= 3.0
    assert statement["budget_epsilon"] == 3.0
    assert statement["guarantee"] == "formal"


def _less_noise_all_along(folder):
    _less_noise_from_now(folder)
    write_ledger(
        folder,
        [{**s, "noise_multiplier": s["noise_multiplier"] / 2} for s in read_ledger(folder)],
    )


def _no_checkpoints(folder):
    shutil.rmtree(folder / "run" / "checkpoints")


@pytest.mark.parametrize("tamper", [_less_noise_all_along, _no_checkpoints])
def test_promise_6_a_run_that_would_exceed_its_budget_is_refused(formal, tmp_path, tamper):
    folder = copy_of(formal, tmp_path)
    tamper(folder)
    with pytest.raises(
        ValueError, match=r"would spend epsilon .* more than --epsilon=3.0"
    ) as error:
        train(folder, make_formal_config())
    assert_one_line(error.value, "--run_dir")


def _noisier(folder):
    write_ledger(folder, [{**s, "noise_multiplier": 9.0} for s in read_ledger(folder)])


def _more(folder):
    [stretch] = read_ledger(folder)
    write_ledger(folder, [{**stretch, "noise_multiplier": 0.5, "steps": 1}, stretch])


def _other_clip_norm(folder):
    write_ledger(folder, [{**s, "clip_norm": 2.0} for s in read_ledger(folder)])


def _less_noise_from_now(folder):
    path = folder / "run" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "noise_multiplier": config["noise_multiplier"] / 2}))


@pytest.mark.parametrize("tamper", [_noisier, _more, _other_clip_norm, _less_noise_from_now])
def test_promise_12_a_ledger_of_other_noise_than_the_configuration_is_refused(
    formal, tmp_path, tamper
):
    folder = copy_of(formal, tmp_path)
    tamper(folder)
    with pytest.raises(
        ValueError, match=r"has critic steps of (noise_multiplier|clip_norm) "
    ) as error:
        train(folder, make_formal_config())
    assert_one_line(error.value, "--run_dir", "config.json")
    assert iterations(folder) == STOP


def test_promise_6_checkpoints_do_not_make_a_shuffled_run_dearer(tmp_path):
    """The passes of one session are counted once, however often it was saved."""
    config = configure(
        make_data(),
        epsilon=8.0,
        batch_size=6,
        steps=STEPS,
        sampling="shuffle",
        warm_start=0.0,
        **SMALL,
    )
    with at_step(0, lambda: None):
        result = train(tmp_path, config, checkpoint_minutes=EVERY_STEP)
    assert result.spent.epsilon <= 8.0
    assert "zero-out" in read_statement(tmp_path)["neighbouring_relation"]


def test_promise_8_training_never_reads_the_held_out_split(finished, stopped, resumed):
    """Every run of this file trains on data whose held-out split cannot be read."""
    for read in (make_data().held_out.arrays, make_data().held_out.stream):
        with pytest.raises(AssertionError, match="held-out"):
            read()
    for folder in (finished, resumed):
        assert read_statement(folder)["selected_on_private_data"] == []


def test_promise_10_the_seed_fixes_initial_weights_and_never_the_noise(tmp_path):
    """No generator step is due, so that the generators are still the initial ones."""
    runs = {}
    for name, keys in {
        "first": operating_system_keys,
        "second": operating_system_keys,
        "fixed": fixed_keys,
        "fixed again": fixed_keys,
    }.items():
        config = make_config(steps=2, critic_steps="5", seed=7)
        result = train(tmp_path / name, config, keys=keys)
        critic = checkpointed(tmp_path / name, "critic")
        runs[name] = (checkpointed(tmp_path / name, "generator"), critic, result)
    for generator, _, _ in runs.values():
        assert_same(generator, runs["first"][0])
    assert_same(runs["fixed"][1], runs["fixed again"][1])  # nothing but the keys differs
    assert all_differ(runs["first"][1], runs["second"][1])
    assert all_differ(runs["first"][1], runs["fixed"][1])
    assert not read_statement(tmp_path / "first")["headline"].startswith("VOID")
    check_void(tmp_path / "fixed", config, runs["fixed"][2])


def check_void(folder, config, result):
    """No epsilon anywhere, and no way to launder the run by starting it again with good keys."""
    statement = read_statement(folder)
    assert statement["headline"].startswith("VOID: ") and statement["guarantee"] == "none"
    assert statement["epsilon"] is None and statement["epsilon_rdp"] is None
    shown = summary.of_training(result, make_data(), "run", "bin/train")
    assert "VOID" in shown and "epsilon" not in shown
    shutil.rmtree(folder / "models")
    with pytest.raises(ValueError, match="predictable_noise=True, not False"):
        train(folder, config)
    assert not (folder / "models").exists()


def test_promise_10_another_seed_gives_other_initial_weights():
    first, same, other = (
        assembly.build_gan(make_data(), make_config(seed=seed), 1.0, fixed_keys)
        for seed in (1, 1, 2)
    )
    for network in ("generator", "critic"):
        weights = [
            np.concatenate([w.ravel() for w in getattr(gan, network).get_weights()])
            for gan in (first, same, other)
        ]
        np.testing.assert_array_equal(weights[0], weights[1])
        assert np.mean(weights[0] != weights[2]) > 0.5


def test_promise_12_epsilon_is_an_accountants_on_the_ledgers_lines(resumed):
    [line] = read_ledger(resumed)
    assert (line["mechanism"], line["sampler"], line["steps"]) == ("gaussian", "poisson", STEPS)
    assert line["sampling_rate"] == 6 / COUNT and line["batch_size"] == 6
    noised = assembly.build_gan(make_data(), make_formal_config(), 1.0, fixed_keys).critic
    noised((tf.zeros([1, 8, 8, 1]), tf.zeros([1], tf.int32)))
    assert line["coordinates"] == sum(w.size for w in noised.get_weights()) and "grid" not in line
    step = dp_accounting.PoissonSampledDpEvent(
        line["sampling_rate"], dp_accounting.GaussianDpEvent(line["noise_multiplier"])
    )
    relation = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
    accountant = pld.PLDAccountant(relation, value_discretization_interval=1e-4)
    by_hand = accountant.compose(step, STEPS).get_epsilon(1e-5)
    statement = read_statement(resumed)
    assert statement["epsilon"] == pytest.approx(by_hand, rel=2e-3)
    assert statement["delta"] == 1e-5
    assert statement["neighbouring_relation"] == accounting.RELATION
    assert statement["num_records"] == COUNT and statement["unit"] == "one record"
    assert any("held out" in line for line in statement["not_protected"])
    assert statement["mechanism"] == [line]


def test_promise_12_the_statement_is_made_from_what_ran_not_from_settings(finished, tmp_path):
    """A ledger that holds more steps makes a dearer statement, whatever the settings are."""
    folder = copy_of(finished, tmp_path)
    [stretch] = read_ledger(folder)
    write_ledger(folder, [{**stretch, "steps": 4 * STEPS}])
    shutil.rmtree(folder / "models")
    train(folder)
    assert read_statement(folder)["epsilon"] > 1.5 * read_statement(finished)["epsilon"]
    assert read_statement(folder)["critic_steps"] == 4 * STEPS


def test_promise_12_a_run_without_noise_prints_no_epsilon(tmp_path):
    config = make_config(steps=2, critic_steps="5", noise_multiplier=0.0)
    result = train(tmp_path, config)
    statement = read_statement(tmp_path)
    assert statement["epsilon"] is None and statement["guarantee"] == "none"
    shown = summary.of_training(result, make_data(), "run", "bin/train")
    assert "No formal guarantee" in shown and "without noise" in shown


def test_promise_12_a_run_whose_noise_is_small_beside_the_limit_of_its_draws_prints_no_epsilon(
    tmp_path,
):
    config = make_config(steps=2, critic_steps="5", noise_multiplier=0.05)
    result = train(tmp_path, config)
    statement = read_statement(tmp_path)
    assert statement["epsilon"] is None and statement["guarantee"] == "none"
    assert statement["ideal_epsilon"] > 100
    shown = " ".join(summary.of_training(result, make_data(), "run", "bin/train").split())
    assert "No formal guarantee: noise was so small" in shown and "without noise" not in shown


# Stopping, resuming, finishing.


def test_a_finished_run_does_nothing(finished):
    before = snapshot(finished)
    result = train(finished)
    assert result.already_finished and result.model_path == finished / "models" / "1"
    assert (result.steps, result.stopped_by) == (STEPS, None)
    assert snapshot(finished).keys() == before.keys()
    changed = [path.name for path, facts in snapshot(finished).items() if facts != before[path]]
    # Written again, the same; the book may get to know of it.
    assert set(changed) <= {"config.json", "budget.json"}
    shown = summary.of_training(result, make_data(), "runs/tiny", "bin/train")
    assert "nothing to do" in shown and max(map(len, shown.splitlines())) <= 80 + len(str(finished))


def test_a_release_that_is_gone_is_exported_again(finished, tmp_path):
    folder = copy_of(finished, tmp_path)
    shutil.rmtree(folder / "models")
    result = train(folder)
    assert result.model_path == folder / "models" / "1" and not result.already_finished
    assert without_book(read_statement(folder)) == without_book(read_statement(finished))
    assert iterations(folder) == STEPS
    assert train(folder).already_finished


def test_a_stop_says_how_to_go_on_and_gives_the_shells_status(stopped):
    result = training.RunResult(
        STOP, STEPS, accounting.spent([], 1e-5), None, stopped_by=signal.SIGINT
    )
    shown = summary.of_training(result, make_data(), "runs/tiny", "bin/train --steps=12")
    assert "Stopped:   by SIGINT; saved in runs/tiny" in shown
    assert "bin/train --steps=12" in shown and "goes on where it stopped" in shown
    assert summary.exit_status(result) == 130


def test_a_second_signal_ends_at_once_and_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        with callbacks.StopOnSignal() as stopper:
            signal.raise_signal(signal.SIGTERM)
            assert stopper.received == signal.SIGTERM
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize(
    "field, value", [("clip_norm", 2.0), ("seed", 1), ("critic_width", 3), ("loss", "wasserstein")]
)
def test_a_run_folder_of_other_settings_names_the_field(finished, field, value):
    before = snapshot(finished)
    with pytest.raises(ValueError, match=rf"holds a run with {field}=.*, not {value}") as error:
        train(finished, make_config(**{field: value}))
    assert_one_line(error.value, "--run_dir", str(finished / "run"))
    assert snapshot(finished) == before


def test_a_run_folder_of_other_noise_or_data_names_it(finished, formal):
    with pytest.raises(ValueError, match="noise_multiplier=8.0, not 4.0"):
        train(finished, make_config(noise_multiplier=4.0))
    with pytest.raises(ValueError, match="epsilon=None, not 3.0"):
        train(finished, make_config(epsilon=3.0, noise_multiplier=None))
    with pytest.raises(ValueError, match="epsilon=3.0, not None"):
        config = make_formal_config()
        stored = json.loads((formal / "run" / "config.json").read_text())
        fields = {**vars(config), "epsilon": None, "noise_multiplier": stored["noise_multiplier"]}
        train(formal, TrainConfig(**fields))
    with pytest.raises(ValueError, match="data_checksum"):
        train(finished, data=make_data(seed=1))


def test_a_run_folder_in_use_is_refused(finished):
    holder = run_folder.RunFolder(finished / "run")
    try:
        with pytest.raises(ValueError, match="in use by another process") as error:
            train(finished)
    finally:
        holder.close()
    assert_one_line(error.value, str(finished / "run"), "--run_dir")
    assert train(finished).already_finished


def old_of(folder, target):
    """A run as version 0.1 left it: nothing says which version it has, or how many numbers it noised."""
    folder = copy_of(folder, target)
    path = folder / "run" / "config.json"
    config = json.loads(path.read_text())
    assert config.pop("ledger_version") == 2
    path.write_text(json.dumps(config))
    lines = [{k: v for k, v in s.items() if k != "coordinates"} for s in read_ledger(folder)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "run" / "ledger.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_promise_12_a_run_of_version_1_is_not_gone_on_with(stopped, tmp_path):
    folder = old_of(stopped, tmp_path)
    config, before = folder / "run" / "config.json", snapshot(folder)
    stored = json.loads(config.read_text())
    for _ in range(2):  # the first refusal must not make it a run of today
        with pytest.raises(ValueError, match="cannot be trained further; start a new") as error:
            train(folder)
        assert_one_line(error.value, "--run_dir", str(folder / "run"))
        assert json.loads(config.read_text()) == stored
        after = snapshot(folder)
        assert {p for p, facts in after.items() if facts != before.get(p)} <= {config}
        assert after.keys() == before.keys()


def test_promise_12_a_finished_run_of_version_1_is_exported_as_one(finished, tmp_path):
    folder = old_of(finished, tmp_path)
    result = train(folder)
    assert result.already_finished and "not proven, see SECURITY.md" in result.notes[-1]
    shutil.rmtree(folder / "models")
    train(folder)
    assert read_statement(folder)["version"] == 1
    assert "coordinates" not in read_statement(folder)["mechanism"][0]


# Damage.


def newest(folder, part, back=0):
    step = iterations(folder) - back
    [path] = (folder / "run" / "checkpoints").glob(f"ckpt-{step}.{part}*")
    return path


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path):
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
    path.write_bytes(bytes(content))


def make_progress(folder):
    gan = assembly.build_gan(make_data(), make_config(), 8.0, fixed_keys)
    opened = run_folder.RunFolder(folder / "run")
    opened.close()
    return run_folder.Progress(
        opened,
        generator=gan.generator,
        average=gan.average,
        critic=gan.critic,
        critic_optimizer=gan.critic_optimizer,
        generator_optimizer=gan.generator_optimizer,
        pace=gan.pace,
    )


@pytest.mark.parametrize("part", ["data", "index"])
@pytest.mark.parametrize("damage", [truncate, overwrite, os.unlink])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(finished, tmp_path, part, damage):
    folder = copy_of(finished, tmp_path)
    damage(newest(folder, part))
    progress = make_progress(folder)
    assert progress.restore() == STEPS - 1 == progress.steps
    damaged, owed = progress.notes
    assert damaged == f"checkpoint ckpt-{STEPS} is damaged: going back to the one before"
    # It was exported, so the step is owed though its work is lost.
    assert (progress.ledger.steps, progress.lost_steps) == (STEPS, 1)
    assert owed.startswith("1 critic step")


def test_a_run_with_a_damaged_checkpoint_goes_on_from_the_one_before(finished, tmp_path):
    folder = copy_of(finished, tmp_path)
    truncate(newest(folder, "data"))
    result = train(folder)
    assert (result.steps, result.already_finished) == (STEPS, False)
    assert f"ckpt-{STEPS} is damaged" in result.notes[0]
    assert sum(stretch["steps"] for stretch in read_ledger(folder)) == STEPS + 1
    assert iterations(folder) == STEPS
    assert read_statement(folder, 2)["critic_steps"] == STEPS + 1
    assert read_statement(folder, 2)["epsilon"] > read_statement(finished)["epsilon"]
    assert result.spent.epsilon == read_statement(folder, 2)["epsilon"]


def test_a_damaged_checkpoint_of_a_run_that_exported_nothing_costs_nothing(
    stopped, finished, tmp_path
):
    folder = copy_of(stopped, tmp_path)
    truncate(newest(folder, "data"))
    train(folder)
    assert_every_step_priced(folder, STEPS)
    assert read_statement(folder)["epsilon"] == read_statement(finished)["epsilon"]


def test_no_readable_checkpoint_is_an_error(finished, tmp_path):
    folder = copy_of(finished, tmp_path)
    for path in (folder / "run" / "checkpoints").glob("*.data*"):
        truncate(path)
    with pytest.raises(ValueError, match="no checkpoint in .* can be read") as error:
        train(folder)
    assert_one_line(error.value, "--run_dir")


def test_a_missing_ledger_is_an_error(stopped, tmp_path):
    folder = copy_of(stopped, tmp_path)
    (folder / "run" / "ledger.jsonl").unlink()
    with pytest.raises(ValueError, match="ledger.jsonl is missing") as error:
        train(folder)
    assert_one_line(error.value, "--run_dir")


@pytest.mark.parametrize("steps", [None, STOP - 1])
def test_a_ledger_that_lacks_steps_is_an_error(stopped, tmp_path, steps):
    folder = copy_of(stopped, tmp_path)
    [stretch] = read_ledger(folder)
    write_ledger(folder, [] if steps is None else [{**stretch, "steps": steps}])
    with pytest.raises(
        ValueError, match=f"accounts for {steps or 0} critic steps, the checkpoint for {STOP}"
    ):
        train(folder)


@pytest.mark.parametrize("name", ["ledger.jsonl", "config.json", "finished.json"])
def test_a_damaged_record_is_an_error_that_names_it(finished, tmp_path, name):
    folder = copy_of(finished, tmp_path)
    truncate(folder / "run" / name)
    with pytest.raises(ValueError, match=f"{name}.* is damaged") as error:
        train(folder)
    assert_one_line(error.value)


# No room, no permission.


@contextlib.contextmanager
def small_files_only(limit=1000):
    """Writing more than so many bytes to a file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(stopped, tmp_path):
    folder = copy_of(stopped, tmp_path)
    progress = make_progress(folder)
    progress.restore()
    progress._optimizer.iterations.assign_add(1)
    [stretch] = progress.ledger.stretches
    with small_files_only(), pytest.raises(OSError) as error:
        progress.save(stretch)
    assert_one_line(error.value, "cannot write a checkpoint", "--run_dir", "resume")
    after = make_progress(folder)
    assert (after.restore(), after.ledger.steps, after.notes) == (STOP, STOP, [])


def test_a_ledger_that_cannot_be_written_leaves_the_one_before(stopped, tmp_path, monkeypatch):
    folder = copy_of(stopped, tmp_path)
    progress = make_progress(folder)
    progress.restore()
    progress._optimizer.iterations.assign_add(1)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(os, "replace", full)
        progress.save(progress.ledger.stretches[0])
    after = make_progress(folder)
    assert (after.restore(), after.ledger.steps) == (STOP, STOP)


def test_a_run_on_a_full_disk_ends_with_one_line_and_can_be_resumed(stopped, tmp_path, monkeypatch):
    folder = copy_of(stopped, tmp_path)

    def full(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "ckpt; No space left on device\nmore")

    with monkeypatch.context() as patch, pytest.raises(OSError) as error:
        patch.setattr(tf.train.CheckpointManager, "save", full)
        train(folder, checkpoint_minutes=EVERY_STEP)
    assert_one_line(error.value, "No space left on device", "--run_dir")
    assert make_progress(folder).restore() == STOP
    assert not (folder / "models").exists()


def test_a_run_folder_below_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("a regular file")
    with pytest.raises(OSError) as error:
        training.train(make_data(), make_config(), tmp_path / "file" / "run", tmp_path / "models")
    assert error.value.filename == str(tmp_path / "file" / "run")
    assert not (tmp_path / "models").exists()


def test_an_unwritable_model_folder_costs_no_training(finished, tmp_path):
    """The run stays finished: another folder for the model is all it takes."""
    folder = copy_of(finished, tmp_path)
    (folder / "run" / "finished.json").unlink()
    shutil.rmtree(folder / "models")
    (folder / "file").write_text("a regular file")
    run, bad = folder / "run", folder / "file" / "models"
    with pytest.raises(OSError) as error:
        training.train(make_data(), make_config(), run, bad)
    assert str(folder / "file") in str(error.value.filename)
    train(folder)
    assert without_book(read_statement(folder)) == without_book(read_statement(finished))


def test_promise_8_what_was_selected_on_private_data_is_in_the_statement(finished, tmp_path):
    folder = copy_of(finished, tmp_path)
    (folder / "run" / "finished.json").unlink()
    train(folder, selected_on_private_data=["the learning rate"])
    assert read_statement(folder, 2)["selected_on_private_data"] == ["the learning rate"]
    assert read_statement(finished)["selected_on_private_data"] == []


def test_promise_8_a_later_session_does_not_take_back_what_was_selected(tmp_path):
    with stop_after(STOP):
        train(tmp_path, selected_on_private_data=["the learning rate"])
    train(tmp_path, selected_on_private_data=["the loss", "the learning rate"])
    statement = read_statement(tmp_path)
    assert statement["selected_on_private_data"] == ["the learning rate", "the loss"]
    (tmp_path / "run" / "finished.json").unlink()
    train(tmp_path)
    again = read_statement(tmp_path, 2)
    assert again["selected_on_private_data"] == ["the learning rate", "the loss"]


def test_an_unwritable_model_folder_shows_before_training(tmp_path):
    (tmp_path / "file").write_text("a regular file")
    with at_step(1, lambda: pytest.fail("a critic step ran")), pytest.raises(OSError) as error:
        training.train(make_data(), make_config(), tmp_path / "run", tmp_path / "file" / "models")
    assert str(tmp_path / "file") in str(error.value.filename)


def test_data_too_large_for_memory_are_refused_with_what_to_do(tmp_path):
    huge = Split(10**9, held_out_is_read)
    data = PrivateData("huge", (64, 64, 3), ("a", "b"), huge, huge)
    with pytest.raises(ValueError, match="huge takes 11444.1 GiB.*--sampling=shuffle") as error:
        train(tmp_path, data=data)
    assert_one_line(error.value)
    assert not (tmp_path / "run").exists()


def test_settings_that_cannot_run_create_nothing(tmp_path):
    config = make_config(batch_size=COUNT + 1)
    with pytest.raises(ValueError, match="--batch_size"):
        train(tmp_path, config)
    formal = make_config(noise_multiplier=None, epsilon=1e-9)
    with pytest.raises(ValueError, match="--epsilon=1e-09 .* is out of reach") as error:
        train(tmp_path, formal)
    assert_one_line(error.value, "--steps")
    with pytest.raises(ValueError, match="checkpoint_minutes"):
        train(tmp_path, checkpoint_minutes=float("nan"))
    assert not list(tmp_path.iterdir())


# Logs.


def events(directory):
    """Every event of every file below `directory`, with the name of the folder it is in."""
    for path in sorted(directory.rglob("events.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            yield path.parent.name, event


def decoded(event):
    """Arrays in the summaries of an event, with their tags; images as uint8."""
    for value in event.summary.value:
        array = tf.make_ndarray(value.tensor)
        if value.metadata.plugin_data.plugin_name != "images":
            yield value.tag, array
            continue
        for png in array.ravel()[2:]:  # after width and height
            yield value.tag, tf.io.decode_png(png).numpy()


def shows_a_record(array, images):
    """Whether some 8 x 8 tile of an array is a record, as bytes or scaled to [-1, 1]."""
    if array.dtype == object or array.size < 64:
        return False
    pixels = array if array.dtype == np.uint8 else np.rint((array + 1.0) * 127.5)
    if pixels.ndim < 2 or min(pixels.shape[:2]) < 8:
        tiles = [pixels.ravel()[i : i + 64] for i in range(0, pixels.size - 63, 64)]
    else:
        rows, columns = range(pixels.shape[0] - 7), range(pixels.shape[1] - 7)
        tiles = [pixels[r : r + 8, c : c + 8].ravel() for r in rows for c in columns]
    known = {image.tobytes() for image in images}
    return any(np.clip(tile, 0, 255).astype(np.uint8).tobytes() in known for tile in tiles)


def test_no_real_image_is_in_the_logs(finished):
    images, _ = make_data().train.arrays()
    assert shows_a_record(np.pad(images[3], ((8, 3), (1, 8), (0, 0))), images)  # it would be seen
    assert shows_a_record(images[:2].ravel() / 127.5 - 1.0, images)
    grids = 0
    for _, event in events(finished / "run" / "tensorboard"):
        for tag, array in decoded(event):
            assert not shows_a_record(array, images), tag
            grids += tag == "generated"
        raw = event.SerializeToString()
        for image in images:
            assert image.tobytes() not in raw
    assert grids >= 3  # two on the way, one at the end
    sprite = (finished / "run" / "tensorboard" / "projector" / "sprite.png").read_bytes()
    assert not shows_a_record(tf.io.decode_png(sprite).numpy()[..., :1], images)


def logged_steps(folder):
    """Steps of every tag in the logs of a run."""
    seen = {}
    for _, event in events(folder / "run" / "tensorboard"):
        for value in event.summary.value:
            seen.setdefault(value.tag, []).append(event.step)
    return seen


def test_the_logs_hold_what_they_promise(finished):
    seen = logged_steps(finished)
    for tag in ("critic_loss", "generator_loss", "gradient_norm", "clipped_share"):
        assert seen[tag] == [3, 6, 9, 12]
    assert seen["epsilon_spent_bound"] == [3, 6, 9, 12]
    assert seen["generated"] == [5, 10, 12]
    assert seen["epsilon_spent"] == [STEPS]
    assert seen["_hparams_/session_start_info"] == [0]


def test_the_last_step_of_a_session_is_in_the_logs(stopped):
    seen = logged_steps(stopped)
    assert seen["critic_loss"] == seen["epsilon_spent_bound"] == [3, STOP]
    assert seen["generated"] == [STOP] and "epsilon_spent" not in seen


def test_the_logged_graph_leads_from_latents_through_the_generator_to_the_critic(finished):
    [graph] = [
        tf.compat.v1.GraphDef.FromString(event.graph_def)
        for _, event in events(finished / "run" / "tensorboard")
        if event.graph_def
    ]
    scopes = {node.name.partition("/")[0] for node in graph.node}
    assert {"latent", "label", "generator", "critic"} <= scopes


def test_a_run_killed_while_it_draws_the_projector_is_finished_by_the_next_start(
    stopped, tmp_path, monkeypatch
):
    def killed(*_):
        raise KeyboardInterrupt

    folder = copy_of(stopped, tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "write_projector", killed)
        train(folder, projector_images=PROJECTED)
    assert iterations(folder) == STEPS and not (folder / "models").exists()
    assert train(folder, projector_images=2).model_path == folder / "models" / "1"
    names = (folder / "run" / "tensorboard" / "projector" / "metadata.tsv").read_text()
    assert names.splitlines() == ["a", "b"]


def test_a_run_draws_no_projector_unless_asked_to(resumed, tmp_path):
    assert not (resumed / "run" / "tensorboard" / "projector").exists()
    with pytest.raises(ValueError, match="projector_images must be a positive whole number"):
        train(tmp_path, projector_images=-1)
    assert not list(tmp_path.iterdir())


def test_the_logged_epsilon_is_a_bound_on_what_was_spent(finished):
    logged = {}
    for _, event in events(finished / "run" / "tensorboard"):
        for tag, array in decoded(event):
            if tag == "epsilon_spent_bound":
                logged[event.step] = float(array)
    spent = read_statement(finished)["epsilon"]
    assert spent <= logged[STEPS] <= 1.5 * spent
    assert logged[3] < logged[6] < logged[9] < logged[12]


@pytest.mark.slow
def test_two_replicas_train_stop_resume_and_release(two_replicas, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembly, "strategy", lambda: two_replicas)
        with stop_after(3):
            assert train(tmp_path).steps == 3
        result = train(tmp_path)
    assert result.steps == make_config().steps
    assert_every_step_priced(tmp_path, result.steps)
