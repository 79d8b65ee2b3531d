"""What the tests of whole runs share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lightning.pytorch.callbacks import Callback


class _StopBefore(Callback):
    def __init__(self, epoch: int, error: type[BaseException]) -> None:
        self.epoch, self.error = epoch, error

    def on_train_epoch_start(self, trainer: object, pl_module: object) -> None:
        if trainer.current_epoch == self.epoch:  # type: ignore[attr-defined]
            raise self.error


@pytest.fixture
def stop_before() -> Callable[..., Callback]:
    """Return a maker of callbacks that kill a run before an epoch (from 0), as an interruption would."""

    def make(epoch: int, error: type[BaseException] = InterruptedError) -> Callback:
        return _StopBefore(epoch, error)

    return make
