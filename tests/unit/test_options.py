"""Values of the wrong type on the command line: one line with the option, what it takes, and the value."""

from __future__ import annotations

from dataclasses import fields
from typing import get_type_hints

import pytest

from counterpoise.cli.main import build_parser
from counterpoise.config import FitConfig, ModelConfig, OptimConfig

SECTIONS = {"model": ModelConfig, "optim": OptimConfig, "fit": FitConfig}
NUMBERS = {int: "an integer", float: "a number", bool: "true or false", int | None: "an integer"}
TYPED = [
    (f"{section}.{field.name}", get_type_hints(config)[field.name])
    for section, config in SECTIONS.items()
    for field in fields(config)
    if get_type_hints(config)[field.name] is not str  # any word is a text
]


def complaint(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    with pytest.raises(SystemExit) as stop:
        build_parser()["compare"].parse_args(["--data", "kanji", *options], defaults=False)
    assert stop.value.code == 2
    error, _, rest = capsys.readouterr().err.partition("\n")
    assert rest == "try: counterpoise compare --help\n"
    return error


@pytest.mark.parametrize(("name", "kind"), TYPED)
def test_every_setting_of_a_run_says_what_it_takes(name: str, kind: object, capsys: pytest.CaptureFixture[str]) -> None:
    error = complaint(capsys, f"--{name}", "wrong")
    assert error.startswith(f"error: --{name} should be ")
    assert "Found `wrong`" in error
    assert "class" not in error.replace("class_weights", "")
    assert NUMBERS.get(kind, "") in error  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("fit.epochs", "1.5", "an integer"),
        ("fit.epochs", "None", "an integer"),
        ("optim.lr", "nan", "a number"),
        ("optim.rates.image", "fast", "numbers"),
        ("jobs", "two", "an integer"),
        ("figures", "perhaps", "true or false"),
        ("fit", "3", "a YAML file"),
    ],
)
def test_other_wrong_values(name: str, value: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = complaint(capsys, f"--{name}", value)
    assert expected in error
    assert f"Found `{value}`" in error
