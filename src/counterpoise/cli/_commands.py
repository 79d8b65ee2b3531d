"""The verbs of the command line.

Each verb takes the parsed options and the settings that were given explicitly, and returns the exit status. Packages
are imported when a verb runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from counterpoise.cli._checks import run_check
from counterpoise.cli._data import run_extract, run_prepare
from counterpoise.cli._diagnosis import run_diagnose
from counterpoise.cli._list import run_list
from counterpoise.cli._report import run_report
from counterpoise.cli._training import run_compare, run_demo, run_recommend, run_train

if TYPE_CHECKING:
    from jsonargparse import Namespace


__all__ = ["COMMANDS"]


COMMANDS: Final[Mapping[str, Callable[[Namespace, Mapping[str, Any]], int]]] = {
    "demo": run_demo,
    "list": run_list,
    "prepare": run_prepare,
    "extract": run_extract,
    "train": run_train,
    "compare": run_compare,
    "recommend": run_recommend,
    "diagnose": run_diagnose,
    "report": run_report,
    "check": run_check,
}
"""The verbs by name."""
