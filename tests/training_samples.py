# SPDX-License-Identifier: Apache-2.0
"""Small runs of `training.train`, and what tests look at in their folders."""

from __future__ import annotations

import contextlib
import functools
import json
import pathlib
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

from tfartgen import callbacks, tensorboard_log, training
from tfartgen.data import PrivateData, Split
from tfartgen.train_config import TrainConfig, configure

COUNT, STEPS, STOP = 60, 12, 5
PROJECTED = 9  # images in TensorBoard's projector
EVERY_STEP = 1e-9  # minutes between checkpoints


def held_out_is_read():
    raise AssertionError("training read the held-out split")


def make_data(seed=0):
    """Noise in three classes, with a held-out split that cannot be read."""
    rng = np.random.default_rng(seed)
    images = rng.integers(256, size=(COUNT, 8, 8, 1)).astype(np.uint8)
    train = Split.from_arrays(images, rng.permutation(COUNT) % 3)
    return PrivateData("tiny", (8, 8, 1), ("a", "b", "c"), train, Split(9, held_out_is_read))


SMALL = {
    "delta": 1e-5,
    "generator_width": 2,
    "critic_width": 2,
    "latent_dim": 4,
    "generator_batch_size": 4,
}


def make_config(**changes):
    """Every record in every batch: two runs can then differ by their noise alone."""
    settings = {"batch_size": COUNT, "steps": STEPS, "noise_multiplier": 8.0, "critic_steps": "2"}
    return TrainConfig(**{**SMALL, **settings, **changes})


def make_formal_config():
    """A tenth of the records in a batch, noise calibrated to a budget."""
    return configure(
        make_data(),
        epsilon=3.0,
        batch_size=6,
        steps=STEPS,
        critic_steps="adaptive",
        warm_start=0.0,
        **SMALL,
    )


def train(folder, config=None, data=None, **options):
    run, models = folder / "run", folder / "models"
    return training.train(data or make_data(), config or make_config(), run, models, **options)


@contextlib.contextmanager
def at_step(step, action):
    """Has `action` run after so many critic steps of a session; scalars and images are logged often."""

    class Bar(callbacks.ProgressBar):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            if batch + 1 == step:
                action()

    log = functools.partial(tensorboard_log.TensorBoardLog, scalar_steps=3, image_steps=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "ProgressBar", Bar)
        patch.setattr(training, "TensorBoardLog", log)
        yield


def stop_after(step):
    return at_step(step, lambda: signal.raise_signal(signal.SIGTERM))


def fixed_keys():
    return tf.constant([1, 2], tf.int64)


def copy_of(folder, target):
    """A copy of a run and its models, whose record of the release points at the copy."""
    copy = pathlib.Path(shutil.copytree(folder, target / "copy"))
    record = copy / "run" / "finished.json"
    if record.exists():
        facts = json.loads(record.read_text())
        model = copy / "models" / pathlib.Path(facts["model"]).name
        record.write_text(json.dumps({**facts, "model": str(model)}))
    return copy


def read_statement(folder, version=1):
    path = folder / "models" / str(version) / "assets.extra" / "privacy.json"
    return json.loads(path.read_text(encoding="utf-8"))


HEAD = {"ledger": "tfartgen", "version": 2}


def read_ledger(folder):
    """Stretches of a ledger, below the line that says which version it has."""
    lines = (folder / "run" / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    head, *stretches = map(json.loads, lines)
    assert head in (HEAD, {**HEAD, "exported": True})
    return stretches


def exported(folder):
    """Whether a ledger says that something of it was exported."""
    line = (folder / "run" / "ledger.jsonl").read_text(encoding="utf-8").splitlines()[0]
    return json.loads(line).get("exported", False)


def without_book(statement):
    """A statement but for what the budget book said, which depends on when it was opened."""
    earlier = statement["earlier_releases"]
    assert earlier["releases"] == [] and earlier["joint_epsilon"] == statement["epsilon"]
    return {name: value for name, value in statement.items() if name != "earlier_releases"}


def write_ledger(folder, stretches):
    lines = [json.dumps(line) + "\n" for line in (HEAD, *stretches)]
    (folder / "run" / "ledger.jsonl").write_text("".join(lines), encoding="utf-8")


def checkpointed(folder, prefix):
    """Values in the newest checkpoint below `prefix`, by name."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(folder / "run/checkpoints")))
    names = [n for n in sorted(reader.get_variable_to_shape_map()) if n.startswith(prefix + "/")]
    values = {n: reader.get_tensor(n) for n in names if n.endswith("VARIABLE_VALUE")}
    return {name: value for name, value in values.items() if "/.OPTIMIZER_SLOT/" not in name}


def iterations(folder):
    [value] = checkpointed(folder, "critic_optimizer/iter").values()
    return int(value)


def assert_same(first, second):
    assert first.keys() == second.keys() and first
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


def all_differ(first, second):
    assert first.keys() == second.keys() and first
    return all(np.any(value != second[name]) for name, value in first.items())
