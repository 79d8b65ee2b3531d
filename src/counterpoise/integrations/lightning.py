"""A Lightning callback that logs what each modality contributes while the user's own module trains."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from counterpoise._extras import extra
from counterpoise._validation import Interval
from counterpoise.diagnosis import diagnose

with extra("train"):
    import lightning

__all__ = ["ContributionMonitor"]


class ContributionMonitor(lightning.Callback):
    """Diagnose the module after training epochs, and log the numbers through the module's own logger.

    The metrics are ``contribution/<modality>/mi`` and ``.../cmi`` (available, alone and given the others) and
    ``.../used``, in nats. The weights, the gradients and the random numbers of the training stay as they are.

    Args:
        loader: Batches that the module is not trained on; see `counterpoise.diagnose`.
        every: Number of epochs between two measurements.
        settings: Further arguments of `counterpoise.diagnose` (``modalities``, ``limit``, ``features``, ...).

    Raises:
        ConfigError: If ``every`` is below 1.
    """

    def __init__(self, loader: Iterable[Any], every: int = 1, **settings: Any) -> None:
        Interval(1, integer=True).check("ContributionMonitor", "every", every)
        self.loader, self.every = loader, every
        self.settings: dict[str, Any] = {
            "estimator": "variational-linear",
            "damage": False,
            "progress": False,
            **settings,
        }

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Diagnose the module and log the result."""
        if (trainer.current_epoch + 1) % self.every:
            return
        found = diagnose(pl_module, self.loader, **self.settings)
        for m in found.modalities:
            values = {"mi": found.valuation.mi[m], "cmi": found.valuation.cmi[m], "used": found.evidence[m].realised}
            for name, estimate in values.items():
                if estimate is not None:
                    pl_module.log(f"contribution/{m}/{name}", float(estimate.value))
