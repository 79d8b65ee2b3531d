"""`diagnose`: how a trained model uses its modalities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

from counterpoise._notes import Notes
from counterpoise.diagnosis._adapter import Adapter, adapt
from counterpoise.diagnosis._diagnosis import Diagnosis
from counterpoise.diagnosis._estimators import as_loader, is_estimator
from counterpoise.diagnosis._frames import is_frame
from counterpoise.diagnosis._options import DiagnosisOptions, Settings, options_of
from counterpoise.diagnosis._progress import Progress
from counterpoise.diagnosis._run import Run
from counterpoise.diagnosis._streams import cut_streams, has_slices
from counterpoise.diagnosis._table_tensors import as_batches
from counterpoise.tasks import Task

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["diagnose"]

Modalities: TypeAlias = "Sequence[str] | Mapping[str, Any]"
"""Names, or the keys, columns or slices of each modality."""


def diagnose(
    model: Callable[..., Any] | Adapter,
    loader: Iterable[Any],
    y: ArrayLike | str | None = None,
    *,
    train: Iterable[Any] | None = None,
    modalities: Modalities | None = None,
    adapter: Adapter | None = None,
    task: str | Task | None = None,
    **settings: Unpack[Settings],
) -> Diagnosis:
    r"""Measure how much information each modality carries and how much of it a model uses.

    On samples that the model was not trained on, three numbers are compared for every modality m:

    - available information: I(X_m; Y), the largest estimate from classifiers fitted on its inputs, on its features or
      on the features given as ``reference_features``, or from the predictions of the model itself;
    - used information: the information in the model's own predictions when all other modalities are averaged out over a
      few background samples. It is 0 if replacing m changes no prediction;
    - training information: the same on training samples, if ``train`` is given.

    A modality is *under-trained* if it is informative but little of that is used, *uninformative* if it carries no
    information, *overfitting* if its training information does not generalise, and *undecided* where there are too few
    samples. `counterpoise.diagnosis.Thresholds` sets the cut-offs.

    Args:
        model: A `MultimodalClassifier`, any torch module or function over several inputs, what `adapt` returned, or a
            fitted scikit-learn estimator (then ``loader`` is a table X, and ``y`` its labels). With a table of numbers,
            a module or function gets one float32 tensor ``(B, D)`` per modality, its columns in the order given.
        loader: Yields `Batch`, ``({m: tensor}, target)``, ``((x1, x2), target)``, ``(x1, x2, target)`` or mappings with
            a label, of samples that the model was not trained on; or a data set of single samples, or a
            LightningDataModule.
        y: Labels ``(N,)``, or the name of their column, if ``loader`` is a table; else None.
        train: The same as ``loader``, of samples that the model was trained on, to see overfitting. For a table,
            ``(X_train, y_train)``.
        modalities: Names in the order of positional inputs, or ``{name: [keys]}`` where a modality has several inputs.
            For a table, ``{name: [columns]}``. Where one input ``(B, T, ...)`` holds several modalities, ``{"image":
            slice(1, 577), "text": slice(577, None)}`` cuts it along T, or ``("inputs_embeds", slice(1, 577))`` where
            there are other inputs.
        adapter: Result of `adapt`, for models whose call cannot be inferred.
        task: Multiclass, multilabel, regression, or a `Task`; by default inferred from the labels and the outputs.
        settings: ``options=DiagnosisOptions(...)``, or any of its fields by name (``class_names``, ``group``,
            ``limit``, ``estimator``, ``seed``, ...), and the parameters ``call``, ``features`` and ``output`` of
            `adapt`.

    Returns:
        The diagnosis. A failure after the predictions with all modalities (a modality that cannot be replaced, a
        corruption that the model refuses, or pictures) becomes a note.

    Raises:
        DataError: For input that would silently produce incorrect results (empty, one class, NaN, one modality, unequal
            lengths).
        ModelError: For a model that cannot be called, does not return finite logits ``(B, C)``, or whose predictions
            cannot be reproduced.
        ConfigError: For settings out of range.
        NotFoundError: For an unknown estimator or submodule.

    Example:
        >>> import torch
        >>> g = torch.Generator().manual_seed(0)
        >>> y = torch.randint(2, (400,), generator=g)
        >>> a, b = (torch.randn(400, 1, generator=g) + 2 * y[:, None] for _ in "ab")
        >>> def deaf(a, b):                                      # it does not use b
        ...     return torch.cat([torch.zeros_like(a), 2 * a - 2], 1)
        >>> diagnosis = diagnose(deaf, [({"a": a, "b": b}, y)])
        >>> diagnosis.findings["a"].verdict, diagnosis.findings["b"].verdict
        ('balanced', 'under-trained')
    """
    options, call = options_of(settings)
    more: list[str] = []
    if is_estimator(model):
        table = as_loader(model, loader, y, modalities, task, options, train)
        model, loader, train, modalities = table.model, table.loader, table.train, table.modalities
        task, options, more = table.task, table.options, table.notes
        call = {**call, "call": "dict"}
    elif y is not None or is_frame(loader):
        loader, train, modalities, more = as_batches(
            loader, options.label if y is None else y, modalities, batch_size=options.batch_size, train=train
        )
    if isinstance(modalities, Mapping) and has_slices(modalities):
        model, loader, train, modalities = cut_streams(
            model.model if isinstance(model, Adapter) else model,
            loader,
            train,
            modalities,
            call=call.get("call", "auto"),
            label=options.label,
            batch_size=options.batch_size,
        )
        call = {**call, "call": "dict"}
    ready = _adapter(model, adapter, modalities, call, options)
    with Progress(options.progress) as progress:
        run = Run(ready, options, task, progress, notes=Notes(more))
        try:
            return run.diagnosis(loader, train)
        finally:
            run.close()


def _adapter(
    model: Callable[..., Any] | Adapter,
    adapter: Adapter | None,
    modalities: Sequence[str] | Mapping[str, Sequence[str]] | None,
    call: Mapping[str, Any],
    options: DiagnosisOptions,
) -> Adapter:
    if isinstance(model, Adapter):
        ready = model
    elif adapter is not None:
        ready = replace(adapter, model=model)
    else:
        return replace(adapt(model, modalities=modalities, **call), autocast=options.autocast)
    if modalities is not None:
        named = adapt(ready.model, modalities=modalities)
        ready = replace(ready, modalities=named.modalities, groups=named.groups)
    return replace(ready, autocast=options.autocast or ready.autocast)
