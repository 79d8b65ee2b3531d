"""The module inside a wrapped model: encoders first, then the rest with given features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from counterpoise import distributed
from counterpoise._tree import map_leaves
from counterpoise.corruptions import is_mask
from counterpoise.diagnosis import Adapter
from counterpoise.errors import ModelError
from counterpoise.records import Nested, Presence, batch_size, host_mask, known_presence
from counterpoise.wrapping._capture import (
    Captured,
    Complete,
    Recorder,
    Replay,
    Site,
    capture,
    restore,
    shared,
    standing_in,
    time_first,
)
from counterpoise.wrapping._presence import PresentRows, blanked

__all__ = ["Compiler", "Pool", "Run"]

Pool = Callable[[Any], Tensor]
Compiler = Callable[[nn.Module], Callable[..., Any]]


class Run:
    """The module, its encoders, and the batch that was encoded last. Shared by all copies of a wrapped model."""

    def __init__(
        self,
        net: nn.Module,
        adapter: Adapter,
        sites: dict[str, Site],
        keys: Mapping[str, Sequence[str]],
        compiler: Compiler,
    ) -> None:
        self.net, self.adapter, self.sites, self.keys = net, adapter, sites, dict(keys)
        self.compiled: dict[str, Callable[..., Any]] = {m: compiler(site.module) for m, site in sites.items()}
        inside = {id(part) for site in sites.values() for part in site.module.modules()}
        self.norms = [
            p for p in net.modules() if isinstance(p, nn.modules.batchnorm._BatchNorm) and id(p) not in inside
        ]
        self.inputs: Mapping[str, Any] = {}
        self.size = 0
        self.captured: dict[str, Captured] = {}
        self.before: list[nn.Parameter] | None = None
        self.time_first = {m: time_first(site.module) for m, site in sites.items()}
        self.shapes: dict[str, Nested] = {}
        self.axes: dict[str, dict[str, tuple[int | None, ...]]] = {m: {} for m in sites}

    def __getstate__(self) -> dict[str, Any]:
        # Tensors of the last batch belong to its graph and cannot be copied.
        return self.__dict__ | {"inputs": {}, "captured": {}, "before": None, "size": 0}

    def encode(
        self, inputs: dict[str, Any], wanted: tuple[str, ...], present: Presence | None = None
    ) -> dict[str, Captured]:
        """Run the module until the encoders in ``wanted`` have returned.

        Args:
            inputs: Inputs by modality.
            wanted: Modalities whose encoders are waited for.
            present: Which samples have which modality; encoders run on these, and their outputs for others are zeros.
        """
        size = batch_size(inputs) if _tensors(inputs) else len(next(iter(inputs.values())))
        inputs, masks = self._filled(inputs, present, size)
        self._resolve(inputs)
        caught = self._run(inputs, size, wanted, masks)
        missing = [m for m in wanted if m not in caught]
        if missing:
            raise ModelError(
                f"The encoder of `{missing[0]}` should be called when the model runs. It was not. Name the submodule "
                "whose forward is used."
            )
        self.inputs, self.size = dict(distributed.whole_inputs(inputs)), distributed.total_rows(size)
        self.captured = {**self.captured, **caught} if len(wanted) < len(self.sites) else caught
        return caught

    def _resolve(self, inputs: Mapping[str, Any]) -> None:
        """Decide how the module is called, from the first batch."""
        if not self.adapter.order:
            nested = {m: tuple(v) for m, v in inputs.items() if isinstance(v, Mapping) and m not in self.adapter.groups}
            self.adapter = _resolved(replace(self.adapter, nested=nested), tuple(inputs))

    def _run(
        self, inputs: dict[str, Any], size: int, wanted: tuple[str, ...], masks: Mapping[str, Tensor]
    ) -> dict[str, Captured]:
        """Run the module, and return what the encoders returned by then."""
        caught: dict[str, Captured] = {}
        enabled = torch.is_grad_enabled()

        def record(m: str, output: Any, mask: Tensor | None) -> None:
            if m in caught:
                raise ModelError(
                    f"The encoder of `{m}` should run once per forward pass. It runs at least twice. Name a submodule "
                    "that runs once."
                )
            self._check_gradient(m, enabled)
            caught[m] = shared(capture(m, output, mask, size, second=self.time_first[m]), size)
            if len(caught) == len(wanted):
                raise Complete

        stand_ins = {m: Recorder(m, self.sites[m].module, record, self._callable(m, masks)) for m in wanted}
        device = next(self.net.parameters(), torch.empty(0)).device
        random = distributed.local_randomness(device)
        with standing_in(self.sites, stand_ins), self._norms_at_rest(), random, suppress(Complete):
            self.adapter.raw(inputs)
        return caught

    def _filled(
        self, inputs: dict[str, Any], present: Presence | None, size: int
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return inputs without what stands in the rows of absent modalities, and which samples have which modality."""
        masks = {} if present is None else self._masks(inputs, present, size)
        if masks:
            return blanked({m: self._stand_in(m, x, masks[m]) for m, x in inputs.items()}, masks), masks
        if _tensors(inputs):
            self.shapes = {m: map_leaves(lambda x: x[:1].clone(), value) for m, value in inputs.items()}
        return inputs, {}

    def _masks(self, inputs: Mapping[str, Any], present: Presence, size: int) -> dict[str, Tensor]:
        """Return which samples have which modality, on the CPU, after checks."""
        if distributed.is_sharing():
            raise ModelError(
                "In several processes, a wrapped model reads every modality of every sample. Found samples that lack "
                "modalities. Train in one process, leave these samples out, or build a `MultimodalClassifier` from "
                "the encoders."
            )
        if not _tensors(inputs):
            raise ModelError(
                "Samples that lack modalities need inputs that are tensors, of which rows can be selected. Found "
                f"{', '.join(type(v).__name__ for v in inputs.values())}. Leave these samples out."
            )
        masks = dict(known_presence(tuple(self.sites), size, present) or {})
        return {m: host_mask(present, m) for m in masks}

    def _stand_in(self, m: str, value: Nested, mask: Tensor) -> Nested:
        """Return an input of the shape of earlier ones for a modality that no sample has; others as they are."""
        like = self.shapes.get(m)
        if like is None or bool(mask.any()):
            return value
        return map_leaves(lambda x: x.new_zeros(()).expand(len(mask), *x.shape[1:]), like)

    def _callable(self, m: str, masks: Mapping[str, Tensor]) -> Callable[..., Any]:
        """Return the encoder, or what runs it on the samples that have its modality."""
        if not masks or bool(masks[m].all()):
            return self.compiled[m]
        return PresentRows(m, self.sites[m].module, self.compiled[m], masks[m], self.axes[m])

    def _check_gradient(self, m: str, enabled: bool) -> None:
        trained = any(p.requires_grad for p in self.sites[m].module.parameters())
        if enabled and trained and not torch.is_grad_enabled():
            raise ModelError(
                f"The encoder of `{m}` has parameters to train, and the model runs it without gradients. Freeze it "
                "with `requires_grad_(False)`, or checkpoint with `use_reentrant=False`."
            )

    @contextmanager
    def _norms_at_rest(self) -> Iterator[None]:
        """Prevent batch norms outside the encoders from counting a batch twice, because the fusion runs them again."""
        counted = [norm for norm in self.norms if norm.training and norm.track_running_stats]
        for norm in counted:
            norm.track_running_stats = False
        try:
            yield
        finally:
            for norm in counted:
                norm.track_running_stats = True

    def fuse(self, features: Mapping[str, Tensor]) -> Tensor:
        """Run the module with features instead of the encoders' outputs, and return its logits ``(R, C)``."""
        rows = len(next(iter(features.values())))
        if not self.size or rows % self.size or set(self.captured) != set(self.sites):
            raise ModelError(
                f"A wrapped model decodes features of the batch that it encoded last ({self.size} samples). Found "
                f"{rows} rows. Call `encode` first."
            )
        copies = rows // self.size
        inputs = self.inputs if copies == 1 else {m: _repeated(v, copies) for m, v in self.inputs.items()}
        stand_ins = {m: Replay(m, s.module, restore(self.captured[m], features[m])) for m, s in self.sites.items()}
        with standing_in(self.sites, stand_ins):
            return self.adapter.logits_of(self.adapter.raw(inputs), rows)

    def upstream(self) -> list[nn.Parameter]:
        """Return the parameters outside the encoders on which the encoders' outputs depend. They are computed once."""
        if self.before is None:
            inside = {id(p) for site in self.sites.values() for p in site.module.parameters()}
            candidates = [p for p in self.net.parameters() if p.requires_grad and id(p) not in inside]
            flat = [c.flat for c in self.captured.values() if c.flat.requires_grad]
            if not candidates or not flat:
                return []
            reached = _leaves(flat)
            self.before = [p for p in candidates if id(p) in reached]
        return self.before

    def pooled(self, m: str, flat: Tensor, pool: Pool | None) -> Tensor:
        """Return features ``(R, F)`` as vectors ``(R, D)``."""
        captured = self.captured[m]
        output = restore(captured, flat)
        if pool is not None:
            return pool(output)
        for name in ("pooler_output", "last_hidden_state"):
            if not isinstance(output, Tensor) and getattr(output, name, None) is not None:
                output = getattr(output, name)
                break
        rows = len(flat)
        value = output if isinstance(output, Tensor) else _first(output, rows)
        if value.ndim == 3:
            return _mean(value, self._mask(m, value, rows))
        value = value.flatten(2).mean(2) if value.ndim > 3 else value.reshape(len(value), -1)
        return value if len(value) == rows else value.view(rows, len(value) // rows, -1).mean(1)

    def _mask(self, m: str, value: Tensor, rows: int) -> Tensor | None:
        wanted = (self.size, value.shape[1])
        masks = [self.captured[m].mask, *_masks_among(self.inputs.get(m))]
        mask = next((x for x in masks if x is not None and tuple(x.shape) == wanted), None)
        if mask is None or rows == self.size:
            return mask
        return mask.repeat(rows // self.size, 1) if rows % self.size == 0 else None


def _masks_among(given: Any) -> list[Tensor]:
    """Return the masks among the arguments of a modality."""
    arguments = given if isinstance(given, Mapping) else {}
    return [v for k, v in arguments.items() if is_mask(k) and isinstance(v, Tensor)]


def _leaves(outputs: Sequence[Tensor]) -> set[int]:
    """Return ids of the leaves that outputs depend on, from the graph, which also stays after a backward pass."""
    waiting: list[Any] = [z.grad_fn for z in outputs]
    seen, leaves = set(), set[int]()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.add(id(node.variable))
        waiting += [before for before, _ in node.next_functions]
    return leaves


def _first(output: Any, rows: int) -> Tensor:
    leaves = torch.utils._pytree.tree_leaves(output)
    return next(
        x for x in leaves if isinstance(x, Tensor) and x.is_floating_point() and x.ndim > 1 and not len(x) % rows
    )


def _mean(value: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean over T of ``(B, T, D)``, over the tokens that the mask keeps."""
    if mask is None:
        return value.mean(1)
    weight = (mask != 0).to(value).unsqueeze(-1)
    return (value * weight).sum(1) / weight.sum(1).clamp_min(1)


def _tensors(inputs: Mapping[str, Any]) -> bool:
    return all(isinstance(v, Tensor | Mapping) for v in inputs.values())


def _repeated(value: Any, copies: int) -> Any:
    if isinstance(value, Mapping):
        return {k: _repeated(v, copies) for k, v in value.items()}
    return torch.cat([value] * copies) if isinstance(value, Tensor) else list(value) * copies


def _resolved(adapter: Adapter, modalities: tuple[str, ...]) -> Adapter:
    try:
        return adapter.resolve(modalities, positional=False)
    except ModelError as error:
        raise ModelError(
            f"It is not clear how to call the model with {', '.join(modalities)}. Say which arguments belong to which "
            "modality: wrap(..., inputs={'image': ['pixel_values'], 'text': ['input_ids', 'attention_mask']})."
        ) from error
