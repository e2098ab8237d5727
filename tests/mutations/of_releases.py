# SPDX-License-Identifier: Apache-2.0
"""Edits of what a release shows and holds."""

from __future__ import annotations

from mutation import Mutation

_NAMES, _TEXTS = "tfartgen/published_names.py", "tfartgen/published_texts.py"
_KNOWN, _SCAN = "tfartgen/known_texts.py", "tfartgen/saved_model_scan.py"
_VERIFICATION, _EXPORT = "tfartgen/verification.py", "tfartgen/release.py"
_FORMATS, _GENERATING = "tfartgen/dataset_formats.py", "tfartgen/generating.py"

_NAME_TESTS = ("tests/test_published_names.py", "-k", "promise_22")
_TEXT_TESTS = ("tests/test_published_texts.py", "-k", "promise_22")
_TFDS_TESTS = ("tests/test_dataset_formats.py", "-k", "nothing_of_the_real_data_set")
_VERIFIED = "tests/test_verification.py"

MUTATIONS = (
    Mutation(
        9,
        "a draw that goes on releases the class histogram once more",
        _GENERATING,
        "if stored is not None and _is_same_noising(stored, plan):",
        "if stored is not None and stored.get('policy') == dataclasses.asdict(plan.policy):",
        ("tests/test_generating.py", "-k", "promise_9"),
    ),
    Mutation(
        9,
        "labels of a release are counted, not compared with the stated policy",
        _VERIFICATION,
        "if not np.array_equal(counts, expected):",
        "if counts.sum() != expected.sum():",
        (_VERIFIED, "-k", "promise_9"),
    ),
    Mutation(
        9,
        "a histogram passes for uniform if it sums to one",
        _VERIFICATION,
        "if not _alike(list(policy.probabilities), list(LabelPolicy.uniform(count).probabilities)):",
        "if not _alike(math.fsum(policy.probabilities), 1.0):",
        (_VERIFIED, "-k", "promise_9"),
    ),
    Mutation(
        12,
        "labels are held against the budget without their own cost",
        _GENERATING,
        'statement.repriced({**spec.privacy, "label_policy": dataclasses.asdict(policy)})[',
        "statement.repriced(spec.privacy)[",
        ("tests/test_generating.py", "-k", "over_the_budget_are_not_drawn"),
    ),
    Mutation(
        12,
        "a budget is not looked at where there is no useful guarantee",
        _VERIFICATION,
        'if budget is None or stated["void_reasons"]:',
        'if budget is None or stated["guarantee"] == "none":',
        (_VERIFIED, "-k", "promise_12_budget"),
    ),
    Mutation(
        12,
        "stated figures may be off by any factor",
        _VERIFICATION,
        "_FIGURE_TOLERANCE = 1e-4",
        "_FIGURE_TOLERANCE = 1.0",
        (_VERIFIED, "-k", "promise_12"),
    ),
    Mutation(
        12,
        "a served model may describe another statement than it carries",
        _SCAN,
        'if describes and text.encode("utf-8") not in texts:',
        "if describes and not texts:",
        (_VERIFIED, "-k", "promise_12"),
    ),
    Mutation(
        12,
        "the sheet gives a useless epsilon without a word",
        "tfartgen/datasheet.py",
        'useful = "" if statement["guarantee"] == "formal" else',
        'useful = "" if rows else',
        ("tests/test_papers.py", "-k", "promise_12"),
    ),
    Mutation(
        13,
        "the Keras model is exported, not its weights",
        _EXPORT,
        "module.generator_weights = list(generator.weights)",
        "module.generator = generator",
        ("tests/test_release.py", "-k", "promise_13"),
    ),
    Mutation(
        13,
        "paths in a statement are exported",
        _EXPORT,
        'published_names.check_texts("privacy", privacy)',
        'published_names.check_texts("privacy", privacy["version"])',
        ("tests/test_release.py", "-k", "promise_13"),
    ),
    Mutation(
        13,
        "variables that no signature reads are accepted but for a critic's",
        _SCAN,
        'if node.HasField("variable") and i not in read:',
        'if node.HasField("variable") and i not in read and _PRIVATE_NAME.search(node.variable.name):',
        (_VERIFIED, "-k", "promise_13_critic"),
    ),
    Mutation(
        13,
        "constants may be as large as an image",
        _SCAN,
        "_MOST_CONSTANTS = 63",
        "_MOST_CONSTANTS = 64 * 64 * 3",
        (_VERIFIED, "-k", "promise_13_real_record_as_a_constant"),
    ),
    Mutation(
        13,
        "held-out records are not looked for in a release",
        _VERIFICATION,
        "for split in (private.train, private.held_out)",
        "for split in (private.train,)",
        (_VERIFIED, "-k", "promise_13_real_record_slipped"),
    ),
    Mutation(
        13,
        "a path across two blocks of a file is not seen",
        "tfartgen/leaks.py",
        "tail = block[-_OVERLAP:]",
        'tail = b""',
        (_VERIFIED, "-k", "promise_13_path_across"),
    ),
    Mutation(
        22,
        "an export looks at its names as at any other text",
        _EXPORT,
        "published_names.check_names(name, class_names)",
        'published_names.check_texts("name", [name, *class_names])',
        ("tests/test_release.py", "-k", "promise_22"),
    ),
    Mutation(
        22,
        "odd names are drawn, and refused when the papers are written",
        _FORMATS,
        "    published_names.check_names(spec.name, spec.class_names)\n",
        "",
        ("tests/test_generating.py", "-k", "promise_22"),
    ),
    Mutation(
        22,
        "TFDS knows the artificial data set by the name of the real one",
        _FORMATS,
        'return "artificial_" + re.sub(',
        "return re.sub(",
        _TFDS_TESTS,
    ),
    Mutation(
        22,
        "TFDS makes up the home page",
        _FORMATS,
        "homepage=_HOMEPAGE,",
        "homepage=None,",
        _TFDS_TESTS,
    ),
    Mutation(
        22,
        "classes without records pass",
        _NAMES,
        "if not count > 0]",
        "if count < 0]",
        _NAME_TESTS,
    ),
    Mutation(
        22,
        "only control characters are refused",
        _NAMES,
        "if not character.isprintable() and character not in seen:",
        'if unicodedata.category(character) == "Cc" and character not in seen:',
        _NAME_TESTS,
    ),
    Mutation(
        22,
        "classes are compared as they are stored, not as they are read",
        _NAMES,
        'return "".join(c for c in unicodedata.normalize("NFC", name) if c not in _JOINERS)',
        "return name",
        _NAME_TESTS,
    ),
    Mutation(
        22,
        "a word of the schema is known in every field",
        _KNOWN,
        "return (place, text) in _words_of_schema() or",
        "return text in {word for _, word in _words_of_schema()} or",
        (*_TEXT_TESTS[:2], "promise_22_classes"),
    ),
    Mutation(
        22,
        "numbers of any length are known in a graph",
        _KNOWN,
        r'return re.sub(r"(?<!\d)\d{1,4}(?!\d)", "#", text)',
        r'return re.sub(r"\d+", "#", text)',
        (*_TEXT_TESTS[:2], "promise_22_texts_in_graphs"),
    ),
    Mutation(
        22,
        "fields that no message knows are passed over",
        _SCAN,
        "    empty.DiscardUnknownFields()\n",
        "",
        (*_TEXT_TESTS[:2], "promise_22_fields"),
    ),
    Mutation(
        22,
        "of equal keys in JSON the last is listed",
        _TEXTS,
        "object_pairs_hook=_Pairs",
        "object_hook=lambda fields: _Pairs(fields.items())",
        (*_TEXT_TESTS[:2], "promise_22_key"),
    ),
)
