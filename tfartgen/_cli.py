# SPDX-License-Identifier: Apache-2.0
"""How every program of `bin/` starts, fails and ends.

Flags are parsed before TensorFlow can be imported, so `--help` is quick; bad input is one line on standard
error; start-up and shut-down noise of the libraries is kept from the user.
"""

from __future__ import annotations

import errno
import logging
import os
import pathlib
import sys
import textwrap
import traceback
import warnings
from collections.abc import Sequence
from typing import Callable, NoReturn, Optional

import absl.logging
from absl import flags

#: Exit statuses. 70 is EX_SOFTWARE of sysexits.h, the others are the shell's conventions.
BAD_INPUT, BAD_FLAG, BUG, INTERRUPTED, CLOSED_PIPE = 1, 2, 70, 130, 141

_DEBUG = "TFARTGEN_DEBUG"
_HELP_FLAGS = frozenset(["--help", "-help", "-h", "-?", "--helpshort", "--helpfull"])
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "AUTOGRAPH_VERBOSITY": "0"}


def run(
    main: Callable[[list[str]], Optional[int]], argv: Optional[Sequence[str]] = None
) -> NoReturn:
    """Parses the flags, runs `main` and ends the process; does not return.

    The process ends without the interpreter's own shut-down, during which TensorFlow 2.15 prints "Exception
    ignored in AtomicFunction": `atexit` handlers do not run, and `main` has closed its files and threads
    when it returns.

    Statuses: 0 or what `main` returned; 1 for a `ValueError` or an `OSError`, as one line on standard error;
    2 for a bad flag, likewise; 130 when interrupted; 70 with a traceback for anything else, which is a bug.
    `TFARTGEN_DEBUG=1` shows the traceback and the libraries' messages in every case.

    Args:
      main: takes `[program]`, returns the exit status, None for 0; its module's docstring and flags are the help.
      argv: program name and arguments; `sys.argv` if not given.
    """
    argv = list(sys.argv if argv is None else argv)
    program = pathlib.Path(argv[0]).name
    status = _guarded(lambda: _parse_and_run(main, program, argv), program)
    if not _flushed(program) and status == 0:
        status = BAD_INPUT
    os._exit(status)


def _parse_and_run(
    main: Callable[[list[str]], Optional[int]], program: str, argv: list[str]
) -> int:
    if _HELP_FLAGS.intersection(argv[1:]):
        print(_help(main.__module__, program))
        return 0
    try:
        rest = flags.FLAGS(argv)
    except (flags.Error, ValueError) as error:
        return _complain(program, f"{_flag_message(error)} (see --help)", BAD_FLAG)
    if rest[1:]:
        message = f"unexpected argument {rest[1]!r}, write settings as --flag=value (see --help)"
        return _complain(program, message, BAD_FLAG)
    _hush()
    return main(rest) or 0


def _guarded(body: Callable[[], int], program: str) -> int:
    """Exit status of `body`, with what it raised reported on standard error."""
    try:
        return body()
    except SystemExit as error:
        if isinstance(error.code, str):
            return _complain(program, f"error: {error.code}", BAD_INPUT)
        return error.code or 0
    except BrokenPipeError:
        return CLOSED_PIPE
    except (ValueError, OSError) as error:
        return _complain(program, f"error: {_message(error)}", BAD_INPUT)
    except KeyboardInterrupt:
        return _complain(program, "interrupted", INTERRUPTED)
    except BaseException:
        traceback.print_exc()
        return BUG


def _complain(program: str, message: str, status: int) -> int:
    """Prints one line, and the traceback when debugging."""
    if _debugging() and sys.exc_info()[0] is not None:
        traceback.print_exc()
    print(f"{program}: {' '.join(message.split())}", file=sys.stderr)
    return status


def _message(error: Exception) -> str:
    if not isinstance(error, OSError) or error.errno is None:
        return str(error) or type(error).__name__
    reason = error.strerror or os.strerror(error.errno)
    where = "" if error.filename is None else f"{os.fspath(error.filename)!s}: "
    remedy = "; make room and start again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return f"{where}{reason}{remedy}"


def _flag_message(error: Exception) -> str:
    """Absl's messages in one form: `flag --name=value: what is wrong`."""
    if isinstance(error, flags.UnrecognizedFlagError):
        tip = str(error).partition("Did you mean: ")[2].partition(" ?")[0]
        return f"flag --{error.flagname}: unknown" + (f", did you mean --{tip}?" if tip else "")
    message = str(error)
    missing = "Missing value for flag "
    if message.startswith(missing):
        return f"flag --{message[len(missing):].lstrip('-')}: needs a value"
    start, not_boolean, _ = message.partition("('Non-boolean")
    if not_boolean:
        return f"{start}needs true or false"
    return message if message.startswith("flag ") else f"flag {message}"


def _help(module: str, program: str) -> str:
    document = textwrap.dedent(sys.modules[module].__doc__ or "").strip()
    defined = sorted(flags.FLAGS.get_key_flags_for_module(module), key=lambda flag: flag.name)
    return "\n".join([f"{program}: {document}", "", "flags:", *map(_describe, defined)])


def _describe(flag: flags.Flag) -> str:
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    values = getattr(flag.parser, "enum_values", None)
    choices = f" <{'|'.join(values)}>" if values else ""
    default = "" if flag.default in (None, []) else f" (default: {_shown(flag.default)})"
    help_text = flag.help.partition(">: ")[2] if values else flag.help  # absl repeats the choices
    text = textwrap.fill(help_text, 94, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return f"  {name}{choices}{default}\n{text}"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _hush() -> None:
    """Silences TensorFlow, absl and Python warnings, wherever the user has not asked for them."""
    if _debugging():
        return
    for variable, value in _QUIET.items():
        os.environ.setdefault(variable, value)
    if not flags.FLAGS["verbosity"].present:
        absl.logging.set_verbosity(absl.logging.ERROR)
    for name in ("tensorflow", "tensorflow_datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _debugging() -> bool:
    return os.environ.get(_DEBUG, "") not in ("", "0")


def _flushed(program: str) -> bool:
    """Writes out what was printed; False when it could not be, as on a full disk."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    except OSError as error:
        _complain(program, f"error: standard output: {_message(error)}", BAD_INPUT)
        return False
    finally:
        sys.stderr.flush()
    return True
