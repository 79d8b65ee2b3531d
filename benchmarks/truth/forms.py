"""The forms in which a model and its samples reach the library: modules, wrappers, files, frames."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import calls
import numpy as np
import pandas as pd
import torch
from calls import Reading
from models import Outputs
from torch import Tensor, nn
from worlds import Discrete, Draw, World

__all__ = ["ARRAYS", "MODELS", "Request", "run"]


@dataclass(frozen=True)
class Request:
    """One diagnosis to make.

    Attributes:
        world: where the samples come from.
        draw: Samples that the model was not trained on.
        train: Samples that it was trained on, or None.
        model: The model, or None for arrays.
        seed: Seed of the library.
        batch: Samples in a batch.
    """

    world: World
    draw: Draw
    train: Draw | None
    model: Outputs | None
    seed: int
    batch: int = 100


class TwoInputs(nn.Module):
    """``forward(b, a)``: the order of the signature is not that of the batches."""

    def __init__(self, model: Outputs) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.planted = model

    def forward(self, b: Tensor, a: Tensor) -> Tensor:
        """Return logits (N, C)."""
        return self.planted({"a": a, "b": b}).float()


class Positional(TwoInputs):
    """``forward(a, b)``, as loaders of tuples need it."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:  # type: ignore[override]
        """Return logits (N, C)."""
        return self.planted({"a": a, "b": b}).float()


class Whole(TwoInputs):
    """``forward(batch)`` with a mapping, for any number of modalities; returns a mapping."""

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:  # type: ignore[override]
        """Return logits (N, C) under their name."""
        return {"logits": self.planted(batch).float()}


class Half(TwoInputs):
    """Parameters, inputs and logits in bfloat16."""

    def forward(self, b: Tensor, a: Tensor) -> Tensor:
        """Return logits (N, C)."""
        return self.planted({"a": a.float(), "b": b.float()}).to(self.anchor.dtype)


class Wrapped(nn.Module):
    """What many loggers and accelerators do: the signature is lost."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the inner module."""
        return self.inner(*args, **kwargs)


class Keywords(Wrapped):
    """A wrapper that takes keywords only."""

    def forward(self, **batch: Any) -> Any:  # type: ignore[override]
        """Call the inner module."""
        return self.inner(**batch)


class Tokens(nn.Module):
    """``forward(input_ids, attention_mask, b)``: the symbol of ``a`` is the last token, as for left-padded decoders."""

    def __init__(self, model: Outputs, size: int) -> None:
        super().__init__()
        self.planted, self.size = model, size

    def forward(self, input_ids: Tensor, attention_mask: Tensor, b: Tensor) -> Tensor:
        """Return logits (N, C)."""
        del attention_mask
        code = nn.functional.one_hot((input_ids[:, -1] - 1).clamp(0, self.size - 1), self.size).float()
        return self.planted({"a": code, "b": b}).float()


class FirstToken(Tokens):
    """The same with the symbol in the first token, as for right-padded encoders."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, b: Tensor) -> Tensor:
        """Return logits (N, C)."""
        return super().forward(input_ids[:, :1], attention_mask, b)


def _batches(request: Request, draw: Draw, make: Callable[[dict[str, Tensor], Tensor], Any]) -> list[Any]:
    target = _target(request.world, draw)
    parts = []
    for start in range(0, len(target), request.batch):
        rows = slice(start, start + request.batch)
        parts.append(make({m: torch.from_numpy(x[rows]) for m, x in draw.inputs.items()}, target[rows]))
    return parts


def _target(world: World, draw: Draw) -> Tensor:
    y = torch.from_numpy(np.ascontiguousarray(draw.target))
    return y.float() if world.task != "multiclass" else y


def _mapping(x: dict[str, Tensor], y: Tensor) -> Any:
    return {**x, "label": y}


def _positional(x: dict[str, Tensor], y: Tensor) -> Any:
    return (*x.values(), y)


def _half(x: dict[str, Tensor], y: Tensor) -> Any:
    return {**{m: v.bfloat16() for m, v in x.items()}, "label": y}


def _modelled(
    request: Request, model: Callable[..., Any], make: Callable[[dict[str, Tensor], Tensor], Any] = _mapping
) -> Reading:
    train: Iterable[Any] | None = None if request.train is None else _batches(request, request.train, make)
    return calls.of_model(
        model,
        _batches(request, request.draw, make),
        train=train,
        task=request.world.task,
        group=request.draw.group,
        seed=request.seed,
    )


def _lightning(model: Outputs) -> nn.Module:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.inner = TwoInputs(model)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.inner(b, a)

    return Module()


def _tokens(request: Request, *, left: bool) -> Reading:
    """Show the symbols of ``a`` as token ids in sentences of other words, each batch padded to its own length."""
    world, pad = request.world, 0
    assert isinstance(world, Discrete)
    assert request.model is not None
    size = world.sizes["a"]
    rng = np.random.default_rng((request.seed, 23))

    def make(x: dict[str, Tensor], y: Tensor) -> Any:
        symbol = world.symbols("a", x["a"]).numpy()
        lengths = rng.integers(2, 9, size=len(symbol))
        ids = np.full((len(symbol), lengths.max()), pad)
        for row, (s, length) in enumerate(zip(symbol, lengths, strict=True)):
            words = rng.integers(size + 1, size + 20, size=length)
            words[-1 if left else 0] = s + 1
            ids[row, -length:] if left else None
            place = slice(ids.shape[1] - length, None) if left else slice(0, length)
            ids[row, place] = words
        tokens = torch.from_numpy(ids)
        return {"input_ids": tokens, "attention_mask": (tokens != pad).long(), "b": x["b"], "label": y}

    module = (Tokens if left else FirstToken)(request.model, size)
    return _renamed(_modelled(request, module, make), {"input_ids": "a", "text": "a"})


def _renamed(reading: Reading, names: Mapping[str, str]) -> Reading:
    """Return the reading with the benchmark's names of the modalities."""
    from dataclasses import replace

    def rename(values: Mapping[str, Any]) -> dict[str, Any]:
        return {names.get(m, m): v for m, v in values.items()}

    return replace(
        reading,
        modalities=tuple(names.get(m, m) for m in reading.modalities),
        **{k: rename(getattr(reading, k)) for k in ("verdicts", "mi", "cmi", "used", "permuted")},
    )


def _hugging_face(request: Request) -> Reading:
    """A BERT classifier for ``a`` and a vision transformer for ``b``, built from small configurations.

    With the outputs of attention and of the feed-forward layers set to 0, the hidden state of a position depends on its
    own token only. The classifiers are solved so that logits are log p(y) plus the planted evidence of each modality.
    """
    from huggingface import Classifier, images, sentences

    world = request.world
    assert isinstance(world, Discrete)
    assert request.model is not None
    rng = np.random.default_rng((request.seed, 29))
    module = Classifier(world.sizes["a"], world.sizes["b"], request.model)

    def make(x: dict[str, Tensor], y: Tensor) -> Any:
        ids, mask = sentences(world.symbols("a", x["a"]), rng)
        pixels = images(world.symbols("b", x["b"]), rng)
        return {"input_ids": ids, "attention_mask": mask, "pixel_values": pixels, "labels": y}

    return _renamed(
        _modelled(request, module, make), {"input_ids": "a", "text": "a", "pixel_values": "b", "image": "b"}
    )


def _numpy(model: Outputs) -> Callable[..., Any]:
    def predict(a: Any, b: Any) -> np.ndarray:
        inputs = {"a": torch.as_tensor(np.asarray(a)), "b": torch.as_tensor(np.asarray(b))}
        return model(inputs).numpy()

    return predict


def _probabilities(model: Outputs) -> Callable[..., Any]:
    return lambda a, b: model({"a": a, "b": b}).softmax(-1).float()


def _log_odds(model: Outputs, *, sigmoid: bool) -> Callable[..., Any]:
    def predict(a: Tensor, b: Tensor) -> Tensor:
        out = model({"a": a, "b": b})
        odds = (out[:, 1:] - out[:, :1]).float()
        return odds.sigmoid() if sigmoid else odds

    return predict


MODELS: dict[str, Callable[[Request, Outputs], Reading]] = {
    "module": lambda r, f: _modelled(r, TwoInputs(f)),
    "tuple batches": lambda r, f: _modelled(r, Positional(f), _positional),
    "mapping": lambda r, f: _modelled(r, Whole(f)),
    "nested batches": lambda r, f: _modelled(r, Whole(f), lambda x, y: (x, y)),
    "Lightning": lambda r, f: _modelled(r, _lightning(f)),
    "compiled": lambda r, f: _modelled(r, torch.compile(TwoInputs(f), backend="eager")),
    "DataParallel": lambda r, f: _modelled(r, nn.DataParallel(TwoInputs(f))),
    "wrapped": lambda r, f: _modelled(r, Wrapped(TwoInputs(f))),
    "keywords": lambda r, f: _modelled(r, Keywords(TwoInputs(f))),
    "wrapped twice": lambda r, f: _modelled(r, Wrapped(nn.DataParallel(TwoInputs(f)))),
    "bf16": lambda r, f: _modelled(r, Half(f).bfloat16(), _half),
    "NumPy function": lambda r, f: _modelled(r, _numpy(f)),
    "probabilities": lambda r, f: _modelled(r, _probabilities(f)),
    "one logit": lambda r, f: _modelled(r, _log_odds(f, sigmoid=False)),
    "one probability": lambda r, f: _modelled(r, _log_odds(f, sigmoid=True)),
    "left padding": lambda r, f: _tokens(r, left=True),
    "right padding": lambda r, f: _tokens(r, left=False),
    "Hugging Face": lambda r, f: _hugging_face(r),
}
"""From a request and a planted model to what the library reports."""


def _arrays(request: Request, features: Mapping[str, Any], target: Any = None, group: Any = None) -> Reading:
    y = request.draw.target if target is None else target
    known = request.draw.group if group is None else group
    return calls.of_arrays(features, y, task=request.world.task, group=known, seed=request.seed)


def _frame(request: Request) -> Reading:
    """Frames with mixed columns: the first of each modality as words if it is a code, the rest as nullable numbers."""
    n = len(request.draw.target)
    index = np.random.default_rng(request.seed).permutation(n)
    features = {m: _mixed(request, m).set_axis(index) for m in request.draw.inputs}
    target = pd.Series(request.draw.target.reshape(n, -1)[:, 0], index=index)
    return _arrays(request, features, target if request.draw.target.ndim == 1 else request.draw.target)


def _mixed(request: Request, m: str) -> pd.DataFrame:
    world, x = request.world, request.draw.inputs[m]
    columns: dict[str, Any] = {}
    if isinstance(world, Discrete):
        symbol = world.symbols(m, torch.from_numpy(x)).numpy()
        columns["word"] = np.array(["red", "green", "blue", "white", "black", "grey", "pink", "brown"])[symbol]
        x = x[:, world.sizes[m] :]
    columns |= {f"c{k}": pd.array(x[:, k].astype(float), dtype="Float64") for k in range(x.shape[1])}
    return pd.DataFrame(columns)


def _csv(request: Request) -> Reading:
    frames = {m: _mixed(request, m).add_prefix(f"{m}_") for m in request.draw.inputs}
    table = pd.concat(frames.values(), axis=1)
    table["label"] = request.draw.target.reshape(len(table), -1)[:, 0]
    if request.draw.group is not None:
        table["subject"] = [f"s{k}" for k in request.draw.group]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        table.to_csv(path, index=False)
        chosen = {m: list(frame.columns) for m, frame in frames.items()}
        group = None if request.draw.group is None else "subject"
        return calls.of_csv(path, chosen, group=group, seed=request.seed)


def _npz(request: Request) -> Reading:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.npz"
        extra = {} if request.draw.group is None else {"group": request.draw.group}
        np.savez(path, **request.draw.inputs, label=request.draw.target, **extra)
        return calls.of_npz(path, seed=request.seed)


def _estimate(request: Request) -> Reading:
    draw = request.draw
    return calls.of_estimate(draw.inputs, draw.target, task=request.world.task, group=draw.group, seed=request.seed)


def _tensors(request: Request) -> Reading:
    features = {m: torch.from_numpy(x).bfloat16() for m, x in request.draw.inputs.items()}
    return _arrays(request, features, torch.from_numpy(request.draw.target))


def _objects(request: Request) -> Reading:
    """Arrays of objects with a large origin, and labels that are words."""
    features = {m: (x.astype(float) + 1e6).astype(object) for m, x in request.draw.inputs.items()}
    return _arrays(request, features, np.array([f"class {k}" for k in request.draw.target]))


ARRAYS: dict[str, Callable[[Request], Reading]] = {
    "arrays": lambda r: _arrays(r, r.draw.inputs),
    "bf16 tensors": _tensors,
    "objects": _objects,
    "DataFrame": _frame,
    "CSV": _csv,
    "npz": _npz,
    "estimate": _estimate,
}
"""From a request without a model to what the library reports."""


def run(form: str, request: Request) -> Reading:
    """Return what the library reports of a request in a form."""
    if form in ARRAYS:
        return ARRAYS[form](request)
    assert request.model is not None
    return MODELS[form](request, request.model)
