"""Models built from names."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from torch import nn

from counterpoise._validation import Interval, check_keys, unknown
from counterpoise.catalogue import parse_spec, user_name
from counterpoise.encoders import DEFAULT_ENCODER, ENCODERS
from counterpoise.errors import CounterpoiseError, ModelError, describe
from counterpoise.fusion import Absent
from counterpoise.model._classifier import MultimodalClassifier
from counterpoise.tasks import Task


def build_model(
    modalities: Mapping[str, tuple[str, tuple[int, ...], int]],
    *,
    num_outputs: int,
    task: str | Task = "multiclass",
    fusion: str = "concat",
    encoders: Mapping[str, str] | None = None,
    width: int = 64,
    absent: Absent | None = None,
) -> MultimodalClassifier:
    """Build a model from names: one library encoder per modality.

    Args:
        modalities: Kind, shape of one sample and vocabulary size by modality (see `counterpoise.data.Modality`).
        num_outputs: C.
        task: The task.
        fusion: A fusion's name.
        encoders: Name or import path of an encoder, for modalities that do not use the default of their kind, with
            arguments in brackets (``resnet18[pretrained=microsoft/resnet-18]``). Your own class is called with the
            shape of one sample and ``width``; arguments in brackets are those that it takes by keyword only.
        width: Feature dimension of the encoders.
        absent: How the fusion reads absent modalities, see `MultimodalClassifier`.

    Raises:
        ConfigError: If ``encoders`` names an unknown modality or argument.
        NotFoundError: For an unknown encoder or fusion.

    Example:
        >>> build_model({"a": ("vector", (4,), 0), "b": ("sequence", (50, 3), 0)}, num_outputs=2).modalities
        ('a', 'b')
    """
    chosen = dict(encoders or {})
    check_keys("the encoders", chosen, modalities)
    Interval(1, integer=True).check("build_model", "width", width)
    built: dict[str, nn.Module] = {}
    for m, (kind, shape, vocabulary) in modalities.items():
        if kind not in DEFAULT_ENCODER:
            raise unknown("kind of modality", kind, DEFAULT_ENCODER)
        name, arguments = parse_spec("encoder", user_name(chosen.get(m, DEFAULT_ENCODER[kind])))
        encoder = ENCODERS.resolve(name)
        known = [p for p, q in inspect.signature(encoder).parameters.items() if q.kind is q.KEYWORD_ONLY]
        check_keys(f"encoder `{name}`", arguments, known)
        given = (shape, width, vocabulary) if vocabulary else (shape, width)
        try:
            built[m] = encoder(*given, **arguments)
        except CounterpoiseError:
            raise
        except Exception as error:
            raise ModelError(
                f"Encoder `{name}` of `{m}` could not be built for samples of shape {tuple(shape)} and {width} "
                f"features: {describe(error)}. Choose another encoder, or other arguments."
            ) from error
    return MultimodalClassifier(built, num_outputs=num_outputs, task=task, fusion=fusion, absent=absent)
