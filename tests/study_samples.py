# SPDX-License-Identifier: Apache-2.0
"""Programs that stand for those of `bin/`, and what a study of them needs, for the tests of studies."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import scripts

from tfartgen.study_process import StudyLock
from tfartgen.study_records import StudyRecords
from tfartgen.study_runner import StudyRunner
from tfartgen.study_stages import Stage
from tfartgen.study_times import DataSize

#: Documents of a finished study, of another release.
DOCUMENTS = scripts.ROOT / "docs" / "results" / "digits"

DATA = {"dataset": "digits", "training_records": "1438, CRC-32 0badcafe"}

#: Told by its name what it is. It notes that it ran, waits as long as there is a file `hold_NAME` beside it, fails if there
#: is `fail_NAME`, and copies its input to its output.
PROGRAM = """
import pathlib, sys, time
path = pathlib.Path(sys.argv[0])
flags = dict(word[2:].split("=", 1) for word in sys.argv[1:] if "=" in word)
with open(path.with_name("ran"), "a") as ran:
    ran.write(path.name + "\\n")
while path.with_name("hold_" + path.name).exists():
    time.sleep(0.02)
fail = path.with_name("fail_" + path.name)
if fail.exists():
    print("on the way")
    sys.exit(fail.read_text())
BODY
"""

_COPY = """
text = "".join(pathlib.Path(name).read_text() for name in flags["from"].split(",") if name)
pathlib.Path(flags["to"]).write_text(text + flags.get("text", path.name))
"""

#: The programs of `bin/`, as far as files go. They write the documents of another study, with this one's digest.
_REAL = f"""
import hashlib, json
def put(name, text):
    file = pathlib.Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
def document(kind):
    found = json.loads(pathlib.Path({str(DOCUMENTS)!r}, kind + ".json").read_text())
    digest = hashlib.sha256(pathlib.Path("artificial/privacy.json").read_bytes()).hexdigest()
    for release in found.get("releases", [found.get("release")]):
        release["digest"] = digest
    put("results/" + kind + ".json", json.dumps(found))
if path.name == "train":
    put("run/finished.json", "done")
    if not pathlib.Path("model/1").exists():
        put("model/1/weights", "weights")
elif path.name == "generate":
    put("artificial/privacy.json", pathlib.Path("model/1/weights").read_text())
    put("artificial/DATASHEET.md", "to be filled in")
elif path.name == "evaluate":
    put("results/evaluation.csv", "")
    document("evaluation")
elif path.name == "estimate_privacy":
    put("results/PRIVATE_most_exposed.json", "")
    document("privacy_estimate")
elif path.name == "invert":
    document("inversion")
elif path.name == "infer_membership":
    document("membership")
else:
    put("report.html", "public")
    put("PRIVATE_report.html", "private")
"""

NAMES = (
    "train",
    "generate",
    "evaluate",
    "estimate_privacy",
    "invert",
    "infer_membership",
    "report",
)


def write_programs(folder: pathlib.Path, *names: str, real: bool = False) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(PROGRAM.replace("BODY", _REAL if real else _COPY))
    return folder


def ran(programs: pathlib.Path) -> list[str]:
    """The programs that ran, in order."""
    path = programs / "ran"
    return path.read_text().split() if path.exists() else []


def copying(name: str, *needs: str, **changes: Any) -> Stage:
    """A stage that puts what its needs wrote, and its own name, into a file."""
    inputs = tuple(f"{need}.txt" for need in needs)
    fields = {
        "arguments": (f"--from={','.join(inputs)}", f"--to={name}.txt"),
        "needs": needs,
        "reads": inputs,
        "writes": (f"{name}.txt",),
        **changes,
    }
    return Stage(name, name, **fields)


#: One first, two beside each other, one last.
DIAMOND = (
    copying("first"),
    copying("left", "first"),
    copying("right", "first"),
    copying("last", "left", "right"),
)


def settings(**changes: Any) -> Any:
    from tfartgen.study_settings import StudySettings  # imports TensorFlow, which a driver need not

    fields = {
        "location": ("--dataset=digits",),
        "data": DATA,
        "training": {"delta": 1e-5},
        "selected": (),
        "size": DataSize(1438, 64),
        "has_critic": True,
        "name": "digits",
        **changes,
    }
    return StudySettings(**fields)


class Lines:
    """A display that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.shown: list[tuple[str, str]] = []

    def tell(self, line: str) -> None:
        self.lines.append(line)

    def begin(self, name: str, seconds: float) -> None:
        self.shown.append(("begin", name))

    def tick(self, name: str, seconds: float) -> None:
        assert seconds >= 0 and self.shown

    def end(self, name: str) -> None:
        self.shown.append(("end", name))


def run(folder, programs, all_stages=DIAMOND, jobs=2, lines=None):
    """Runs stages in a folder to their outcome."""
    lock = StudyLock(folder, patience=5.0)
    try:
        records, display = StudyRecords(folder, DATA), lines or Lines()
        return StudyRunner(
            all_stages, records, lock, folder, programs, DataSize(1, 1), jobs, display
        ).run()
    finally:
        lock.close()


#: Runs the diamond; its arguments are the study's folder and that of the programs.
DRIVER = """
import pathlib, sys
import study_samples
lines = study_samples.Lines()
outcome = study_samples.run(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), lines=lines)
print("\\n".join(lines.lines))
sys.exit(128 + outcome.stopped_by if outcome.stopped_by else len(outcome.failures))
"""


#: Makes every stage of a study of digits small.
TINY_TRAINING = ("steps=30", "generator_width=4", "critic_width=4")
TINY = {
    "generate": ["--num_examples=800"],
    "evaluate": [
        "--seeds=1",
        "--student_steps=20",
        "--dp_steps=4",
        "--num_teachers=5",
        "--fidelity_examples=100",
        "--curve=50,100",
        "--architectures=logistic_regression,mlp",
    ],
    "estimate_privacy": ["--num_records=200", "--dimensions=4"],
    "invert": [
        "--seeds=1",
        "--student_steps=20",
        "--judge_steps=20",
        "--dp_steps=4",
        "--classes=0,1",
        "--attacks=strong",
        "--architectures=logistic_regression",
    ],
    "infer_membership": [
        "--student_steps=20",
        "--dp_steps=4",
        "--shadow_models=0",
        "--num_candidates=80",
    ],
}


def tiny_study(folder: pathlib.Path) -> Any:
    """A whole study, by the programs of `bin/`."""
    from tfartgen import data, study, study_settings

    location = ("--dataset=digits",)
    small = study_settings.make(data.load("digits"), location, None, 1e-5, TINY_TRAINING)
    return study.Study(small, folder, scripts.ROOT / "bin", 2, TINY)


def record(folder: pathlib.Path, name: str) -> dict[str, Any]:
    return json.loads((folder / "stages" / f"{name}.json").read_text())
