"""What a method may require of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from counterpoise.errors import ModelError
from counterpoise.fusion import Fusion
from counterpoise.model import MultimodalClassifier

if TYPE_CHECKING:
    from counterpoise.methods.base import Method

FusionT = TypeVar("FusionT", bound=Fusion)


def require_modality(model: MultimodalClassifier, m: str) -> None:
    """Raise `ModelError` if the model has no modality ``m``."""
    if m not in model.modalities:
        raise ModelError(f"The model has no modality `{m}`. It has {', '.join(model.modalities)}.")


def require_multiclass(method: Method, model: MultimodalClassifier, why: str) -> None:
    """Raise `ModelError` unless the task is multi-class.

    Args:
        method: Method that needs classes.
        model: Model.
        why: Reason why the method needs classes, for the message.
    """
    if not model.task.has_classes:
        raise ModelError(
            f"`{type(method).__name__}` needs a multiclass task: {why}. Found a {model.task.name} task. Use a method "
            "that is defined for it (uniform, ogm-ge, umt, ...)."
        )


def require_fusion(method: Method, model: MultimodalClassifier, kind: type[FusionT]) -> FusionT:
    """Return the fusion that `Method.prepare` has set in the model.

    Args:
        method: Method that needs the fusion.
        model: Model that is trained.
        kind: Class of the fusion.

    Raises:
        ModelError: If the fusion is of another class: the model is not the one that `Method.prepare` returned.
    """
    if not isinstance(model.fusion, kind):
        owner, fusion_name = type(method).__name__, type(model.fusion).__name__
        raise ModelError(
            f"`{owner}` trains a model with the fusion `{kind.__name__}`. Found `{fusion_name}`. Use the model that "
            "`prepare` returns: `model = method.prepare(model, target)`."
        )
    return model.fusion
