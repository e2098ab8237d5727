# SPDX-License-Identifier: Apache-2.0
"""The documents that a report gathers: found in folders, and refused where they are not about its release."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

from tfartgen.evaluation_data import EvaluationData
from tfartgen.papers import STATEMENT_FILE


class Kind(NamedTuple):
    """A kind of document.

    Attributes:
      file: its name in a folder of results.
      schema: and version, which the document must give.
      title: for people.
      command: that makes it; takes the release as `{release}` and the real data as `{data}`.
      of_release: whether it is about one release, which it names by its digest.
    """

    file: str
    schema: str
    title: str
    command: str
    of_release: bool = True


KINDS: Mapping[str, Kind] = {
    "evaluation": Kind(
        "evaluation.json",
        "tfartgen.evaluation/1",
        "usefulness",
        "bin/evaluate {data} --artificial={release}",
    ),
    "privacy_estimate": Kind(
        "privacy_estimate.json",
        "tfartgen.privacy_estimate/1",
        "the empirical estimate",
        "bin/estimate_privacy {data} --artificial={release} --most_exposed=20",
    ),
    "inversion": Kind(
        "inversion.json",
        "tfartgen.inversion/1",
        "model inversion",
        "bin/invert {data} --artificial={release}",
    ),
    "membership": Kind(
        "membership.json",
        "tfartgen.membership/1",
        "membership inference",
        "bin/infer_membership {data} --artificial={release}",
    ),
    "exposure": Kind(
        "PRIVATE_most_exposed.json",
        "tfartgen.exposure/2",
        "the most exposed records",
        "bin/estimate_privacy {data} --artificial={release} --most_exposed=20",
    ),
    "audit": Kind(
        "audit.json",
        "tfartgen.canary_audit/1",
        "an audit by planted canaries",
        "bin/infer_membership --audit {data} --output=evaluations/audit",
        of_release=False,
    ),
}


@dataclasses.dataclass(frozen=True)
class Found:
    """A document, and where it lay.

    Attributes:
      kind: a key of `KINDS`.
      path: of the file.
      content: the document.
    """

    kind: str
    path: pathlib.Path
    content: Mapping[str, Any]


def gather(
    folders: Sequence[str | os.PathLike[str]], digest: str, data_name: str
) -> dict[str, Found]:
    """Reads every known document that lies in the folders.

    Args:
      folders: of results.
      digest: of the release that the documents must be about.
      data_name: of the data set that documents about no single release must be about.

    Returns:
      What was found, by kind, in the order of `KINDS`.

    Raises:
      ValueError: no such folder; two documents of a kind; a document that cannot be read, has another schema, or is
        about another release or data set.
    """
    for folder in map(pathlib.Path, folders):
        if not folder.is_dir():
            raise ValueError(
                f"--results={folder}: there is no such folder; give those that bin/evaluate, bin/estimate_privacy, "
                "bin/invert and bin/infer_membership wrote to"
            )
    found = {}
    for kind, described in KINDS.items():
        paths = [
            path for folder in folders if (path := pathlib.Path(folder, described.file)).is_file()
        ]
        if len(paths) > 1:
            raise ValueError(
                f"{paths[0]} and {paths[1]} are of one kind; leave one of them out of --results"
            )
        if paths:
            found[kind] = Found(kind, paths[0], load(kind, paths[0], digest, data_name))
    return found


def load(
    kind: str, path: str | os.PathLike[str], digest: str, data_name: Optional[str] = None
) -> dict[str, Any]:
    """Reads a document and holds it to its schema, to a release and to a data set.

    Args:
      kind: a key of `KINDS`.
      path: of the file.
      digest: of the release, as `ReleasedData.digest`.
      data_name: of the data set; any if not given.

    Raises:
      ValueError: it cannot be read, or is another document; the message names the file, and the command that makes it anew.
    """
    described = KINDS[kind]
    try:
        content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _refused(path, f"cannot be read ({error})", described) from None
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != described.schema:
        raise _refused(path, f"has the schema {schema!r}, not {described.schema!r}", described)
    if described.of_release:
        _require_release(path, content, digest, described)
    described_data = content.get("dataset")
    name = described_data.get("name") if isinstance(described_data, dict) else None
    if data_name is not None and name != data_name and kind != "exposure":
        raise _refused(
            path, f"is about the data set {name!r}, the release about {data_name!r}", described
        )
    return content


def _require_release(
    path: str | os.PathLike[str], content: Mapping[str, Any], digest: str, described: Kind
) -> None:
    listed = content.get("releases", [content.get("release")])
    releases = (
        [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    )
    digests = [release.get("digest") for release in releases]
    if digests == [digest]:
        return
    if digest in digests:
        raise _refused(
            path, f"is about {len(digests)} releases, not about this one alone", described
        )
    named = (
        ", ".join(f"{r.get('folder')} ({str(r.get('digest'))[:12]})" for r in releases) or "none"
    )
    raise _refused(
        path,
        f"is about another release: {named}; this one's digest ({STATEMENT_FILE}) is {digest[:12]}",
        described,
    )


def _refused(path: str | os.PathLike[str], reason: str, described: Kind) -> ValueError:
    program = described.command.split()[0]
    return ValueError(
        f"{os.fspath(path)} {reason}; make it anew with {program}, or leave its folder out of --results"
    )


def command(kind: str, release: str, data: str) -> str:
    """What a person runs to get a document of this kind.

    Args:
      kind: a key of `KINDS`.
      release: folder of the release.
      data: flags that name the real data.
    """
    return " ".join(KINDS[kind].command.format(release=release, data=data).split())


def require_same_records(found: Mapping[str, Found], data: EvaluationData) -> None:
    """Holds documents that name their data by digest to the data itself.

    A document whose data was cut otherwise, with another public part, has another digest by right, and other counts.

    Raises:
      ValueError: a document is about other records.
    """
    counts = {"num_train": len(data.train[1]), "num_test": len(data.test[1])}
    for each in found.values():
        described = each.content.get("dataset", {})
        comparable = {key: described.get(key) for key in counts} == counts
        if each.kind in _OF_RECORDS and comparable and described.get("digest") != data.digest:
            raise _refused(
                each.path, f"is about other records than --dataset={data.name}", KINDS[each.kind]
            )


_OF_RECORDS = ("evaluation", "inversion")
