"""Token streams that hold several modalities: slices along dimension 1 of one input, ``{"image": slice(1, 577)}``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from counterpoise.corruptions import is_mask
from counterpoise.diagnosis._adapter import adapt
from counterpoise.diagnosis._batches import batches_of
from counterpoise.diagnosis._targets import split_target
from counterpoise.errors import DataError

__all__ = ["cut_streams", "has_slices"]


def has_slices(modalities: Any) -> bool:
    """Return whether modalities are slices of a stream.

    Example:
        >>> has_slices({"image": slice(1, 5), "text": ("inputs_embeds", slice(5, None))})
        True
    """
    return isinstance(modalities, Mapping) and any(_is_slice(value) for value in modalities.values())


def _is_slice(value: Any) -> bool:
    return isinstance(value, slice) or (isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], slice))


class Stream(nn.Module):
    """A model over one stream, called with the parts of the stream: ``forward({modality: part})``.

    Args:
        model: The model over the whole stream.
        modalities: Slices along dimension 1, or (name of the input, slice).
        call: See `counterpoise.diagnosis.adapt`.
    """

    def __init__(self, model: Callable[..., Any], modalities: Mapping[str, Any], call: str = "auto") -> None:
        super().__init__()
        bad = [m for m, value in modalities.items() if not _is_slice(value)]
        if bad:
            raise DataError(
                "Either all modalities are slices of one input or none is. "
                f"Found {modalities[bad[0]]!r} for `{bad[0]}`."
            )
        pairs = {m: value if isinstance(value, tuple) else (None, value) for m, value in modalities.items()}
        keys = {str(key or "") for key, _ in pairs.values()}
        if len(keys) > 1:
            raise DataError(f"All slices should be taken from one input. Found {', '.join(sorted(keys))}.")
        self.inner = model
        self.adapter = adapt(model, call=call)
        self.slices: dict[str, slice] = {m: part for m, (_, part) in pairs.items()}
        self.key = keys.pop()
        self._rest: dict[str, Tensor] = {}

    def parts(self, raw: Any) -> dict[str, Any]:
        """Return the parts of a batch's stream by modality; masks of the same length are cut with it.

        Raises:
            DataError: If the stream is not in the batch, is not a tensor ``(B, T)`` or ``(B, T, D)``, or is too short;
                or if positions in no modality differ between samples.
        """
        positional = not isinstance(raw, Mapping)
        streams = self._streams({f"x{k}": value for k, value in enumerate(raw)} if positional else raw)
        cut = self._cut_keys(streams)
        if not self.adapter.order:
            self.adapter = self.adapter.resolve(tuple(cut), positional=positional)
        places = self._places(streams[self.key].shape[1])
        for k in cut:
            self._keep_rest(k, streams[k], places)
        return {m: _only({k: streams[k][:, part] for k in cut}) for m, part in self.slices.items()}

    def _cut_keys(self, streams: Mapping[str, Tensor]) -> list[str]:
        """Return the stream and the masks of the same length."""
        length = streams[self.key].shape[1]
        return [k for k, v in streams.items() if k == self.key or (is_mask(k) and v.shape[1] == length)]

    def _streams(self, entries: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the tensors of a batch, and store the name of the one that is cut: the given one, or the only one."""
        streams = {k: v for k, v in entries.items() if isinstance(v, Tensor) and v.ndim >= 2}
        hosts = [k for k in streams if not is_mask(k)]
        self.key = self.key or (hosts[0] if len(hosts) == 1 else "")
        if self.key not in streams:
            raise DataError(
                "Slices need one input (B, T) or (B, T, D); if there are several, use modalities={'image': "
                "('inputs_embeds', "
                f"slice(1, 577)), ...}}. Found {', '.join(map(str, entries)) or 'none'}."
            )
        return streams

    def _places(self, length: int) -> Tensor:
        """Return which positions belong to a modality."""
        counts = torch.zeros(length, dtype=torch.long)
        for m, part in self.slices.items():
            if not len(range(*part.indices(length))):
                raise DataError(f"The slice of `{m}` should hold a position of the stream. Its length is {length}.")
            counts[part] += 1
        if int(counts.max()) > 1:
            raise DataError(f"Slices should not overlap. Position {int(counts.argmax())} is in several modalities.")
        return counts > 0

    def _keep_rest(self, key: str, stream: Tensor, places: Tensor) -> None:
        rest = stream[:, ~places].detach().cpu()
        if rest.shape[1] and not bool((rest == rest[:1]).all()):
            first = int((~places).nonzero()[0])
            raise DataError(
                f"Positions in no modality should hold the same in every sample. Position {first} does not; add it to "
                "a modality."
            )
        known = self._rest.setdefault(key, rest[:1].clone())
        if known.shape == rest[:1].shape and not torch.equal(known, rest[:1]):
            raise DataError("Positions in no modality should hold the same in every batch. Add them to a modality.")
        self._rest[key] = rest[:1].clone()

    def forward(self, *arguments: Any) -> Any:
        """Join the parts, and call the model."""
        (inputs,) = arguments
        known = {m: part if isinstance(part, Mapping) else {str(self.key): part} for m, part in inputs.items()}
        keys = list(next(iter(known.values())))
        return self.adapter.raw({k: self._joined({m: part[k] for m, part in known.items()}, k) for k in keys})

    def _joined(self, parts: Mapping[str, Tensor], key: str) -> Tensor:
        first = next(iter(parts.values()))
        rest = self._rest.get(key, first[:0])
        total = sum(p.shape[1] for p in parts.values()) + rest.shape[1]
        joined = first.new_empty(len(first), total, *first.shape[2:])
        places = self._places(total)
        joined[:, ~places] = rest.to(first)
        for m, part in self.slices.items():
            joined[:, part] = parts[m].to(first.dtype)
        return joined


def _only(parts: dict[str, Tensor]) -> Any:
    return next(iter(parts.values())) if len(parts) == 1 else parts


class _Cut:
    """A loader whose streams are cut into parts."""

    def __init__(self, loader: Iterable[Any], stream: Stream, label: str | None, batch_size: int) -> None:
        self.loader, self.stream, self.label, self.batch_size = loader, stream, label, batch_size

    def __iter__(self) -> Iterator[tuple[dict[str, Any], Any]]:
        for item in batches_of(self.loader, self.label, self.batch_size):
            raw, target = split_target(item, self.label, single=True)
            yield self.stream.parts(raw), target


Cut = tuple[Callable[..., Any], Iterable[Any], "Iterable[Any] | None", tuple[str, ...]]


def cut_streams(
    model: Callable[..., Any],
    loader: Iterable[Any],
    train: Iterable[Any] | None,
    modalities: Mapping[str, Any],
    *,
    call: str = "auto",
    label: str | None = None,
    batch_size: int = 256,
) -> Cut:
    """Return a model over parts, loaders of parts, and the names of the parts.

    Args:
        model: Model over the whole stream.
        loader: Batches with one stream.
        train: The same, or None.
        modalities: Slices along dimension 1, or (name of the input, slice).
        call: See `counterpoise.diagnosis.adapt`.
        label: Key of the target, where batches are mappings.
        batch_size: Samples in a batch, where a loader yields single samples.
    """
    stream = Stream(model, modalities, call)
    cut = [None if part is None else _Cut(part, stream, label, batch_size) for part in (loader, train)]
    assert cut[0] is not None  # the loader is given
    return stream, cut[0], cut[1], tuple(modalities)
