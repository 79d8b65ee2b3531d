"""Greedy: balanced multimodal learning by conditional learning speed (Wu et al., ICML 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from counterpoise.fusion import Fusion, count_present, only_present
from counterpoise.methods.base import (
    Backward,
    EpochContext,
    Hyperparameter,
    Interval,
    Method,
    backward,
    by_modality,
    detached,
    present_loss,
    present_rows,
    require_fusion,
    unimodal_losses,
)
from counterpoise.methods.objective import keep_finite, measured_backward
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Presence, StepRecord

__all__ = ["Greedy", "TransferFusion"]


class TransferFusion(Fusion):
    r"""Multimodal transfer module on features, and one classifier per branch.

    :math:`e = \mathrm{ReLU}(E [h_1; \ldots; h_M])`, gates :math:`g_m = \sigma(W_m e)`, branches :math:`z_m = K_m (h_m
    \odot g_m)`, fused logits :math:`\frac1M \sum_m z_m`. While modality m is curated, its gate is replaced by its
    running mean, so that no other modality influences its branch.

    The initial weights are drawn from a separate generator and are the same for every call; blocks of equal shape are
    equal.

    Args:
        feature_dims: D_m by modality.
        num_outputs: C.

    Example:
        >>> TransferFusion({"a": 2, "b": 3}, num_outputs=4)({"a": torch.ones(5, 2), "b": torch.ones(5, 3)}).shape
        torch.Size([5, 4])
    """

    curated: Tensor
    count: Tensor

    def __init__(self, feature_dims: Mapping[str, int], num_outputs: int) -> None:
        super().__init__(feature_dims, num_outputs)
        dims, total = feature_dims, sum(feature_dims.values())
        width = max(2 * total // 4, 1)
        self.squeeze = nn.ParameterDict({f"squeeze_{m}": _initial(width, d, total) for m, d in dims.items()})
        self.bias = nn.Parameter(torch.zeros(width))
        self.gates = nn.ParameterDict({f"gate_{m}": _initial(d, width, width) for m, d in dims.items()})
        self.heads = nn.ParameterDict({f"head_{m}": _initial(num_outputs, d, d) for m, d in dims.items()})
        self.register_buffer("curated", torch.zeros(len(dims), dtype=torch.bool))
        self.register_buffer("count", torch.zeros(()))
        for m, d in dims.items():
            self.register_buffer(f"mean_{m}", torch.full((d,), 0.5))

    absent = "skip"

    def branch_logits(
        self, features: Mapping[str, Tensor], present: Presence | None = None, *, track: bool = False
    ) -> dict[str, Tensor]:
        """Return each branch's logits ``{m: (B, C)}``; ``track`` updates the running means of the gates.

        A modality that a sample lacks has zeros as features, so that it has neither a branch nor an influence on the
        others.
        """
        features = {m: only_present(features[m], m, present) for m in self.feature_dims}
        squeezed = [features[m] @ self.squeeze[f"squeeze_{m}"].T for m in self.feature_dims]
        excitation = (torch.stack(squeezed).sum(0) + self.bias).relu()
        if track:
            self.count.add_(1)
        logits = {}
        for m, curated in zip(self.feature_dims, self.curated, strict=True):
            gate = (excitation @ self.gates[f"gate_{m}"].T).sigmoid()
            mean: Tensor = getattr(self, f"mean_{m}")
            logits[m] = (features[m] * torch.where(curated, mean.to(gate.dtype), gate)) @ self.heads[f"head_{m}"].T
            if track:
                (seen,) = present_rows(None if present is None else present[m], gate.detach())
                if len(seen):
                    mean.add_((seen.mean(0) - mean) / self.count)
        return logits

    def forward(self, features: Mapping[str, Tensor], present: Presence | None = None) -> Tensor:
        """See `Fusion.forward`."""
        branches = torch.stack(list(self.branch_logits(features, present).values()))
        return branches.mean(0) if present is None else branches.sum(0) / count_present(self.feature_dims, present)

    def bypass_parameters(self, m: str) -> list[nn.Parameter]:
        """Return the parameters that carry other modalities into the branch of ``m``: gate and squeeze."""
        return [self.gates[f"gate_{m}"], *self.squeeze.values(), self.bias]


def _initial(rows: int, columns: int, fan_in: int) -> nn.Parameter:
    generator = torch.Generator().manual_seed(0)
    bound = fan_in**-0.5
    return nn.Parameter((2 * torch.rand(rows, columns, generator=generator) - 1) * bound)


class Greedy(Method):
    r"""Conditional learning speed: a branch that relies on the others is trained alone for some steps.

    Wu, Jastrzebski, Cho, Geras, "Characterizing and Overcoming the Greedy Nature of Learning in Multi-modal Deep Neural
    Networks", ICML 2022. :math:`L = \sum_m CE(z_m, y)` over the branches of a network with multimodal transfer modules.
    The speed of a set of parameters is the sum over steps of :math:`\lVert\nabla\rVert^2 / \lVert\theta\rVert^2`, and
    :math:`BDR_m = \log_{10}` of the speed of the module's parameters for m over that of encoder m. From epoch ``start``
    on, if the largest BDR exceeds the mean by more than :math:`\epsilon / 2` (for M = 2: the two differ by more than
    :math:`\epsilon`), that modality is curated for Q steps: its gate is replaced by its running mean. Speeds are not
    accumulated meanwhile, so that at least one step of all branches lies between two curations.

    Differs from the paper: there the modules sit between the convolutional stages of two equal encoders; here, for
    encoders of any kind, there is one on the features (`TransferFusion`, the fusion of the model to train). Differs
    from the authors' code: the running mean of each gate is its own (the code mixes two); no value is read from the
    device in a step; gradients are those of the loss itself under loss scaling, and steps whose gradients are not
    finite do not count. There is no strength, because the fusion is replaced.

    Args:
        epsilon: Difference of BDR that starts a curation.
        window: Q, number of steps of a curation.
        start: First epoch that may curate.

    Example:
        >>> Greedy(window=10)
        Greedy(epsilon=0.01, window=10, start=2)
    """

    epsilon = Hyperparameter(0.01, Interval(0))
    window = Hyperparameter(5, Interval(1, integer=True))
    start = Hyperparameter(2, Interval(0, integer=True))
    speeds: Tensor
    remaining: Tensor

    epoch = 0

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Replace the fusion by the transfer module."""
        reference = next(model.head(model.modalities[0]).parameters())
        if not isinstance(model.fusion, TransferFusion):
            model = model.with_fusion(TransferFusion(model.feature_dims, model.task.num_outputs).to(reference))
        self.register_buffer("speeds", torch.zeros(2, len(model.modalities)))
        self.register_buffer("remaining", torch.zeros((), dtype=torch.long))
        return model

    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Store the number of the epoch: curation is allowed from ``start`` on."""
        self.epoch = epoch.number

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        fusion = require_fusion(self, model, TransferFusion)
        features = model.encode(batch.inputs, batch.present)
        branches = fusion.branch_logits(features, batch.present, track=True)
        losses = {m: present_loss(model.task, z, batch.target, batch.mask(m)) for m, z in branches.items()}
        unimodal = unimodal_losses(model, model.decode(features, 0.0, batch.present), batch.target)
        loss = torch.stack([*losses.values(), *unimodal.values()]).sum()
        main = [model.encoder_parameters(m) for m in model.modalities]
        bypass = [fusion.bypass_parameters(m) for m in model.modalities]
        squared = measured_backward(loss, backward, [*bypass, *main])
        curated = fusion.curated.clone()
        speeds = squared / torch.stack([_squared_norm(group) for group in (*bypass, *main)])
        bdr = self._observe(fusion, speeds.unflatten(0, (2, -1)))
        yield StepRecord(
            loss.detach(),
            detached({f"branch:{m}": part for m, part in losses.items()} | unimodal),
            by_modality(model, "bdr", bdr) | by_modality(model, "curated", curated.to(bdr.dtype)),
        )

    @torch.no_grad()
    def _observe(self, fusion: TransferFusion, speeds: Tensor) -> Tensor:
        """Add this step's speeds, start, continue or end a curation, and return the BDR ``(M,)``.

        Args:
            fusion: Fusion whose branches may be curated.
            speeds: ``(2, M)``, of the transfer module's parameters and of the encoders.
        """
        running = self.remaining > 0
        self.speeds.copy_(keep_finite(self.speeds, torch.where(running, torch.zeros_like(speeds), speeds)))
        bdr = (self.speeds[0].clamp_min(1e-30) / self.speeds[1].clamp_min(1e-30)).log10()
        self.remaining.sub_(1).clamp_(min=0)
        if self.epoch >= self.start:
            begin = ~running & (bdr.max() - bdr.mean() > self.epsilon / 2)
            chosen = torch.arange(len(bdr), device=bdr.device) == bdr.argmax()
            fusion.curated.copy_(torch.where(begin, chosen, fusion.curated & (self.remaining > 0)))
            self.remaining.copy_(torch.where(begin, self.remaining.new_tensor(self.window), self.remaining))
        return bdr


@torch.no_grad()
def _squared_norm(parameters: list[nn.Parameter]) -> Tensor:
    """Return the squared norm of the trainable parameters, at least a small positive number."""
    trained = [p for p in parameters if p.requires_grad]
    if not trained:
        return torch.ones((), device=parameters[0].device if parameters else None)
    return torch.stack(torch._foreach_norm(list[Tensor](trained))).float().square().sum().clamp_min(1e-30)
