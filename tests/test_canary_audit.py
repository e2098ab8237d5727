# SPDX-License-Identifier: Apache-2.0
"""The audit with canaries: coins, planting, guesses, what a run's folder tells, and power on small trainings."""

from __future__ import annotations

import dataclasses
import json
import shutil

import evaluation_samples
import numpy as np
import pytest
import tensorflow as tf

from tfartgen import (
    accounting,
    assembly,
    audit,
    canaries,
    canary_audit,
    embedding,
    matching,
    run_models,
    training,
)
from tfartgen.canary_audit import AuditConfig
from tfartgen.data import load
from tfartgen.ledger import Stretch
from tfartgen.noise_limits import GRID
from tfartgen.train_config import TrainConfig, configure

SMALL = {"generator_width": 2, "latent_dim": 4, "generator_batch_size": 6}


def make_config(**changes):
    settings = {"batch_size": 32, "steps": 3, "noise_multiplier": 8.0, "critic_width": 4}
    return TrainConfig(**{**SMALL, **settings, **changes})


def make_canaries(count=60, seed=0, coin_seed=1):
    held_out = evaluation_samples.shades(60, 1)
    candidates = canaries.make(*held_out, 3, count, seed)
    return canaries.Canaries(*candidates, seeded_coins(coin_seed)(count))


def seeded_coins(seed):
    return lambda count: np.random.default_rng(seed).random(count) < 0.5


def no_coins(count):
    raise AssertionError("coins were thrown twice")


def spent(noise=1.0, steps=1):
    return accounting.spent([Stretch("poisson", 1.0, noise, 1.0, 1, steps)], 1e-5)


@pytest.fixture(name="audited", scope="module")
def _audited(tmp_path_factory):
    """A finished audit of a training with both stages, and its result; tests must not change it."""
    folder = tmp_path_factory.mktemp("audited")
    config = make_config(
        epsilon=2.0, noise_multiplier=None, warm_start=0.5, warm_start_steps=2, fourier_features=50
    )
    arguments = evaluation_samples.private(), config, folder, AuditConfig(num_canaries=30)
    lines = []
    noise = {"noise_multiplier": 20.0, "warm_start_noise_multiplier": 5.0}  # calibration takes time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembly, "calibrated_noise", lambda *_: noise)
        result = canary_audit.run(*arguments, progress=lines.append)
    assert lines[0].startswith("canaries: ") and lines[-1] == "guessing"
    return arguments, result


def copy_of_run(audited, tmp_path):
    (_, _, folder, _), _ = audited
    return shutil.copytree(folder / "run", tmp_path / "run")


# Canaries and their coins.


def test_candidates_are_of_three_styles_and_distinct():
    images, labels = evaluation_samples.shades(60, 1)
    made, drawn = canaries.make(images, labels, 3, 90, seed=0)
    assert made.dtype == np.uint8 and made.shape == (90, 8, 8, 1)
    assert len({image.tobytes() for image in made}) == 90
    positions = [
        int(np.flatnonzero((images == image).all(axis=(1, 2, 3)))[0]) for image in made[::3]
    ]
    assert (labels[positions] != drawn[::3]).all()  # a wrong label on every held-out image
    assert ((made[2::3] == 255).sum(axis=(1, 2, 3)) == 6).all()
    assert ((made[2::3] == 0).sum(axis=(1, 2, 3)) == 58).all()
    assert set(drawn) == {0, 1, 2}


def test_candidates_come_from_their_seed_alone():
    held_out = evaluation_samples.shades(60, 1)
    first, again, other = (canaries.make(*held_out, 3, 30, seed)[0] for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()


def test_patterns_have_cells_in_images_of_any_size():
    images = np.zeros((4, 28, 20, 3), np.uint8)
    made, _ = canaries.make(images, np.zeros(4, np.int32), 2, 12, seed=0)
    dots = made[2]
    assert dots.shape == (28, 20, 3) and (dots[..., 0] == dots[..., 2]).all()
    corners = {(row * 8 // 28, column * 8 // 20) for row, column in np.argwhere(dots[..., 0])}
    assert len(corners) == 6


def test_too_few_images_or_classes_are_refused():
    images, labels = evaluation_samples.shades(10, 1)
    with pytest.raises(ValueError, match="num_canaries=60 takes 20 held-out images, .* are 10"):
        canaries.make(images, labels, 3, 60, seed=0)
    with pytest.raises(ValueError, match="two classes at least"):
        canaries.make(images, labels, 1, 6, seed=0)


def test_promise_coins_are_fair_and_no_seed_reaches_them():
    np.random.seed(0)
    first = canaries.operating_system_coins(20_001)
    np.random.seed(0)
    again = canaries.operating_system_coins(20_001)
    assert first.dtype == bool and first.shape == (20_001,)
    for coins in (first, again, first ^ again):
        assert abs(coins.mean() - 0.5) < 5 * 0.5 / np.sqrt(20_001)


def test_promise_each_coin_is_thrown_by_itself():
    """Were half of the candidates planted, or every other one, who knows some coins would know the last."""
    coins = np.stack([canaries.operating_system_coins(20) for _ in range(4000)])
    heads = coins.sum(axis=1)  # 10 on average, with a variance of 5
    assert abs(heads.mean() - 10) < 5 * np.sqrt(5 / 4000)
    assert abs(heads.var() - 5) < 5 * 5 * np.sqrt(2 / 4000)
    between = np.corrcoef(coins.T)[np.triu_indices(20, 1)]
    assert np.abs(between).max() < 5 / np.sqrt(4000)


def test_included_canaries_are_in_the_training_split_and_others_are_not():
    data, planted = evaluation_samples.private(), make_canaries()
    both = canary_audit.with_canaries(data, planted)
    images, labels = both.train.arrays()
    records = [image.tobytes() + bytes([label]) for image, label in zip(images, labels)]
    for image, label, included in zip(planted.images, planted.labels, planted.included):
        assert records.count(image.tobytes() + bytes([label])) == int(included)
    assert both.train.num_examples == len(labels) == 120 + planted.included.sum()
    private = data.train.arrays()
    assert (images[:120] == private[0]).all() and (labels[:120] == private[1]).all()
    assert both.name == "shades_with_canaries" and both.held_out is data.held_out


# Guesses.


def test_lowest_are_guessed_out_and_highest_in():
    values = np.array([3.0, -1.0, 0.5, 7.0, 2.0])
    assert canaries.guess(values, 4, 0.5).tolist() == [1, -1, -1, 1, 0]
    assert canaries.guess(values, 2, 1.0).tolist() == [0, -1, -1, 0, 0]
    assert canaries.guess(values, 5, 0.0).tolist() == [1, 1, 1, 1, 1]
    with pytest.raises(ValueError, match="not finite: the training diverged"):
        canaries.guess(np.array([0.0, np.nan]), 1, 1.0)


def test_perfect_scores_give_the_bound_of_all_right():
    planted = make_canaries(60)
    found = {canary_audit.CRITIC: planted.included + 0.0}
    result = canary_audit.verdict(planted, found, AuditConfig(60), spent(0.0))
    by_hand = {"guesses": 12, "correct": 12, "confidence": 0.95, "auc": 1.0}
    by_hand["lower_bound"] = audit.epsilon_lower_bound(12, 12, 60, 1e-5, 0.95)
    assert result["scores"] == {"critic": by_hand}
    assert result["lower_bound"] == by_hand["lower_bound"] > 1
    assert result["accountant"]["epsilon"] is None and result["consistent"]
    assert (result["candidates"], result["included"]) == (60, planted.included.sum())
    json.dumps(result, allow_nan=False)


def test_two_scores_share_the_error_evenly():
    planted = make_canaries(60)
    found = {"critic": planted.included + 0.0, "release": 0.5 - planted.included}
    result = canary_audit.verdict(planted, found, AuditConfig(60, guesses=20), spent())
    critic, release = result["scores"]["critic"], result["scores"]["release"]
    assert critic["confidence"] == release["confidence"] == pytest.approx(0.975)
    assert critic["lower_bound"] == audit.epsilon_lower_bound(20, 20, 60, 1e-5, 0.975)
    assert (release["correct"], release["lower_bound"], release["auc"]) == (0, 0.0, 0.0)
    assert result["lower_bound"] == critic["lower_bound"]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("guesses", [None, 20])
def test_promise_8_what_is_guessed_and_how_is_chosen_without_the_coins(monkeypatch, sign, guesses):
    """With every coin turned over the same guesses are made: what was right is wrong."""
    planted, guess, asked = make_canaries(60), canaries.guess, []

    def watched(values, count, share_out):
        asked.append((values.tolist(), count, share_out))
        return guess(values, count, share_out)

    monkeypatch.setattr(canaries, "guess", watched)
    rng, settings = np.random.default_rng(0), AuditConfig(60, guesses=guesses)
    found = {
        "critic": sign * planted.included + rng.normal(size=60),
        "release": rng.normal(size=60) - sign * planted.included,
    }
    turned = dataclasses.replace(planted, included=~planted.included)
    few = dataclasses.replace(planted, included=np.arange(60) < 3)
    one, other, _ = (
        canary_audit.verdict(each, found, settings, spent()) for each in (planted, turned, few)
    )
    assert asked[:2] == asked[2:4] == asked[4:]
    assert [each[1:] for each in asked[:2]] == [(guesses or 12, 1.0), (guesses or 30, 0.5)]
    for kind in found:
        first, second = one["scores"][kind], other["scores"][kind]
        assert first["correct"] + second["correct"] == first["guesses"] == second["guesses"]
        assert first["confidence"] == second["confidence"] == pytest.approx(0.975)


def test_scores_that_know_nothing_are_right_half_of_the_time():
    rng, right, repeats = np.random.default_rng(0), 0, 2000
    for _ in range(repeats):
        coins = np.where(seeded_coins(rng)(60), 1, -1)
        right += (canaries.guess(rng.normal(size=60), 30, 0.5) == coins).sum()
    assert abs(right / (30 * repeats) - 0.5) < 4 * 0.5 / np.sqrt(30 * repeats)


def test_a_bound_above_the_accountants_epsilon_is_inconsistent():
    planted = make_canaries(60)
    found, wrong = {"critic": planted.included + 0.0}, spent(noise=20.0)
    result = canary_audit.verdict(planted, found, AuditConfig(60), wrong)
    assert result["lower_bound"] > result["accountant"]["epsilon"] == wrong.epsilon
    assert result["consistent"] is False


def test_the_auc_counts_ties_half_and_needs_both_sides():
    included = np.array([True, True, False, False])
    assert canary_audit._auc(np.array([2.0, 1.0, 1.0, 0.0]), included) == 0.875
    assert canary_audit._auc(np.zeros(4), np.ones(4, bool)) is None


# The release.


@pytest.mark.parametrize("noise, least, most", [(0.01, 0.999, 1.0), (100.0, 0.2, 0.8)])
def test_a_release_tells_its_canaries_as_far_as_its_noise_lets_it(noise, least, most):
    data, planted = evaluation_samples.private(), make_canaries(60)
    holder = matching.Matching(embedding.Embedding((8, 8, 1), 200), 3)
    both = canary_audit.with_canaries(data, planted)
    holder.receive(embedding.release(holder.embedding, both.train, 3, noise))
    values = canary_audit.release_scores(data.train, holder, noise, planted.images, planted.labels)
    assert least <= canary_audit._auc(values, planted.included) <= most
    if noise < 1:  # the coins themselves, less a half
        assert np.abs(values - (planted.included - 0.5)).max() < 0.5


def test_a_single_canary_is_scored_by_its_inner_product():
    data, planted = evaluation_samples.private(), make_canaries(60)
    one = canaries.Canaries(planted.images[1:2], planted.labels[1:2], np.array([True]))
    holder = matching.Matching(embedding.Embedding((8, 8, 1), 0), 3)
    sums = embedding.class_sums(holder.embedding, data.train, 3) / GRID
    vector = holder.embedding(one.images / 127.5 - 1.0).numpy()[0].astype(np.float64)
    known = sums[one.labels[0], :-1]
    across = vector - known * (vector @ known) / (known @ known)
    holder.means.assign(np.tile((known + vector) / 40.5, (3, 1)))  # 40 records and half a canary
    got = canary_audit.release_scores(data.train, holder, 2.0, one.images, one.labels)
    expected = across @ across / 2 / (across @ across + 16)
    assert got == pytest.approx([expected], rel=1e-3)


# Whole audits.


def test_an_audit_of_both_stages_stays_below_the_accountant(audited):
    (_, _, folder, _), result = audited
    assert set(result["scores"]) == {"critic", "release"}
    assert result["scores"]["critic"]["guesses"] == 6
    assert result["scores"]["release"]["guesses"] == 15
    assert result["lower_bound"] <= result["accountant"]["epsilon"] <= 2 and result["consistent"]
    assert json.loads((folder / "audit.json").read_text()) == result


def test_promise_8_scores_are_of_the_run_and_the_candidates_alone(audited, tmp_path):
    """Without the file of the coins: they are needed to count what is right, and for nothing before."""
    (data, _, folder, settings), result = audited
    candidates = canaries.make(*data.held_out.arrays(), 3, settings.num_canaries, settings.seed)
    values = canary_audit.scores(data.train, *candidates, copy_of_run(audited, tmp_path))
    with np.load(folder / "canaries.npz") as arrays:
        planted = canaries.Canaries(*candidates, arrays["included"])
    for coins in (planted.included, ~planted.included):
        turned = dataclasses.replace(planted, included=coins)
        found = canary_audit.verdict(turned, values, settings, spent())["scores"]
        for kind, each in result["scores"].items():
            right = (
                each["correct"] if coins is planted.included else each["guesses"] - each["correct"]
            )
            assert (found[kind]["guesses"], found[kind]["correct"]) == (each["guesses"], right)


def test_the_document_of_an_audit_says_what_ran_and_where(audited):
    (data, config, _, settings), result = audited
    assert result["schema"] == "tfartgen.canary_audit/1"
    assert {"date", "machine", "python", "versions"} <= set(result)
    assert result["dataset"] == {"name": "shades", "num_train": data.train.num_examples}
    assert result["settings"]["audit"] == vars(settings)
    assert TrainConfig(**result["settings"]["train"]) == config
    assert (result["candidates"], result["confidence"]) == (30, 0.95)


def test_another_training_or_other_settings_are_another_folder():
    config, settings = make_config(), AuditConfig(30)
    name = canary_audit.folder_name(config, settings)
    assert name == canary_audit.folder_name(make_config(), AuditConfig(30))
    others = [
        canary_audit.folder_name(make_config(steps=4), settings),
        canary_audit.folder_name(config, AuditConfig(31)),
        canary_audit.folder_name(config, AuditConfig(30, seed=1)),
    ]
    assert len({name, *others}) == 4 and all(each.startswith("audit-") for each in others)


def test_coins_are_stored_before_the_training_and_used_again(tmp_path, monkeypatch):
    folder, data, seen = tmp_path / "audit", evaluation_samples.private(), []

    def stopped(*args, **options):
        seen.append((folder / "canaries.npz").read_bytes())
        seen.append(args[0].train.num_examples)
        return training.RunResult(0, 3, spent(), None)

    settings = AuditConfig(num_canaries=30)
    monkeypatch.setattr(training, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        canary_audit.run(data, make_config(), folder, settings, coins=seeded_coins(5))
    with pytest.raises(KeyboardInterrupt):
        canary_audit.run(data, make_config(), folder, settings, coins=no_coins)
    assert seen[:2] == seen[2:] and seen[1] == 120 + seeded_coins(5)(30).sum()
    assert [path.name for path in folder.iterdir()] == ["canaries.npz"]


def test_a_finished_audit_says_the_same_again(audited):
    arguments, result = audited
    assert canary_audit.run(*arguments, coins=no_coins) == result


@pytest.mark.parametrize(
    "change", [{"guesses": 5}, {"num_canaries": 33}, {"confidence": 0.9}, {"seed": 1}]
)
def test_promise_nothing_changes_once_the_coins_are_thrown(audited, change):
    (data, config, folder, settings), _ = audited
    name, value = next(iter(change.items()))
    changed = AuditConfig(**{**vars(settings), **change})
    with pytest.raises(
        ValueError, match=f"canaries.npz holds the coins .* with {name}=.*, not {value}"
    ):
        canary_audit.run(data, config, folder, changed, coins=no_coins)


def test_promise_8_neither_training_nor_guesses_change_once_the_coins_are_thrown(
    audited, tmp_path, monkeypatch
):
    (data, config, folder, settings), _ = audited
    shutil.copy(folder / "canaries.npz", tmp_path / "canaries.npz")
    changed = dataclasses.replace(config, critic_learning_rate=0.5)
    with pytest.raises(ValueError, match="with train_critic_learning_rate=0.002, not 0.5; repeat"):
        canary_audit.run(data, changed, tmp_path, settings, coins=no_coins)
    for rule, said in (((0.3, 1.0), r"\[9, 1.0\]"), ((0.2, 0.5), r"\[6, 0.5\]")):
        monkeypatch.setitem(canary_audit._GUESSED, "critic", rule)
        message = rf"with guesses_by_critic=\[6, 1.0\], not {said}; repeat"
        with pytest.raises(ValueError, match=message):
            canary_audit.run(data, config, tmp_path, settings, coins=no_coins)
    assert [path.name for path in tmp_path.iterdir()] == ["canaries.npz"]


def test_other_data_are_refused(audited):
    (_, config, folder, settings), _ = audited
    with pytest.raises(ValueError, match="canaries.npz holds the coins .* with data_checksum="):
        canary_audit.run(evaluation_samples.private(train=90), config, folder, settings)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "no coins"])
def test_damaged_coins_are_refused_and_kept(audited, tmp_path, damage):
    (data, config, folder, settings), _ = audited
    path = tmp_path / "canaries.npz"
    content = bytearray((folder / "canaries.npz").read_bytes())
    if damage == "flip":
        content[90] ^= 255  # in the compressed coins
    path.write_bytes({"cut": content[:-30], "flip": content, "empty": b""}.get(damage, content))
    if damage == "no coins":
        np.savez(path, identity=np.array("{}"))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"canaries.npz is damaged \(.*\).*; restore it, or start"):
        canary_audit.run(data, config, tmp_path, settings, coins=no_coins)
    assert path.read_bytes() == before and not (tmp_path / "run").exists()


def test_lost_coins_are_not_thrown_again(audited, tmp_path):
    copy_of_run(audited, tmp_path)
    (data, config, _, settings), _ = audited
    with pytest.raises(ValueError, match="canaries.npz is missing beside a training"):
        canary_audit.run(data, config, tmp_path, settings, coins=no_coins)


def test_who_throws_second_takes_the_first_coins(tmp_path):
    planted, path = make_canaries(30), tmp_path / "canaries.npz"
    candidates = planted.images, planted.labels

    def overtaken(count):
        canaries.throw_once(path, *candidates, {"a": 1}, seeded_coins(5))
        return seeded_coins(6)(count)

    late = canaries.throw_once(path, *candidates, {"a": 1}, overtaken)
    assert (late.included == seeded_coins(5)(30)).all()
    assert list(tmp_path.iterdir()) == [path]


def test_shuffled_batches_and_settings_out_of_range_are_refused(tmp_path):
    with pytest.raises(ValueError, match="sampling=shuffle is priced .*; give poisson"):
        canary_audit.run(evaluation_samples.private(), make_config(sampling="shuffle"), tmp_path)
    assert not list(tmp_path.iterdir())
    for wrong, message in (
        ({"num_canaries": 0}, "--num_canaries must be a positive"),
        ({"guesses": 201}, "--guesses must be at most --num_canaries=200, got 201"),
        ({"guesses": 0}, "--guesses must be a positive"),
        ({"confidence": 1.0}, "--confidence must be between"),
        ({"seed": -1}, "--seed must be a non-negative"),
    ):
        with pytest.raises(ValueError, match=message):
            AuditConfig(**wrong)


def test_a_critic_without_noise_gives_its_canaries_away(tmp_path):
    """Every record in every batch, no noise, and coins that are seeded: only fakes are left to chance."""
    data, coins = evaluation_samples.private(train=40), seeded_coins(3)
    config = make_config(
        batch_size=40 + int(coins(60).sum()),
        steps=500,
        noise_multiplier=0.0,
        critic_width=32,
        critic_learning_rate=5e-3,
    )
    result = canary_audit.run(data, config, tmp_path, AuditConfig(num_canaries=60), coins=coins)
    critic = result["scores"]["critic"]
    assert critic["guesses"] == 12 and critic["correct"] >= 10  # by chance in one of 50
    assert result["lower_bound"] > 0 and critic["auc"] > 0.5
    assert result["accountant"]["epsilon"] is None and result["consistent"]


@pytest.mark.slow
def test_promise_an_audit_of_a_training_without_noise_shows_an_epsilon_above_one(tmp_path):
    """The default audit of the default training on digits, whose coins are the operating system's."""
    data = load("digits")
    result = canary_audit.run(data, configure(data, noise_multiplier=0.0), tmp_path)
    assert result["lower_bound"] > 1


# What a run's folder tells.


def test_the_critic_of_a_run_is_read_back(audited, tmp_path):
    folder = copy_of_run(audited, tmp_path)
    critic = run_models.load_critic(folder)
    stored = tf.train.load_checkpoint(str(folder / "checkpoints"))
    names = [name for name, _ in tf.train.list_variables(str(folder / "checkpoints"))]
    names = [name for name in names if name.startswith("critic/_") and "OPTIMIZER" not in name]
    expected = sorted(float(np.abs(stored.get_tensor(name)).sum()) for name in names)
    got = sorted(float(np.abs(value).sum()) for value in critic.get_weights())
    assert got == pytest.approx(expected) and len(got) == 8
    assert critic((tf.zeros([5, 8, 8, 1]), tf.range(5) % 3)).shape == (5,)


def test_the_release_of_a_run_is_read_back(audited, tmp_path):
    release = run_models.load_release(copy_of_run(audited, tmp_path))
    assert release.released.numpy() and release.means.shape == (3, release.embedding.dim)
    assert release.means.numpy().any()


def test_a_critic_that_has_learned_nothing_is_like_that_of_the_run(audited, tmp_path):
    folder = copy_of_run(audited, tmp_path)
    learned, fresh = run_models.load_critic(folder), run_models.new_critic(folder)
    shapes = [weight.shape for weight in learned.get_weights()]
    assert [weight.shape for weight in fresh.get_weights()] == shapes
    assert any((a != b).any() for a, b in zip(learned.get_weights(), fresh.get_weights()))


def test_scores_of_a_critic_are_in_the_order_of_the_records_however_many_there_are():
    """One that says `[n, 1]`, as a network may: brightness in [-1, 1], and ten times the label."""
    images, labels = evaluation_samples.shades(1001, 3)
    found = run_models.critic_scores(
        lambda pair: tf.reduce_mean(pair[0], [1, 2]) + 10 * tf.cast(pair[1], tf.float32)[:, None],
        images,
        labels,
    )
    assert found.shape == (1001,) and found.dtype == np.float64
    expected = images.mean(axis=(1, 2, 3)) / 127.5 - 1 + 10 * labels
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda run: shutil.rmtree(run), r"run holds no run; give the --run_dir"),
        (lambda run: (run / "finished.json").unlink(), "the run in .*run is not finished; repeat"),
        (lambda run: (run / "config.json").write_text("{"), r"config.json is damaged \("),
        (lambda run: (run / "config.json").write_text("[]"), r"config.json is damaged \(no sett"),
        (lambda run: (run / "config.json").write_text("{}"), r"config.json is damaged \(no image"),
        (
            lambda run: (run / "finished.json").write_text('{"steps": 2}'),
            r"finished.json is damaged \(critic steps 2 of 3\)",
        ),
        (lambda run: shutil.rmtree(run / "checkpoints"), "run/checkpoints holds no checkpoint"),
        (
            lambda run: [f.write_bytes(b"") for f in (run / "checkpoints").glob("ckpt-*")],
            r"run/checkpoints/ckpt-\d+ is damaged; restore",
        ),
    ],
)
@pytest.mark.parametrize("load", [run_models.load_critic, run_models.load_release])
def test_runs_that_cannot_be_read_are_refused(audited, tmp_path, load, spoil, message):
    run = copy_of_run(audited, tmp_path)
    spoil(run)
    with pytest.raises(ValueError, match=message) as caught:
        load(run)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "load, field, message",
    [
        (run_models.load_critic, "steps", "run holds a run without critic steps"),
        (run_models.load_release, "warm_start", "run holds a run without a warm start"),
    ],
)
def test_runs_without_a_stage_are_refused(audited, tmp_path, load, field, message):
    run = copy_of_run(audited, tmp_path)
    for name in ("config.json", "finished.json"):
        content = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps({**content, **({field: 0} if field in content else {})}))
    with pytest.raises(ValueError, match=message):
        load(run)
