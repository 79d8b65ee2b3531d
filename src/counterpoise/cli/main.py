"""The command ``counterpoise``: its verbs and their options. Large packages are imported only when a verb runs."""

from __future__ import annotations

import difflib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

from counterpoise._version import __version__
from counterpoise.cli._options import build_parser
from counterpoise.cli._parser import Parser
from counterpoise.errors import ConfigError, CounterpoiseError, describe

__all__ = ["build_parser", "main"]

_HELP = """counterpoise {version}: what does each modality contribute, and how is none wasted?

usage: counterpoise VERB [options]

{verbs}

See counterpoise VERB --help.
"""


FAILED, USAGE, INTERRUPTED, TERMINATED = 1, 2, 130, 143
"""Exit statuses: something failed, cannot be done as asked, Ctrl-C (128 + 2), SIGTERM (128 + 15)."""

_RESUME = "Completed runs are kept; run the same command again to resume."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    0: everything was done. 1: some runs or samples failed. 2: the request cannot be carried out. 130 and 143: stopped
    by Ctrl-C or SIGTERM.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    verbs = build_parser()
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        lines = "\n".join(f"  {name:9} {parser.description}" for name, parser in verbs.items())
        print(_HELP.format(version=__version__, verbs=lines))
        return 0
    verb, *rest = arguments
    if verb in {"--version", "-V"}:
        print(f"counterpoise {__version__}")
        return 0
    if verb not in verbs:
        match = difflib.get_close_matches(verb, verbs, n=1, cutoff=0.5)
        hint = f" Did you mean `{match[0]}`?" if match else ""
        print(f"error: Unknown verb `{verb}`.{hint} Known: {', '.join(verbs)}.", file=sys.stderr)
        return USAGE
    return _run_verb(verb, verbs[verb], rest)


def _run_verb(verb: str, parser: Parser, arguments: Sequence[str]) -> int:
    """Run a verb and return its exit status, also after an exception or a signal."""
    try:
        with _terminable():
            return _dispatch(verb, parser, arguments)
    except CounterpoiseError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    except SystemExit as stop:
        if stop.code == TERMINATED:
            print(f"\nTerminated. {_RESUME}", file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else 0
    except BrokenPipeError:  # the reader of our output has gone, as in `counterpoise list | head`
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - the interpreter flushes it at exit
        return 0
    except KeyboardInterrupt:
        print(f"\nInterrupted. {_RESUME}", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        print(f"error: {describe(error)}", file=sys.stderr)
        if "--debug" in arguments:
            traceback.print_exception(error)
        else:
            print(f"This error is unexpected. `counterpoise {verb} --debug ...` shows its traceback.", file=sys.stderr)
        return FAILED


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an orderly exit with status 143 while a verb runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


_SECTIONS: Final = ("model", "optim", "fit")


def _dispatch(verb: str, parser: Parser, arguments: Sequence[str]) -> int:
    try:
        given = parser.parse_args(list(arguments), defaults=False)
    except UnicodeDecodeError as error:
        raise ConfigError(f"A file given as --config should be YAML, text in UTF-8. Found: {error}.") from error
    settings = {name: given.pop(name).as_dict() for name in _SECTIONS if name in given}
    options = parser.get_defaults()
    options.update(given)
    from counterpoise.cli._commands import COMMANDS

    return COMMANDS[verb](options, settings)


if __name__ == "__main__":
    sys.exit(main())
