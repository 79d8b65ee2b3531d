"""The information that a model uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from torch import Tensor

from counterpoise.diagnosis._calls import Predictor
from counterpoise.diagnosis._information import Scored
from counterpoise.diagnosis._readout import Readout
from counterpoise.valuation.inputs import EstimatorInput

Points: TypeAlias = "tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]"
"""Information in nats by sample and modality: unimodal, and given the others."""


@dataclass
class Used:
    """Information in the predictions on some samples, with all modalities, each alone, and all but each.

    ``problem.group`` holds the groups that were given, or the copies among the samples; ``group`` only the former.
    """

    problem: EstimatorInput
    predictor: Predictor
    logits: Tensor
    readout: Readout
    group: np.ndarray | None = None
    lattice: dict[frozenset[str], Scored] = field(default_factory=dict)
    alone: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lattice[frozenset(self.predictor.adapter.modalities)] = self.readout.whole

    @property
    def averaged(self) -> bool:
        """Whether predictions with modalities averaged out are known."""
        return len(self.lattice) > 1

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities in order."""
        return self.predictor.adapter.modalities

    def rest(self, m: str) -> frozenset[str]:
        """Return all modalities but one."""
        return frozenset(self.modalities) - {m}

    def average_out(self, subsets: set[frozenset[str]], background_size: int) -> None:
        """Fill the lattice of used information."""
        background = self.predictor.background(background_size)
        self.predictor.progress("predictions with modalities averaged out")
        for subset, partial in self.predictor.partials(subsets, background, self.readout.scales).items():
            self.lattice[subset] = self.readout.partial(partial)
            if len(subset) == 1:
                self.alone[next(iter(subset))] = partial.logits

    def pointwise(self) -> Points:
        """Return the information that each sample's prediction uses from each modality, alone and given the others."""
        modalities, whole = self.modalities, self.readout.whole.pointwise
        alone = {m: self.lattice[frozenset([m])].pointwise for m in modalities}
        return alone, {m: whole - self.lattice[self.rest(m)].pointwise for m in modalities}
