# SPDX-License-Identifier: Apache-2.0
"""The warm start: the generator matches a released mean embedding, before a critic or instead of one."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfartgen import _validate
from tfartgen.gan import ArtGAN, fold_in
from tfartgen.matching import Matching


class WarmStart(tf.keras.Model):
    """The generator of a GAN under a `fit` of its own, where a step is a generator step.

    Formal guarantee: post-processing of what `matching` holds; no private record is read.

    Attributes:
      gan: whose generator and moving average train.
      matching: what they are to match.
      steps: of the whole stage.
      generator_optimizer: of this stage; its `iterations` count the steps taken.
    """

    def __init__(
        self,
        gan: ArtGAN,
        matching: Matching,
        *,
        steps: int,
        learning_rate: float = 1e-3,
        batch_size: int = 64,
        latent_seed: int = 0,
    ):
        """Prepares the stage.

        Args:
          gan: the networks.
          matching: holds the release by the time of the first step.
          steps: of the stage; the learning rate falls to a twentieth along a cosine of that length.
          learning_rate: of Adam, at the start.
          batch_size: fakes of a step, on all replicas together.
          latent_seed: fixes latents.
        """
        super().__init__(name="warm_start")
        self.gan, self.matching = gan, matching
        self.steps = _validate.positive_int("warm_start_steps", steps)
        schedule = tf.keras.optimizers.schedules.CosineDecay(learning_rate, steps, alpha=0.05)
        self.generator_optimizer = tf.keras.optimizers.legacy.Adam(
            schedule, beta_1=0.5, beta_2=0.99
        )
        self.generator_optimizer._create_all_weights(gan.generator.trainable_variables)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        batch_size = _validate.positive_int("generator_batch_size", batch_size)
        self._labels = matching.labels(batch_size // replicas)
        self._latent_seed = latent_seed
        self._discrepancy = tf.keras.metrics.Mean("discrepancy")
        self.compile()

    @property
    def steps_taken(self) -> int:
        """So far, in all sessions."""
        return int(self.generator_optimizer.iterations.numpy())

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """`discrepancy`: squared distance of the fakes' mean embedding from the release, mean over classes."""
        return [self._discrepancy]

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One generator step; `data` is a counter that nothing looks at."""
        generator = self.gan.generator
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        taken = self.generator_optimizer.iterations
        seed = fold_in(tf.stack([tf.cast(self._latent_seed, tf.int64), taken]), replica)
        latent = tf.random.stateless_normal([self._labels.shape[0], generator.latent_dim], seed)
        variables = generator.trainable_variables
        replicas = self.distribute_strategy.num_replicas_in_sync
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            fakes = generator((latent, self._labels), training=True)
            loss, discrepancy = self.matching.loss(fakes)
            part = loss / replicas  # apply_gradients sums over replicas
        self.generator_optimizer.apply_gradients(zip(tape.gradient(part, variables), variables))
        self.gan.update_average()
        self._discrepancy.update_state(discrepancy)
        return {metric.name: metric.result() for metric in self.metrics}
