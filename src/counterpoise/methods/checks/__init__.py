"""Checks of a method, also of a user-defined one: ``counterpoise check package.module:Class``.

Every check trains a small model on synthetic batches for a few steps. Modality ``a`` is easy and the others are hard.
A check is skipped if the method raises a `CounterpoiseError` for its setting.

Example:
    >>> results = check_method("uniform")
    >>> {r.status for r in results}
    {'passed'}
"""

from counterpoise.methods.checks._batches import incomplete
from counterpoise.methods.checks._loop import optimizer_of, train
from counterpoise.methods.checks._result import CheckResult
from counterpoise.methods.checks._run import CHECKS, check_method
from counterpoise.methods.checks._subject import Subject

__all__ = ["CHECKS", "CheckResult", "Subject", "check_method", "incomplete", "optimizer_of", "train"]
