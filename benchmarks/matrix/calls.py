"""The calls of the matrix: each runs one kind of model on one kind of input, and checks the numbers."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import forms
import numpy as np
import pandas as pd
import torch
import transformers
from torch import Tensor, nn

import counterpoise
from counterpoise import CounterpoiseClassifier, CounterpoiseRegressor
from counterpoise.methods import EpochContext, make_method
from counterpoise.records import Batch

SETTINGS = {"estimator": "variational-linear", "damage": False, "progress": False}
GROUPS = {"image": [f"image{k}" for k in range(4)], "text": [f"text{k}" for k in range(3)]}


# -- diagnose ----------------------------------------------------------------------------------------------------------


def diagnosed(model: Callable[[], Any], data: Callable[[], Any]) -> None:
    """Diagnose a model; the used information is that of the plainest form."""
    given = data()
    if isinstance(given, SimpleNamespace):
        result = counterpoise.diagnose(model(), given.frame, given.y, modalities=GROUPS, **SETTINGS)
    else:
        result = counterpoise.diagnose(model(), given, **SETTINGS)
    used = [float(result.evidence[m].realised.value) for m in result.modalities]
    if len(used) != 2 or not np.allclose(used, plain(), atol=1e-5):
        raise AssertionError(f"expected {plain()}, found {used}")


@cache
def plain() -> tuple[float, ...]:
    """Return the used information of the plainest model on the plainest data."""
    result = counterpoise.diagnose(forms.Net(), forms.INPUTS["nested mappings"](), **SETTINGS)
    return tuple(float(result.evidence[m].realised.value) for m in forms.KEYS)


# -- wrap --------------------------------------------------------------------------------------------------------------

METHODS = {
    f"`{name}`": name for name in ("joint", "ogm-ge", "mmpareto", "modality-dropout", "g-blending", "arm", "agm")
}


def trained(model: Callable[[], Any], name: str, *, incomplete: bool = False) -> None:
    """Wrap a module and train an epoch with a method; its weights are those of the plain module trained alike."""
    net = model()
    weights = _after_an_epoch(net, name, incomplete)
    adapters = [p for key, p in net.named_parameters() if "lora_B" in key]
    if adapters:  # everything else is frozen; they start at 0
        assert all(bool(p.abs().max() > 0) for p in adapters)
        return
    for one, other in zip(weights, _after_an_epoch(forms.Net(), name, incomplete), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def trained_on_incomplete(model: Callable[[], Any], name: str) -> None:
    """Do the same with samples of which a third lacks each modality."""
    trained(model, name, incomplete=True)


def _after_an_epoch(net: Any, name: str, incomplete: bool) -> list[Tensor]:
    torch.manual_seed(0)
    inner = "net." if isinstance(net, forms.Inside | forms.Module) else ""
    model = counterpoise.wrap(net, {m: inner + m for m in forms.KEYS}, num_outputs=2)
    method = make_method(name)
    x, y = forms.tensors()
    split = []
    for i in torch.arange(forms.N).split(forms.SIZE):
        present = {m: i % 3 != k for k, m in enumerate(forms.KEYS)} if incomplete else None
        split.append(Batch({m: x[m][i] for m in forms.KEYS}, y[i], i, present))
    model = method.prepare(model, y)
    parameters = [p for p in [*model.parameters(), *method.parameters()] if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, 0.1)
    torch.manual_seed(1)
    method.on_epoch_start(model, EpochContext(0, 1, lambda: split, lambda: split[:1]))
    for batch in split:
        for _ in method.steps(model, batch):
            optimizer.step()
            optimizer.zero_grad()
    inside = getattr(model.net, "net", model.net)
    return [p.detach() for p in inside.parameters()]


# -- diagnose_vlm ------------------------------------------------------------------------------------------------------

COLOURS = ("red", "blue")


def _samples() -> list[dict[str, Any]]:
    from PIL import Image

    rows = []
    for k in range(40):
        pixels = np.zeros((16, 16, 3), np.uint8)
        pixels[..., 2 * (k % 2)] = 255
        rows.append({"image": Image.fromarray(pixels), "question": "which colour", "answer": COLOURS[k % 2]})
    return rows


def _tensor(image: Any) -> Tensor:
    return torch.as_tensor(np.asarray(image)).permute(2, 0, 1).float() / 255


def _seen(image: Any) -> int:
    """Return which colour an image has; pictures, arrays and tensors alike."""
    pixels = np.asarray(image, float)
    pixels = pixels.transpose(1, 2, 0) if pixels.shape[0] == 3 else pixels
    red, _, blue = pixels.reshape(-1, 3).mean(0)
    return int(blue > red)


def scored(image: Any, question: str) -> dict[str, float]:
    """Return log-probabilities; without an image both colours are as probable."""
    p = 0.5 if image is None or np.ptp(np.asarray(image, float)) == 0 else (0.9, 0.1)[_seen(image)]
    return {"red": math.log(p), "blue": math.log(1 - p)}


def describe_in_text(image: Any, question: str) -> str:
    """Return a text."""
    return "cannot tell" if image is None else f"{COLOURS[_seen(image)]}, I think"


class Vocabulary:
    """A processor of a tiny LLaVA."""

    image_token = "<image>"

    def __init__(self) -> None:
        from tokenizers import Tokenizer, models, pre_tokenizers

        known = ["<pad>", "<unk>", "<image>", "which", "colour", *COLOURS]
        words = Tokenizer(models.WordLevel({w: k for k, w in enumerate(known)}, unk_token="<unk>"))
        words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        self.tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", padding_side="left"
        )

    def __call__(self, images: Any, text: Any, padding: bool, return_tensors: str) -> Any:
        """Return tokens and pixels."""
        whole = [t.replace("<image>", "<image> " * 4) for t in text]
        tokens = self.tokenizer(whole, padding=padding, return_tensors=return_tensors)
        pixels = [x if isinstance(x, Tensor) else _tensor(x) for x in images]
        return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"],
                "pixel_values": torch.stack(pixels)}  # fmt: skip


@cache
def llava() -> Any:
    """Return a tiny LLaVA that was trained on the samples."""
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(image_size=16, patch_size=8, **small),
        text_config=transformers.LlamaConfig(vocab_size=7, num_key_value_heads=2, pad_token_id=0, **small),
        image_token_index=2,
        vision_feature_select_strategy="default",
        vision_feature_layer=-1,
    )
    model, rows = transformers.LlavaForConditionalGeneration(config), _samples()
    batch = Vocabulary()([r["image"] for r in rows], ["<image> which colour"] * 40, True, "pt")
    target = torch.tensor([5 + k % 2 for k in range(40)])
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(**batch).logits[:, -1], target).backward()
        optimizer.step()
    return model.eval()


ANSWERERS = {
    "Hugging Face model and processor": lambda: (llava(), Vocabulary()),
    "function that returns log-probabilities": lambda: (scored, None),
    "function that returns text": lambda: (describe_in_text, None),
}


def _with(change: Callable[[dict[str, Any]], dict[str, Any]]) -> list[dict[str, Any]]:
    return [change(row) for row in _samples()]


SAMPLES = {
    "pictures, `answers=`": lambda: (_samples(), list(COLOURS)),
    "tensors": lambda: (_with(lambda r: {**r, "image": _tensor(r["image"])}), list(COLOURS)),
    "candidates of each sample": lambda: (_with(lambda r: {**r, "answers": ["blue", "red"]}), None),
    "`conflict` images": lambda: (_with(lambda r: {**r, "conflict": r["image"]}), list(COLOURS)),
    "no labels": lambda: (_with(lambda r: {k: v for k, v in r.items() if k != "answer"}), list(COLOURS)),
    "no labels, no candidates": lambda: (_with(lambda r: {k: v for k, v in r.items() if k != "answer"}), None),
}


def asked(model: Callable[[], Any], samples: Callable[[], Any]) -> None:
    """Diagnose a model that looks at the image."""
    (function, processor), (rows, answers) = model(), samples()
    result = counterpoise.diagnose_vlm(function, processor, rows, answers, swaps=2, progress=False)
    if result.ignores_image or not result.image_used.low > 0.1:
        raise AssertionError(str(result))
    if "answer" in rows[0] and result.accuracy["full"].value != 1:
        raise AssertionError(str(result))


# -- diagnose_retrieval ------------------------------------------------------------------------------------------------


class Towers(nn.Module):
    """Two embeddings."""

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return both."""
        return image, text


class Similarity(nn.Module):
    """A model that returns similarities only."""

    def forward(self, image: Tensor, text: Tensor) -> Any:
        """Return a matrix."""
        u, v = (nn.functional.normalize(z, dim=1) for z in (image, text))
        return SimpleNamespace(logits_per_image=u @ v.T)


class Named(nn.Module):
    """The output of CLIP."""

    def forward(self, image: Tensor, text: Tensor) -> Any:
        """Return a structure."""
        return SimpleNamespace(image_embeds=image, text_embeds=text)


TOWERS = {
    "returns two embeddings": Towers,
    "returns `image_embeds` and `text_embeds`": Named,
    "returns `logits_per_image` only": Similarity,
    "function": lambda: lambda image, text: (image, text),
}


def _pairs(make: Callable[[Tensor, Tensor, Tensor], Any]) -> list[Any]:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 8, generator=g), torch.arange(60) % 3
    return [make(x[i], x[i], y[i]) for i in torch.arange(60).split(60)]


PAIRS = {
    "mappings": lambda: _pairs(lambda u, v, y: {"image": u, "text": v}),
    "`(x1, x2)`": lambda: _pairs(lambda u, v, y: (u, v)),
    "`((x1, x2), label)`": lambda: _pairs(lambda u, v, y: ((u, v), y)),
    "`(x1, x2, label)`": lambda: _pairs(lambda u, v, y: (u, v, y)),
}


def retrieved(model: Callable[[], Any], pairs: Callable[[], Any]) -> None:
    """Diagnose towers with equal embeddings."""
    result = counterpoise.diagnose_retrieval(model(), pairs())
    if result.recall["image->text"][1].value != 1 or abs(result.bound.value - math.log(60)) > 1e-2:
        raise AssertionError(str(result))


# -- estimators --------------------------------------------------------------------------------------------------------

ESTIMATORS = {
    "classifier": lambda y: (CounterpoiseClassifier(epochs=8, random_state=0), np.array(["no", "yes"])[y]),
    'classifier, `method="arm"`': lambda y: (CounterpoiseClassifier("arm", epochs=8, random_state=0), y),
    "regressor": lambda y: (CounterpoiseRegressor(epochs=40, random_state=0), y + 0.0),
}


def _frame(kind: str) -> tuple[Any, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=160)
    numbers = pd.DataFrame({"a": rng.normal(size=160) + 3 * y, "b": rng.normal(size=160)})
    if kind == "array":
        return numbers.to_numpy(), y
    words = np.array([["calm", "fine"], ["loud", "bad"]])
    notes = [" ".join([*rng.permutation(words[k]), f"w{rng.integers(900)}"]) for k in y]
    mixed = numbers.assign(city=rng.choice(list("ABC"), 160), note=notes)
    if kind == "missing":
        mixed.loc[::5, "a"], mixed.loc[::7, "city"], mixed.loc[::9, "note"] = np.nan, None, None
    if kind == "parquet":
        with tempfile.TemporaryDirectory() as folder:
            mixed.to_parquet(Path(folder) / "table.parquet")
            mixed = pd.read_parquet(Path(folder) / "table.parquet")
    if kind == "dates":
        mixed = mixed.assign(when=pd.Timestamp("2020-01-01"))
    return mixed, y


FRAMES = {
    "array": lambda: _frame("array"),
    "DataFrame of numbers, categories and text": lambda: _frame("mixed"),
    "missing cells": lambda: _frame("missing"),
    "Parquet": lambda: _frame("parquet"),
    "dates": lambda: _frame("dates"),
}


def fitted(make: Callable[[np.ndarray], Any], data: Callable[[], Any]) -> None:
    """Fit an estimator and predict."""
    x, y = data()
    estimator, target = make(y)
    if estimator.fit(x, target).score(x, target) < 0.7:
        raise AssertionError(f"score {estimator.score(x, target):.2f}")
