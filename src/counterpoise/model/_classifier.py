"""The model: encoders, a fusion and unimodal heads."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from counterpoise import distributed
from counterpoise._tree import leaves, take
from counterpoise._validation import check_keys
from counterpoise.catalogue import parse_spec, user_name
from counterpoise.errors import DataError, ModelError
from counterpoise.fusion import FUSIONS, Absent, Fusion, feature_dims_of, only_present
from counterpoise.model._gradients import Scale, scale_gradient
from counterpoise.model._modes import Uncounted, norms_at_rest
from counterpoise.records import Inputs, Nested, Outputs, Presence, batch_size, host_mask, known_presence
from counterpoise.tasks import Task, make_task


class MultimodalClassifier(nn.Module):
    """Encoders, a fusion and one linear head per modality, for any M >= 2.

    Every model has unimodal heads, which are always trained on the features of their modality. A method decides how
    much of their gradient reaches the encoders (``head_gradient``: 0 in joint training, where the encoders do not
    depend on the heads; 1 in uniform multitask training). Therefore every decision rule can be used with every method,
    and a method with strength 0 equals joint training bit for bit.

    Samples may lack modalities (``present``). An encoder then processes only the samples that have its modality, and
    its batch norms use only these. The unimodal logits of the others are zeros without a gradient, and the fused head
    skips absent modalities, or reads a learned token or zeros (``absent``, see `Fusion`).

    Args:
        encoders: One module per modality, from that modality's input to ``(B, D_m)``.
        num_outputs: C.
        fusion: Name or import path of a fusion (arguments in brackets), a `Fusion` subclass, or an instance.
        task: Multiclass, multilabel, regression, or a `Task`.
        feature_dims: D_m by modality, for encoders without an attribute that holds it.
        absent: How the fusion reads absent modalities, see `Fusion.read_absent_as`. By default no parameters are added:
            the fusion skips absent modalities if it can, and reads zeros otherwise.

    Raises:
        ModelError: If there are fewer than two modalities, or the dimension of an encoder cannot be determined.

    Example:
        >>> encoders = {"image": nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), "text": nn.Linear(20, 6)}
        >>> model = MultimodalClassifier(encoders, num_outputs=3)
        >>> outputs = model({"image": torch.zeros(5, 8, 8), "text": torch.zeros(5, 20)})
        >>> outputs.logits.shape, outputs.unimodal_logits["text"].shape
        (torch.Size([5, 3]), torch.Size([5, 3]))

        Two samples without text:

        >>> text = torch.tensor([True, False, True, True, False])
        >>> inputs = {"image": torch.zeros(5, 8, 8), "text": torch.zeros(5, 20)}
        >>> outputs = model(inputs, present={"image": torch.ones(5, dtype=torch.bool), "text": text})
        >>> (outputs.unimodal_logits["text"] != 0).any(-1)
        tensor([ True, False,  True,  True, False])
    """

    separable: ClassVar[bool] = True
    """Whether each encoder runs by itself, and `decode` needs nothing but features."""
    checkpointing: bool = False
    """Whether encoders in training compute their activations again in the backward pass instead of keeping them."""

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        *,
        num_outputs: int,
        fusion: str | type[Fusion] | Fusion = "concat",
        task: str | Task = "multiclass",
        feature_dims: Mapping[str, int] | None = None,
        absent: Absent | None = None,
    ) -> None:
        super().__init__()
        check_names(encoders)
        self.modalities = tuple(encoders)
        self.task = make_task(task, num_outputs)
        given = dict(feature_dims or {})
        self.feature_dims = {m: given[m] if m in given else feature_dims_of({m: e})[m] for m, e in encoders.items()}
        # Module names are prefixed so that a modality may have the name of a Module attribute ("type", "half").
        self._encoders = nn.ModuleDict({f"encoder_{m}": encoder for m, encoder in encoders.items()})
        self.fusion: Fusion = _make_fusion(fusion, self.feature_dims, num_outputs)
        if absent is not None:
            self.fusion.read_absent_as(absent)
        self._heads = nn.ModuleDict({f"head_{m}": nn.Linear(d, num_outputs) for m, d in self.feature_dims.items()})

    def with_fusion(self, fusion: Fusion) -> MultimodalClassifier:
        """Return a model with another fusion that shares this model's encoders and unimodal heads; this model is not
        changed.

        The new fusion treats absent modalities as the current one does, unless it wraps the current one.

        Args:
            fusion: Fusion for the same features and outputs.
        """
        if self.fusion.reading is not None and not any(part is self.fusion for part in fusion.modules()):
            fusion.read_absent_as(self.fusion.reading)
        other = copy.copy(self)
        other._modules = {**self._modules}  # the copy shares its submodules, but not the table of them
        other.fusion = fusion
        return other

    def encoder(self, m: str) -> nn.Module:
        """Return the encoder of modality ``m``."""
        return self._encoders[f"encoder_{m}"]

    def head(self, m: str) -> nn.Module:
        """Return the unimodal head of modality ``m``."""
        return self._heads[f"head_{m}"]

    def encoder_parameters(self, m: str) -> list[nn.Parameter]:
        """Return the parameters that the encoder of ``m`` owns and no other encoder shares."""
        shared = {id(p) for other in self.modalities if other != m for p in self.encoder(other).parameters()}
        return [p for p in self.encoder(m).parameters() if id(p) not in shared]

    def encode(self, inputs: Inputs, present: Presence | None = None) -> dict[str, Tensor]:
        """Return the features ``{m: (B, D_m)}``; zeros without a gradient where a sample lacks the modality.

        Args:
            inputs: One tensor (or nested mapping) per modality. The rows of absent modalities are not read.
            present: Which samples have which modality, ``{m: (B,) bool}``; None if nothing is missing.

        Raises:
            DataError: If a modality is missing, unknown, or has another number of samples than the others; if a sample
                has no modality.
            ModelError: If an encoder returns another shape than ``(B, D_m)``.
        """
        missing = [m for m in self.modalities if m not in inputs]
        if missing or len(inputs) != len(self.modalities):
            raise DataError(
                f"The model has the modalities {', '.join(self.modalities)}. "
                f"The batch has {', '.join(inputs) or 'none'}"
                + (f"; missing: {', '.join(missing)}." if missing else ".")
            )
        size = batch_size(inputs)
        present = known_presence(self.modalities, distributed.total_rows(size), present)
        return {m: self._present_features(m, inputs[m], size, present) for m in self.modalities}

    def _present_features(self, m: str, value: Nested, size: int, present: Presence | None) -> Tensor:
        """Encode the samples that have modality ``m``, and return zeros for the others."""
        if present is None:
            return self._features(m, value, size)
        mask = host_mask(present, m)
        own = distributed.local_rows(mask)
        rows = own.nonzero().flatten()
        count = len(rows) if len(own) == len(mask) else int(mask.sum())  # in all processes
        if count == len(mask):
            return self._features(m, value, size)
        if not count:
            return next(self.parameters()).new_zeros(len(mask), self.feature_dims[m])
        with norms_at_rest(self.encoder(m), count == 1):
            encoded = self._encoded(m, take(value, rows), len(rows))
        places = rows.to(encoded.device, non_blocking=True)
        return distributed.shared_features(encoded.new_zeros(size, *encoded.shape[1:]).index_copy(0, places, encoded))

    def _features(self, m: str, value: Nested, size: int) -> Tensor:
        return distributed.shared_features(self._encoded(m, value, size))

    def _encoded(self, m: str, value: Nested, size: int) -> Tensor:
        """Return the features of the samples of this process."""
        with distributed.local_randomness(next(iter(leaves(value).values())).device):
            features = self._run_encoder(self.encoder(m), value)
        if not isinstance(features, Tensor) or features.shape != (size, self.feature_dims[m]):
            shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ModelError(
                f"The encoder of `{m}` should return a tensor of shape {(size, self.feature_dims[m])}. Found {shape}."
            )
        return features

    def _run_encoder(self, encoder: nn.Module, value: Nested) -> Tensor:
        if not (self.checkpointing and encoder.training and torch.is_grad_enabled()):
            features: Tensor = encoder(value)
            return features
        # A method may run the model with other parameters (`torch.func.functional_call`), or change them before the
        # backward pass: recomputed activations use those of the forward pass.
        parameters: dict[str, Tensor] = dict(encoder.named_parameters())
        recomputed = False

        def run(x: Nested) -> Tensor:
            nonlocal recomputed
            first, recomputed = not recomputed, True
            return cast(Tensor, encoder(x) if first else functional_call(encoder, parameters, (x,)))

        contexts = nullcontext(), Uncounted(encoder)
        return cast(Tensor, checkpoint(run, value, use_reentrant=False, context_fn=lambda: contexts))

    def vectors(self, features: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return features as vectors ``{m: (B, D_m)}``, which they already are unless a subclass has features of
        tokens.
        """
        return features

    def decode(
        self,
        features: Mapping[str, Tensor],
        head_gradient: Scale | Mapping[str, Scale] = 1.0,
        present: Presence | None = None,
        *,
        fused_features: Mapping[str, Tensor] | None = None,
    ) -> Outputs:
        """Return the fused and the unimodal logits of features.

        Args:
            features: ``{m: (B, D_m)}``.
            head_gradient: Factor of the unimodal heads' gradient before it enters the encoders, one number or one per
                modality.
            present: Which samples have which modality, ``{m: (B,) bool}``; None if nothing is missing.
            fused_features: Features for the fused head, if they differ from those of the unimodal heads.
        """
        present = known_presence(self.modalities, len(features[self.modalities[0]]), present)
        scales = head_gradient if isinstance(head_gradient, Mapping) else dict.fromkeys(self.modalities, head_gradient)
        unimodal = {m: self.head(m)(scale_gradient(features[m], scales[m])) for m in self.modalities}
        if present is not None:
            unimodal = {m: only_present(logits, m, present) for m, logits in unimodal.items()}
        fused = self.fusion.fuse(features if fused_features is None else fused_features, present)
        return Outputs(features, fused, unimodal, present)

    def forward(
        self, inputs: Inputs, head_gradient: Scale | Mapping[str, Scale] = 1.0, present: Presence | None = None
    ) -> Outputs:
        """Return `Outputs` for one tensor (or nested mapping) per modality.

        Args:
            inputs: One tensor (or nested mapping) per modality.
            head_gradient: Factor of the unimodal heads' gradient before it enters the encoders, see `decode`.
            present: Which samples have which modality, ``{m: (B,) bool}``; None if nothing is missing.
        """
        return self.decode(self.encode(inputs, present), head_gradient, present)

    def features(self, inputs: Inputs, m: str, present: Presence | None = None) -> Tensor:
        """Return the features of modality ``m``, ``(B, D_m)``, as `encode` does; no other encoder runs."""
        return self._present_features(m, inputs[m], batch_size({m: inputs[m]}), present)

    def unimodal(self, inputs: Inputs, m: str, present: Presence | None = None) -> Tensor:
        """Return the logits of modality ``m`` alone; no other encoder runs. Samples without it have zeros."""
        return only_present(self.head(m)(self.features(inputs, m, present)), m, present)


def check_names(names: Collection[str]) -> None:
    """Raise `ModelError` for fewer than two modalities, or names that are empty or contain dots."""
    if len(names) < 2:
        raise ModelError(
            f"A multimodal model needs encoders for at least two modalities. Found {len(names)}: "
            f"{', '.join(names) or 'none'}."
        )
    bad = [m for m in names if not m or "." in m]
    if bad:
        raise ModelError(f"Modality names should not be empty or contain dots. Found {bad}.")


def _make_fusion(fusion: str | type[Fusion] | Fusion, feature_dims: Mapping[str, int], num_outputs: int) -> Fusion:
    """Return a fusion from its name or import path (with arguments in brackets), its class, or itself."""
    if isinstance(fusion, Fusion):
        return fusion
    if not isinstance(fusion, str):
        return fusion(feature_dims, num_outputs)
    name, arguments = parse_spec("fusion", fusion)
    kind = FUSIONS.resolve(user_name(name))
    known = [p for p in inspect.signature(kind).parameters if p not in ("feature_dims", "num_outputs")]
    check_keys(f"fusion `{name}`", arguments, known)
    made: Fusion = kind(feature_dims, num_outputs, **arguments)
    return made
