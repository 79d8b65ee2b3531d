"""The three splits as a Lightning data module, and the samples that are held out of the training set."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import lightning
import numpy as np
import torch

from counterpoise import distributed
from counterpoise.config import FitConfig
from counterpoise.data import BatchLoader, MultimodalData, holdout_split
from counterpoise.records import Batch

__all__ = ["MultimodalDataModule"]

EVALUATION_BATCH = 512
SAMPLE, PER_CLASS = 512, 10
"""Maximum number of training samples that a decision rule may read, in total and per class. The larger limit
applies."""


class MultimodalDataModule(lightning.LightningDataModule):
    """Loaders for the training, validation and held-out samples.

    Held-out samples are taken from the training set, by whole groups if groups are known. From epoch ``release`` on
    they are used for training (never, if the method needs them throughout). The samples of an epoch depend only on the
    seed and the epoch, so that a resumed run equals an uninterrupted one.

    Args:
        data: The data.
        config: Batch size and share to hold out.
        seed: Seed of the order and of the hold-out.
        release: First epoch that trains on the held-out samples; 0 holds nothing out, None never releases them.
        plan: A method's re-sampling hook.
    """

    def __init__(
        self,
        data: MultimodalData,
        config: FitConfig,
        *,
        seed: int = 0,
        release: int | None = 0,
        plan: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.data = data
        self.config = config
        self.release = release
        everything = np.arange(len(data.train))
        self.kept, self.held = everything, everything[:0]
        if release != 0:
            self.kept, self.held = holdout_split(data.train.target, data.train.group, config.holdout, seed)
        self.loader = BatchLoader(data.train, config.batch_size, seed=seed, plan=plan)
        self.evaluation_batch = data.train.batch_size(EVALUATION_BATCH)
        self.validation = BatchLoader(data.val, self.evaluation_batch, seed=seed, shuffle=False)

    def holds_out(self, epoch: int) -> bool:
        """Return whether samples are held out in an epoch."""
        return self.release is None or epoch < self.release

    def epoch_indices(self, epoch: int) -> np.ndarray:
        """Return which training samples an epoch may use."""
        return self.kept if self.holds_out(epoch) else np.arange(len(self.data.train))

    def batches_of_epoch(self, epoch: int) -> int:
        """Return the number of batches of an epoch."""
        return self.loader.count(len(self.epoch_indices(epoch)), distributed.world_size())

    def train_dataloader(self) -> BatchLoader:
        """Return the loader, set to the epoch that is about to start."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        self.loader.indices = torch.from_numpy(self.epoch_indices(epoch))
        self.loader.set_epoch(epoch)
        if distributed.world_size() > 1:
            self.loader.share(distributed.rank(), distributed.world_size())
        return self.loader

    def val_dataloader(self) -> BatchLoader:
        """Return the validation set in order, or the part of it that this process reads."""
        if self.shares_validation:
            rows = torch.arange(len(self.data.val))
            self.validation.indices = rows.tensor_split(distributed.world_size())[distributed.rank()]
        return self.validation

    @property
    def shares_validation(self) -> bool:
        """Whether each process reads a part of the validation set. A set of fewer samples is read by all."""
        return 1 < distributed.world_size() <= len(self.data.val)

    def train_pass(self) -> Iterable[Batch]:
        """Yield the samples that are currently trained on, in order."""
        indices = self.loader.indices if self.loader.indices is not None else torch.arange(len(self.data.train))
        for chunk in indices.split(self.evaluation_batch):
            yield self.data.train.batch(chunk)

    def train_sample(self) -> Iterable[Batch]:
        """Yield at most `SAMPLE` (or `PER_CLASS` per class) samples that are never held out, always the same ones."""
        rows = np.random.default_rng(0).permutation(self.kept)[: max(SAMPLE, PER_CLASS * self.data.info.num_outputs)]
        for chunk in torch.from_numpy(np.sort(rows)).split(self.evaluation_batch):
            yield self.data.train.batch(chunk)

    def held_out_pass(self) -> Iterable[Batch]:
        """Yield the held-out samples, in order."""
        for chunk in torch.from_numpy(self.held).split(self.evaluation_batch):
            yield self.data.train.batch(chunk)
