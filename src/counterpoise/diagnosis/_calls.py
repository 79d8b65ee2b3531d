"""Forward passes: predictions on all samples, with modalities averaged out, and on corrupted inputs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import torch
from torch import Tensor

from counterpoise.corruptions import Corruption, applicable, apply
from counterpoise.diagnosis._adapter import Adapter
from counterpoise.diagnosis._loader import Samples
from counterpoise.diagnosis._matrices import MatrixBuilder
from counterpoise.diagnosis._outputs import Reading, reading_of
from counterpoise.diagnosis._samples import Rows, Value, concat_rows, named_leaves, num_rows, repeat_row, take_rows
from counterpoise.errors import CounterpoiseError, ModelError
from counterpoise.model import MultimodalClassifier
from counterpoise.tasks import Task

__all__ = ["BATCH_BYTES", "CORRUPTIONS", "PERMUTED", "Partial", "Predictor"]

PERMUTED: Final = Corruption("permute")
CORRUPTIONS: Final = (
    Corruption("zeros"),
    Corruption("mean"),
    PERMUTED,
    Corruption("noise", 0.5),
    Corruption("noise", 1.0),
    Corruption("noise", 2.0),
)
"""The corruptions under which a diagnosed model is scored."""

BATCH_BYTES: Final = 64 * 2**20
"""Maximum size in bytes of the inputs of a forward pass; it limits the batch size for large samples."""

TOLERANCE: Final = 2e-3
HALF_TOLERANCE: Final = 5e-2
"""Tolerance for the difference between the outputs of two calls, as a share of the largest output."""


@dataclass(frozen=True)
class Partial:
    """Predictions with some modalities known and the others averaged out over background samples.

    Attributes:
        logits: ``(N, C)`` mean logits over the background samples.
        mixtures: ``{scale: (N, C)}`` logits of the mean prediction, if all logits are first multiplied by ``scale``.
    """

    logits: Tensor
    mixtures: dict[float, Tensor] = field(default_factory=dict)


class Predictor:
    """A model on one set of samples.

    Args:
        adapter: The model, with its call decided.
        samples: The samples.
        size: Number of samples in a forward pass, if the loader's batches can be joined.
        seed: Seed of background samples, permutations and noise.
        progress: Function that is called with a text before each pass.
    """

    def __init__(
        self,
        adapter: Adapter,
        samples: Samples,
        *,
        size: int = 256,
        seed: int = 0,
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.adapter, self.samples, self.seed, self.progress = adapter, samples, seed, progress
        self.size: int | None = max(1, min(size, BATCH_BYTES // samples.store.bytes_per_sample))
        self.notes: list[str] = []
        self.reading = Reading()
        self.features: dict[str, Tensor] = {}
        self.outputs = torch.empty(0)
        self._moments: dict[str, dict[str, tuple[Tensor, Tensor]]] = {}

    @property
    def n(self) -> int:
        """Number of samples."""
        return self.samples.store.n

    # -- all inputs ----------------------------------------------------------------------------------------------------

    def whole(self, builders: Mapping[str, MatrixBuilder] | None = None) -> Tensor:
        """Run the model on all samples, and check that the outputs equal those on the loader's own batches.

        Batches are joined or split for speed only if that changes no prediction.

        Args:
            builders: Builders of feature matrices, to which the inputs are passed at the same time.

        Returns:
            The outputs ``(N, C)``, not yet turned into logits.

        Raises:
            ModelError: If the number of rows of the output is not that of the input, or if two calls with the same
                batch give different outputs.
        """
        self.progress("predictions")
        own, again = (self._outputs(self.samples.first) for _ in range(2))
        if not self._same(own, again):
            raise ModelError(
                "The model gives different predictions when it is called twice with the same batch, so they cannot be "
                "diagnosed. Turn off all randomness in evaluation mode."
            )
        outputs = self._pass(builders)
        if not self._agrees(own, outputs):
            self.size = None
            self.notes.append("predictions depend on how samples are batched, so the loader's batches were kept")
            outputs = self._pass(None)
            if not self._agrees(own, outputs):
                raise ModelError(
                    "The model's prediction for a sample changes when other samples of its batch are left out, so its "
                    "predictions cannot be reproduced. Use limit=None, and a model whose rows do not interact."
                )
        self.outputs = outputs
        return outputs

    def check_finite(self) -> None:
        """Raise an error if an output is not finite.

        Raises:
            ModelError: For NaN or inf in the outputs.
        """
        outputs = self.outputs
        bad = (~outputs.isfinite()).any(1).nonzero().flatten()
        if len(bad):
            raise ModelError(
                f"The model's logits should be finite. Found NaN or inf in {len(bad)} of {len(outputs)} samples, the "
                f"first is {int(bad[0])}."
            )

    def read(self, task: type[Task]) -> Tensor:
        """Decide how outputs become logits, and return those of all samples ``(N, C)``."""
        self.reading = reading_of(self.outputs, task)
        if self.reading.note:
            self.notes.append(self.reading.note)
        return self.reading(self.outputs)

    def _pass(self, builders: Mapping[str, MatrixBuilder] | None) -> Tensor:
        outputs = Rows()
        features: defaultdict[str, Rows] = defaultdict(Rows)
        for _, inputs in self.samples.store.batches(self.size):
            if builders is not None:
                for m, builder in builders.items():
                    builder.add(inputs[m])
            logits, known = self._run(inputs)
            outputs.add(logits)
            for m, part in known.items():
                features[m].add(part)
        self.features = {m: rows.joined().double() for m, rows in features.items()}
        return outputs.joined()

    def _run(self, inputs: Mapping[str, Value]) -> tuple[Tensor, dict[str, Tensor]]:
        try:
            logits, features = self.adapter.run(inputs)
        except CounterpoiseError:
            raise
        except Exception as error:  # whatever a user's model raises
            raise ModelError(f"The model failed on a batch: {type(error).__name__}: {error}") from error
        return _checked(logits, num_rows(dict(inputs))).double(), features

    def _outputs(self, inputs: Mapping[str, Value]) -> Tensor:
        return _checked(self.adapter.logits(inputs), num_rows(dict(inputs))).double()

    def _agrees(self, own: Tensor, outputs: Tensor) -> bool:
        rows, places = self.samples.first_rows
        return self._same(own[places], outputs[rows])

    def _same(self, first: Tensor, second: Tensor) -> bool:
        half = self.adapter.autocast is not None or self._half()
        room = HALF_TOLERANCE if half else TOLERANCE
        near = (first - second).abs() <= room * (1 + first.abs())
        return bool((near | (first == second) | (first.isnan() & second.isnan())).all())

    def _half(self) -> bool:
        return next((p.dtype for p in self.adapter._parameters()), torch.float32) in (torch.bfloat16, torch.float16)

    # -- some modalities averaged out ----------------------------------------------------------------------------------

    def background(self, count: int) -> list[dict[str, Value]]:
        """Return some samples, the same ones for every call."""
        rows = torch.randperm(self.n, generator=torch.Generator().manual_seed(self.seed))[:count]
        return [self.samples.store.row(int(row)) for row in rows]

    def partials(
        self, subsets: Iterable[frozenset[str]], background: list[dict[str, Value]], scales: Iterable[float]
    ) -> dict[frozenset[str], Partial]:
        r"""Return predictions with the modalities of each subset unchanged and the others averaged out.

        For the modalities S the logits are averaged over K background samples whose other modalities replace those of
        the sample: :math:`\bar f_S(x) = \frac1K \sum_k f(x_S, x^{(k)}_{-S})` (the partial dependence). All samples
        share the background samples, so that these add only a constant, and no noise, to the outputs of an additive
        model. The inputs are read once.
        """
        wanted, factors = list(subsets), list(scales)
        logits = {s: Rows() for s in wanted}
        mixtures = {(s, f): Rows() for s in wanted for f in factors}
        for evaluate in self._sweep(background):
            for s in wanted:
                part = self._averaged((evaluate(s, k) for k in range(len(background))), factors)
                logits[s].add(part.logits)
                for f in factors:
                    mixtures[s, f].add(part.mixtures[f])
        return {s: Partial(logits[s].joined(), {f: mixtures[s, f].joined() for f in factors}) for s in wanted}

    task: Task

    def _averaged(self, outputs: Iterable[Tensor], scales: Sequence[float]) -> Partial:
        """Return the mean over background samples of outputs ``(B, C)``."""
        total: Tensor | float = 0.0
        mixed: dict[float, Tensor | float] = dict.fromkeys(scales, 0.0)
        count = 0
        for output in outputs:
            logits = self.reading(output)
            total, count = total + logits, count + 1
            for scale in mixed:
                mixed[scale] = mixed[scale] + self.task.mean(scale * logits)
        assert isinstance(total, Tensor)  # there is a background sample
        return Partial(
            total / count, {s: self.task.link(value / count) for s, value in mixed.items() if isinstance(value, Tensor)}
        )

    def _sweep(self, background: list[dict[str, Value]]) -> Iterator[Callable[[frozenset[str], int], Tensor]]:
        """Yield a function for every batch that replaces all but the known modalities by those of a background
        sample.
        """
        classifier = self.adapter.classifier
        if classifier is not None and classifier.separable and set(self.features) == set(classifier.modalities):
            yield from self._decoded(classifier, background)
            return
        for _, inputs in self.samples.store.batches(self.size):
            count = num_rows(inputs)

            def replaced(known: frozenset[str], k: int, inputs: Any = inputs, count: int = count) -> Tensor:
                other = background[k]
                return self._run_logits(
                    {m: v if m in known else repeat_row(other[m], count) for m, v in inputs.items()}
                )

            yield replaced

    def _decoded(
        self, classifier: MultimodalClassifier, background: list[dict[str, Value]]
    ) -> Iterator[Callable[[frozenset[str], int], Tensor]]:
        """Return the same from cached features; the encoders of a `MultimodalClassifier` run only once per background
        sample.
        """
        fixed = [self.adapter.represent(sample) for sample in background]
        device = self.adapter.device
        for rows in torch.arange(self.n).split(4096):

            def decoded(known: frozenset[str], k: int, rows: Tensor = rows) -> Tensor:
                features = {
                    m: (z[rows] if m in known else fixed[k][m].double().expand(len(rows), -1)).float().to(device)
                    for m, z in self.features.items()
                }
                return classifier.decode(features).logits.detach().cpu().double()

            yield decoded

    def _run_logits(self, inputs: Mapping[str, Value]) -> Tensor:
        outputs = self._outputs(inputs)
        if not bool(outputs.isfinite().all()):
            raise ModelError("The model's logits should be finite. Found NaN or inf with a modality replaced.")
        return outputs

    # -- corruptions ---------------------------------------------------------------------------------------------------

    def corrupted(self, m: str, corruption: Corruption) -> Tensor | None:
        """Return logits ``(N, C)`` with modality ``m`` corrupted, or None where that is undefined (noise on tokens)."""
        if corruption.kind == "permute":
            return self.reading(self._all_logits(self._permuted(m)))
        first: Any = self.samples.first[m]
        kind = corruption.kind
        numeric = all(isinstance(x, Tensor) for x in named_leaves(first).values())
        if not numeric or not applicable(first, kind) or (kind == "mean" and not self.samples.store.uniform):
            return None
        statistics = None if kind == "zeros" else self._moments_of(m)
        generator = torch.Generator().manual_seed(self.seed)

        def corrupt(value: Any) -> Value:
            return cast(Value, apply(value, corruption, generator=generator, statistics=statistics))

        batches = self.samples.store.batches(self.size)
        return self.reading(self._all_logits({**inputs, m: corrupt(inputs[m])} for _, inputs in batches))

    def _all_logits(self, batches: Iterable[Mapping[str, Value]]) -> Tensor:
        outputs = Rows()
        for inputs in batches:
            outputs.add(self._run_logits(inputs))
        return outputs.joined()

    def _permuted(self, m: str) -> Iterator[dict[str, Value]]:
        generator = torch.Generator().manual_seed(self.seed + 1)
        store = self.samples.store
        if store.uniform and store.in_memory and self.size is not None:
            values = [inputs[m] for _, inputs in store.batches(self.size)]
            shuffled = take_rows(concat_rows(values), _derangement(self.n, generator))
            for rows, inputs in store.batches(self.size):
                yield {**inputs, m: take_rows(shuffled, rows)}
            return
        # Batches of differing lengths, or on disk: each batch gets the modality from rows of the next one.
        before: dict[str, Value] | None = None
        last = None
        for _, inputs in store.batches(self.size):
            last = inputs
        before = last
        for _, inputs in store.batches(self.size):
            assert before is not None  # there is a batch
            count, other = num_rows(inputs), num_rows(before)
            order = _derangement(other, generator).repeat(-(-count // other))[:count]
            yield {**inputs, m: take_rows(before[m], order)}
            before = inputs

    def _moments_of(self, m: str) -> dict[str, tuple[Tensor, Tensor]]:
        """Return mean and standard deviation of each leaf: by column for ``(N, D)``, of everything for more axes."""
        if m in self._moments:
            return self._moments[m]
        sums: dict[str, list[Any]] = {}
        uniform = self.samples.store.uniform
        for _, inputs in self.samples.store.batches(self.size):
            for name, leaf in named_leaves(inputs[m]).items():
                if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
                    continue
                x = leaf.double()
                total, squares = (x.sum(0), x.square().sum(0)) if uniform else (x.sum(), x.square().sum())
                entry = sums.setdefault(name, [0.0, 0.0, 0.0, leaf.ndim])
                entry[0] += total
                entry[1] += squares
                entry[2] += len(x) if uniform else x.numel()
        self._moments[m] = {
            name.rpartition(".")[2]: _moments(total, squares, count, ndim, uniform)
            for name, (total, squares, count, ndim) in sums.items()
        }
        return self._moments[m]


def _moments(total: Tensor, squares: Tensor, count: int, ndim: int, uniform: bool) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation from sums; the latter is one for all places of inputs with more axes."""
    mean, second = total / count, squares / count
    if ndim > 2 and uniform:
        return mean, (second.mean() - mean.mean().square()).clamp_min(0).sqrt()
    return mean, (second - mean.square()).clamp_min(0).sqrt()


def _derangement(n: int, generator: torch.Generator) -> Tensor:
    """Return a random permutation that leaves no sample in its place (for n > 1)."""
    order = torch.randperm(n, generator=generator)
    place = torch.empty_like(order)
    place[order] = order.roll(-1)
    return place


def _checked(logits: Tensor, size: int) -> Tensor:
    if len(logits) != size:
        raise ModelError(f"A model should return one row of logits per sample. Found {len(logits)} for {size}.")
    return logits
