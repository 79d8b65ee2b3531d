"""Corruptions of inputs: shared by training, decision rules, robustness, diagnosis and valuation baselines.

`Corruption` and `KINDS` name corruptions (they need no torch); `apply` corrupts the input of one modality, and
`corrupt_one` draws a corruption for one random modality of each sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import torch
from torch import Tensor

from counterpoise._corruption import KINDS, Corruption
from counterpoise._tree import leaves, map_named, size_of, take, where
from counterpoise.errors import DataError
from counterpoise.records import Inputs, Nested, batch_size

__all__ = ["KINDS", "TEST_CORRUPTIONS", "Corruption", "applicable", "apply", "corrupt_one", "is_mask", "moments"]

TEST_CORRUPTIONS: Final = (
    Corruption("noise", 0.5),
    Corruption("noise", 1.0),
    Corruption("noise", 2.0),
    Corruption("zeros"),
    Corruption("permute"),
)
"""The corruptions under which a trained model is scored."""

TRAINING_KINDS: Final = ("noise", "zeros", "dropout", "permute", "mix")
"""Kinds that `corrupt_one` draws from."""
CUMULATIVE: Final = (0.3, 0.45, 0.6, 0.75)
"""Their cumulative probabilities: noise .3, zeros, dropout and permute .15 each, mix .25."""
MIN_AMOUNT: Final = 0.3
AMOUNT_RATIO: Final = 10.0
"""Strengths of noise and mix in `corrupt_one` are log-uniform between .3 and .3 times 10."""

Moments: TypeAlias = Mapping[str, tuple[Tensor, Tensor]]
"""Mean and standard deviation of each leaf of an input, by its name."""


AUXILIARY: Final = ("mask", "token_type_ids", "position_ids", "segment_ids", "lengths", "image_sizes", "grid_thw")
"""Endings of the names of inputs that describe another input."""


def is_mask(name: str) -> bool:
    """Return whether an input describes another one (a mask, positions, lengths), by the last part of its name.

    Example:
        >>> is_mask("text.attention_mask"), is_mask("input_ids"), is_mask("mascot")
        (True, False, False)
    """
    last = name.rpartition(".")[2].lower()
    return any(last.endswith(ending) for ending in AUXILIARY) or last.startswith(("mask_", "length_"))


def applicable(value: Nested, kind: str) -> bool:
    """Return whether a kind of corruption is defined for an input: token ids have no noise, mean or mixture.

    Example:
        >>> applicable(torch.zeros(4, 7, dtype=torch.long), "noise"), applicable(torch.zeros(4, 7), "noise")
        (False, True)
    """
    return kind not in ("noise", "mean", "mix") or all(
        leaf.is_floating_point() for name, leaf in leaves(value).items() if not is_mask(name)
    )


def moments(value: Nested) -> dict[str, tuple[Tensor, Tensor]]:
    """Return mean and standard deviation of the real leaves of an input, by name.

    The mean is that over samples. The standard deviation is that of each column of ``(B, D)``, and one number for
    leaves of more axes (images, sequences), whose entries have a common unit.
    """
    return {
        name: (x.mean(0, keepdim=True), x.std(0, correction=0) if x.ndim <= 2 else x.std(correction=0))
        for name, x in leaves(value).items()
        if x.is_floating_point() and not is_mask(name)
    }


def apply(
    value: Nested,
    corruption: Corruption,
    *,
    generator: torch.Generator | None = None,
    statistics: Moments | None = None,
) -> Nested:
    """Return a corrupted copy of one modality's input.

    Leaves that describe others (`is_mask`) keep their values, unless another sample's input replaces the whole input.

    Args:
        value: One tensor ``(B, ...)`` or a nested mapping of them.
        corruption: Kind and strength. Noise is measured in standard deviations (see `moments`).
        generator: Generator of all draws, on the CPU; None uses the global generator.
        statistics: Moments from which noise and mean are computed; None computes them from ``value``.

    Raises:
        DataError: If the kind is not `applicable` to the input.

    Example:
        >>> apply(torch.tensor([[1.0], [3.0]]), Corruption("mean")).flatten()
        tensor([2., 2.])
    """
    if not applicable(value, corruption.kind):
        raise DataError(f"The corruption `{corruption.kind}` needs real numbers. Found integers (tokens).")
    partner = None
    if corruption.kind in ("permute", "mix"):
        partner = torch.randperm(size_of(value), generator=generator)
    return _apply(value, corruption.kind, corruption.strength, partner, generator, statistics)


def _by_sample(strength: float | Tensor, x: Tensor) -> float | Tensor:
    """Return strengths ``(B,)`` in a shape that multiplies ``x``."""
    return strength.view(-1, *[1] * (x.ndim - 1)) if isinstance(strength, Tensor) else strength


def _apply(
    value: Nested,
    kind: str,
    strength: float | Tensor,
    partner: Tensor | None,
    generator: torch.Generator | None,
    statistics: Moments | None = None,
) -> Nested:
    """Corrupt every sample in the same way; the strength is a number or ``(B,)``."""
    if kind == "permute":
        assert partner is not None
        return take(value, partner.to(next(iter(leaves(value).values())).device))

    def edit(name: str, x: Tensor) -> Tensor:
        if is_mask(name):
            return x
        if kind == "zeros":
            return torch.zeros_like(x)
        amount = _by_sample(strength, x)
        if kind == "dropout":
            return x * (_draw(torch.rand, x, generator) >= amount)
        if kind == "mix":
            assert partner is not None
            return x + (amount * x[partner.to(x.device)]).to(x.dtype)
        mean, spread = (statistics if statistics is not None else moments({name: x}))[name]
        if kind == "mean":
            return mean.to(x).expand_as(x).clone()
        return x + (amount * spread.to(x) * _draw(torch.randn, x, generator).to(x.dtype)).to(x.dtype)

    return map_named(edit, value)


def _draw(sample: Callable[..., Tensor], x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw float32 numbers of the shape of ``x`` on the generator's device (that of ``x`` without one)."""
    device = x.device if generator is None else generator.device
    return sample(x.shape, device=device, generator=generator, dtype=torch.float32).to(x.device)


def corrupt_one(inputs: Inputs, rate: float = 1.0, generator: torch.Generator | None = None) -> dict[str, Nested]:
    """Return inputs in which one random modality of a share ``rate`` of the samples is corrupted.

    Kinds are drawn with probability .3 (noise), .25 (mix) and .15 (zeros, dropout, permute). The strengths of noise and
    mix are log-uniform in [.3, 3], that of dropout uniform in [0, 1). Where a kind is not `applicable` (noise on token
    ids), the input of another sample is used.

    Args:
        inputs: One tensor or nested mapping per modality.
        rate: Share of the samples, in [0, 1].
        generator: Generator of all draws, on the inputs' device; None uses the global generator.

    Example:
        >>> inputs = {"a": torch.ones(4, 2), "b": torch.ones(4, 2)}
        >>> corrupted = corrupt_one(inputs, generator=torch.Generator().manual_seed(0))
        >>> sum(int((corrupted[m] != inputs[m]).any(-1).sum()) for m in inputs) <= 4    # one modality of each sample
        True
    """
    size, device = batch_size(inputs), next(iter(leaves(next(iter(inputs.values()))).values())).device
    hit = torch.rand(size, device=device, generator=generator) < rate
    which = torch.randint(len(inputs), (size,), device=device, generator=generator)
    kind = torch.bucketize(
        torch.rand(size, device=device, generator=generator), torch.tensor(CUMULATIVE, device=device)
    )
    level = torch.rand(size, device=device, generator=generator)
    partner = torch.randperm(size, device=device, generator=generator)
    result = dict(inputs)
    for k, m in enumerate(inputs):
        for number, name in enumerate(TRAINING_KINDS):
            strength = MIN_AMOUNT * AMOUNT_RATIO**level if name in ("noise", "mix") else level
            used = name if applicable(inputs[m], name) else "permute"
            corrupted = _apply(inputs[m], used, strength, partner, generator)
            result[m] = where(hit & (which == k) & (kind == number), corrupted, result[m])
    return result
