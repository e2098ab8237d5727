# SPDX-License-Identifier: Apache-2.0
"""`ArtGAN`: a conditional GAN whose critic alone sees private records, through a private optimizer.

The generator learns from the critic and from nothing else, so whatever it draws is post-processing of the
critic's noised steps.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Callable, Optional

import tensorflow as tf

from tfartgen import _validate
from tfartgen.data import to_float
from tfartgen.dp_optimizer import ClippedSum, DPAdam
from tfartgen.losses import LOSSES, AdversarialLoss, paired_critic_loss
from tfartgen.networks import Critic, Generator, refuse_mixing, refuse_mixing_layers


@dataclasses.dataclass(frozen=True)
class CriticSchedule:
    """Critic steps for every generator step.

    Fixed, or adaptive as in "Private GANs, revisited" (Bie et al. 2023, arXiv 2302.02936, section 4): whenever
    the critic's accuracy on fakes, a moving average, falls below `threshold`, the number goes up to the next
    of 1, 2, 5, 10, 20, 50, ... The accuracy is measured on fakes alone, so it costs no privacy.

    Attributes:
      steps: the number, or where an adaptive one starts.
      adaptive: whether it grows.
      threshold: accuracy on fakes below which it grows.
      maximum: where an adaptive number stops growing.
      decay: of the moving average, per generator step.
    """

    steps: int = 1
    adaptive: bool = False
    threshold: float = 0.6
    maximum: int = 200
    decay: float = 0.9

    def __post_init__(self) -> None:
        _validate.positive_int("steps", self.steps)
        _validate.positive_int("maximum", self.maximum)
        _validate.probability("threshold", self.threshold)
        _validate.probability("decay", self.decay)

    def following(self, steps: int) -> int:
        """The next larger number of the series, at most `maximum`."""
        series = [factor * 10**power for power in range(10) for factor in (1, 2, 5)]
        return min(self.maximum, next(n for n in series if n > steps))


class Pace(tf.train.experimental.PythonState):
    """Where a run stands in its schedule; part of a checkpoint.

    Attributes:
      steps_each: critic steps for every generator step, now.
      since_generator: critic steps since the last generator step.
      accuracy: moving average of the critic's accuracy on fakes.
    """

    def __init__(self, schedule: CriticSchedule):
        self._schedule = schedule
        self.steps_each, self.since_generator, self.accuracy = schedule.steps, 0, 1.0

    def serialize(self) -> str:
        """For `tf.train.Checkpoint`."""
        return json.dumps([self.steps_each, self.since_generator, self.accuracy])

    def deserialize(self, string_value: str) -> None:
        """For `tf.train.Checkpoint`."""
        self.steps_each, self.since_generator, self.accuracy = json.loads(string_value)

    def advance(self) -> bool:
        """Counts a critic step; whether a generator step follows it."""
        self.since_generator += 1
        due = self.since_generator >= self.steps_each
        if due:
            self.since_generator = 0
        return due

    def adapt(self, fake_accuracy: float) -> None:
        """Takes in the critic's accuracy on the fakes of a generator step, in [0, 1]."""
        if not self._schedule.adaptive:
            return
        decay = self._schedule.decay
        self.accuracy = decay * self.accuracy + (1.0 - decay) * fake_accuracy
        if self.accuracy < self._schedule.threshold:
            self.steps_each = self._schedule.following(self.steps_each)
            self.accuracy = 1.0  # give the larger number time to act


class ArtGAN(tf.keras.Model):
    """Generator and critic under one `fit`, where a step is a critic step.

    Each `train_step` takes one private batch through the critic's private optimizer. Every
    `critic_steps`-th one is followed by a generator step. `critic_optimizer.iterations` counts critic steps:
    it is the number that the accountant prices.

    Attributes:
      generator: the network that trains.
      average: its exponential moving average, the network to release.
      critic: private; never released.
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
        schedule: CriticSchedule = CriticSchedule(),
        generator_batch_size: int = 64,
        latent_seed: int = 0,
    ) -> None:
        """Sets how the networks train.

        Args:
          critic_optimizer: clips, noises and applies the critic's gradients.
          generator_optimizer: any Keras legacy optimizer.
          loss: the game.
          penalty_weight: weight of the gradient penalty; the loss's own if None.
          schedule: critic steps for every generator step.
          generator_batch_size: fakes of a generator step, on all replicas together.
          latent_seed: fixes latents and the labels of the generator's batches; never the noise or the sampling.

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
        self._latent_seed = latent_seed
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

        Formal guarantee: that of `DPAdam.dp_gradients`. Each record is paired with a fake of its label drawn
        from a latent of its own, and the generator mixes no examples, so one record touches one loss.

        Args:
          images: uint8 `[count, height, width, channels]`.
          labels: `[count]`.

        Returns:
          As `DPAdam.dp_gradients`.
        """
        count, seed = tf.shape(images)[0], self._step_seed(0)
        latents = self._latents(count, seed)
        mixes = tf.random.stateless_uniform([count], _fold_in(seed, 1))

        def draw_fakes(part: Any) -> Any:
            image, label, latent, mix = part
            return to_float(image), self.generator((latent, label)), label, mix

        def loss_of_one(example: Any) -> tf.Tensor:
            real, fake, label, mix = (tensor[None] for tensor in example)
            return paired_critic_loss(
                self.critic, self._loss, self._penalty_weight, real, fake, label, mix
            )[0]

        return self.critic_optimizer.dp_gradients(
            loss_of_one,
            (images, labels, latents, mixes),
            self.critic.trainable_variables,
            prepare=draw_fakes,
        )

    def _generator_step(self) -> None:
        replicas = self.distribute_strategy.num_replicas_in_sync
        count = max(1, self._generator_batch_size // replicas)
        seed = self._step_seed(1)
        label = tf.random.stateless_uniform(
            [count], _fold_in(seed, 1), maxval=self.generator.num_classes, dtype=tf.int32
        )
        variables = self.generator.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            fake = self.generator((self._latents(count, seed), label), training=True)
            score = self.critic((fake, label))
            loss = tf.reduce_mean(self._loss.generator(score))
            part = loss / replicas  # apply_gradients sums over replicas
        gradients = tape.gradient(part, variables)
        self.generator_optimizer.apply_gradients(zip(gradients, variables))
        self._generator_loss.update_state(loss)
        self._fake_accuracy.update_state(tf.reduce_mean(tf.cast(score < 0.0, tf.float32)))
        tf.distribute.get_replica_context().merge_call(self._update_average)

    def _update_average(self, strategy: tf.distribute.Strategy) -> None:
        step = tf.cast(self.generator_optimizer.iterations, tf.float32)
        decay = tf.minimum(self._ema_decay, (1.0 + step) / (10.0 + step))
        for average, value in zip(self.average.variables, self.generator.variables):
            strategy.extended.update(
                average, lambda a, v: a.assign(decay * a + (1.0 - decay) * v), args=(value,)
            )

    def _latents(self, count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_normal([count, self.generator.latent_dim], seed)

    def _step_seed(self, stream: int) -> tf.Tensor:
        """Seed of this step's latents: another for each critic step, stream and replica."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        seed = tf.stack([tf.cast(self._latent_seed, tf.int64), self.critic_optimizer.iterations])
        return _fold_in(_fold_in(seed, stream), replica)

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
            due = self.pace.advance()
            if due:
                self._fake_accuracy.reset_state()
            logs = step(iterator, due)
            if due:
                self.pace.adapt(float(logs["fake_accuracy"]))
            return logs

        self.train_function = train_function
        return train_function


def _fold_in(seed: tf.Tensor, data: Any) -> tf.Tensor:
    return tf.random.experimental.stateless_fold_in(seed, data)
