"""Training of models with any method under Lightning, by manual optimisation."""

from counterpoise._extras import extra

with extra("train"):
    import lightning as _lightning  # noqa: F401 - every module here needs the extra, which is checked here once

from counterpoise.evaluation.collect import collect
from counterpoise.evaluation.metrics import scores
from counterpoise.training.callbacks.loggers import LOGGERS, EpochLogger
from counterpoise.training.callbacks.progress import EpochLines
from counterpoise.training.datamodule import MultimodalDataModule
from counterpoise.training.fit import Fitted, fit
from counterpoise.training.module import MethodModule, make_optimizer, seed_epoch

__all__ = [
    "LOGGERS",
    "EpochLines",
    "EpochLogger",
    "Fitted",
    "MethodModule",
    "MultimodalDataModule",
    "collect",
    "fit",
    "make_optimizer",
    "scores",
    "seed_epoch",
]
