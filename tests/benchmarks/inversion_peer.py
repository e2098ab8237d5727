#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Our inversion attacks beside `MIFace` of the Adversarial Robustness Toolbox, on the same targets and by one judge.

python tests/benchmarks/inversion_peer.py --dataset=FOLDER --image_size=32

Needs the extra `[attacks]`. ART's attack runs with its defaults but for `--art_iterations`; it attacks the same targets (probabilities
of pixels in [-1, 1]) from the same grey start, one class after the other. Writes `results/inversion_peer.json`.
"""

from __future__ import annotations

import pathlib
import sys
import time

from absl import app, flags

ROOT = pathlib.Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from tests.benchmarks import _report  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", "digits", "As for bin/invert.")
flags.DEFINE_string("data_dir", None, "As for bin/invert.")
flags.DEFINE_integer("image_size", None, "As for bin/invert.")
flags.DEFINE_list("architectures", ["logistic_regression", "mlp"], "Of the targets.")
flags.DEFINE_integer("art_iterations", 10000, "Of MIFace, at most, for each class.")


def main(argv):
    """Attacks every target by each attack."""
    del argv
    _report.quiet()
    import numpy as np

    from tfartgen import data, evaluation_data, students
    from tfartgen.inversion_judge import Judge
    from tfartgen.inversion_study import ATTACKS

    private = data.load(FLAGS.dataset, FLAGS.data_dir, FLAGS.image_size)
    real = evaluation_data.prepare(private)
    judge, classes = Judge(real.train, real.test, real.num_classes), np.arange(real.num_classes)
    rows = []
    for architecture in FLAGS.architectures:
        config = students.StudentConfig(architecture=architecture)
        target = students.train_student(*real.train, real.num_classes, config)
        attacks = {f"ours, {name}": _ours(ATTACKS[name]) for name in ATTACKS}
        for name, attack in {**attacks, "ART MIFace": _art}.items():
            start = time.perf_counter()
            images = attack(target, classes, private.image_shape)
            seconds = time.perf_counter() - start
            rows.append(_row(architecture, name, judge.scores(images, classes), seconds))
    _report.print_table(list(rows[0]), [list(row.values()) for row in rows])
    facts = {"dataset": private.name, "image_shape": private.image_shape, "rows": rows}
    _report.write("inversion_peer", {**facts, "art_iterations": FLAGS.art_iterations})


def _row(architecture, attack, scores, seconds):
    import numpy as np

    ranks = np.array(scores["rank"])
    return {
        "target": architecture,
        "attack": attack,
        "identified": f"{(ranks == 0).sum()} of {len(ranks)}",
        "top 5": int((ranks < 5).sum()),
        "SSIM": round(float(np.mean(scores["ssim"])), 3),
        "seconds": round(seconds, 1),
    }


def _ours(config):
    def attack(target, classes, image_shape):
        from tfartgen import data, inversion

        found = inversion.invert(target, classes.tolist(), image_shape, config)
        return data.to_uint8(found.images).numpy()

    return attack


def _art(target, classes, image_shape):
    import numpy as np
    import tensorflow as tf
    from art.attacks.inference.model_inversion import MIFace
    from art.estimators.classification import TensorFlowV2Classifier

    from tfartgen import data

    probabilities = tf.keras.Sequential(
        [tf.keras.Input(image_shape), target, tf.keras.layers.Softmax()]
    )
    classifier = TensorFlowV2Classifier(
        probabilities,
        nb_classes=len(classes),
        input_shape=image_shape,
        loss_object=tf.keras.losses.SparseCategoricalCrossentropy(),
        clip_values=(-1.0, 1.0),
    )
    attack = MIFace(classifier, max_iter=FLAGS.art_iterations, verbose=False)
    start = np.zeros([len(classes), *image_shape], np.float32)
    return data.to_uint8(attack.infer(start, classes)).numpy()


if __name__ == "__main__":
    app.run(main)
