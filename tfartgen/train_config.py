# SPDX-License-Identifier: Apache-2.0
"""Settings of a run, their ranges, and defaults that depend on the data and the regime."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any, Optional

from tfartgen import _validate, deltas
from tfartgen.data import PrivateData
from tfartgen.dp_optimizer import MIN_CLIP_NORM
from tfartgen.gan import CLIPPINGS
from tfartgen.losses import LOSSES
from tfartgen.sampling import SAMPLERS

ADAPTIVE = "adaptive"

#: Settings that say nothing where there is no critic: who gives one of them wants it.
_OF_THE_CRITIC = {
    "steps",
    "batch_size",
    "critic",
    "clipping",
    "critic_steps",
    "penalty_weight",
    "critic_learning_rate",
}

#: What a critic may see.
CRITICS = ("pixels", "features")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Settings of a run; see `configure` for good values.

    Attributes:
      batch_size: b, expected records of a critic step.
      steps: critic steps of the run.
      epsilon: budget; None for the small-noise regime.
      noise_multiplier: sigma; None when it is to be calibrated to the budget.
      delta: of the privacy statement, and of the budget.
      clip_norm: S, the most that one record's gradient counts, in L2 norm.
      sampling: 'poisson' or 'shuffle'.
      loss: 'hinge', 'non_saturating' or 'wasserstein'.
      penalty_weight: of the gradient penalty.
      critic_steps: for every generator step, a number in digits or 'adaptive'.
      critic_learning_rate: of Adam.
      generator_learning_rate: of Adam.
      generator_batch_size: fakes of a generator step.
      ema_decay: of the generator's moving average.
      latent_dim: length of the latent.
      generator_width: channels of the generator's last hidden layer.
      critic_width: channels of the critic's first layer, or units of a feature critic's hidden one.
      critic: what it sees, 'pixels' or 'features'.
      clipping: 'paired' or 'separate', see `gan.CLIPPINGS`.
      warm_start: share of epsilon that the mean embedding may spend; 0 for no warm start, 1 for no critic.
      warm_start_steps: generator steps that match the embedding before the critic's first step.
      warm_start_learning_rate: of Adam in them, at the start.
      fourier_features: of the embedding, beside its scattering coefficients.
      init_from: public run or SavedModel to start from; None for random weights.
      seed: fixes initial weights and latents; never the noise or the sampling.
    """

    batch_size: int
    steps: int
    epsilon: Optional[float] = None
    noise_multiplier: Optional[float] = None
    delta: float = 1e-5
    clip_norm: float = 1.0
    sampling: str = "poisson"
    loss: str = "hinge"
    penalty_weight: float = 0.0
    critic_steps: str = "1"
    critic_learning_rate: float = 2e-3
    generator_learning_rate: float = 2e-3
    generator_batch_size: int = 64
    ema_decay: float = 0.999
    latent_dim: int = 64
    generator_width: int = 32
    critic_width: int = 32
    critic: str = "pixels"
    clipping: str = "paired"
    warm_start: float = 0.0
    warm_start_steps: int = 2500
    warm_start_learning_rate: float = 1e-3
    fourier_features: int = 4000
    init_from: Optional[str] = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(**dataclasses.asdict(self))
        if self.epsilon is None and self.noise_multiplier is None:
            raise ValueError("give --epsilon or --noise_multiplier: neither is set")
        if (self.steps == 0) != (self.warm_start == 1):
            raise ValueError(
                f"--warm_start={self.warm_start:g} and --steps={self.steps} do not go together: with all of epsilon spent on "
                "the warm start there are 0 critic steps, and with less there is at least one"
            )


_CHECKS = {
    "epsilon": _validate.positive,
    "noise_multiplier": _validate.non_negative,
    "delta": _validate.probability,
    "clip_norm": lambda name, value: _check_clip_norm(name, value),
    "batch_size": _validate.positive_int,
    "steps": lambda name, value: value == 0 or _validate.positive_int(name, value),
    "penalty_weight": _validate.non_negative,
    "critic_learning_rate": _validate.positive,
    "generator_learning_rate": _validate.positive,
    "generator_batch_size": _validate.positive_int,
    "ema_decay": _validate.probability,
    "latent_dim": _validate.positive_int,
    "generator_width": _validate.positive_int,
    "critic_width": _validate.positive_int,
    "critic": lambda name, value: _validate.one_of(name, value, CRITICS),
    "clipping": lambda name, value: _validate.one_of(name, value, CLIPPINGS),
    "warm_start": lambda name, value: value == 0 or _validate.fraction(name, value),
    "warm_start_steps": _validate.positive_int,
    "warm_start_learning_rate": _validate.positive,
    "fourier_features": lambda name, value: value == 0 or _validate.positive_int(name, value),
    "seed": _validate.non_negative,
    "sampling": lambda name, value: _validate.one_of(name, value, SAMPLERS),
    "loss": lambda name, value: _validate.one_of(name, value, LOSSES),
}


def _check_clip_norm(name: str, value: float) -> None:
    _validate.positive(name, value)
    if not value >= MIN_CLIP_NORM:
        raise ValueError(f"{name} must be at least {MIN_CLIP_NORM:g}, got {value!r}")


def check_settings(**settings: Any) -> None:
    """Checks every setting that is given, by name; None stands for one that is not.

    Raises:
      ValueError: one is out of range, or two exclude each other.
    """
    for name, value in settings.items():
        if value is not None and name in _CHECKS:
            _CHECKS[name](f"--{name}", value)
    epsilon, noise = settings.get("epsilon"), settings.get("noise_multiplier")
    if epsilon is not None and noise is not None:
        raise ValueError(
            f"--epsilon={epsilon} and --noise_multiplier={noise} exclude each other: epsilon determines the noise; "
            "give one of them"
        )
    if settings.get("steps") == 0 and settings.get("warm_start") != 1:
        _validate.positive_int("--steps", 0)
    if settings.get("warm_start") and epsilon is None:
        raise ValueError(
            f"--warm_start={settings['warm_start']:g} is a share of --epsilon, which is not given; give it, or leave "
            "--warm_start out"
        )
    critic_steps = settings.get("critic_steps")
    if critic_steps not in (None, ADAPTIVE) and not _is_count(str(critic_steps)):
        raise ValueError(
            f"--critic_steps must be a positive whole number or {ADAPTIVE}, got {critic_steps!r}"
        )
    loss = settings.get("loss")
    if critic_steps == ADAPTIVE and loss is not None and not LOSSES[loss].zero_is_boundary:
        raise ValueError(
            f"--critic_steps={ADAPTIVE} needs the critic's accuracy on fakes, which --loss={loss} does not have; give "
            "a number, or --loss=hinge or non_saturating"
        )


def parse_setting(text: str) -> tuple[str, Any]:
    """Reads `NAME=VALUE` of `--train_setting`.

    Raises:
      ValueError: there is no such setting, or its value is of another type.
    """
    name, equals, value = text.partition("=")
    types = {field.name: str(field.type) for field in dataclasses.fields(TrainConfig)}
    if not equals or name not in types:
        raise ValueError(
            f"--train_setting={text} is not NAME=VALUE with NAME one of {', '.join(sorted(types))}"
        )
    convert = int if "int" in types[name] else float if "float" in types[name] else str
    try:
        return name, convert(value)
    except ValueError:
        raise ValueError(f"--train_setting={text} must be of type {convert.__name__}") from None


def _is_count(text: str) -> bool:
    return text.isdecimal() and int(text) > 0


def configure(data: PrivateData, **settings: Any) -> TrainConfig:
    """Fills in what is not set with what suits the data and the regime.

    The defaults look at public facts alone: the shape of the images and the number of records.

    Args:
      data: the private data.
      **settings: fields of `TrainConfig`; None stands for one that is not set.

    Returns:
      The configuration of the run.

    Raises:
      ValueError: as `check_settings`.
    """
    check_settings(**settings)
    given = {name: value for name, value in settings.items() if value is not None}
    loss = LOSSES[given.get("loss", TrainConfig.loss)]
    if "epsilon" in given:
        defaults = _formal(data, given, given.get("warm_start"))
    else:
        defaults = _small_noise(data)
    defaults["delta"] = deltas.default(data.train.num_examples)
    if "noise_multiplier" in given:
        defaults.pop("noise_multiplier", None)
    if not loss.zero_is_boundary:
        defaults["critic_steps"] = "5"  # Gulrajani et al. 2017, algorithm 1
    defaults["penalty_weight"] = loss.penalty_weight
    return TrainConfig(**{**defaults, **given})


def _small_noise(data: PrivateData) -> dict[str, Any]:
    """The paper's regime: as many small steps as two cores take in its time, and little noise."""
    return {
        "noise_multiplier": 0.02,
        "batch_size": min(64, data.train.num_examples),
        "steps": 2500 if _tiny(data) else 12000,
    }


def _formal(data: PrivateData, given: Collection[str], share: Optional[float]) -> dict[str, Any]:
    """All of epsilon on the warm start, which was best wherever we measured; a critic where one is asked for.

    Its batches are large, as in "Private GANs, revisited" (arXiv 2302.02936), as far as two cores carry them.
    """
    if share is None:
        share = 1.0 if _OF_THE_CRITIC.isdisjoint(given) else 0.5
    defaults = {
        "warm_start": share,
        "batch_size": min(1024, max(1, data.train.num_examples // 4)),
        "steps": 0 if share == 1 else 1000 if _tiny(data) else 2000,
    }
    if share:
        defaults["generator_batch_size"] = 64
        defaults["generator_learning_rate"] = 2e-4  # what is learned already should not be lost
        defaults["warm_start_steps"] = 4000 if _tiny(data) else 20_000
    return defaults


def _tiny(data: PrivateData) -> bool:
    return max(data.image_shape[:2]) <= 16


def default_name(data_name: str, settings: dict[str, Any]) -> str:
    """Name of a run that was given none: the data set's, with the budget of a formal run."""
    epsilon = settings.get("epsilon")
    return data_name if epsilon is None else f"{data_name}_eps{epsilon:g}"
