"""`wrap`: a multimodal model whose encoders are submodules of an unchanged module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from counterpoise._validation import Options
from counterpoise.diagnosis import adapt
from counterpoise.errors import DataError, ModelError
from counterpoise.fusion import Fusion
from counterpoise.model import MultimodalClassifier, check_names
from counterpoise.records import Inputs, Nested, Presence
from counterpoise.tasks import Task, make_task
from counterpoise.wrapping._capture import Captured, Site, sites_of
from counterpoise.wrapping._dimensions import dimension, last_layer
from counterpoise.wrapping._run import Compiler, Pool, Run

__all__ = ["WrappedModel", "wrap"]


# -- the model ---------------------------------------------------------------------------------------------------------


class _Rest(Fusion):
    """The part of the module after the encoders: the module itself, with features instead of the encoders' outputs."""

    def __init__(self, run: Run, feature_dims: Mapping[str, int], num_outputs: int) -> None:
        super().__init__(feature_dims, num_outputs)
        self.net = run.net
        self.run = run

    def filled(self, features: Mapping[str, Tensor], present: Presence | None) -> Mapping[str, Tensor]:
        """Return features with zeros or tokens in the rows of absent modalities.

        Raises:
            ModelError: If the features have another dimension than the tokens.
        """
        wide = [m for m, h in features.items() if h.shape[1] != self.feature_dims[m]]
        if present is not None and self.tokens is not None and wide:
            raise ModelError(
                f"A token stands for features (B, D). Those of `{wide[0]}` have time or space axes. Use absent='zeros'."
            )
        return super().filled(features, present)

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

    def __init__(self, run: Run, m: str, dim: int, num_outputs: int, pool: Pool | None) -> None:
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

    def __init__(self, run: Run, task: Task, feature_dims: Mapping[str, int], pool: Mapping[str, Pool]) -> None:
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
            ModelError: If an encoder does not run, runs twice, or cannot run on the samples that have its modality.
        """
        return {m: c.flat for m, c in self._caught(inputs, self.modalities, present).items()}

    def _caught(self, inputs: Inputs, wanted: tuple[str, ...], present: Presence | None) -> dict[str, Captured]:
        grouped = _grouped(inputs, self._run.keys, self.modalities)
        caught = self._run.encode(grouped, wanted, present)
        return {m: caught[m] for m in wanted}

    def features(self, inputs: Inputs, m: str, present: Presence | None = None) -> Tensor:
        """Return the output of one encoder ``(B, F_m)``; the module runs until that encoder has returned."""
        return self._caught(inputs, (m,), present)[m].flat


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
    absent: Literal["zeros", "token"] = "zeros",
) -> WrappedModel:
    """Wrap a module as a model that all methods without a special fusion can train; ``net`` itself is not changed.

    In each step the module runs until its encoders have returned, and then again with their outputs in place, so the
    encoders run once. Modules before the last encoder run twice; batch norms among them count a batch once. The wrapped
    model adds one linear head per modality. ``net(...)`` returns the same as before, and training changes ``net``
    itself.

    Samples may lack modalities (``model(inputs, present=...)``, or batches with ``present``). Encoders then run on the
    rows that have their modality, and their outputs for other samples are replaced, see ``absent``. The inputs of an
    absent modality are replaced by zeros (by ones in masks), so that their contents have no effect. Layers before an
    encoder, and the module's own fusion, run on all rows, because a module cannot skip a modality.

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
        absent: Replacement of an encoder's output for samples that lack its modality: zeros, or a learned vector
            (for encoders that return ``(B, D)``).

    Raises:
        NotFoundError: For an unknown submodule.
        ModelError: For one modality, an encoder inside another, or an encoder whose dimension is not known.

    Example:
        >>> import torch
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
    dims = {m: dimension(m, module, feature_dims) for m, module in modules.items()}
    run = Run(bare, adapter, sites, inputs or {}, compiler)
    pools = {m: _over_length for m, module in modules.items() if isinstance(last_layer(module), nn.Conv1d)}
    model = WrappedModel(run, make_task(task, num_outputs), dims, {**pools, **(pool or {})})
    Options(("zeros", "token")).check("wrap", "absent", absent)
    if absent == "token":
        model.fusion.read_absent_as("token")
    return model


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
