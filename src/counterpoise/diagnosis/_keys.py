"""Assignment of the inputs of a batch to modalities; masks and positions belong to the tokens that they describe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from counterpoise.corruptions import is_mask
from counterpoise.diagnosis._samples import named_leaves
from counterpoise.errors import DataError

__all__ = ["group_keys"]


def group_keys(inputs: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the keys of each modality; the mapping is empty if every key is a modality of its own.

    Args:
        inputs: One batch.

    Raises:
        DataError: If it is not clear what a mask belongs to.

    Example:
        >>> import torch
        >>> ids = torch.ones(2, 5)
        >>> group_keys({"input_ids": ids, "attention_mask": ids, "pixel_values": torch.ones(2, 3, 8, 8)})
        {'input_ids': ('input_ids', 'attention_mask'), 'pixel_values': ('pixel_values',)}
    """
    aside = [k for k in inputs if is_mask(k)]
    hosts = [k for k in inputs if k not in aside]
    if not aside or not hosts:
        return {}
    groups = {k: [k] for k in hosts}
    for key in aside:
        groups[_host(key, hosts, inputs)].append(key)
    return {m: tuple(keys) for m, keys in groups.items()}


def _host(key: str, hosts: list[str], inputs: Mapping[str, Any]) -> str:
    """Return the input that a mask belongs to: the only one, or that of its name, of its length, or of tokens."""
    stem = key.split("_")[0].split(".")[0].lower()
    related = [h for h in hosts if h.lower().startswith(stem)]
    sized = [h for h in hosts if _lengths(inputs[h]) & _lengths(inputs[key])]
    tokens = [h for h in sized or hosts if re.search("ids$|embeds", h)]
    for choice in (hosts, related, sized, tokens):
        if len(choice) == 1:
            return choice[0]
    raise DataError(
        f"It is not clear which modality `{key}` belongs to. Specify modalities={{'text': ['input_ids', '{key}'], "
        f"...}}."
    )


def _lengths(value: Any) -> set[tuple[int, ...]]:
    return {tuple(x.shape[:2]) for x in named_leaves(value).values() if isinstance(x, Tensor) and x.ndim >= 2}
