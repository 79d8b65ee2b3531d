"""A parser whose errors are one line of plain words."""

from __future__ import annotations

import difflib
import re
import sys
from typing import Final, NoReturn

from jsonargparse import ArgumentParser

from counterpoise._validation import nearest


class Parser(ArgumentParser):
    """An argument parser whose error for an unknown option names the nearest known option."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print one clear line and exit with 2."""
        message = _of_one_line(message)
        known = sorted({option for action in self._actions for option in action.option_strings})
        hints = []
        for word in re.findall(r"(--[\w.-]+)|[Kk]ey '([\w.]+)'", "" if " should be " in message else message):
            name = word[0] or f"--{word[1]}"
            match = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            if match and match[0] != name:
                hints.append(f"Did you mean `{match[0]}`?")
        print(f"error: {' '.join([message.strip(), *dict.fromkeys(hints)])}", file=sys.stderr)
        print(f"try: {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


_KINDS: Final = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "tuple": "a list, such as [a, b]",
    "list": "a list, such as [a, b]",
    "dict": "a mapping, such as {option}.NAME VALUE",
}
"""What a value of a type is called in a message."""


def _of_one_line(message: str) -> str:
    """Return an error about the value of an option as one line with the allowed values; other errors stay unchanged."""
    key = re.search(r'Parser key "([\w.]+)":', message)
    if key is None:
        return " ".join(message.split())
    option = f"--{key[1]}"
    unreadable = re.search(r"Unable to load config '(.*?)'", message)
    if unreadable is not None:
        return f"{option} should be a YAML file with such settings. Found `{unreadable[1]}`."
    value = re.search(r"(?:Got value:|Given value:) (.*)", message)
    allowed, hint = _allowed(message, option, "" if value is None else value[1])
    if value is None or not allowed:
        return " ".join(message.split())
    return f"{option} should be {allowed}. Found `{value[1]}`.{hint}"


def _allowed(message: str, option: str, value: str) -> tuple[str, str]:
    """Return what jsonargparse's message allows, in words, and the nearest word to what was given."""
    words = [word for choice in re.findall(r"typing\.Literal\[(.*?)\]", message) for word in choice.split(", ")]
    if words:
        words = list(dict.fromkeys(words))
        other = " or a list of numbers" if "tuple[float" in message else ""
        return f"one of {', '.join(words)}{other}", nearest(value, [word.strip("'") for word in words])
    kinds = re.findall(r"Expected a <class '(\w+)'>", message)
    if option == "--optim.rates" and kinds == ["float"]:
        return "a mapping of names to numbers", ""
    names = [_KINDS[kind].format(option=option) for kind in dict.fromkeys(kinds) if kind in _KINDS]
    return " or ".join(names), ""
