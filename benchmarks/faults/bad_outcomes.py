"""A bad input, and what it led to: a clean error, a foreign exception, or silent acceptance."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MARKS = ("Found", "required", "unrecognized", *"`'\"0123456789")
"""A clear message holds one of these: it quotes what was found, or names what is missing."""

CLEAN, FOREIGN, ACCEPTED, UNCLEAR = "clean error", "foreign exception", "accepted", "unclear message"


@dataclass(frozen=True)
class BadInput:
    """One wrong input.

    Attributes:
        area: Command or public call.
        what: What is wrong.
        words: Arguments of the command line, or empty.
        call: Call in Python, where there are no ``words``.
    """

    area: str
    what: str
    words: tuple[str, ...] = ()
    call: Callable[[], object] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a bad input led to."""

    bad: BadInput
    verdict: str
    message: str


def judge(bad: BadInput) -> Outcome:
    """Try a bad input."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        verdict, message = _command(bad.words) if bad.words else _python(bad)
    return Outcome(bad, verdict, message)


def _command(words: Sequence[str]) -> tuple[str, str]:
    from counterpoise.cli.main import main

    shown = io.StringIO()
    with contextlib.redirect_stderr(shown):
        try:
            status = main(list(words))
        except BaseException as error:
            return FOREIGN, f"{type(error).__name__}: {error}"
    message = shown.getvalue().strip()
    if status == 0:
        return ACCEPTED, message
    if status != 2 or "This error is unexpected" in message or "Traceback" in message:
        return FOREIGN, message
    return (CLEAN if _is_clear(message) else UNCLEAR), message


def _python(bad: BadInput) -> tuple[str, str]:
    from counterpoise.errors import CounterpoiseError

    assert bad.call is not None
    try:
        bad.call()
    except CounterpoiseError as error:
        return (CLEAN if _is_clear(str(error)) else UNCLEAR), str(error)
    except Exception as error:
        return FOREIGN, f"{type(error).__name__}: {error}"
    return ACCEPTED, ""


def _is_clear(message: str) -> bool:
    """Tell whether a message is one statement that names something: a value, a name or a number."""
    return 25 < len(message) < 1500 and any(mark in message for mark in MARKS)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the verdicts by area as a Markdown table."""
    verdicts = (CLEAN, UNCLEAR, FOREIGN, ACCEPTED)
    areas: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        areas.setdefault(outcome.bad.area, Counter())[outcome.verdict] += 1
    areas["all"] = Counter(outcome.verdict for outcome in outcomes)
    lines = [f"| input | number | {' | '.join(verdicts)} |", f"|---|{'---:|' * (1 + len(verdicts))}"]
    for area, counts in areas.items():
        name = area if area == "all" else f"`{area}`"
        lines.append(f"| {name} | {counts.total()} | {' | '.join(str(counts[v]) for v in verdicts)} |")
    return "\n".join(lines)
