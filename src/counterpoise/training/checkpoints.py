"""Checkpoints, which are written atomically, read without unpickling objects, and checked before a run resumes from
them.
"""

from __future__ import annotations

import contextlib
import zipfile
from pathlib import Path
from typing import Any, Final

import lightning
import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from counterpoise._files import replacing
from counterpoise.errors import CheckpointError, OutputError
from counterpoise.training.averaging import averaged_weights

__all__ = [
    "BEST",
    "LAST",
    "PREVIOUS",
    "CheckpointFiles",
    "RunCheckpoints",
    "find_resume",
    "load_weights",
    "read_checkpoint",
]

BEST, LAST, PREVIOUS = "best.ckpt", "last.ckpt", "previous.ckpt"
_NEEDED: Final = (
    "state_dict",
    "epoch",
    "global_step",
    "loops",
    "optimizer_states",
    "lr_schedulers",
    "callbacks",
    "history",
)
"""Required entries of a checkpoint from which a run resumes."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read tensors and plain values. Nothing else is unpickled, and sizes are compared with the file first.

    Raises:
        CheckpointError: If the file is damaged, is not a checkpoint, or holds anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            promised = sum(entry.file_size for entry in archive.infolist())
        if promised > path.stat().st_size:  # torch stores its tensors as they are
            raise ValueError(f"its header declares {promised:,} bytes in a file of {path.stat().st_size:,}")
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
            raise ValueError("it holds no `state_dict`")
    except Exception as error:
        reason = str(error).split("\n")[0].split(". ")[0]
        raise CheckpointError(
            f"`{path}` is not a readable checkpoint: {type(error).__name__}: {reason}. Delete it to train again."
        ) from error
    return content


def load_weights(module: torch.nn.Module, path: Path) -> int:
    """Load the weights of a checkpoint into a `MethodModule` and return their epoch.

    Raises:
        CheckpointError: If the file is damaged, or belongs to another model or method.
    """
    checkpoint = read_checkpoint(path)
    _check_tensors(module, path, checkpoint)
    module.load_state_dict(checkpoint["state_dict"])
    return int(checkpoint["epoch"])


def _check_tensors(module: torch.nn.Module, path: Path, checkpoint: dict[str, Any]) -> None:
    own = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    saved = {name: tuple(getattr(value, "shape", ())) for name, value in checkpoint["state_dict"].items()}
    if own != saved:
        differing = sorted(n for n in own.keys() | saved.keys() if own.get(n) != saved.get(n))
        raise CheckpointError(
            f"`{path}` belongs to another model or method: {len(differing)} tensors differ, first `{differing[0]}` "
            f"(expected {own.get(differing[0], 'none')}, found {saved.get(differing[0], 'none')}). Use the "
            "configuration saved in the same folder."
        )
    if not isinstance(checkpoint.get("epoch"), int):
        raise CheckpointError(f"`{path}` is not a checkpoint of a run: it holds no epoch. Delete it to train again.")


def find_resume(folder: Path, module: torch.nn.Module) -> tuple[Path | None, list[str]]:
    """Return the newest checkpoint from which the run can resume, and a note on each unusable one.

    Args:
        folder: Folder of the run.
        module: The module, as the run builds it.
    """
    notes = []
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            checkpoint = read_checkpoint(path)
            missing = [name for name in _NEEDED if name not in checkpoint]
            if missing:
                raise CheckpointError(f"`{path}` is not a checkpoint of a run: {', '.join(missing)} missing.")
            _check_tensors(module, path, checkpoint)
            if RunCheckpoints.best_of(checkpoint) > float("-inf"):
                _check_tensors(module, folder / BEST, read_checkpoint(folder / BEST))
        except CheckpointError as error:
            notes.append(f"{error} The run was not resumed from it.")
        else:
            return path, notes
    return None, notes


class CheckpointFiles(CheckpointIO):
    """Checkpoint storage that writes into a temporary file in the same folder, which then replaces the old file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint atomically."""
        if (
            "state_dict" not in checkpoint
        ):  # Lightning passes the weights of a child process in this way, without a name
            checkpoint = {"state_dict": checkpoint, "bare": True}
        with replacing(Path(path)) as temporary:
            try:
                torch.save(checkpoint, temporary)
            except RuntimeError as error:  # torch's archive writer hides the operating system's error
                raise OutputError(
                    f"Could not write `{path}`: the disk is full or cannot be written to. The earlier checkpoint is "
                    "kept; free some space and run the same command again to resume."
                ) from error

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read tensors and plain values."""
        content = read_checkpoint(Path(path))
        return content["state_dict"] if content.get("bare") else content

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


class RunCheckpoints(Checkpoint):
    """Callback that saves the weights of the best selectable epoch, and the states after the current and the previous
    epoch.

    Args:
        folder: Folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.best = float("-inf")

    @staticmethod
    def best_of(checkpoint: dict[str, Any]) -> float:
        """Return the best value of the selection up to a checkpoint; minus infinity if nothing was selected."""
        states = checkpoint.get("callbacks")
        state = states.get(RunCheckpoints.__qualname__) if isinstance(states, dict) else None
        best = state.get("best") if isinstance(state, dict) else None
        return best if isinstance(best, float) else float("-inf")

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save the epoch."""
        value = float(trainer.callback_metrics["selection"])
        if value > self.best:
            self.best = value
            with averaged_weights(trainer):
                trainer.save_checkpoint(self.folder / BEST, weights_only=True)
        last = self.folder / LAST
        # There is none in the first epoch, or if another run with the same key has finished meanwhile.
        with contextlib.suppress(FileNotFoundError):
            if trainer.is_global_zero:
                last.replace(self.folder / PREVIOUS)
        trainer.save_checkpoint(last)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value."""
        self.best = float(state_dict["best"])
