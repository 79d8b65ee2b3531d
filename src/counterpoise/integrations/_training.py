"""Parts shared by all integrations: the sampler of a method, batches with positions, and the hook between epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from counterpoise import distributed
from counterpoise._validation import Interval
from counterpoise.data import epoch_generator, epoch_order
from counterpoise.diagnosis import batches_of, split_target
from counterpoise.errors import ConfigError, DataError, ModelError
from counterpoise.methods import EpochContext, Method
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

__all__ = ["MethodSampler", "MethodTraining"]

BATCH = 256
"""Batch size of a pass between epochs, if the loader has none."""


class MethodSampler(torch.utils.data.Sampler[int]):
    """A sampler that shuffles the training set and lets the method re-sample it (`Method.resample`).

    Pass it to a ``DataLoader`` as ``sampler``. It stores its order, so that the position of each sample of a batch is
    known to methods that keep statistics per sample. The order depends on the seed and the epoch only.

    In distributed training, each of W processes gets its share of the order; no other library may replace or split the
    sampler. If W does not divide N, the last N modulo W samples of the epoch's order are left out, so that all
    processes take the same number of steps.

    Args:
        method: Method that trains.
        num_samples: Number of training samples N.
        seed: Seed of the order.

    Attributes:
        epoch: Number of the epoch; loops of other libraries set it by `set_epoch`.
        order: ``(N // W,)`` positions in the training set of this process's samples, in the current order.

    Raises:
        ConfigError: If ``num_samples`` is 0.

    Example:
        >>> from counterpoise.methods import OGMGE
        >>> sampler = MethodSampler(OGMGE(), num_samples=4)
        >>> sorted(sampler), len(sampler)
        ([0, 1, 2, 3], 4)
    """

    def __init__(self, method: Method, num_samples: int, seed: int = 0) -> None:
        Interval(1, integer=True).check("MethodSampler", "num_samples", num_samples)
        self.method, self.num_samples, self.seed = method, num_samples, seed
        self.epoch, self.order, self._taken = 0, torch.arange(num_samples), 0
        self.before: Callable[[], None] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the epoch, from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_samples // distributed.world_size()

    def __iter__(self) -> Iterator[int]:
        if self.before is not None:  # the method's epoch hook comes before its order, also with worker processes
            self.before()
        order = epoch_order(self.num_samples, self.seed, self.epoch)
        order = self.method.resample(order, epoch_generator(self.seed, self.epoch, stream=1))
        if len(order) != self.num_samples:
            raise ConfigError(
                f"`{type(self.method).__name__}.resample` should return {self.num_samples} positions. Found "
                f"{len(order)}."
            )
        world = distributed.world_size()
        self.order, self._taken = order[: len(order) - len(order) % world][distributed.rank() :: world], 0
        yield from self.order.tolist()

    def take(self, size: int) -> Tensor:
        """Return the positions of the samples of the next batch, ``(size,)``.

        Raises:
            DataError: If the batches of an epoch hold more samples than the training set.
        """
        positions = self.order[self._taken : self._taken + size]
        self._taken += size
        if len(positions) < size:
            raise DataError(
                f"The batches hold more than the {self.num_samples} samples of the `MethodSampler`. Use it in the "
                "training loader only, and read that loader once per epoch."
            )
        return positions


class MethodTraining:
    """A method in the training loop of another library, with its batches, targets and epochs.

    The loop calls `start_epoch` once per epoch and passes each batch to `batch`, which adds the positions of its
    samples.

    Args:
        method: Method.
        loader: Training loader. With a `MethodSampler` the positions of samples are known; without one its batches
            must carry them, as `Batch` or under the key ``index``.
        held_out: Batches, or a data set, of samples that are not trained on, for methods that need them. They must not
            be the validation set that selects a model.
        label: Key of the target in batches that are mappings; by default label, labels, target, targets or y.

    Attributes:
        model: Model to train; set by `prepare`.

    Raises:
        ConfigError: If the method needs held-out samples or a sampler and they are missing.

    Example:
        >>> from counterpoise.methods import OGMGE
        >>> rows = [{"a": torch.ones(2), "b": torch.ones(3), "label": torch.tensor(k % 2)} for k in range(6)]
        >>> method = OGMGE()
        >>> loader = torch.utils.data.DataLoader(rows, batch_size=3, sampler=MethodSampler(method, len(rows)))
        >>> training = MethodTraining(method, loader)
        >>> training.targets()
        tensor([0, 1, 0, 1, 0, 1])
    """

    def __init__(
        self,
        method: Method,
        loader: Any,
        *,
        held_out: Iterable[Any] | None = None,
        label: str | None = None,
    ) -> None:
        name = type(method).__name__
        if method.needs_held_out and held_out is None:
            raise ConfigError(
                f"`{name}` measures on samples that are not trained on. Pass held_out=loader, with samples that are in "
                "neither the training set nor the validation set."
            )
        if held_out is not None and iter(held_out) is held_out:
            raise ConfigError("`held_out` is read in every epoch. Found a generator. Pass a DataLoader or a list.")
        self.method, self.loader, self.held_out, self.label = method, loader, held_out, label
        self.sampler = _sampler_of(loader)
        if self.sampler is None and type(method).resample is not Method.resample:
            raise ConfigError(
                f"`{name}` re-samples the training set. Give the training loader its sampler: DataLoader(data, "
                "batch_size=..., sampler=MethodSampler(method, len(data)))."
            )
        if self.sampler is not None and self.sampler.method is not method:
            raise ConfigError("The `MethodSampler` of the training loader belongs to another method. Give it this one.")
        self.model: MultimodalClassifier | None = None
        self._started = -1

    def targets(self) -> Tensor:
        """Return the targets of the training set by position, ``(N,)`` or ``(N, C)``; one pass over its loader.

        Raises:
            DataError: If the training set has no fixed order.
        """
        return torch.cat([target for _, target, _ in self._passes(_in_order(self._fixed()))])

    def prepare(self, model: MultimodalClassifier, target: Tensor | None = None) -> MultimodalClassifier:
        """Prepare the method for a model, and return the model to train. Call this before the optimizer is created.

        Args:
            model: Model, or a wrapped module (`counterpoise.wrap`).
            target: Targets of the training set by position; None reads them from the loader.
        """
        self.model = self.method.prepare(model, self.targets() if target is None else target)
        return self.model

    def start_epoch(self, number: int, total: int) -> None:
        """Call the method's epoch hook, once for each epoch.

        Args:
            number: Number of the epoch that is about to start, from 0.
            total: Number of epochs of the run.
        """
        if number == self._started:
            return
        self._started = number
        if self.sampler is not None:
            self.sampler.set_epoch(number)
        fixed = self._order()
        self.method.on_epoch_start(
            self._prepared(),
            EpochContext(
                number,
                total,
                train=None if fixed is None else lambda: self._batches(_in_order(fixed)),
                held_out=None if self.held_out is None else lambda: self._batches(self.held_out),
            ),
        )

    def batch(self, item: Any) -> Batch:
        """Return what the training loader yielded as a `Batch`, with the positions of its samples.

        Raises:
            ConfigError: If the positions are not known.
            DataError: If ``item`` is not a batch with inputs and a target.
        """
        if isinstance(item, Batch):
            return item
        inputs, target, index = self._split(item)
        if self.sampler is not None:
            index = self.sampler.take(len(target))
        if index is None:
            raise ConfigError(
                "The position of each sample in the training set is not known. Give the training loader a sampler: "
                "DataLoader(data, batch_size=..., sampler=MethodSampler(method, len(data))). Or let its batches hold "
                "the positions under the key `index`."
            )
        return self._as_batch(inputs, target, index)

    def select(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs that the model reads: its modalities by name, else every tensor."""
        names = self._prepared().modalities
        return {m: inputs[m] for m in names} if set(names) <= set(inputs) else _tensors(inputs)

    def check_optimizers(self, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        """Check that the optimizers hold the parameters of the model, of its unimodal heads and of the method.

        Raises:
            ConfigError: If a trainable parameter is in no optimizer.
        """
        present = {id(p) for o in optimizers for group in o.param_groups for p in group["params"]}
        owners: dict[str, nn.Module] = {"the method": self.method, "the model": self._prepared()}
        for owner, module in owners.items():
            missing = [name for name, p in module.named_parameters() if p.requires_grad and id(p) not in present]
            if missing:
                raise ConfigError(
                    f"The optimizer should hold all parameters of {owner}. {len(missing)} are in no optimizer "
                    f"(`{missing[0]}`, ...). Create it from [*model.parameters(), *method.parameters()], or freeze "
                    f"them."
                )

    # -- batches -------------------------------------------------------------------------------------------------------

    def _prepared(self) -> MultimodalClassifier:
        if self.model is None:
            raise ModelError("The method has no model yet. Call `prepare` before the optimizer is created.")
        return self.model

    def _order(self) -> Any:
        """Return the training loader if its samples have a fixed order, else None."""
        fixed = isinstance(self.loader, list | tuple) or (
            isinstance(self.loader, torch.utils.data.DataLoader)
            and not isinstance(self.loader.dataset, torch.utils.data.IterableDataset)
        )
        return self.loader if fixed else None

    def _fixed(self) -> Any:
        if self._order() is None:
            raise DataError(
                "The targets of the training set are read in a fixed order, from a DataLoader over a data set with "
                f"positions. Found {type(self.loader).__name__}. Pass target=..., the targets by position."
            )
        return self.loader

    def _split(self, item: Any) -> tuple[dict[str, Any], Tensor, Tensor | None]:
        """Return the inputs by name, the target, and the positions if the batch holds them."""
        inputs, target = split_target(item, self.label)
        if not isinstance(inputs, Mapping):
            names = self._prepared().modalities if self.model is not None else tuple(map(str, range(len(inputs))))
            inputs = dict(zip(names, inputs, strict=True))
        kept = _tensors(inputs)
        return kept, torch.as_tensor(target), kept.pop("index", None)

    def _as_batch(self, inputs: dict[str, Any], target: Tensor, index: Tensor) -> Batch:
        return Batch(self.select(inputs), target, index.to(target.device))

    def _passes(self, loader: Any) -> Iterator[tuple[dict[str, Any], Tensor, Tensor]]:
        """Yield inputs, target and positions of a loader without a shuffle."""
        start = 0
        for item in batches_of(loader, self.label, BATCH):
            if isinstance(item, Batch):
                yield dict(item.inputs), item.target, item.index
                continue
            inputs, target, index = self._split(item)
            yield inputs, target, torch.arange(start, start + len(target)) if index is None else index
            start += len(target)

    def _batches(self, loader: Any) -> Iterator[Batch]:
        for inputs, target, index in self._passes(loader):
            yield self._as_batch(inputs, target, index)


def _tensors(value: Any) -> Any:
    """Return a nested mapping without the entries that are not tensors (texts, names)."""
    if isinstance(value, Mapping):
        return {k: _tensors(v) for k, v in value.items() if isinstance(v, Tensor | Mapping)}
    return value


def _sampler_of(loader: Any) -> MethodSampler | None:
    """Return the `MethodSampler` of a loader, also inside batch samplers of other libraries."""
    for _ in range(4):
        loader = getattr(loader, "batch_sampler", None) or getattr(loader, "sampler", None)
        if isinstance(loader, MethodSampler):
            return loader
        if isinstance(getattr(loader, "sampler", None), MethodSampler):
            return loader.sampler
    return None


def _in_order(loader: Any) -> Any:
    """Return a loader over the same samples without a shuffle, in this process."""
    if not isinstance(loader, torch.utils.data.DataLoader):
        return loader
    size = loader.batch_size
    if size is None and loader.batch_sampler is not None:
        size = BATCH
    return torch.utils.data.DataLoader(loader.dataset, batch_size=size, collate_fn=loader.collate_fn)
