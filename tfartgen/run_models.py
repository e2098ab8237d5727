# SPDX-License-Identifier: Apache-2.0
"""What a finished run has learned, read back from its private folder: for its owner, to be attacked and audited.

The critic and the release are outputs of the private mechanisms: what an attack makes of them is covered by the
run's guarantee. They are in no model folder all the same, and should not leave the run's.
"""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any, Union

import numpy as np
import tensorflow as tf

from tfartgen.data import to_float
from tfartgen.embedding import Embedding
from tfartgen.feature_critic import FeatureCritic
from tfartgen.matching import Matching
from tfartgen.networks import Critic

RunPath = Union[str, "os.PathLike[str]"]

#: Scored at a time.
_AT_ONCE = 500

_REMEDY = "restore the folder from a copy, or train anew with another --run_dir"


def load_critic(run_dir: RunPath) -> tf.keras.Model:
    """The critic of a finished run, as its last step left it.

    Args:
      run_dir: the run's private folder, as `training.train` or `bin/train` wrote it.

    Returns:
      A model of `(image float32 [batch, height, width, channels] in [-1, 1], label [batch])`, which gives scores
      `[batch]` or `[batch, 1]`, high for real.

    Raises:
      ValueError: there is no finished run in the folder, it took no critic steps, or a file is damaged.
    """
    folder = pathlib.Path(run_dir)
    critic = new_critic(folder)
    _restore(folder, critic=critic)
    return critic


def new_critic(run_dir: RunPath, seed: int = 0) -> tf.keras.Model:
    """A critic like that of a finished run, with initial weights.

    Args:
      run_dir: as in `load_critic`.
      seed: of the weights.

    Raises:
      ValueError: there is no finished run in the folder, or it took no critic steps.
    """
    settings = finished_settings(run_dir)
    shape, classes = settings["image_shape"], len(settings["class_names"])
    if not settings["steps"]:
        raise ValueError(
            f"{os.fspath(run_dir)} holds a run without critic steps, so its critic has learned nothing; give a run with "
            "some (--warm_start below 1, or --noise_multiplier)"
        )
    network = FeatureCritic if settings["critic"] == "features" else Critic
    critic = network(tuple(shape), classes, settings["critic_width"], seed=seed)
    critic((tf.zeros([1, *shape]), tf.zeros([1], tf.int32)))  # creates the weights
    return critic


def critic_scores(critic: tf.keras.Model, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What a critic says of records, high for real: float64 `[n]`.

    Args:
      critic: of `load_critic`.
      images: uint8 `[n, height, width, channels]`.
      labels: integers `[n]`.
    """
    parts = [slice(start, start + _AT_ONCE) for start in range(0, len(labels), _AT_ONCE)]
    found = [critic((to_float(images[rows]), labels[rows])).numpy().reshape(-1) for rows in parts]
    return np.concatenate(found).astype(np.float64)


def load_release(run_dir: RunPath) -> Matching:
    """The noised mean embedding that a finished run released, and the features it is in.

    Args:
      run_dir: as in `load_critic`.

    Returns:
      What the warm start matched: `means` `[classes, dim]` and `embedding`.

    Raises:
      ValueError: there is no finished run in the folder, it had no warm start, or a file is damaged.
    """
    folder = pathlib.Path(run_dir)
    settings = finished_settings(folder)
    if not settings["warm_start"]:
        raise ValueError(
            f"{folder} holds a run without a warm start, which released no mean embedding; give one with --warm_start"
        )
    features = Embedding(settings["image_shape"], settings["fourier_features"])
    matching = Matching(features, len(settings["class_names"]))
    _restore(folder, matching=matching)
    return matching


def finished_settings(run_dir: RunPath) -> dict[str, Any]:
    """The settings of a finished run, with the noise multipliers it used and the identity of its data.

    Raises:
      ValueError: there is no finished run in the folder, or a file is damaged.
    """
    folder = pathlib.Path(run_dir)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds no run; give the --run_dir of a finished bin/train")
    if not (folder / "finished.json").is_file():
        raise ValueError(
            f"the run in {folder} is not finished; repeat its bin/train command to go on with it"
        )
    settings = _read_json(folder / "config.json")
    needed = ("image_shape", "class_names", "steps", "critic", "critic_width")
    for name in (*needed, "warm_start", "fourier_features"):
        if name not in settings:
            raise ValueError(f"{folder / 'config.json'} is damaged (no {name}); {_REMEDY}")
    steps = _read_json(folder / "finished.json").get("steps")
    if steps != settings["steps"]:
        raise ValueError(
            f"{folder / 'finished.json'} is damaged (critic steps {steps} of {settings['steps']}); {_REMEDY}"
        )
    return settings


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); {_REMEDY}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} is damaged (no settings); {_REMEDY}")
    return value


def _restore(folder: pathlib.Path, **tracked: Any) -> None:
    """Gives objects the values of the newest checkpoint; never those of an older one, as resuming does."""
    checkpoints = folder / "checkpoints"
    newest = tf.train.latest_checkpoint(str(checkpoints))
    if newest is None:
        raise ValueError(f"{checkpoints} holds no checkpoint; {_REMEDY}")
    try:
        status = tf.train.Checkpoint(**tracked).restore(newest)
        status.assert_existing_objects_matched()
        status.expect_partial()  # the other parts of the run
    except (tf.errors.OpError, AssertionError, ValueError, OSError, IndexError):
        raise ValueError(f"{newest} is damaged; {_REMEDY}") from None
