# SPDX-License-Identifier: Apache-2.0
"""Runs of several stages: one budget, one ledger, one resumable run; and starts from public models."""

from __future__ import annotations

import dataclasses

import dp_accounting
import numpy as np
import pytest
import tensorflow as tf
from dp_accounting import pld
from tensorboard.backend.event_processing import event_accumulator
from training_samples import (
    COUNT,
    EVERY_STEP,
    SMALL,
    all_differ,
    assert_same,
    at_step,
    checkpointed,
    copy_of,
    iterations,
    make_config,
    make_data,
    read_ledger,
    read_statement,
    stop_after,
    train,
    without_book,
    write_ledger,
)

from tfartgen import embedding, summary, verification
from tfartgen.statement import validate_statement
from tfartgen.train_config import configure

WARM, CRITIC = 8, 6


def make_staged(**changes):
    """Half of epsilon for the embedding, the rest for a feature critic."""
    settings = {
        "epsilon": 3.0,
        "batch_size": 6,
        "steps": CRITIC,
        "warm_start": 0.5,
        "warm_start_steps": WARM,
        "fourier_features": 20,
        "critic": "features",
        "clipping": "separate",
    }
    return configure(make_data(), **{**SMALL, **settings, **changes})


@pytest.fixture(name="staged", scope="module")
def _staged(tmp_path_factory):
    """A run through both stages; tests must not change it."""
    folder = tmp_path_factory.mktemp("staged")
    result = train(folder, make_staged())
    assert result.warm_start == (WARM, WARM) and result.steps == CRITIC
    return folder


@pytest.fixture(name="warming", scope="module")
def _warming(tmp_path_factory):
    """The same, stopped in the middle of its warm start; tests must not change it."""
    folder = tmp_path_factory.mktemp("warming")
    with stop_after(3):
        result = train(folder, make_staged(), checkpoint_minutes=EVERY_STEP)
    assert (result.warm_start, result.steps, result.model_path) == ((3, WARM), 0, None)
    return folder


def test_the_ledger_shows_every_stage(staged):
    release, critic = read_ledger(staged)
    assert (release["stage"], release["steps"], release["sampling_rate"]) == (
        "mean embedding",
        1,
        1.0,
    )
    assert (critic["stage"], critic["steps"]) == ("critic", CRITIC)
    statement = read_statement(staged)
    assert statement["mechanism"] == [release, critic]
    assert statement["critic_steps"] == CRITIC == iterations(staged)
    assert not validate_statement(statement)
    assert verification.verify(staged / "models" / "1") == []


def test_the_logs_of_the_warm_start_have_images_and_no_scalar_of_a_record(staged):
    events = event_accumulator.EventAccumulator(str(staged / "run" / "tensorboard" / "warm_start"))
    events.Reload()
    tags = {tag for tag in events.Tags()["tensors"] if not tag.startswith("_")}
    assert tags <= {"discrepancy", "epsilon_spent_bound", "generated"} and "generated" in tags


def test_runs_of_every_kind_log_what_they_spent_in_one_place(staged):
    events = event_accumulator.EventAccumulator(str(staged / "run" / "tensorboard"))
    events.Reload()
    [spent] = events.Tensors("epsilon_spent")
    assert spent.step == CRITIC
    assert tf.make_ndarray(spent.tensor_proto) == pytest.approx(read_statement(staged)["epsilon"])


def test_promise_12_the_epsilon_of_the_stages_is_dp_accountings_by_hand(staged):
    release, critic = read_ledger(staged)
    event = dp_accounting.ComposedDpEvent(
        [
            dp_accounting.GaussianDpEvent(release["noise_multiplier"]),
            dp_accounting.SelfComposedDpEvent(
                dp_accounting.PoissonSampledDpEvent(
                    6 / COUNT, dp_accounting.GaussianDpEvent(critic["noise_multiplier"])
                ),
                CRITIC,
            ),
        ]
    )
    by_hand = pld.PLDAccountant().compose(event).get_epsilon(1e-5)
    statement = read_statement(staged)
    assert statement["epsilon"] == pytest.approx(by_hand, rel=2e-3)
    assert 0.95 * 3.0 < statement["epsilon"] <= 3.0
    alone = pld.PLDAccountant().compose(event.events[0]).get_epsilon(1e-5)
    assert 0.97 * 1.5 < alone <= 1.5 * (1 + 1e-3)


def test_promise_6_a_run_stopped_in_its_warm_start_releases_no_second_embedding(
    staged, warming, tmp_path
):
    folder = copy_of(warming, tmp_path)
    held = checkpointed(folder, "matching/means")
    result = train(folder, make_staged())
    assert result.warm_start == (WARM, WARM) and result.steps == CRITIC
    assert read_ledger(folder) == read_ledger(staged)
    for name, value in checkpointed(folder, "matching/means").items():
        np.testing.assert_array_equal(value, held[name])
    assert without_book(read_statement(folder)) == without_book(read_statement(staged))
    assert all_differ(held, checkpointed(staged, "matching/means"))


def test_promise_6_an_embedding_that_the_ledger_lacks_is_refused(warming, tmp_path):
    folder = copy_of(warming, tmp_path)
    write_ledger(folder, [])
    with pytest.raises(ValueError, match="lacks the mean embedding") as error:
        train(folder, make_staged())
    assert "\n" not in str(error.value) and not (folder / "models").exists()


def test_promise_6_a_ledger_with_a_dearer_embedding_stops_the_run(warming, tmp_path):
    folder = copy_of(warming, tmp_path)
    [line] = read_ledger(folder)
    write_ledger(folder, [{**line, "noise_multiplier": line["noise_multiplier"] / 2}])
    with pytest.raises(ValueError, match="has mean embedding steps of noise_multiplier"):
        train(folder, make_staged())


def test_a_run_may_do_without_a_critic(tmp_path):
    result = train(tmp_path, make_staged(warm_start=1.0, steps=0))
    [line] = read_ledger(tmp_path)
    assert line["stage"] == "mean embedding" and iterations(tmp_path) == 0
    statement = read_statement(tmp_path)
    assert statement["critic_steps"] == 0 and 2.9 < statement["epsilon"] <= 3.0
    gaussian = dp_accounting.GaussianDpEvent(line["noise_multiplier"])
    by_hand = pld.PLDAccountant().compose(gaussian).get_epsilon(1e-5)
    assert statement["epsilon"] == pytest.approx(by_hand, rel=2e-3)
    shown = summary.of_training(result, make_data(), "runs/tiny", "bin/train")
    assert f"{WARM} of {WARM} steps of the warm start, 0 of 0 critic steps" in shown
    assert max(map(len, shown.splitlines()[:3])) <= 80


def test_the_generator_sees_the_records_by_way_of_the_release_alone(tmp_path, monkeypatch):
    """The same release, other records: the same generator."""
    release = embedding.release

    def constant(*args):
        released = release(*args)
        return dataclasses.replace(released, means=np.full_like(released.means, 0.01))

    monkeypatch.setattr(embedding, "release", constant)
    generators = []
    for seed in (0, 1):
        train(tmp_path / str(seed), make_staged(warm_start=1.0, steps=0), make_data(seed))
        generators.append(checkpointed(tmp_path / str(seed), "average"))
    assert_same(*generators)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warm_start": 1.0, "steps": 5}, "--warm_start=1 and --steps=5 do not go together"),
        ({"steps": 0}, "--steps must be a positive whole number, got 0"),
        ({"warm_start": 1.2}, "--warm_start must be above 0 and at most 1"),
        ({"epsilon": None, "noise_multiplier": 1.0}, "--warm_start=0.5 is a share of --epsilon"),
        ({"critic": "eyes"}, "--critic must be one of pixels, features"),
        ({"clipping": "none"}, "--clipping must be one of paired, separate"),
        ({"fourier_features": -1}, "--fourier_features must be"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        make_staged(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "share", "has_critic"),
    [
        ({}, 1.0, False),
        ({"warm_start": 0.0}, 0.0, True),
        ({"warm_start": 0.25}, 0.25, True),
        ({"steps": 9}, 0.5, True),
        ({"critic": "features"}, 0.5, True),
        ({"clipping": "separate", "warm_start": 0.0}, 0.0, True),
    ],
)
def test_a_budget_goes_to_the_warm_start_unless_a_critic_is_asked_for(given, share, has_critic):
    config = configure(make_data(), epsilon=2.0, **given)
    assert config.warm_start == share and (config.steps > 0) == has_critic


def test_small_noise_has_no_warm_start():
    config = configure(make_data())
    assert (config.epsilon, config.warm_start) == (None, 0.0) and config.steps > 0


# Public models.


@pytest.fixture(name="public", scope="module")
def _public(tmp_path_factory):
    folder = tmp_path_factory.mktemp("public")
    with at_step(0, lambda: None):
        train(folder, make_config(steps=4, seed=5), public_data())
    return folder


def public_data():
    """Other records, under another name."""
    return dataclasses.replace(make_data(seed=9), name="public")


def first_weights(folder, config, stage="average"):
    """Of a run that takes one critic step and no generator step."""
    train(folder, config)
    return checkpointed(folder, stage)


@pytest.mark.parametrize("source", ["models/1", "models", "run"])
def test_a_run_starts_from_a_public_model_and_says_so(public, tmp_path, source):
    config = make_config(steps=1, critic_steps="5", init_from=str(public / source))
    ours = first_weights(tmp_path, config)
    theirs = checkpointed(public, "average")
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name])
    statement = read_statement(tmp_path)
    [line] = statement["public_sources"]
    assert "by the owner's word" in line and str(public) not in line
    assert not validate_statement(statement)
    assert statement["mechanism"] == read_ledger(tmp_path)


def test_a_run_that_starts_from_random_weights_names_no_source(staged):
    assert read_statement(staged)["public_sources"] == []


def test_a_public_model_that_changed_is_refused_on_resume(public, tmp_path):
    source = copy_of(public, tmp_path)
    config = make_config(init_from=str(source / "run"))
    with stop_after(2):
        train(tmp_path / "ours", config)
    train(source, make_config(steps=4, seed=5), public_data())
    other = tf.train.latest_checkpoint(str(source / "run" / "checkpoints"))
    data = next(p for p in (source / "run" / "checkpoints").glob("*.data-*") if other in str(p))
    data.write_bytes(data.read_bytes()[:-1] + b"\0")
    with pytest.raises(ValueError, match="holds a run with public_sources="):
        train(tmp_path / "ours", config)


@pytest.mark.parametrize("what", ["nothing", "empty folder", "other width"])
def test_a_public_model_that_does_not_fit_is_refused_in_one_line(public, tmp_path, what):
    changes = {"init_from": str(public / "models" / "1")}
    if what == "nothing":
        changes["init_from"] = str(tmp_path / "none")
    elif what == "empty folder":
        (tmp_path / "empty").mkdir()
        changes["init_from"] = str(tmp_path / "empty")
    else:
        changes["generator_width"] = 3
    with pytest.raises(ValueError, match="--init_from=") as error:
        train(tmp_path / "ours", make_config(**changes))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ours" / "run").exists()
