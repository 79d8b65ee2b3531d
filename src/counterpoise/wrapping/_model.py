"""`wrap`: a multimodal model whose encoders are submodules of an unchanged module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from counterpoise import distributed
from counterpoise.corruptions import is_mask
from counterpoise.diagnosis import Adapter, adapt
from counterpoise.errors import DataError, ModelError
from counterpoise.fusion import Fusion, feature_dims_of
from counterpoise.model import MultimodalClassifier, check_names
from counterpoise.records import Inputs, Nested, Presence, batch_size
from counterpoise.tasks import Task, make_task
from counterpoise.wrapping._capture import (
    Captured,
    Complete,
    Recorder,
    Replay,
    Site,
    capture,
    restore,
    shared,
    sites_of,
    standing_in,
)

__all__ = ["WrappedModel", "wrap"]

Pool = Callable[[Any], Tensor]
Compiler = Callable[[nn.Module], Callable[..., Any]]


class _Run:
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

    def __getstate__(self) -> dict[str, Any]:
        # Tensors of the last batch belong to its graph and cannot be copied.
        return self.__dict__ | {"inputs": {}, "captured": {}, "before": None, "size": 0}

    def encode(self, inputs: dict[str, Any], wanted: tuple[str, ...]) -> dict[str, Captured]:
        """Run the module until the encoders in ``wanted`` have returned."""
        size = batch_size(inputs) if _tensors(inputs) else len(next(iter(inputs.values())))
        if not self.adapter.order:
            nested = {m: tuple(v) for m, v in inputs.items() if isinstance(v, Mapping) and m not in self.adapter.groups}
            self.adapter = _resolved(replace(self.adapter, nested=nested), tuple(inputs))
        caught: dict[str, Captured] = {}
        enabled = torch.is_grad_enabled()

        def record(m: str, output: Any, mask: Tensor | None) -> None:
            if m in caught:
                raise ModelError(
                    f"The encoder of `{m}` should run once per forward pass. It runs at least twice. Name a submodule "
                    "that runs once."
                )
            self._check_gradient(m, enabled)
            caught[m] = shared(capture(m, output, mask, size), size)
            if len(caught) == len(wanted):
                raise Complete

        stand_ins = {m: Recorder(m, self.sites[m].module, record, self.compiled[m]) for m in wanted}
        device = next(self.net.parameters(), torch.empty(0)).device
        random = distributed.local_randomness(device)
        with standing_in(self.sites, stand_ins), self._norms_at_rest(), random, suppress(Complete):
            self.adapter.raw(inputs)
        missing = [m for m in wanted if m not in caught]
        if missing:
            raise ModelError(
                f"The encoder of `{missing[0]}` should be called when the model runs. It was not. Name the submodule "
                "whose forward is used."
            )
        self.inputs, self.size = dict(distributed.whole_inputs(inputs)), distributed.total_rows(size)
        self.captured = {**self.captured, **caught} if len(wanted) < len(self.sites) else caught
        return caught

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
        inside = [self.captured[m].mask]
        given = self.inputs.get(m)
        if isinstance(given, Mapping):
            inside += [v for k, v in given.items() if is_mask(k) and isinstance(v, Tensor)]
        wanted = (self.size, value.shape[1])
        mask = next((x for x in inside if x is not None and tuple(x.shape) == wanted), None)
        if mask is None or rows == self.size:
            return mask
        return mask.repeat(rows // self.size, 1) if rows % self.size == 0 else None


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
            f"It is not clear how to call the model with {', '.join(modalities)}. Assign the arguments to modalities: "
            f"wrap(..., inputs={'image': ['pixel_values'], 'text': ['input_ids', 'attention_mask']})."
        ) from error


# -- the model ---------------------------------------------------------------------------------------------------------


class _Rest(Fusion):
    """The part of the module after the encoders: the module itself, with features instead of the encoders' outputs."""

    def __init__(self, run: _Run, feature_dims: Mapping[str, int], num_outputs: int) -> None:
        super().__init__(feature_dims, num_outputs)
        self.net = run.net
        self.run = run

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return the module's logits ``(R, C)``."""
        logits = self.run.fuse(features)
        if logits.ndim != 2 or logits.shape[1] != self.num_outputs:
            raise ModelError(
                f"The model should return {self.num_outputs} outputs per sample. Found {tuple(logits.shape)}. Set "
                f"num_outputs= or output=."
            )
        return logits


class _Head(nn.Linear):
    """A linear head on pooled features."""

    def __init__(self, run: _Run, m: str, dim: int, num_outputs: int, pool: Pool | None) -> None:
        super().__init__(dim, num_outputs)
        self.run, self.m, self.pool = run, m, pool

    def vectors(self, features: Tensor) -> Tensor:
        """Return pooled features ``(R, D)``."""
        z = self.run.pooled(self.m, features, self.pool)
        if z.shape[-1] != self.in_features:
            raise ModelError(
                f"The features of `{self.m}` should have {self.in_features} columns. Found {tuple(z.shape)}. Set "
                f"feature_dims={{'{self.m}': {z.shape[-1]}}}."
            )
        return z

    def forward(self, features: Tensor) -> Tensor:
        """Return unimodal logits ``(R, C)``."""
        return super().forward(self.vectors(features))


class _Encoder(nn.Module):
    """An encoder and the parameters before it. It runs only inside the module."""

    def __init__(self, m: str, module: nn.Module, before: list[nn.Parameter]) -> None:
        super().__init__()
        self.m, self.module = m, module
        self.before = nn.ParameterList(before)

    def forward(self, *args: Any) -> Tensor:
        """Raise an error, because the inputs of the encoder are known only inside the module."""
        raise ModelError(
            f"The encoder of `{self.m}` runs only inside the wrapped model. Use a method that does not run encoders by "
            "themselves, or build a `MultimodalClassifier`."
        )


class WrappedModel(MultimodalClassifier):
    """A model around an unchanged module that methods can train. Made by `wrap`.

    Its features are the outputs of the encoders, one row per sample, in the encoder's own order of elements; `vectors`
    pools them to ``(B, D_m)``.

    Attributes:
        net: The module.
    """

    separable = False

    def __init__(self, run: _Run, task: Task, feature_dims: Mapping[str, int], pool: Mapping[str, Pool]) -> None:
        nn.Module.__init__(self)
        self.modalities = tuple(run.sites)
        self.task = task
        self.feature_dims = dict(feature_dims)
        self._run = run
        self.fusion = _Rest(run, feature_dims, task.num_outputs)
        self._heads = nn.ModuleDict(
            {f"head_{m}": _Head(run, m, d, task.num_outputs, pool.get(m)) for m, d in feature_dims.items()}
        )

    @property
    def net(self) -> nn.Module:
        """The module that was wrapped."""
        return self._run.net

    @property
    def arguments(self) -> dict[str, list[str]]:
        """Arguments of the module that belong to each modality, where `wrap` received them."""
        return {m: list(names) for m, names in self._run.keys.items()}

    def with_fusion(self, fusion: Fusion) -> WrappedModel:
        """Return a model whose fusion wraps this one's.

        Raises:
            ModelError: If the new fusion does not contain the current one, so that the module would not be trained.
        """
        if not any(part is self.fusion for part in fusion.modules()):
            raise ModelError(
                f"The method replaces the fusion by `{type(fusion).__name__}`, so the wrapped model itself would not "
                "be trained. Use a method that keeps the fusion, or build a `MultimodalClassifier` from the encoders."
            )
        other = super().with_fusion(fusion)
        assert isinstance(other, WrappedModel)
        return other

    def encoder(self, m: str) -> nn.Module:
        """Return the encoder of ``m``, with the parameters that come before it."""
        return _Encoder(m, self._run.sites[m].module, self._run.upstream() if self._run.captured else [])

    def vectors(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return features ``{m: (B, D_m)}``, pooled over time or space."""
        heads = {m: self.head(m) for m in features}
        return {m: head.vectors(features[m]) for m, head in heads.items() if isinstance(head, _Head)}

    def encode(self, inputs: Inputs, present: Presence | None = None) -> dict[str, Tensor]:
        """Run the module until its encoders have returned; their outputs ``{m: (B, F_m)}``.

        Raises:
            DataError: If a modality is missing or unknown.
            ModelError: If an encoder does not run, or runs twice; if samples lack modalities.
        """
        _refuse_missing(present)
        return {m: c.flat for m, c in self._caught(inputs, self.modalities).items()}

    def _caught(self, inputs: Inputs, wanted: tuple[str, ...]) -> dict[str, Captured]:
        grouped = _grouped(inputs, self._run.keys, self.modalities)
        caught = self._run.encode(grouped, wanted)
        return {m: caught[m] for m in wanted}

    def features(self, inputs: Inputs, m: str, present: Presence | None = None) -> Tensor:
        """Return the output of one encoder ``(B, F_m)``; the module runs until that encoder has returned."""
        _refuse_missing(present)
        return self._caught(inputs, (m,))[m].flat


def _refuse_missing(present: Presence | None) -> None:
    """Raise `ModelError` if samples lack modalities."""
    if present is not None and not all(bool(mask.all()) for mask in present.values()):
        raise ModelError(
            "A wrapped model reads every modality of every sample. Found samples that lack modalities. Leave them "
            "out, fill them in, or build a `MultimodalClassifier` from the encoders."
        )


def _grouped(inputs: Mapping[str, Nested], keys: Mapping[str, Sequence[str]], names: tuple[str, ...]) -> dict[str, Any]:
    """Return inputs by modality, also where a batch holds the arguments of the model by name."""
    grouped: dict[str, Any] = {}
    for m in names:
        wanted = keys.get(m, ())
        if m in inputs:
            value = inputs[m]
            grouped[m] = {wanted[0]: value} if len(wanted) == 1 and not isinstance(value, Mapping) else value
        elif wanted and all(k in inputs for k in wanted):
            grouped[m] = {k: inputs[k] for k in wanted}
        else:
            raise DataError(
                f"The model has the modalities {', '.join(names)}. The batch has {', '.join(inputs) or 'none'}; "
                f"missing: {m}."
            )
    return grouped


def wrap(
    net: nn.Module,
    encoders: Mapping[str, str | nn.Module],
    *,
    num_outputs: int,
    inputs: Mapping[str, Sequence[str]] | None = None,
    pool: Mapping[str, Pool] | None = None,
    output: Callable[[Any], Any] | None = None,
    feature_dims: Mapping[str, int] | None = None,
    task: str | Task = "multiclass",
) -> WrappedModel:
    """Wrap a module as a model that all methods without a special fusion can train; ``net`` itself is not changed.

    In each step the module runs until its encoders have returned, and then again with their outputs in place, so the
    encoders run once. Modules before the last encoder run twice; batch norms among them count a batch once. The wrapped
    model adds one linear head per modality. ``net(...)`` returns the same as before, and training changes ``net``
    itself.

    Args:
        net: Any module over several inputs. ``DataParallel`` and DDP are unwrapped; of a compiled module the encoders
            are compiled one by one, and the rest runs uncompiled.
        encoders: Name of a submodule of ``net``, or the submodule, by modality. It returns ``(B, D)``, ``(B, T, D)``, a
            map ``(B, D, H, W)``, or a structure of such tensors (a ``ModelOutput``). Convolutions over time return
            ``(B, D, T)``.
        num_outputs: C.
        inputs: Arguments of ``net`` that belong to each modality, ``{"text": ["input_ids", "attention_mask"]}``; by
            default, the arguments have the names of the modalities.
        pool: Function from an encoder's output to ``(B, D)``, by modality. By default ``pooler_output``, else means
            over time (over the tokens that the mask keeps) or space.
        output: Function that selects the logits ``(B, C)`` from the return value of ``net``; see
            `counterpoise.diagnosis.adapt`.
        feature_dims: D by modality, for encoders whose dimension cannot be determined.
        task: Multiclass, multilabel, regression, or a `Task`.

    Raises:
        NotFoundError: For an unknown submodule.
        ModelError: For one modality, an encoder inside another, or an encoder whose dimension is not known.

    Example:
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.vision, self.text, self.head = nn.Linear(6, 4), nn.Linear(5, 4), nn.Linear(4, 3)
        ...     def forward(self, image, text):
        ...         return self.head(self.vision(image) * self.text(text))
        >>> net = Net()
        >>> model = wrap(net, encoders={"image": "vision", "text": "text"}, num_outputs=3)
        >>> x = {"image": torch.ones(2, 6), "text": torch.ones(2, 5)}
        >>> torch.equal(model(x).logits, net(**x)), model(x).unimodal_logits["image"].shape
        (True, torch.Size([2, 3]))
    """
    check_names(encoders)
    bare, compiler = _bare(net)
    adapter = adapt(bare, modalities=inputs, output=output)
    modules = {m: adapter.submodule(e, m) if isinstance(e, str) else e for m, e in encoders.items()}
    sites = {m: sites_of(bare, module) for m, module in modules.items()}
    _check_sites(sites)
    dims = {m: _dimension(m, module, feature_dims) for m, module in modules.items()}
    run = _Run(bare, adapter, sites, inputs or {}, compiler)
    pools = {m: _over_length for m, module in modules.items() if isinstance(_last_layer(module), nn.Conv1d)}
    return WrappedModel(run, make_task(task, num_outputs), dims, {**pools, **(pool or {})})


def _over_length(output: Tensor) -> Tensor:
    """Return the means over the last axis, ``(B, D)``: convolutions return ``(B, D, T)``."""
    return output.mean(2)


def _bare(net: nn.Module) -> tuple[nn.Module, Compiler]:
    """Return the module inside torch.compile and data-parallel wrappers, and a function that compiles its encoders in
    the same way.
    """
    compiler: Compiler = _uncompiled
    while True:
        if "_orig_mod" in net._modules:
            compiler, inner = net.dynamo_ctx, net._modules["_orig_mod"]  # type: ignore[assignment]
        elif isinstance(net, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = net.module
        else:
            return net, compiler
        assert inner is not None  # wrappers hold a module
        net = inner


def _uncompiled(module: nn.Module) -> Callable[..., Any]:
    return module


def _check_sites(sites: Mapping[str, Site]) -> None:
    for m, site in sites.items():
        if not site.places:
            raise ModelError(
                f"The encoder of `{m}` should be a submodule of the model. Found one that is not inside it."
            )
        for other, second in sites.items():
            if other != m and any(part is site.module for part in second.module.modules()):
                raise ModelError(
                    f"Every modality should have an encoder of its own. The encoder of `{m}` is inside that of "
                    f"`{other}`, or the same."
                )


def _dimension(m: str, module: nn.Module, given: Mapping[str, int] | None) -> int:
    if given and m in given:
        return given[m]
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return module.embedding_dim
    if "_orig_mod" in module._modules:
        module = module.get_submodule("_orig_mod")
    width = _pooled_width(module)
    return feature_dims_of({m: module})[m] if width is None else width


_SAME_WIDTH: Final = (
    *(nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Dropout, nn.Dropout1d, nn.Dropout2d),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d),
    *(nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d),
)
"""Layers that keep the number of channels."""


def _pooled_width(module: nn.Module) -> int | None:
    """Return D of layers whose output has a time or space axis that is averaged out; None for others."""
    module = _last_layer(module)
    match module:
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            return module.out_channels
        case nn.RNNBase():
            return (module.proj_size or module.hidden_size) * (2 if module.bidirectional else 1)
        case nn.TransformerEncoderLayer():
            return module.linear2.out_features
        case nn.TransformerEncoder():
            return _pooled_width(module.layers[-1])
    return None


def _last_layer(module: nn.Module) -> nn.Module:
    """Return the last layer of a sequence that decides the shape of its output; any other module is returned
    unchanged.
    """
    while isinstance(module, nn.Sequential):
        last = next((layer for layer in reversed(module) if not isinstance(layer, _SAME_WIDTH)), None)
        if last is None:
            break
        module = last
    return module
