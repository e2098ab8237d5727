# SPDX-License-Identifier: Apache-2.0
"""`ArtGAN`: a conditional GAN whose critic alone sees private records, through a private optimizer.

The generator learns from the critic, and from a private release that it may match beside it, so whatever it draws is
post-processing of what was noised.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import tensorflow as tf

from tfartgen import _validate, noise
from tfartgen.data import to_float
from tfartgen.dp_optimizer import ClippedSum, DPAdam, use_full_precision
from tfartgen.feature_critic import FeatureCritic
from tfartgen.losses import LOSSES, AdversarialLoss, paired_critic_loss, real_critic_loss
from tfartgen.matching import Matching
from tfartgen.networks import Critic, Generator, refuse_mixing, refuse_mixing_layers
from tfartgen.schedule import CriticSchedule, Pace

_ONE_EACH = CriticSchedule()

#: Whether the gradient of a record is clipped together with its fake's, or by itself.
CLIPPINGS = ("paired", "separate")


class ArtGAN(tf.keras.Model):
    """Generator and critic under one `fit`, where a step is a critic step.

    Each `train_step` takes one private batch through the critic's private optimizer. Every
    `critic_steps`-th one is followed by a generator step. `critic_optimizer.iterations` counts critic steps:
    it is the number that the accountant prices.

    Attributes:
      generator: the network that trains.
      average: its exponential moving average, the network to release.
      critic: private; never released.
      generator_steps: taken in all stages.
    """

    train_function: Any  # set by Keras

    def __init__(self, generator: Generator, critic: Critic, ema_decay: float = 0.999):
        """Puts the networks together.

        Args:
          generator: draws images.
          critic: scores them; any Keras model of `(image, label)` none of whose layers mixes examples.
          ema_decay: of the generator's moving average, per generator step; smaller at the start of a run.

        Raises:
          ValueError: a layer of either network mixes examples (named), or `ema_decay` is out of range.
        """
        super().__init__(name="artgan")
        refuse_mixing_layers(generator, "generator")
        refuse_mixing_layers(critic, "critic")
        self.generator, self.critic = generator, critic
        self.average = type(generator).from_config(generator.get_config())
        self._ema_decay = _validate.probability("ema_decay", ema_decay)
        self.generator_steps = tf.Variable(
            0, trainable=False, dtype=tf.int64, name="generator_steps"
        )
        self._build_networks()
        self.average.set_weights(generator.get_weights())
        self.pace = Pace(CriticSchedule())

    def _build_networks(self) -> None:
        """Creates the weights, and makes sure that no row of a batch depends on another."""
        latent = tf.random.stateless_normal([3, self.generator.latent_dim], [0, 0])
        label = tf.range(3) % self.generator.num_classes
        self.average((latent, label))
        images = self.generator((latent, label))
        self.critic((images, label))
        refuse_mixing(self.generator, (latent, label), "generator")
        refuse_mixing(self.critic, (images, label), "critic")

    def compile(  # pylint: disable=arguments-differ
        self,
        critic_optimizer: DPAdam,
        generator_optimizer: tf.keras.optimizers.legacy.Optimizer,
        loss: AdversarialLoss = LOSSES["hinge"],
        penalty_weight: Optional[float] = None,
        schedule: CriticSchedule = _ONE_EACH,
        generator_batch_size: int = 64,
        latent_seed: int = 0,
        clipping: str = "paired",
        matching: Optional[Matching] = None,
    ) -> None:
        """Sets how the networks train.

        Args:
          critic_optimizer: clips, noises and applies the critic's gradients.
          generator_optimizer: any Keras legacy optimizer.
          loss: the game.
          penalty_weight: weight of the gradient penalty; the loss's own if None.
          schedule: critic steps for every generator step.
          generator_batch_size: fakes of a generator step, on all replicas together.
          latent_seed: fixes latents and labels of the generator's steps; nothing of a critic's step, whose latents and mixing
            weights have secret keys as its noise has.
          clipping: 'paired', a record's gradient with that of its fake; or 'separate', each by itself, where noise is
            added for the records alone ("Private GANs, revisited").
          matching: a release that the generator's loss includes; None without one.

        Raises:
          ValueError: an adaptive schedule with a loss whose scores have no zero to measure accuracy by.
        """
        if schedule.adaptive and not loss.zero_is_boundary:
            raise ValueError(
                f"critic_steps=adaptive needs the critic's accuracy on fakes, which the {loss.name} loss does not "
                "have; choose --loss=hinge or non_saturating, or a fixed number"
            )
        super().compile()
        self.critic_optimizer, self.generator_optimizer = critic_optimizer, generator_optimizer
        # All variables exist before the first step, so that a checkpoint that lacks one is seen at once.
        critic_optimizer._create_all_weights(self.critic.trainable_variables)
        generator_optimizer._create_all_weights(self.generator.trainable_variables)
        self._loss = loss
        weight = loss.penalty_weight if penalty_weight is None else penalty_weight
        self._penalty_weight = _validate.non_negative("penalty_weight", weight)
        self.pace = Pace(schedule)
        self._generator_batch_size = _validate.positive_int(
            "generator_batch_size", generator_batch_size
        )
        self._latent_seed, self._matching = latent_seed, matching
        self._clipping = _validate.one_of("clipping", clipping, CLIPPINGS)
        mean = tf.keras.metrics.Mean
        self._critic_loss, self._generator_loss = mean("critic_loss"), mean("generator_loss")
        self._gradient_norm, self._clipped_share = mean("gradient_norm"), mean("clipped_share")
        self._fake_accuracy = mean("fake_accuracy")

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """Means since the last reset; `fake_accuracy` is that of the last generator step alone.

        All but `generator_loss` and `fake_accuracy` look at private records and are not priced.
        """
        return [
            self._critic_loss,
            self._generator_loss,
            self._gradient_norm,
            self._clipped_share,
            self._fake_accuracy,
        ]

    def train_step(
        self, data: tuple[tf.Tensor, tf.Tensor], update_generator: bool = True
    ) -> dict[str, tf.Tensor]:
        """One critic step, and after it a generator step if asked for.

        Args:
          data: private `(images uint8 [count, height, width, channels], labels [count])`; count may be 0.
          update_generator: whether a generator step follows.

        Returns:
          The metrics by name.
        """
        self._critic_step(*data)
        if update_generator:
            self._generator_step()
        return {metric.name: metric.result() for metric in self.metrics}

    def _critic_step(self, images: tf.Tensor, labels: tf.Tensor) -> None:
        gradients, clipped = self.critic_gradients(images, labels)
        self.critic_optimizer.apply_gradients(gradients)
        count = tf.cast(clipped.count, tf.float32)
        for metric, total in (
            (self._critic_loss, clipped.loss_sum),
            (self._gradient_norm, clipped.norm_sum),
            (self._clipped_share, clipped.clipped),
        ):
            metric.update_state(tf.math.divide_no_nan(total, count), sample_weight=count)

    def critic_gradients(
        self, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[list[tuple[tf.Tensor, tf.Variable]], ClippedSum]:
        """The critic's private gradients on one batch.

        Formal guarantee: that of `DPAdam.dp_gradients`. A record has a latent and a mixing weight of its own, drawn
        independently from the source that the noise has and not from its place in the batch; so runs with and without a
        record can be coupled so that every other one keeps its own. The generator mixes no examples. Given latents and
        weights, one record touches one loss (`critic_loss_gradients`). Where fakes are clipped separately, their number and labels
        are independent of the records, so that they need no noise.

        Args:
          images: uint8 `[count, height, width, channels]`.
          labels: `[count]`.

        Returns:
          As `DPAdam.dp_gradients`.
        """
        optimizer, count = self.critic_optimizer, tf.shape(images)[0]
        latents = noise.latents(count, self.generator.latent_dim, optimizer.keys())
        examples = (images, labels, latents, noise.mixes(count, optimizer.keys()))
        loss, prepare, in_closed_form = self.critic_loss_gradients()
        noised, clipped = optimizer.dp_gradients(
            loss, examples, self.critic.trainable_variables, prepare, in_closed_form
        )
        return (noised if self._clipping == "paired" else self._with_fakes(noised)), clipped

    def critic_loss_gradients(self) -> tuple[Any, Any, Optional[Any]]:
        """How `DPAdam` clips and sums the records of a critic's batch: pure functions, in which nothing is drawn.

        Returns:
          `loss_fn`, `prepare` and `example_gradients` of `DPAdam.clipped_sum`, for examples of an image, its label,
          its latent `[latent_dim]` and its mixing weight.
        """
        paired = self._clipping == "paired"
        with_fakes = paired or self._penalty_weight > 0
        loss_fn = paired_critic_loss if paired else real_critic_loss

        def prepare(part: Any) -> Any:
            image, label, latent, mix = part
            real = to_float(image)
            return real, self.generator((latent, label)) if with_fakes else real, label, mix

        def loss_of_one(example: Any) -> tf.Tensor:
            real, fake, label, mix = (tensor[None] for tensor in example)
            return loss_fn(self.critic, self._loss, self._penalty_weight, real, fake, label, mix)[0]

        def in_closed_form(part: Any) -> tuple[list[tf.Tensor], tf.Tensor]:
            real, fake, label, _ = part
            gradients, losses = self.critic.example_gradients(real, label, self._loss.real)
            if paired:
                of_fakes, fake_losses = self.critic.example_gradients(fake, label, self._loss.fake)
                gradients = [g + f for g, f in zip(gradients, of_fakes)]
                losses += fake_losses
            return gradients, losses

        return loss_of_one, prepare, in_closed_form if self._has_closed_form else None

    @property
    def _has_closed_form(self) -> bool:
        return isinstance(self.critic, FeatureCritic) and not self._penalty_weight

    def _with_fakes(
        self, gradients: list[tuple[tf.Tensor, tf.Variable]]
    ) -> list[tuple[tf.Tensor, tf.Variable]]:
        """Adds the clipped gradients of as many fakes as a batch is expected to have, of uniform labels."""
        expected = self.critic_optimizer.expected_batch_size
        replicas = self.distribute_strategy.num_replicas_in_sync
        count = max(1, expected // replicas)
        keys = self.critic_optimizer.keys
        label = self._uniform_labels(count, keys())
        latents = noise.latents(count, self.generator.latent_dim, keys())

        def prepare(part: Any) -> Any:
            latent, label = part
            return self.generator((latent, label)), label

        def loss_of_one(example: Any) -> tf.Tensor:
            fake, label = (tensor[None] for tensor in example)
            return self._loss.fake(self.critic((fake, label)))[0]

        def in_closed_form(part: Any) -> tuple[list[tf.Tensor], tf.Tensor]:
            return self.critic.example_gradients(*part, self._loss.fake)

        clipped = self.critic_optimizer.clipped_sum(
            loss_of_one,
            (latents, label),
            self.critic.trainable_variables,
            prepare,
            in_closed_form if isinstance(self.critic, FeatureCritic) else None,
        )
        shares = [total / float(count * replicas) for total in clipped.gradients]
        return [(g + tf.cast(share, g.dtype), v) for (g, v), share in zip(gradients, shares)]

    def _generator_step(self) -> None:
        replicas = self.distribute_strategy.num_replicas_in_sync
        count = max(1, self._generator_batch_size // replicas)
        seed = self._step_seed()
        if self._matching is None:
            label = self._uniform_labels(count, fold_in(seed, 1))
        else:
            label = self._matching.labels(count)
        variables = self.generator.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            fake = self.generator((self._latents(tf.size(label), seed), label), training=True)
            score = self.critic((fake, label))
            loss = tf.reduce_mean(self._loss.generator(score))
            total = loss if self._matching is None else loss + self._matching.loss(fake)[0]
            part = total / replicas  # apply_gradients sums over replicas
        gradients = tape.gradient(part, variables)
        self.generator_optimizer.apply_gradients(zip(gradients, variables))
        self._generator_loss.update_state(loss)
        self._fake_accuracy.update_state(tf.reduce_mean(tf.cast(score < 0.0, tf.float32)))
        self.update_average()

    def update_average(self) -> None:
        """Counts a generator step, and lets the moving average follow it; called in a replica."""
        tf.distribute.get_replica_context().merge_call(self._update_average)

    def _update_average(self, strategy: tf.distribute.Strategy) -> None:
        strategy.extended.update(self.generator_steps, lambda steps: steps.assign_add(1))
        step = tf.cast(self.generator_steps.read_value(), tf.float32)
        decay = tf.minimum(self._ema_decay, (1.0 + step) / (10.0 + step))
        for average, value in zip(self.average.variables, self.generator.variables):
            strategy.extended.update(
                average, lambda a, v: a.assign(decay * a + (1.0 - decay) * v), args=(value,)
            )

    def _uniform_labels(self, count: Any, seed: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_uniform(
            [count], seed, maxval=self.generator.num_classes, dtype=tf.int32
        )

    def _latents(self, count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_normal([count, self.generator.latent_dim], seed)

    def _step_seed(self) -> tf.Tensor:
        """Seed of the latents of a generator step: another for each critic step and replica."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        seed = tf.stack([tf.cast(self._latent_seed, tf.int64), self.critic_optimizer.iterations])
        return fold_in(seed, replica)

    def make_train_function(self, force: bool = False) -> Callable[[Any], dict[str, tf.Tensor]]:
        """The function that `fit` calls for each critic step; it decides whether a generator step follows.

        The decision is taken outside the graph, because a strategy with several replicas cannot apply
        gradients inside a conditional.
        """
        if self.train_function is not None and not force:
            return self.train_function

        @tf.function
        def step(iterator: Any, update_generator: bool) -> dict[str, tf.Tensor]:
            outputs = self.distribute_strategy.run(
                self.train_step, args=(next(iterator), update_generator)
            )
            self._train_counter.assign_add(1)
            return {
                name: self.distribute_strategy.experimental_local_results(value)[0]
                for name, value in outputs.items()
            }

        def train_function(iterator: Any) -> dict[str, tf.Tensor]:
            use_full_precision()
            due = self.pace.advance()
            if due:
                self._fake_accuracy.reset_state()
            logs = step(iterator, due)
            if due:
                self.pace.adapt(float(logs["fake_accuracy"]))
            return logs

        self.train_function = train_function
        return train_function


def fold_in(seed: tf.Tensor, data: Any) -> tf.Tensor:
    """Another seed of `tf.random.stateless_*` for each value of `data`."""
    return tf.random.experimental.stateless_fold_in(seed, data)
