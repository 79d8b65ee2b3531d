"""Several labels at once, each of another kind of information."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from counterpoise.data.worlds._base import Arrays, World, letters
from counterpoise.data.worlds._discrete import PROBABILITY, XOR, DiscreteWorld, Redundant, Unique

__all__ = ["ManyLabels"]


class ManyLabels(World):
    """M + 2 independent binary labels: one that every modality shows, one per modality that it alone shows, and one
    that is the exclusive or of a bit in each.

    The parts are independent of each other, so that information adds up over the labels.

    Args:
        modalities: M.
        flip: Probability that a label differs from what its bits determine.
        noise_dims: See `World`.

    Example:
        >>> world = ManyLabels()
        >>> nats = (world.mi(["a"]), world.mi(), world.cmi("a"), world.co_information())
        >>> [round(v / float(np.log(2)), 4) for v in nats]
        [2.0, 4.0, 2.0, 0.0]
    """

    name = "many-labels"
    task = "multilabel"

    def __init__(self, modalities: int = 2, *, flip: float = 0.0, noise_dims: int = 0) -> None:
        PROBABILITY.check("ManyLabels", "flip", flip)
        super().__init__(letters(modalities, "ManyLabels"), noise_dims)
        self.flip = flip
        alone = [tuple(2 if k == m else 1 for k in range(modalities)) for m in range(modalities)]
        self.parts: tuple[DiscreteWorld, ...] = (
            Redundant(modalities, flip=flip),
            *(Unique(states, flip=flip) for states in alone),
            XOR(modalities, flip=flip),
        )
        self.num_outputs = len(self.parts)

    def entropy(self) -> float:
        """See `World.entropy`."""
        return sum(part.entropy() for part in self.parts)

    def _mi(self, subset: tuple[str, ...]) -> float:
        return sum(part.mi(subset) for part in self.parts)

    def _draw(self, n: int, rng: np.random.Generator) -> tuple[Arrays, np.ndarray]:
        drawn = [part._draw(n, rng) for part in self.parts]
        inputs = {m: np.concatenate([x[m] for x, _ in drawn], 1) for m in self.modalities}
        return inputs, np.stack([y for _, y in drawn], 1)

    def ideal(self, inputs: Arrays, subset: Collection[str] | None = None) -> np.ndarray:
        """Return the log-odds of each label given a subset of the modalities, ``(n, M + 2)``."""
        columns = []
        for k, part in enumerate(self.parts):
            own = {m: x[:, 2 * k : 2 * k + 2] for m, x in inputs.items()}
            log_p = part.ideal(own, subset)
            columns.append(log_p[:, 1] - log_p[:, 0])
        return np.stack(columns, 1)

    def __repr__(self) -> str:
        return f"ManyLabels({len(self.modalities)}, flip={self.flip}, noise_dims={self.noise_dims})"
