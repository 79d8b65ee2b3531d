"""Models whose reliance on each modality is planted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from worlds import Draw, Weights, World

__all__ = ["BLIND", "EXACT", "Outputs", "Plant", "blind", "memoriser", "permutation_effect", "scaled"]

Outputs: TypeAlias = Callable[[Mapping[str, Tensor]], Tensor]
"""A model as a function: ``{m: (N, D_m)}`` to logits, log-odds or predictions ``(N, C)``."""


@dataclass(frozen=True)
class Plant:
    """A model with known reliance.

    Attributes:
        name: Name in the table.
        weights: Strength with which each modality is read; 1 where it is not named.
        temperature: Factor of the logits: above 1 the model is over-confident.
        memorised: Modality by which the training samples are looked up, or None.
        gated: Whether weights multiply a saturated function of the modality rather than its evidence.
        fitted: Whether the model is scikit-learn's logistic regression, fitted to 20,000 other samples.
        point: Whether it predicts a mean of which it is not known how much information it holds.
    """

    name: str
    weights: Weights = field(default_factory=dict)
    temperature: float = 1.0
    memorised: str | None = None
    gated: bool = False
    fitted: bool = False
    point: bool = False

    def build(self, world: World, train: Draw | None) -> Outputs:
        """Return the model."""
        if self.memorised is not None:
            assert train is not None
            return _Lookup(world, train, self.memorised)
        if self.gated:
            return _Gate(world, self.weights)
        if self.fitted:
            return _Fitted(world)
        return lambda inputs: self.temperature * world.outputs(inputs, self.weights)

    def reads(self, m: str) -> float:
        """Return the weight of a modality; a memorised one counts as not read on other samples."""
        return 0.0 if m == self.memorised else self.weights.get(m, 1.0)

    @property
    def exact(self) -> bool:
        """Whether the model is the exact posterior, up to a temperature."""
        return not self.weights and self.memorised is None


EXACT = Plant("exact posterior")


def blind(*modalities: str) -> Plant:
    """Return the exact posterior given the other modalities."""
    return Plant("blind to " + ", ".join(modalities), dict.fromkeys(modalities, 0.0))


def scaled(weight: float, m: str = "b") -> Plant:
    """Return the exact posterior with the evidence of one modality multiplied by a weight."""
    return Plant(f"{m} times {weight:g}", {m: weight})


def memoriser(m: str = "b") -> Plant:
    """Return a model that recognises training samples by one modality, and reads the others exactly."""
    return Plant(f"memorises by {m}", memorised=m)


class _Lookup:
    """The exact posterior of the other modalities, plus 6 on the stored label of a training sample."""

    def __init__(self, world: World, train: Draw, m: str) -> None:
        self.world, self.m = world, m
        self.label = torch.from_numpy(np.eye(int(train.target.max()) + 1)[train.target])
        self.rows = {_key(row): k for k, row in enumerate(torch.from_numpy(train.inputs[m]))}

    def __call__(self, inputs: Mapping[str, Tensor]) -> Tensor:
        base = self.world.outputs(inputs, {self.m: 0.0})
        positions = [self.rows.get(_key(row), -1) for row in inputs[self.m]]
        bonus = [6.0 * self.label[k] if k >= 0 else torch.zeros(base.shape[1]) for k in positions]
        return base + torch.stack(bonus).double()


def _key(row: Tensor) -> bytes:
    return bytes(row.float().numpy().tobytes())


class _Gate:
    """The exact posterior of the fully read modalities, times 1 + weight * tanh(sum of the others' columns)."""

    def __init__(self, world: World, weights: Weights) -> None:
        self.world, self.weights = world, weights

    def __call__(self, inputs: Mapping[str, Tensor]) -> Tensor:
        base = self.world.outputs(inputs, dict.fromkeys(self.weights, 0.0))
        gates = (1 + w * inputs[m].double().sum(1, keepdim=True).tanh() for m, w in self.weights.items())
        for gate in gates:
            base = base * gate
        return base


class _Fitted:
    """Logistic regression of scikit-learn as a function of tensors; returns probabilities."""

    def __init__(self, world: World) -> None:
        from sklearn.linear_model import LogisticRegression

        draw = world.draw(20_000, 4242)
        self.modalities = world.modalities
        self.model = LogisticRegression(max_iter=1000)
        self.model.fit(np.concatenate([draw.inputs[m] for m in self.modalities], 1), draw.target)

    def __call__(self, inputs: Mapping[str, Tensor]) -> Tensor:
        x = np.concatenate([inputs[m].double().numpy() for m in self.modalities], 1)
        return torch.from_numpy(self.model.predict_proba(x)).clamp_min(1e-12).log()


def permutation_effect(world: World, model: Outputs, m: str, n: int = 10_000) -> float:
    """Return by how many nats a modality of other samples worsens the model's log-likelihood (or, for real targets, by
    how much it raises the mean squared error, in variances of the target).
    """
    draw = world.essence(n, 31337)
    inputs = {k: torch.from_numpy(x) for k, x in draw.inputs.items()}
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    target = torch.from_numpy(draw.target)
    clean, changed = model(inputs), model({**inputs, m: inputs[m][order]})
    if world.task == "regression":
        losses = [(target - out).square().sum(1).mean() / target.var(0).sum() for out in (clean, changed)]
    elif world.task == "multiclass":
        losses = [torch.nn.functional.cross_entropy(out, target) for out in (clean, changed)]
    else:
        bce = torch.nn.functional.binary_cross_entropy_with_logits
        losses = [bce(out, target.double(), reduction="none").sum(1).mean() for out in (clean, changed)]
    return float(losses[1] - losses[0])


BLIND = blind("b")
