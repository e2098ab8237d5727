# SPDX-License-Identifier: Apache-2.0
"""Generator, critic and student networks: convolutional Keras models for images of 8 to 64 pixels a side.

Neither the generator nor the critic has a layer that mixes examples. In the critic it would let one record
change another record's gradient. In the generator it would do so by way of the fakes, whose labels in a
critic step are those of private records.
"""
from __future__ import annotations

import math

import tensorflow as tf

MIN_SIDE, MAX_SIDE = 8, 64

#: Layers whose output for one example depends on the others in its batch.
MIXING_LAYERS = ("BatchNormalization", "SyncBatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2")
