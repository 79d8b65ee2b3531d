"""Tiny vision-language models with a known reliance on the image, and the questions that they answer.

Every question is one of a few, every picture is one of a few, and the probability of each (picture, question, answer)
is known. What a model knows and what it knows without the picture is therefore a sum, not an estimate.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from scipy import optimize
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn

COLOURS = ("red", "green", "blue")
WORDS = ("<pad>", "<unk>", "<image>", "is", "it", "maybe", "surely", *COLOURS, "yes", "no")
PATCHES = 4


class Processor:
    """What AutoProcessor offers: an image token becomes as many placeholders as there are patches."""

    image_token = "<image>"

    def __init__(self, side: str = "left") -> None:
        words = Tokenizer(models.WordLevel({w: k for k, w in enumerate(WORDS)}, unk_token="<unk>"))
        words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        self.tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", padding_side=side
        )

    def __call__(self, images: Any, text: Any, padding: bool, return_tensors: str) -> Any:
        """Return tokens and pixels."""
        whole = [t.replace("<image>", " ".join(["<image>"] * PATCHES)) for t in text]
        tokens = self.tokenizer(whole, padding=padding, return_tensors=return_tensors)
        pixels = torch.stack([torch.as_tensor(x, dtype=torch.float32) for x in images])
        return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"], "pixel_values": pixels}


def make_llava(seed: int) -> Any:
    """Return a LLaVA of 12,000 parameters."""
    torch.manual_seed(seed)
    small = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(image_size=16, patch_size=8, **small),
        text_config=transformers.LlamaConfig(
            vocab_size=len(WORDS), num_key_value_heads=2, max_position_embeddings=32, pad_token_id=0, **small
        ),
        image_token_index=WORDS.index("<image>"),
        vision_feature_select_strategy="default",
        vision_feature_layer=-1,
    )
    return transformers.LlavaForConditionalGeneration(config).eval()


# -- questions about pictures ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """Pictures, questions and answers with their joint probabilities.

    Attributes:
        name: What is asked, and how strong the language prior is.
        pictures: ``(V, 3, 16, 16)``; one of four places is coloured.
        questions: Q texts.
        answers: K candidates.
        joint: ``(V, Q, K)`` probabilities.
    """

    name: str
    pictures: Tensor
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    joint: np.ndarray

    def draw(self, n: int, seed: int) -> list[dict[str, Any]]:
        """Return n samples."""
        cells = np.random.default_rng(seed).choice(self.joint.size, n, p=self.joint.ravel())
        v, q, a = np.unravel_index(cells, self.joint.shape)
        return [
            {"image": self.pictures[i], "question": self.questions[j], "answer": self.answers[k]}
            for i, j, k in zip(v, q, a, strict=True)
        ]

    @property
    def share(self) -> float:
        """I(answer; image | text) / I(answer; image, text) of the world, which an ideal model reaches."""
        known = _entropy(self.joint.sum((0, 1))) - (_entropy(self.joint) - _entropy(self.joint.sum(2)))
        text = _entropy(self.joint.sum((0, 1))) - (_entropy(self.joint.sum(0)) - _entropy(self.joint.sum((0, 2))))
        return 1 - text / known


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return -float((p * np.log(p)).sum())


def _pictures() -> tuple[Tensor, np.ndarray]:
    """Return twelve pictures and the colour of each."""
    pictures = torch.zeros(12, 3, 16, 16)
    colour = np.arange(12) // 4
    for k in range(12):
        top, left = 8 * (k % 4 // 2), 8 * (k % 2)
        pictures[k, colour[k], top : top + 8, left : left + 8] = 2.0
    return pictures, colour


def hints(prior: float, noise: float = 0.1) -> World:
    """The question suggests a colour that is the answer with probability ``prior``; one answer in ten is wrong."""
    pictures, colour = _pictures()
    questions = tuple(f"is it {word} {c}" for c in COLOURS for word in ("maybe", "surely"))
    joint = np.zeros((12, 6, 3))
    for v in range(12):
        for y in range(3):
            answer = 1 - noise if y == colour[v] else noise / 2
            for q in range(6):
                joint[v, q, y] = answer * (prior if q // 2 == y else (1 - prior) / 2) / 24
    return World(f"which colour, prior {prior:g}", pictures, questions, COLOURS, joint)


def yes_or_no(spread: float, noise: float = 0.05) -> World:
    """Whether the picture is red; the wording tells how often it is: .5 plus or minus ``spread``, or .5."""
    pictures, colour = _pictures()
    questions = tuple(f"is it {word}red" for word in ("surely ", "", "maybe "))
    joint = np.zeros((12, 3, 2))
    for q in range(3):
        yes = 0.5 + spread * (1 - q)
        for v in range(12):
            picture = yes / 4 if colour[v] == 0 else (1 - yes) / 8
            right = int(colour[v] != 0)
            joint[v, q, right], joint[v, q, 1 - right] = picture * (1 - noise) / 3, picture * noise / 3
    return World(f"yes or no, spread {spread:g}", pictures, questions, ("yes", "no"), joint)


WORLDS = (
    hints(1 / 3),
    hints(0.5),
    hints(0.65),
    hints(0.8),
    hints(0.9),
    yes_or_no(0.0),
    yes_or_no(0.25),
    yes_or_no(0.4),
)


# -- models ------------------------------------------------------------------------------------------------------------


def logits(model: nn.Module, processor: Processor, world: World, pictures: Tensor) -> Tensor:
    """Return the scores of the answers ``(V, Q, K)`` for all pictures and questions, in one forward pass."""
    texts = [f"<image> {q}" for q in world.questions] * len(pictures)
    images = pictures.repeat_interleave(len(world.questions), 0)
    scores = model(**processor(list(images), texts, True, "pt")).logits[:, -1]
    words = [WORDS.index(answer) for answer in world.answers]
    return scores.log_softmax(-1)[:, words].view(len(pictures), len(world.questions), -1)


def train(world: World, seed: int, *, looks: bool, steps: int = 150) -> Any:
    """Return a model that is trained on the probabilities of all cells; without ``looks`` pictures tell nothing."""
    model, processor = make_llava(seed), Processor()
    joint = torch.as_tensor(world.joint, dtype=torch.float32)
    if not looks:
        joint = (joint.sum(0, keepdim=True) / len(joint)).expand_as(joint)
    optimizer = torch.optim.Adam(model.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = -(joint * logits(model, processor, world, world.pictures)).sum()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


class Dimmed(nn.Module):
    """Image features drawn towards their mean over all pictures; ``factor`` 0 makes all pictures alike."""

    def __init__(self, inner: nn.Module, mean: Tensor, factor: float) -> None:
        super().__init__()
        self.inner, self.mean, self.factor = inner, mean, factor

    def forward(self, x: Tensor) -> Tensor:
        """Return dimmed features."""
        return self.mean + self.factor * (self.inner(x) - self.mean)


def dimmed(model: Any, world: World, factor: float) -> Any:
    """Return a copy of a model with `Dimmed` features; ``factor`` 0 makes it blind."""
    model = copy.deepcopy(model)
    caught: list[Tensor] = []
    handle = model.model.multi_modal_projector.register_forward_hook(lambda m, i, out: caught.append(out))
    with torch.no_grad():
        logits(model, Processor(), world, world.pictures)
    handle.remove()
    mean = caught[0].flatten(0, -2).mean(0)
    model.model.multi_modal_projector = Dimmed(model.model.multi_modal_projector, mean, factor)
    return model


class Mixed(nn.Module):
    """The mean of the scores of two models with the same words, weighted by ``share`` and 1 - ``share``."""

    def __init__(self, first: nn.Module, second: nn.Module, share: float) -> None:
        super().__init__()
        self.first, self.second, self.share = first, second, share

    def forward(self, **batch: Any) -> Any:
        """Return mixed scores."""
        a, b = (m(**batch).logits.log_softmax(-1) for m in (self.first, self.second))
        return transformers.utils.ModelOutput(logits=self.share * a + (1 - self.share) * b)


class PartlyBlind(nn.Module):
    """A model that is replaced by a blind one for pictures whose patch is not in the first ``places`` places."""

    def __init__(self, seeing: nn.Module, blind: nn.Module, places: int) -> None:
        super().__init__()
        self.seeing, self.blind, self.places = seeing, blind, places

    def forward(self, pixel_values: Tensor, **batch: Any) -> Any:
        """Return the scores of one of the two models."""
        place = pixel_values.sum(1).unfold(1, 8, 8).unfold(2, 8, 8).sum((3, 4)).flatten(1).argmax(1)
        seen = (place < self.places).view(-1, 1, 1)
        a, b = (m(pixel_values=pixel_values, **batch).logits for m in (self.seeing, self.blind))
        return transformers.utils.ModelOutput(logits=torch.where(seen, a, b))


# -- what is known, by summing over all cells --------------------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """Nats that the calibrated predictions of a model know of the answer: with the image, and without."""

    known: float
    text: float
    changes: float

    @property
    def used(self) -> float:
        """The share of ``known`` that is lost without the image; 0 where no prediction changes."""
        if self.changes < 1e-6:
            return 0.0
        return min(max(1 - max(self.text, 0.0) / self.known, 0.0), 1.0) if self.known > 1e-4 else math.nan


def truth(model: nn.Module, world: World) -> Truth:
    """Return what a model knows, from its predictions for all pictures and questions."""
    processor = Processor()
    with torch.no_grad():
        log_p = logits(model, processor, world, world.pictures).log_softmax(-1).double().numpy()
        grey = logits(model, processor, world, torch.full((1, 3, 16, 16), 0.5)).log_softmax(-1).double().numpy()
    picture, asked = world.joint.sum((1, 2)), world.joint.sum((0, 2))
    given = world.joint.sum(2) / asked  # p(picture | question)
    p = np.exp(log_p)
    without = [
        np.log(np.einsum("v,vqk->qk", picture, p)),
        np.einsum("v,vqk->qk", picture, log_p),
        np.log(np.einsum("vq,vqk->qk", given, p)),
        grey[0],
    ]
    prior = _entropy(world.joint.sum((0, 1)))
    known = prior - _least(world.joint, [log_p])
    text = prior - _least(world.joint, [np.broadcast_to(w, log_p.shape) for w in without])
    return Truth(known, text, float(np.abs(p - np.exp(without[0])).sum(-1).max() / 2))


def _least(joint: np.ndarray, readouts: Sequence[np.ndarray]) -> float:
    """Return the smallest cross-entropy of any weighted sum of scores with an offset for each answer."""
    x = torch.as_tensor(np.stack(readouts))
    x = x - x.mean(-1, keepdim=True)
    x = x / x.std().clamp_min(1e-9)
    weights = torch.as_tensor(joint)

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        t = torch.tensor(theta, requires_grad=True)
        z = torch.tensordot(t[: len(x)], x, 1) + t[len(x) :]
        value = -(weights * z.log_softmax(-1)).sum()
        (gradient,) = torch.autograd.grad(value, t)
        return float(value.detach()), gradient.numpy()

    bounds = [(0, None)] * len(x) + [(None, None)] * joint.shape[2]
    start = np.concatenate([np.full(len(x), 0.5), np.zeros(joint.shape[2])])
    return float(optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).fun)
