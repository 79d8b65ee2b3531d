"""Optional packages: one message with the exact command where an extra is not installed."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any, Final

from counterpoise.errors import MissingExtraError

__all__ = ["EXTRAS", "extra", "load"]

EXTRAS: Final = {
    "train": "Training",
    "encoders": "This encoder",
    "transformers": "Training with the Trainer of Hugging Face",
    "data": "Reading tables and prepared data",
    "report": "The report",
    "prepare": "Preparing raw data",
    "tensorboard": "The TensorBoard logger",
    "wandb": "The Weights & Biases logger",
    "sklearn": "A scikit-learn estimator",
    "dask": "A comparison on a cluster",
    "demo": "The smart-watch data set",
}
"""Extras of the distribution, and what each one is needed for (the subject of the message)."""

_DISTRIBUTIONS: Final = {"PIL": "pillow", "sklearn": "scikit-learn", "cv2": "opencv-python-headless"}


@contextlib.contextmanager
def extra(name: str, purpose: str | None = None) -> Iterator[None]:
    """Import optional packages inside this context, so that a missing one is named with the command that installs it.

    Args:
        name: The extra that holds the packages, one of `EXTRAS`.
        purpose: What needs the packages, as the subject of the sentence; None uses that of `EXTRAS`.

    Raises:
        MissingExtraError: If a package that is imported inside is not installed.

    Example:
        >>> with extra("report"):
        ...     import package_that_is_not_installed
        Traceback (most recent call last):
        ...
        counterpoise.errors.MissingExtraError: The report needs package_that_is_not_installed. Install it with: pip
            install "counterpoise[report]".
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if not module or module == "counterpoise":
            raise
        package = _DISTRIBUTIONS.get(module, module)
        raise MissingExtraError(
            f'{purpose or EXTRAS[name]} needs {package}. Install it with: pip install "counterpoise[{name}]".'
        ) from error


def load(module: str, name: str, purpose: str | None = None) -> Any:
    """Import and return an optional module that has no types.

    Args:
        module: The module.
        name: The extra that holds it, one of `EXTRAS`.
        purpose: See `extra`.

    Raises:
        MissingExtraError: If it is not installed.
    """
    with extra(name, purpose):
        return importlib.import_module(module)
