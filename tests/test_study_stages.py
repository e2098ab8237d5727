# SPDX-License-Identifier: Apache-2.0
"""The stages of a study and what holds them together: files."""

from __future__ import annotations

import pytest
import scripts
from absl import flags
from study_samples import NAMES, settings

from tfartgen import report_documents, study_stages
from tfartgen.study_stages import has_company, stages


def test_stages_come_after_what_they_need_and_read_what_earlier_ones_wrote():
    done, written = set(), []
    for stage in stages(settings()):
        assert done.issuperset(stage.needs)
        for name in stage.reads:
            assert any(name == each or name.startswith(f"{each}/") for each in written), name
        done.add(stage.name)
        written += stage.writes
    assert done == set(NAMES)


def test_no_two_stages_write_the_same():
    written = [name for stage in stages(settings()) for name in (*stage.writes, *stage.may_write)]
    assert len(set(written)) == len(written)


def test_only_the_studies_of_a_release_have_company():
    alone = [
        stage.name for stage in stages(settings()) if not has_company(stage, stages(settings()))
    ]
    assert alone == ["train", "generate", "report"]


def test_training_gets_its_settings_and_others_what_a_test_asks():
    train, *_, attack, report = stages(
        settings(training={"delta": 1e-5, "epsilon": 3.0}), {"report": ["--seed=1"]}
    )
    assert train.command[-2:] == ("--delta=1e-05", "--epsilon=3.0")
    assert train.command[:2] == ("train", "--dataset=digits")
    assert report.command[-1] == "--seed=1"
    assert "--run_dir=run" in attack.command


def test_choices_made_by_looking_reach_the_statement_of_the_release():
    train = study_stages.stages(settings(selected=("the rate", "the width")))[0]
    assert train.arguments[-2:] == (
        "--selected_on_private_data=the rate",
        "--selected_on_private_data=the width",
    )


def test_a_critic_that_there_is_not_is_not_attacked():
    attack = stages(settings(has_critic=False))[-2]
    assert attack.name == "infer_membership"
    assert "--run_dir=run" not in attack.command and "run/finished.json" not in attack.reads


def test_documents_are_those_that_reports_know():
    for kind, name in study_stages.DOCUMENTS.items():
        assert name == f"results/{report_documents.KINDS[kind].file}"


@pytest.mark.parametrize("name", NAMES)
def test_programs_know_their_flags(name):
    (stage,) = [stage for stage in stages(settings()) if stage.name == name]
    with scripts.main_of(stage.program):
        known = flags.FLAGS
        for word in stage.command[1:]:
            assert word[2:].split("=")[0] in known, word
