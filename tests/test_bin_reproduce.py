# SPDX-License-Identifier: Apache-2.0
"""`bin/reproduce` as a person meets it, in this process, with programs that stand for the others."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import sys

import pytest
import scripts
from absl import flags
from study_samples import NAMES, ran, record, write_programs

from tfartgen import budget_book, study_process

TESTS = pathlib.Path(__file__).resolve().parent

STUDY = pathlib.Path("studies", "digits")


@pytest.fixture(name="main", scope="module")
def _main():
    with scripts.main_of("reproduce") as main:
        yield main


@pytest.fixture(name="programs")
def _programs(main, tmp_path, monkeypatch):
    programs = write_programs(tmp_path / "bin", *NAMES, real=True)
    monkeypatch.setattr(sys.modules["bin_reproduce"], "__file__", str(programs / "reproduce"))
    monkeypatch.chdir(tmp_path)
    return programs


@pytest.fixture(name="finished", scope="module")
def _finished(main, tmp_path_factory):
    """A whole study; tests copy it."""
    folder = tmp_path_factory.mktemp("finished")
    programs = write_programs(folder / "bin", *NAMES, real=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["bin_reproduce"], "__file__", str(programs / "reproduce"))
        patch.chdir(folder)
        assert main() == 0
    return folder / STUDY


@pytest.fixture(name="copied")
def _copied(finished, programs):
    """The study in the folder that a test runs in, as if it had been moved there."""
    shutil.copytree(finished, STUDY)
    return STUDY


def tables(folder):
    return (folder / "tables.json").read_bytes()


def test_one_command_runs_the_whole_study(main, programs, capsys):
    assert main() == 0
    out, err = capsys.readouterr()
    assert sorted(ran(programs)) == sorted(NAMES)
    assert ran(programs)[:2] == ["train", "generate"] and ran(programs)[-1] == "report"
    assert json.loads(tables(STUDY))["schema"] == "tfartgen.study/1"
    for name in ("study.json", "tables.md", "report.html", "PRIVATE_report.html", "model/1"):
        assert (STUDY / name).exists()
    assert out.startswith("train: will run (has not run), about ")
    assert out.splitlines()[-2:] == [
        "Next:      look at studies/digits/tables.md;",
        "           bin/generate --verify=studies/digits/artificial",
    ]
    assert "PRIVATE, all but model/, artificial/ and report.html" in out
    assert err == ""  # no bars where there is no terminal
    assert max(map(len, out.splitlines())) < 80


def test_a_dry_run_writes_nothing(main, programs, capsys):
    assert main("--dry_run", "--epsilon=3") == 0
    assert not pathlib.Path("studies").exists() and ran(programs) == []
    assert "which run in studies/digits_eps3:" in capsys.readouterr().out


def test_delta_is_by_the_number_of_records_unless_it_is_given(main, programs, capsys):
    for flag, delta in (((), "1e-05"), (("--delta=1e-7",), "1e-07")):
        assert main("--dry_run", *flag) == 0
        assert f" --delta={delta}" in " ".join(capsys.readouterr().out.split())


def test_promise_18_all_programs_of_a_study_use_the_budget_book_of_its_command(
    main, programs, monkeypatch
):
    """It may be named from the working folder, and they run in the study's."""
    monkeypatch.setenv(budget_book.VARIABLE, "my book")
    (programs / "train").write_text(
        f"import os, pathlib\npathlib.Path('said').write_text(os.environ[{budget_book.VARIABLE!r}])\n"
    )
    with pytest.raises(ValueError, match="train"):
        main()
    assert (STUDY / "said").read_text() == str(pathlib.Path.cwd() / "my book")


def test_a_study_that_was_moved_is_up_to_date_and_says_so(main, copied, programs, capsys):
    before = tables(copied)
    assert main() == 0
    assert ran(programs) == [] and tables(copied) == before
    assert capsys.readouterr().out.count("up to date") == len(NAMES)


@pytest.mark.parametrize(
    ("lost", "again"),
    [
        ("results/inversion.json", ["invert"]),
        ("stages/evaluate.json", ["evaluate"]),
        ("artificial/privacy.json", ["generate"]),
        ("tables.json", []),
        ("PRIVATE_report.html", ["report"]),
    ],
)
def test_what_is_lost_is_made_again_and_the_tables_are_the_same(
    main, copied, programs, lost, again
):
    before = tables(copied)
    (copied / lost).unlink()
    assert main() == 0
    assert ran(programs) == again and tables(copied) == before


def test_an_altered_generator_is_exported_again_from_the_run(main, copied, programs):
    before = tables(copied)
    (copied / "model" / "1" / "weights").write_text("altered")
    assert main() == 0
    assert ran(programs) == ["train"] and tables(copied) == before
    assert len(list(copied.glob("set_aside/*/model/1/weights"))) == 1


def test_results_of_another_release_are_never_mixed_in(main, copied, programs):
    before = tables(copied)
    path = copied / "results" / "evaluation.json"
    path.write_text(path.read_text().replace('"digest": "', '"digest": "0'))
    assert main() == 0
    assert ran(programs) == ["evaluate"] and tables(copied) == before


def test_results_that_a_program_ties_to_another_release_are_refused_by_name(main, copied, programs):
    wrong = (
        (copied / "results" / "evaluation.json").read_text().replace('"digest": "', '"digest": "0')
    )
    (programs / "evaluate").write_text(
        f"import pathlib\npathlib.Path('results/evaluation.json').write_text({wrong!r})\n"
    )
    (copied / "stages" / "evaluate.json").unlink()
    with pytest.raises(ValueError, match="results/evaluation.json is about another release"):
        main()


def test_another_study_is_refused_with_a_remedy(main, copied, programs):
    for flag, field in (
        ("--epsilon=3", "epsilon=<none>, not 3.0"),
        ("--image_size=16", r"image_shape=\[8, 8, 1\], not \[16, 16, 1\]"),
        ("--train_setting=steps=7", "steps=<none>, not 7"),
    ):
        with pytest.raises(
            ValueError, match=f"--output={STUDY} holds a study with {field};.*--output"
        ):
            main(flag, f"--output={STUDY}")
    assert ran(programs) == []


def test_a_failure_is_one_line_and_the_same_command_goes_on(main, programs, capsys):
    (programs / "fail_invert").write_text("invert: error: --classes=11 is no class")
    with pytest.raises(ValueError) as caught:
        main("--jobs=1")
    assert str(caught.value) == (
        "stage invert failed: invert: error: --classes=11 is no class (all of it in studies/digits/logs/invert.log); "
        "what is done stays in studies/digits, and the same command goes on"
    )
    assert not (STUDY / "tables.json").exists()
    (programs / "fail_invert").unlink()
    assert main("--jobs=1") == 0
    assert "invert: goes on (failed)" in capsys.readouterr().out
    assert ran(programs).count("train") == 1


def test_a_report_that_fails_leaves_the_tables(main, programs):
    (programs / "fail_report").write_text("no")
    with pytest.raises(ValueError, match="stage report failed: no"):
        main()
    assert (STUDY / "tables.json").exists()


def test_two_in_one_folder_are_refused(main, copied):
    lock = study_process.StudyLock(copied)
    with pytest.raises(ValueError, match=f"in use by another bin/reproduce .process {os.getpid()}"):
        main()
    lock.close()
    assert main() == 0


def test_a_signal_is_an_exit_status_and_a_note(main, programs, capsys):
    (programs / "train").write_text(
        "import os, signal\nos.kill(os.getppid(), signal.SIGINT)\nsignal.pause()\n"
    )
    assert main() == 130
    assert "note: stopped by SIGINT; the same command goes on" in capsys.readouterr().err
    assert record(STUDY, "train")["state"] == "stopped"


def test_bad_flags_leave_nothing_behind(main, programs):
    with pytest.raises(ValueError, match="--train_setting=steps=x must be of type int"):
        main("--train_setting=steps=x")
    with pytest.raises(ValueError, match="--dataset=nothing/there"):
        main("--dataset=nothing/there")
    with pytest.raises(flags.IllegalFlagValueError, match="--jobs=0"):
        main("--jobs=0")
    assert not pathlib.Path("studies").exists()
