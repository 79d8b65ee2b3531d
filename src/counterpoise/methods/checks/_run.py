"""The checks by name, and the function that runs them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch

from counterpoise.errors import CounterpoiseError
from counterpoise.methods.checks._contract import (
    check_device,
    check_frozen,
    check_hyperparameters,
    check_own_model,
    check_predictions,
    check_small_batches,
    check_steps,
)
from counterpoise.methods.checks._incomplete import check_complete, check_incomplete, check_incomplete_limit
from counterpoise.methods.checks._precision import check_loss_scaling, check_mixed_precision
from counterpoise.methods.checks._result import CheckFailedError, CheckResult, NotApplicableError
from counterpoise.methods.checks._subject import Subject
from counterpoise.methods.checks._training import (
    check_acts,
    check_deterministic,
    check_joint_limit,
    check_learns,
    check_resumes,
)

CHECKS: Final[dict[str, Callable[[Subject], None]]] = {
    "hyper-parameters": check_hyperparameters,
    "prepare": check_own_model,
    "steps, 2 modalities": lambda subject: check_steps(subject, 2),
    "steps, 3 modalities": lambda subject: check_steps(subject, 3),
    "steps, 4 modalities": lambda subject: check_steps(subject, 4),
    "strength 0, 2 modalities": lambda subject: check_joint_limit(subject, 2),
    "strength 0, 3 modalities": lambda subject: check_joint_limit(subject, 3),
    "incomplete samples, 2 modalities": lambda subject: check_incomplete(subject, 2),
    "incomplete samples, 3 modalities": lambda subject: check_incomplete(subject, 3),
    "incomplete samples, strength 0": check_incomplete_limit,
    "incomplete samples, nothing missing": check_complete,
    "acts": check_acts,
    "learns": check_learns,
    "deterministic": check_deterministic,
    "resume": check_resumes,
    "small batches": check_small_batches,
    "frozen layers": check_frozen,
    "bfloat16": check_mixed_precision,
    "loss scaling": check_loss_scaling,
    "predictions": check_predictions,
    "device": check_device,
}
"""The checks by name, in the order in which they run."""


def check_method(name: str, arguments: Mapping[str, Any] | None = None) -> list[CheckResult]:
    """Run all checks on a method.

    Args:
        name: Name in the catalogue, or import path of a class (``package.module:Class``).
        arguments: Hyper-parameters, for example those with which the method is active from the first epoch.

    Raises:
        NotFoundError: If there is no such method.
        ConfigError: If the class is not a method, or a hyper-parameter is wrong.
    """
    subject = Subject(name, dict(arguments or {}))
    with torch.random.fork_rng(devices=[]):
        return [_run(check, function, subject) for check, function in CHECKS.items()]


def _run(name: str, check: Callable[[Subject], None], subject: Subject) -> CheckResult:
    try:
        check(subject)
    except CheckFailedError as failure:
        return CheckResult(name, "failed", str(failure))
    except NotApplicableError as reason:
        return CheckResult(name, "skipped", str(reason))
    except CounterpoiseError as refusal:
        return CheckResult(name, "skipped", f"the method refuses: {refusal}")
    except Exception as error:  # any error of the author's code is a result, not the end of the checks
        frames = inspect.trace()
        own = next((f for f in reversed(frames) if "torch" not in f.filename), frames[-1])
        return CheckResult(name, "failed", f"{type(error).__name__}: {error} ({own.filename}:{own.lineno})")
    return CheckResult(name, "passed")
