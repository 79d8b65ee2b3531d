"""The released code of ARM's authors, for comparison. It reads test labels, so it is not a method to use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from counterpoise.errors import ConfigError, ModelError
from counterpoise.fusion import Fusion
from counterpoise.methods.base import (
    Backward,
    Hyperparameter,
    Interval,
    Method,
    backward,
    detached,
    require_fusion,
    unimodal_losses,
)
from counterpoise.methods.replicas.arm_histograms import official_ncmi, official_nmi
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, StepRecord

__all__ = ["ARMOfficial", "ReleasedFusion", "released_weights"]


def released_weights(
    confidence: Mapping[str, float], nmi: tuple[float, float], ncmi: tuple[float, float]
) -> tuple[float, float]:
    r"""Return the released weights of the two branches.

    .. math:: II_m = NMI_m - NCMI_m, \quad P_2 = q_f NMI_2 + q_1 II_2, \quad P_1 = q_f NMI_1 + q_2 II_1, \quad
        w_1 = P_2 / P_1, \; w_2 = P_1 / P_2

    Args:
        confidence: Batch means of the softmax probability of the **true** class: of the fused projection (``fused``)
            and of the two branches (``first``, ``second``).
        nmi: NMI of the two branches with the fused projection.
        ncmi: NCMI of the two branches with the fused projection, given the other branch.

    Example:
        >>> confidence = {"fused": 0.6, "first": 0.5, "second": 0.4}
        >>> w = released_weights(confidence, (0.0, 0.0), (1.0, 1.0))
        >>> [round(x, 2) for x in w]         # NMI about 0 and NCMI about 1: w_1 = q_1 / q_2, the stronger is reinforced
        [1.25, 0.8]
    """
    q, q1, q2 = confidence["fused"], confidence["first"], confidence["second"]
    first = q * nmi[0] + q2 * (nmi[0] - ncmi[0])
    second = q * nmi[1] + q1 * (nmi[1] - ncmi[1])
    return second / first, first / second


class ReleasedFusion(Fusion):
    """The released network after its encoders: an untrained projection, one shared classifier, and the weighted fusion.

    ``forward`` applies no weights, because these need labels; `weighted` applies them.

    Args:
        feature_dims: D_m by modality, two equal numbers.
        num_outputs: C.

    Raises:
        ModelError: For other than two modalities with features of one size.
    """

    def __init__(self, feature_dims: Mapping[str, int], num_outputs: int) -> None:
        super().__init__(feature_dims, num_outputs)
        dims = list(feature_dims.values())
        if len(dims) != 2 or dims[0] != dims[1]:
            raise ModelError(
                "ARM's release is written for two modalities with features of the same size. Found "
                f"{', '.join(f'{m}: {d}' for m, d in feature_dims.items())}. Use `arm`, which takes any."
            )
        neck = nn.Linear(2 * dims[0], dims[0])
        self.register_buffer("neck_weight", neck.weight.detach().clone())  # never gets a gradient in the release
        self.register_buffer("neck_bias", neck.bias.detach().clone())
        self.mix = nn.Linear(2 * dims[0], dims[0])
        self.classifier = nn.Linear(dims[0], num_outputs)

    def projection(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return the untrained projection f of both modalities, ``(B, D)``."""
        both = torch.cat(list(features.values()), -1)
        return nn.functional.linear(both, self.neck_weight, self.neck_bias)  # type: ignore[arg-type]

    def weighted(self, features: Mapping[str, Tensor], weights: tuple[float, float]) -> Tensor:
        """Return logits ``(B, C)`` of the features scaled by ``weights``."""
        both = torch.cat([w * z for w, z in zip(weights, features.values(), strict=True)], -1)
        logits: Tensor = self.classifier(self.mix(both))
        return logits

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return logits ``(B, C)`` without weights."""
        return self.weighted(features, (1.0, 1.0))


class ARMOfficial(Method):
    """ARM as its authors released it: weights from the labels of the batch, in training **and at test**.

    Gao et al., AAAI 2025 (code). Per batch: :math:`q` are the shared classifier's mean probabilities of the true class
    on the two branches and on an untrained projection of both; NMI and NCMI are histograms of flattened features
    (`counterpoise.methods.replicas.arm_histograms`); `released_weights` scale the branches; the loss is the
    cross-entropy of the scaled fusion. As NCMI is about 1 for any data, the weights are :math:`q_1/q_2` and its
    inverse: the branch that is *more* confident in the true class is reinforced.

    The ``accuracy`` of a run is without labels (weights 1). The number that the release reports is recorded separately
    as ``accuracy:reading-labels``: no prediction on unlabelled data can reach it, and it depends on which samples share
    a batch.

    Args:
        labels_at_test: Must be True, as a confirmation.
        batch_size: Number of samples in the test batches whose labels are read (the release: 128).

    Raises:
        ConfigError: Unless ``labels_at_test`` is True.
        ModelError: (by `prepare`) for other than two modalities with features of one size.

    Example:
        >>> ARMOfficial()
        Traceback (most recent call last):
        ...
        counterpoise.errors.ConfigError: Method `arm-official` reads the labels of the test set to make its predictions,
            as the authors' release does. Its scores do not measure generalisation. To compare them with scores
            without labels, pass `labels_at_test=True` (`--methods "arm-official[labels_at_test=true]"`). To use ARM,
            use `arm`.
    """

    incomplete = "the release compares histograms of the features of all samples"
    labels_at_test = Hyperparameter(False)
    batch_size = Hyperparameter(128, Interval(1, integer=True))

    def validate(self) -> None:
        """Raise an error unless the user confirms that labels are read at test time."""
        if not self.labels_at_test:
            raise ConfigError(
                "Method `arm-official` reads the labels of the test set to make its predictions, as the authors' "
                "release does. Its scores do not measure generalisation. To compare them with scores without labels, "
                'pass `labels_at_test=True` (`--methods "arm-official[labels_at_test=true]"`). To use ARM, use `arm`.'
            )
        self.test_batch_size = self.batch_size

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Replace the fusion by the released network."""
        del target
        if not model.task.has_classes:
            raise ModelError(f"ARM's release is for classes. Found the task {model.task.name}. Use `arm`.")
        if not isinstance(model.fusion, ReleasedFusion):
            model = model.with_fusion(ReleasedFusion(model.feature_dims, model.task.num_outputs))
        return model

    @torch.no_grad()
    def weights(
        self, model: MultimodalClassifier, features: Mapping[str, Tensor], target: Tensor
    ) -> tuple[float, float]:
        """Return the released weights of a batch, from its labels."""
        fusion = require_fusion(self, model, ReleasedFusion)
        first, second = features.values()
        fused = fusion.projection(features)
        parts = {"fused": fused, "first": first, "second": second}
        sure = {k: float(fusion.classifier(z).softmax(-1).gather(1, target[:, None]).mean()) for k, z in parts.items()}
        f, a, b = (z.double().cpu().numpy() for z in (fused, first, second))
        nmi = official_nmi(a, f), official_nmi(b, f)
        return released_weights(sure, nmi, (official_ncmi(a, f, b), official_ncmi(b, f, a)))

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        features = model.encode(batch.inputs, batch.present)
        weights = self.weights(model, features, batch.target)
        fusion = require_fusion(self, model, ReleasedFusion)
        fused = model.task.loss(fusion.weighted(features, weights), batch.target)
        unimodal = unimodal_losses(model, model.decode(features, 0.0), batch.target)
        loss = fused + torch.stack(list(unimodal.values())).sum()  # no gradient of the heads reaches an encoder
        backward(loss)
        named = {f"w:{m}": fused.new_tensor(w) for m, w in zip(model.modalities, weights, strict=True)}
        yield StepRecord(fused.detach(), detached({"fused": fused, **unimodal}), named)

    @torch.no_grad()
    def test_metrics(self, model: MultimodalClassifier, batches: Iterable[Batch]) -> dict[str, float]:
        """Return the accuracy that the release reports, by reading the labels of ``batches``."""
        right = total = 0
        fusion = require_fusion(self, model, ReleasedFusion)
        for batch in batches:
            features = model.encode(batch.inputs, batch.present)
            logits = fusion.weighted(features, self.weights(model, features, batch.target))
            right += int((logits.argmax(-1) == batch.target).sum())
            total += len(batch)
        return {"accuracy:reading-labels": right / total}
