# SPDX-License-Identifier: Apache-2.0
"""The data sheet of an artificial data set: the questions of Gebru et al., answered from what ran.

Gebru et al. 2018, "Datasheets for datasets" (arXiv 1803.09010), in the wording of its version of 2021,
shortened. What a program cannot know is left visibly open for the owner.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from tfartgen.rounding import given, upwards
from tfartgen.statement import together

OPEN = "> **For the owner to fill in:**"

#: Sections of questions with their answers, None where the owner must answer; fields as `_facts` gives them.
_SHEET: tuple[tuple[str, tuple[tuple[str, Optional[str]], ...]], ...] = (
    (
        "Motivation",
        (
            ("For what purpose was the data set created?", None),
            ("Who created the data set, and on behalf of which entity?", None),
            ("Who funded its creation?", None),
        ),
    ),
    (
        "Composition",
        (
            (
                "What do the instances represent?",
                "Artificial images with a label, drawn by the generator `{name}`. No image is a photograph or scan of "
                "anything; each is the output of a neural network that learned from private records.",
            ),
            (
                "How many instances are there in total?",
                "{num_examples}, by class:\n\n{class_table}",
            ),
            (
                "Does the data set contain all possible instances, or is it a sample?",
                "A sample of what the generator can draw, of any size one asks for. How well the generator covers the "
                "private records' population was not measured here.",
            ),
            (
                "What data does each instance consist of?",
                "An image of {height} x {width} pixels with {channels}, 8 bits each, in the format `{format}`.",
            ),
            (
                "Is there a label or target associated with each instance?",
                "Yes, one of {num_classes} classes: {class_names}. The label was drawn first ({label_policy}) and the "
                "image for it; nobody checked that an image shows its label.",
            ),
            (
                "Is any information missing from individual instances?",
                "No: every instance has its image and its label.",
            ),
            (
                "Are relationships between individual instances made explicit?",
                "There are none: instances were drawn independently of each other.",
            ),
            (
                "Are there recommended data splits?",
                "There is one split, for training and validation. Test on real data where that is possible.",
            ),
            (
                "Are there any errors, sources of noise, or redundancies?",
                "Yes. A generator makes images that do not look like their label, and covers rare kinds of records worse "
                "than common ones{noise_effect}.",
            ),
            ("Is the data set self-contained?", "Yes."),
            (
                "Might it contain data that are considered confidential?",
                "It was learned from private records. What protects them, and what does not, is the privacy statement:\n\n"
                "{privacy}",
            ),
            (
                "Does it contain data that might be offensive, insulting, threatening or cause anxiety?",
                None,
            ),
            ("Does it identify any sub-populations, by age or gender for example?", None),
            (
                "Is it possible to identify individuals from the data set?",
                "The statement above bounds what it adds to the knowledge of one who knows all other records; where it "
                "says that there is no useful guarantee, nothing here excludes it.",
            ),
            ("Does it contain data that might be considered sensitive in any way?", None),
        ),
    ),
    (
        "Collection process",
        (
            (
                "How was the data associated with each instance acquired?",
                "Drawn by `bin/generate` from the generator with the seed {seed}. The generator was trained on what "
                "{training} released of the private records; {critic_steps} steps of it were a critic's{sources}:\n\n"
                "{mechanism_table}",
            ),
            ("How were the private records behind it collected, by whom, and when?", None),
            ("Were any ethical review processes conducted?", None),
            (
                "Were the people behind the private records notified, and did they consent? Can they revoke it?",
                None,
            ),
            (
                "Has an analysis of the potential impact on the people behind the records been conducted?",
                None,
            ),
        ),
    ),
    (
        "Preprocessing, cleaning, labelling",
        (
            (
                "Was any preprocessing, cleaning or labelling of the data done?",
                "None of the artificial images. What was chosen by looking at the private records: {selected}.",
            ),
            (
                "Which preprocessing was done to the private records, and how were they labelled?",
                None,
            ),
            (
                "Is the software that was used available?",
                "Yes: tfartgen {software}, Apache-2.0, with dp-accounting {accountant_version}.",
            ),
        ),
    ),
    (
        "Uses",
        (
            (
                "Has the data set been used for any tasks already?",
                None,
            ),
            (
                "What tasks could the data set be used for?",
                "Training and validating image classifiers for the classes above, in place of the private records.",
            ),
            (
                "Is there anything about its composition that might impact future uses?",
                "Frequencies of classes are those given above, not those of the private records unless they say so. Whatever "
                "bias the private records have, the generator learned; it may add to it, since noise hits small groups harder.",
            ),
            (
                "Are there tasks for which it should not be used?",
                "Statements about individual people or records, and estimates of how frequent something is in the private "
                "records. Decisions about people, without a test on real data.",
            ),
        ),
    ),
    (
        "Distribution",
        (
            ("Will the data set be distributed to third parties, how, and when?", None),
            ("Under which copyright license or terms of use?", None),
            (
                "Have third parties imposed restrictions on the private records or on this data set?",
                None,
            ),
            ("Do any export controls or other regulatory restrictions apply?", None),
        ),
    ),
    (
        "Maintenance",
        (
            (
                "Who is supporting, hosting and maintaining the data set, and how can they be reached?",
                None,
            ),
            (
                "Is there an erratum? How can a reader tell that the files are the released ones?",
                "`privacy.json` holds the SHA-256 of every file but itself and this sheet; "
                "`bin/generate --verify=FOLDER` compares them.",
            ),
            (
                "Will the data set be updated?",
                "A new version from the same private records adds to the privacy cost of this one; drawing more from the "
                "same generator does not, unless a new noised class histogram is released with it.",
            ),
            (
                "If it relates to people, are there limits on the retention of the data?",
                None,
            ),
            ("Will older versions continue to be supported?", None),
            ("How can others extend, augment or build on the data set?", None),
        ),
    ),
)

_POLICIES = {
    "uniform": "every class alike",
    "declared": "from a histogram that the owner declared to be public",
    "noised": "from a histogram of the private labels that was released with Gaussian noise of standard deviation "
    "{noise_multiplier:g} on each count",
}


def datasheet(statement: Mapping[str, Any], class_counts: Mapping[str, int], software: str) -> str:
    """The data sheet in Markdown.

    Args:
      statement: of the data set, see `statement.dataset_statement`.
      class_counts: number of instances of each class.
      software: version of this package.

    Returns:
      Its text; the first line is the title and the second what the privacy statement says first.
    """
    facts = _facts(statement, class_counts, software)
    lines = [f"# Data sheet: {facts['title']}", "", f"**{_plain(statement['headline'])}**", ""]
    lines += [
        "Questions of Gebru et al., *Datasheets for datasets* (arXiv 1803.09010). Answers are made from what ran; what "
        f"is marked “{OPEN[4:-2]}” was not known to the program.",
        "",
    ]
    for section, questions in _SHEET:
        lines += [f"## {section}", ""]
        for question, answer in questions:
            text = f"{OPEN} ..." if answer is None else answer.format(**facts)
            lines += [f"**{question}**", "", text, ""]
    return "\n".join(lines)


def _facts(
    statement: Mapping[str, Any], class_counts: Mapping[str, int], software: str
) -> dict[str, Any]:
    data_set, policy = statement["data_set"], statement["label_policy"]
    height, width, channels = data_set["image_shape"]
    noisy = all(run["noise_multiplier"] > 0 for run in statement["mechanism"])
    return {
        "title": f"artificial {_plain(data_set['name'])}",
        "name": _plain(data_set["name"]),
        "format": data_set["format"],
        "seed": data_set["seed"],
        "num_examples": f"{data_set['num_examples']:,}",
        "num_classes": len(data_set["class_names"]),
        "class_names": ", ".join(map(_plain, data_set["class_names"])),
        "class_table": _table(("class", "instances"), class_counts.items()),
        "height": height,
        "width": width,
        "channels": "1 channel" if channels == 1 else f"{channels} channels",
        "label_policy": _POLICIES[policy["kind"]].format(**policy),
        "noise_effect": "; the noise of private training adds to both" if noisy else "",
        "training": (
            "Gaussian mechanisms" if noisy else "clipped sums, some or all of them without noise,"
        ),
        "sources": _sources(statement),
        "privacy": _privacy(statement),
        "critic_steps": f"{statement['critic_steps']:,}",
        "mechanism_table": _mechanisms(statement),
        "selected": "; ".join(map(_plain, statement["selected_on_private_data"]))
        or "nothing is on record",
        "software": software,
        "accountant_version": statement["accountant"]["version"],
    }


def _sources(statement: Mapping[str, Any]) -> str:
    sources = statement.get("public_sources")
    if not sources:
        return ""
    return (
        f". It started from what the owner declared to be public: {'; '.join(map(_plain, sources))}"
    )


def _privacy(statement: Mapping[str, Any]) -> str:
    """Guarantee, figures and limits, as a list."""
    lines = [
        statement["headline"],
        f"Neighbouring data sets: {statement['neighbouring_relation']}. Unit: {statement['unit']}. "
        f"Accountant: {statement['accountant']['name']}, dp-accounting {statement['accountant']['version']}.",
    ]
    if "num_records" in statement:
        lines.append(
            f"n = {statement['num_records']:,} records were trained on, which is public; none that was held out is among them."
        )
    lines += [f"Warning: {warning}." for warning in statement.get("warnings", [])]
    lines += _others(statement)
    if statement["version"] == 1:
        lines.append(
            "Stated by tfartgen 0.1, whose noise did not keep these figures: see its SECURITY.md."
        )
    rows = [row for row in statement["epsilons"] if row["epsilon"] is not None]
    if rows:
        useful = "" if statement["guarantee"] == "formal" else " (correct, and no useful guarantee)"
        figures = "; ".join(
            f"{upwards(row['epsilon'])} at delta = {given(row['delta'])}" for row in rows
        )
        lines.append(f"Epsilon{useful}: {figures}.")
    if statement["kl_bound"] is not None:
        lines.append(
            f"Bound on the expected privacy loss (KL): {upwards(statement['kl_bound'])} nats."
        )
    lines.append("Not protected: " + "; ".join(statement["not_protected"]) + ".")
    lines.append("Random numbers: " + "; ".join(statement["random_number_caveats"]) + ".")
    return "\n".join(f"- {_plain(line)}" for line in lines)


def _others(statement: Mapping[str, Any]) -> list[str]:
    """What else was released from the same records, as far as anybody counted."""
    earlier = statement.get("earlier_releases")
    if earlier is None:
        return ["Nobody counted what else was released from the same records."]
    lines = [f"Counted since {earlier['counted_since']}:{_joint(statement)}"]
    if earlier["total_epsilon"] is not None:
        lines.append(
            f"All releases from these records are under a ceiling of epsilon = {earlier['total_epsilon']:g} at delta = "
            f"{given(earlier['total_delta'])}."
        )
    return [*lines, "Not seen by that count: " + "; ".join(earlier["not_seen"]) + "."]


def _joint(statement: Mapping[str, Any]) -> str:
    return together(statement) or " nothing else was spent on these records."


def _mechanisms(statement: Mapping[str, Any]) -> str:
    heads = {
        "mechanism": "noise",
        "sampler": "sampler",
        "sampling_rate": "sampling rate q",
        "noise_multiplier": "noise multiplier",
        "clip_norm": "clip norm",
        "batch_size": "batch size",
        "steps": "steps",
        "coordinates": "coordinates",
        "grid": "grid",
    }
    shown = [key for key in heads if any(key in run for run in statement["mechanism"])]
    rows = [
        [run.get("stage", "critic"), *(_cell(run.get(key)) for key in shown)]
        for run in statement["mechanism"]
    ]
    return _table(["stage", *(heads[key] for key in shown)], rows)


def _cell(value: Any) -> Any:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else value


def _table(heads: Any, rows: Any) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_plain(str(cell)) for cell in line) + " |" for line in lines)


def _plain(text: str) -> str:
    """One line without what Markdown would take for a table, a tag or a new line."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")
