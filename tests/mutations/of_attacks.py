# SPDX-License-Identifier: Apache-2.0
"""Edits of attacks and audits, and of what keeps networks from mixing examples."""

from __future__ import annotations

from mutation import Mutation

_GAN = "tfartgen/gan.py"

_STUDENTS, _NETWORKS = "tfartgen/dp_students.py", "tfartgen/networks.py"
_AUDITS, _MEMBERSHIP = "tfartgen/canary_audit.py", "tfartgen/membership_study.py"
_INVERSION_SAYS, _MEMBERSHIP_SAYS = "tfartgen/inversion_tables.py", "tfartgen/membership_tables.py"

_REFUSED = ("tests/test_dp_students.py", "-k", "promise_7 and refused")
_ONE_BY_ONE = ("tests/test_dp_students.py", "-k", "promise_7 and gradient")
_BLIND = ("tests/test_canary_audit.py", "-k", "promise_8 and without_the_coins")
_COINS = ("tests/test_canary_audit.py", "-k", "promise and coin and thrown_by_itself")
_INVERSION_VERDICT = ("tests/test_inversion_study.py", "-k", "promise_14 and attack and not every")
_MEMBERSHIP_VERDICT = ("tests/test_membership_tables.py", "-k", "promise_14")
_OF_RELEASE = ("tests/test_membership_study.py", "-k", "promise_14 and release")

_OF_ATTACKS = (
    Mutation(
        7,
        "a DP student is not checked",
        _STUDENTS,
        '    refuse_mixing_layers(student, "student")  # those that the first call makes, too\n',
        "",
        _REFUSED,
    ),
    Mutation(
        7,
        "a DP student is checked before its first call, which makes layers",
        _STUDENTS,
        "    student(tf.zeros([1, *batches.element_spec[0].shape[1:]]))\n"
        '    refuse_mixing_layers(student, "student")  # those that the first call makes, too\n',
        '    refuse_mixing_layers(student, "student")\n'
        "    student(tf.zeros([1, *batches.element_spec[0].shape[1:]]))\n",
        _REFUSED,
    ),
    Mutation(
        7,
        "layers within layers are not looked at",
        _NETWORKS,
        "for module in network.submodules:",
        "for module in network.layers:",
        _REFUSED,
    ),
    Mutation(
        7,
        "a mixing layer that learns nothing is let through",
        _NETWORKS,
        "if isinstance(module, MIXING_LAYERS):",
        "if isinstance(module, MIXING_LAYERS) and module.trainable:",
        _REFUSED,
    ),
    Mutation(
        7,
        "batch normalisation over replicas is forgotten",
        _NETWORKS,
        "    tf.keras.layers.experimental.SyncBatchNormalization,\n",
        "",
        _REFUSED,
    ),
    Mutation(
        7,
        "a critic is not checked by name",
        _GAN,
        '        refuse_mixing_layers(critic, "critic")\n',
        "",
        ("tests/test_gan.py", "-k", "promise_7"),
    ),
    Mutation(
        7,
        "a generator is not checked by name",
        _GAN,
        '        refuse_mixing_layers(generator, "generator")\n',
        "",
        ("tests/test_gan.py", "-k", "promise_7"),
    ),
    Mutation(
        7,
        "the images of a student's batch are centred together",
        _STUDENTS,
        "optimizer.dp_gradients(loss, (images, labels), variables)",
        "optimizer.dp_gradients(loss, (images, labels), variables,"
        " prepare=lambda rows: (rows[0] - tf.reduce_mean(rows[0], axis=0), rows[1]))",
        _ONE_BY_ONE,
    ),
    Mutation(
        7,
        "a given model normalises by the batch that it is asked about",
        "tfartgen/target_models.py",
        "return lambda images: model(images, training=False)",
        "return lambda images: model(images, training=True)",
        ("tests/test_inversion_targets.py", "-k", "promise_7"),
    ),
    Mutation(
        8,
        "an audit turns its score round where the coins say so",
        _AUDITS,
        "    guessed = canaries.guess(values, count, share_out)",
        "    values = values if (_auc(values, planted.included) or 1.0) >= 0.5 else -values\n"
        "    guessed = canaries.guess(values, count, share_out)",
        _BLIND,
    ),
    Mutation(
        8,
        "an audit shows the better of two scores at the error of one",
        _AUDITS,
        "confidence = 1 - (1 - settings.confidence) / len(found)",
        "confidence = settings.confidence",
        _BLIND,
    ),
    Mutation(
        8,
        "an audit guesses as many out as coins fell out",
        _AUDITS,
        "guessed = canaries.guess(values, count, share_out)",
        "guessed = canaries.guess(values, count, float(np.mean(~planted.included)))",
        _BLIND,
    ),
    Mutation(
        8,
        "how an audit guesses is not on file with its coins",
        _AUDITS,
        '        **{f"guesses_by_{kind}": rule for kind, rule in _rules(settings).items()},\n',
        "",
        ("tests/test_canary_audit.py", "-k", "promise_8 and neither"),
    ),
    Mutation(
        8,
        "half of the canaries are planted, no more and no fewer",
        "tfartgen/canaries.py",
        "    content = np.frombuffer(secrets.token_bytes((count + 7) // 8), np.uint8)\n"
        "    return np.unpackbits(content)[:count].astype(bool)",
        "    order = np.argsort(np.frombuffer(secrets.token_bytes(8 * count), np.uint64))\n"
        "    return order < count // 2",
        _COINS,
    ),
    Mutation(
        14,
        "members and others are split by even and odd places",
        "tfartgen/membership.py",
        "shuffled = rng.permutation(members), rng.permutation(non_members)",
        "shuffled = members, non_members",
        ("tests/test_membership.py", "-k", "promise_14"),
    ),
    Mutation(
        14,
        "a threshold is tested on the half that it was chosen on",
        "tfartgen/membership.py",
        "for tested, other in (halves, halves[::-1]):",
        "for tested, other in zip(halves, halves):",
        ("tests/test_membership.py", "-k", "accuracy or halves"),
    ),
    Mutation(
        14,
        "the control of a release is the release",
        _MEMBERSHIP,
        '        "control": control,\n',
        '        "control": (release.images, references),\n',
        _OF_RELEASE,
    ),
    Mutation(
        14,
        "what memorised is the release itself",
        _MEMBERSHIP,
        '        "memorised": (copies, references),\n',
        '        "memorised": (release.images, references),\n',
        _OF_RELEASE,
    ),
    Mutation(
        14,
        "the control of students has seen the candidates",
        "tfartgen/membership_students.py",
        'return self._plain("control unseen", 1, lambda: self._candidates.unseen)',
        'return self._plain("control unseen", 1, lambda: self._candidates.train)',
        ("tests/test_membership_students.py", "-k", "promise_14"),
    ),
    Mutation(
        14,
        "what a critic memorised is half of what is asked",
        _MEMBERSHIP,
        "few = min(_MEMORISED, len(candidates.members[1]))\n    known = _take(candidates.members, slice(few))",
        "few = min(_MEMORISED, len(candidates.members[1]))\n    known = _take(candidates.members, slice(few // 2))",
        ("tests/test_membership_study.py", "-k", "promise_14 and critic"),
    ),
    Mutation(
        14,
        "members count as found whatever the control says",
        _MEMBERSHIP_SAYS,
        'return main["low"] > 0.5 and difference > margin',
        'return main["low"] > 0.5',
        _MEMBERSHIP_VERDICT,
    ),
    Mutation(
        14,
        "an AUC counts against the control's without their intervals",
        _MEMBERSHIP_SAYS,
        'return main["low"] > 0.5 and difference > margin',
        'return main["low"] > 0.5 and difference > 0',
        _MEMBERSHIP_VERDICT,
    ),
    Mutation(
        14,
        "an AUC counts against chance without its interval",
        _MEMBERSHIP_SAYS,
        '    if main["low"] > 0.5:\n        found =',
        '    if main["value"] > 0.5:\n        found =',
        _MEMBERSHIP_VERDICT,
    ),
    Mutation(
        14,
        "an attack could always have succeeded",
        _MEMBERSHIP_SAYS,
        "    if not can_succeed(attack):\n",
        '    if not memorised["value"] >= 0.5:\n',
        _MEMBERSHIP_VERDICT,
    ),
    Mutation(
        14,
        "success on two records counts",
        _MEMBERSHIP_SAYS,
        'return memorised["value"] >= _SUCCEEDS and memorised["low"] > 0.5',
        'return memorised["value"] >= _SUCCEEDS',
        _MEMBERSHIP_VERDICT,
    ),
    Mutation(
        14,
        "below chance is called chance",
        _MEMBERSHIP_SAYS,
        '"is below chance" if main["high"] < 0.5 else "is at chance"',
        '"is at chance"',
        _MEMBERSHIP_VERDICT,
    ),
    Mutation(
        14,
        "the table leaves what memorised out",
        _MEMBERSHIP_SAYS,
        'for role in ("main", "control", "memorised"):\n            name',
        'for role in ("main", "control"):\n            name',
        _MEMBERSHIP_VERDICT,
    ),
    Mutation(
        14,
        "what an audit could have shown is told of both scores at the error of one",
        _MEMBERSHIP_SAYS,
        'confidence = 1 - (1 - document["confidence"]) / len(document["scores"])',
        'confidence = document["confidence"]',
        _MEMBERSHIP_VERDICT,
    ),
    Mutation(
        14,
        "an inversion works where it beats the baseline, whatever the control",
        _INVERSION_SAYS,
        '_UNINFORMED = ("shuffled", "untrained")',
        '_UNINFORMED = ("shuffled",)',
        _INVERSION_VERDICT,
    ),
    Mutation(
        14,
        "an inversion without its baseline is held against chance",
        _INVERSION_SAYS,
        "return max(own.values()) if len(own) == len(_UNINFORMED) else None",
        'return max([*own.values(), document["chance"]])',
        _INVERSION_VERDICT,
    ),
    Mutation(
        14,
        "an inversion works by its rate, whatever its interval",
        _INVERSION_SAYS,
        'row["top1"]["low"] <= rate',
        'row["top1"]["rate"] <= rate',
        _INVERSION_VERDICT,
    ),
    Mutation(
        14,
        "an inversion works against the baseline's rate, whatever its interval",
        _INVERSION_SAYS,
        'r["target"]: r["top1"]["high"]',
        'r["target"]: r["top1"]["rate"]',
        _INVERSION_VERDICT,
    ),
    Mutation(
        14,
        "inversions have no control",
        "tfartgen/inversion_targets.py",
        'CONTROLS = ("shuffled", "untrained")',
        'CONTROLS = ("shuffled",)',
        ("tests/test_inversion_study.py", "-k", "promise_14 and every_attack"),
    ),
    Mutation(
        14,
        "the baseline's labels are not shuffled",
        "tfartgen/inversion_targets.py",
        "(train[0], np.random.default_rng(seed).permutation(train[1]))",
        "train",
        ("tests/test_inversion_study.py", "-k", "promise_14 and near_chance"),
    ),
    Mutation(
        14,
        "the first records of a class are compared, by their place in the files",
        "tfartgen/inversion_judge.py",
        "rng.permutation(side)[:few]",
        "side[:few]",
        ("tests/test_inversion_judge.py", "-k", "at_random"),
    ),
)

_OF_NETWORKS = (
    Mutation(
        7,
        "a critic is not measured for mixing",
        _GAN,
        '        refuse_mixing(self.critic, (images, label), "critic")\n',
        "",
        ("tests/test_gan.py", "-k", "promise_7"),
    ),
    Mutation(
        7,
        "a generator is not measured for mixing",
        _GAN,
        '        refuse_mixing(self.generator, (latent, label), "generator")\n',
        "",
        ("tests/test_gan.py", "-k", "promise_7"),
    ),
    Mutation(
        7,
        "mixing is measured as in a test alone, and not as in training",
        _NETWORKS,
        "for training in (False, True):",
        "for training in (False,):",
        ("tests/test_gan.py", "-k", "promise_7"),
    ),
)

_OF_ESTIMATES = (
    Mutation(
        8,
        "the estimate's attack takes the score by which the true members lose most",
        "tfartgen/privacy_estimate.py",
        "    name = max(IMITATIONS, key=pooled.mean)\n",
        "    name = max(IMITATIONS, key=pooled.of(np.arange(size)).mean)\n",
        ("tests/test_privacy_estimate.py", "-k", "promise_8"),
    ),
    Mutation(
        8,
        "candidates of the estimate's attack are a fixed half of members",
        "tfartgen/audit.py",
        "coins = rng.random(count) < 0.5",
        "coins = rng.permutation(count) < count // 2",
        ("tests/test_audit.py", "-k", "coins"),
    ),
    Mutation(
        8,
        "records that were replaced are priced as if they had been left out",
        "tfartgen/audit.py",
        "spent = (2 * epsilon, (1 + math.exp(epsilon)) * delta) if replaced else (epsilon, delta)",
        "spent = (epsilon, delta)",
        ("tests/test_audit.py", "-k", "replace"),
    ),
)

MUTATIONS = (*_OF_ATTACKS, *_OF_NETWORKS, *_OF_ESTIMATES)
