"""Four small worlds with quickly trained models: in each, one thing is wrong with modality ``b`` (or nothing)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

CLASSES, N = 3, 1000


@dataclass(frozen=True)
class Trained:
    """A model and the samples that it was, and was not, trained on, as ``(inputs, target)``."""

    model: nn.Module
    train: list[tuple[dict[str, Tensor], Tensor]]
    held: list[tuple[dict[str, Tensor], Tensor]]


class TwoTowers(nn.Module):
    """One hidden layer per modality, concatenated, and a linear head."""

    def __init__(self, dims: dict[str, int], widths: dict[str, int]) -> None:
        super().__init__()
        self.towers = nn.ModuleDict({m: nn.Sequential(nn.Linear(d, widths[m]), nn.Tanh()) for m, d in dims.items()})
        self.head = nn.Linear(sum(widths.values()), CLASSES)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.head(torch.cat([tower(inputs[m]) for m, tower in self.towers.items()], 1))


def view(y: Tensor, strength: float, dims: int, g: torch.Generator) -> Tensor:
    """Return (N, dims): the class in the first columns, unit noise everywhere."""
    x = torch.randn(len(y), dims, generator=g)
    x[:, :CLASSES] += strength * nn.functional.one_hot(y, CLASSES)
    return x


WORLDS = {
    # strength and columns of a and b, width of b's tower, frozen or not, training steps
    "balanced": ((2.0, 40), (2.0, 40), 8, False, 40),
    "uninformative": ((2.0, 40), (0.0, 40), 8, False, 40),
    "under-trained": ((3.0, 40), (2.0, 40), 2, True, 60),
    "overfitting": ((2.0, 40), (0.0, 200), 16, False, 80),
}
TRAINING = {"overfitting": 400}


def make_world(name: str, seed: int) -> Trained:
    (sa, da), (sb, db), width, frozen, steps = WORLDS[name]
    g = torch.Generator().manual_seed(seed)

    def draw(n: int) -> tuple[dict[str, Tensor], Tensor]:
        y = torch.randint(CLASSES, (n,), generator=g)
        return {"a": view(y, sa, da, g), "b": view(y, sb, db, g)}, y

    train, held = draw(TRAINING.get(name, N)), draw(N)
    torch.manual_seed(seed)
    model = TwoTowers({"a": da, "b": db}, {"a": 8, "b": width})
    if frozen:
        model.towers["b"].requires_grad_(False)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.03)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(train[0]), train[1]).backward()
        optimiser.step()
    return Trained(model, [train], [held])


@pytest.fixture
def world() -> Callable[[str, int], Trained]:
    """Make a world by name and seed."""
    return make_world
