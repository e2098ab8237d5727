# SPDX-License-Identifier: Apache-2.0
"""The parts of a run from its configuration: sampler, noise, networks, devices."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
import tensorflow as tf

from tfartgen import accounting, embedding
from tfartgen.data import PrivateData
from tfartgen.dp_optimizer import DPAdam
from tfartgen.feature_critic import FeatureCritic
from tfartgen.gan import ArtGAN
from tfartgen.losses import LOSSES
from tfartgen.matching import Matching
from tfartgen.networks import Critic, Generator, num_weights
from tfartgen.noise import KeySource
from tfartgen.noise_limits import GRID
from tfartgen.sampling import SAMPLERS, Sampler, striped
from tfartgen.schedule import CriticSchedule
from tfartgen.train_config import ADAPTIVE, TrainConfig
from tfartgen.warm_start import WarmStart


def make_sampler(config: TrainConfig, data: PrivateData, keys: KeySource) -> Sampler:
    """How the critic's batches are drawn.

    Raises:
      ValueError: the records do not fit in memory, or are fewer than a batch.
    """
    count = data.train.num_examples
    if config.sampling == "poisson":
        data.require_memory(
            ", or --sampling=shuffle to stream it (priced without amplification by sampling)"
        )
        return SAMPLERS["poisson"](count, config.batch_size, keys)
    return SAMPLERS[config.sampling](count, config.batch_size)


def calibrated_noise(
    budget: float, data: PrivateData, config: TrainConfig, sampler: Sampler
) -> dict[str, Optional[float]]:
    """Noise multipliers with which all stages together stay within the budget."""
    embedding_noise: Optional[float] = None
    before: tuple[accounting.Stretch, ...] = ()
    if config.warm_start:
        embedding_noise = accounting.calibrate_noise_multiplier(
            budget * config.warm_start,
            config.delta,
            sampler="poisson",
            sampling_rate=1.0,
            batch_size=1,
            clip_norm=embedding.SENSITIVITY,
            steps=1,
            coordinates=embedding_coordinates(data, config),
            grid=GRID,
        )
        before = (embedding_stretch(data, config, embedding_noise),)
    noise = None
    if config.steps:
        noise = accounting.calibrate_noise_multiplier(
            budget,
            config.delta,
            sampler=sampler.name,
            sampling_rate=sampler.rate,
            batch_size=sampler.batch_size,
            clip_norm=config.clip_norm,
            steps=config.steps,
            coordinates=critic_coordinates(data, config),
            before=before,
        )
    return {"noise_multiplier": noise, "warm_start_noise_multiplier": embedding_noise}


def embedding_coordinates(data: PrivateData, config: TrainConfig) -> int:
    """Numbers of the mean embedding that get noise."""
    features = embedding.Embedding(data.image_shape, config.fourier_features)
    return embedding.coordinates(features, data.num_classes)


def embedding_stretch(
    data: PrivateData, config: TrainConfig, noise_multiplier: float
) -> accounting.Stretch:
    """What the release of the mean embedding costs."""
    return embedding.stretch(noise_multiplier, embedding_coordinates(data, config))


def critic_coordinates(data: PrivateData, config: TrainConfig) -> int:
    """Weights of the critic, each of which gets noise at every step."""
    critic = _critic(data, config, seed=0)
    critic((tf.zeros([1, *data.image_shape]), tf.zeros([1], tf.int32)))
    return num_weights(critic)


def _critic(data: PrivateData, config: TrainConfig, seed: int) -> tf.keras.Model:
    network = FeatureCritic if config.critic == "features" else Critic
    return network(data.image_shape, data.num_classes, config.critic_width, seed=seed)


def _seeds(config: TrainConfig) -> list[int]:
    """Of the generator's and the critic's weights, and of both stages' latents."""
    return np.random.SeedSequence(config.seed).generate_state(4).tolist()


def build_gan(
    data: PrivateData,
    config: TrainConfig,
    noise_multiplier: float,
    keys: KeySource,
    matching: Optional[Matching] = None,
) -> ArtGAN:
    """Networks and optimizers of a resolved configuration, compiled."""
    shape, classes = data.image_shape, data.num_classes
    seeds = _seeds(config)
    gan = ArtGAN(
        Generator(shape, classes, config.latent_dim, config.generator_width, seed=seeds[0]),
        _critic(data, config, seeds[1]),
        ema_decay=config.ema_decay,
    )
    adaptive = config.critic_steps == ADAPTIVE
    gan.compile(
        critic_optimizer=DPAdam(
            config.clip_norm,
            noise_multiplier,
            config.batch_size,
            keys=keys,
            learning_rate=config.critic_learning_rate,
            beta_1=0.5,
            beta_2=0.99,
        ),
        generator_optimizer=tf.keras.optimizers.legacy.Adam(
            config.generator_learning_rate, beta_1=0.5, beta_2=0.99
        ),
        loss=LOSSES[config.loss],
        penalty_weight=config.penalty_weight,
        schedule=CriticSchedule(1 if adaptive else int(config.critic_steps), adaptive),
        generator_batch_size=config.generator_batch_size,
        latent_seed=seeds[2],
        clipping=config.clipping,
        matching=matching,
    )
    return gan


def build_warm_start(
    data: PrivateData, config: TrainConfig, noise_multiplier: float, keys: KeySource
) -> tuple[ArtGAN, Optional[WarmStart]]:
    """The same, with the stage that comes before the critic if the configuration has one."""
    if not config.warm_start:
        return build_gan(data, config, noise_multiplier, keys), None
    features = embedding.Embedding(data.image_shape, config.fourier_features)
    matching = Matching(features, data.num_classes)
    gan = build_gan(data, config, noise_multiplier, keys, matching)
    return gan, WarmStart(
        gan,
        matching,
        steps=config.warm_start_steps,
        learning_rate=config.warm_start_learning_rate,
        batch_size=config.generator_batch_size,
        latent_seed=_seeds(config)[3],
    )


def strategy() -> tf.distribute.Strategy:
    """All visible GPUs when there are several; else whatever single device TensorFlow picks."""
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def distributed_batches(
    strategy: tf.distribute.Strategy, sampler: Sampler, data: PrivateData
) -> Any:
    """A sampler's batches as `fit` takes them; each replica gets a part of every batch."""
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return sampler.batches(data.train)
    return strategy.distribute_datasets_from_function(
        lambda _: striped(sampler.batches(data.train), replicas)
    )
