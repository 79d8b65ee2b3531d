"""Training: Lightning drives any method by manual optimisation; a run is data set x method x seed x configuration."""

from counterpoise._extras import extra

with extra("train"):
    import lightning as _lightning  # noqa: F401 - the only place that names the extra; every module here needs it

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
