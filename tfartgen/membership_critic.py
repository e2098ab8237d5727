# SPDX-License-Identifier: Apache-2.0
"""Critics as targets of membership inference: that of a run, and one that memorised."""

from __future__ import annotations

import tensorflow as tf

from tfartgen import run_models
from tfartgen.data import Split, to_float
from tfartgen.evaluation_data import Records
from tfartgen.image_size import sides

#: Of the critic that memorises: steps, records of a step of each kind, and Adam's learning rate.
_STEPS, _BATCH, _RATE = 600, 32, 1e-3


def of_run(run_dir: str, train: Split) -> tf.keras.Model:
    """The critic of a finished run on these records.

    Raises:
      ValueError: there is none.
    """
    settings = run_models.finished_settings(run_dir)
    own, given = settings["image_shape"], train.stream().element_spec[0].shape
    if tuple(own) != tuple(given):
        raise ValueError(
            f"--run_dir={run_dir} has a critic of images {sides(own)}, --dataset has {sides(given)}; give the data that "
            "it was trained on, with the same --image_size"
        )
    if settings.get("data_checksum", train.checksum()) != train.checksum():
        raise ValueError(
            f"--run_dir={run_dir} was trained on other records than those of --dataset; give the data that it was "
            "trained on"
        )
    return run_models.load_critic(run_dir)


def memorising(run_dir: str, members: Records, others: Records, seed: int = 0) -> tf.keras.Model:
    """One of a run's architecture, trained without privacy to tell a few members from all other records."""
    learned = run_models.new_critic(run_dir, seed)
    optimizer = tf.keras.optimizers.legacy.Adam(_RATE)
    records = [
        (to_float(images), tf.constant(labels, tf.int32)) for images, labels in (members, others)
    ]

    def batch(side: tuple[tf.Tensor, tf.Tensor], seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        count = tf.shape(side[1])[0]
        rows = tf.random.stateless_uniform([_BATCH], seed, maxval=count, dtype=tf.int32)
        return tf.gather(side[0], rows), tf.gather(side[1], rows)

    @tf.function
    def step(number: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            real = learned(batch(records[0], tf.stack([number, 0])))
            fake = learned(batch(records[1], tf.stack([number, 1])))
            loss = tf.reduce_mean(tf.nn.relu(1 - real)) + tf.reduce_mean(tf.nn.relu(1 + fake))
        variables = learned.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))

    for number in range(_STEPS):
        step(tf.constant(number))
    return learned
