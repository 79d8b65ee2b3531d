"""Training: Lightning drives any method by manual optimisation; a run is data set x method x seed x configuration."""

from counterpoise.training.datamodule import MultimodalDataModule
from counterpoise.training.evaluation import collect, scores
from counterpoise.training.fit import Fitted, fit
from counterpoise.training.live import EpochLines
from counterpoise.training.loggers import LOGGERS, EpochLogger
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
