"""Answers of a model: log-probabilities of candidates, from a Hugging Face model or from any function."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from counterpoise._extras import extra
from counterpoise.errors import DataError, ModelError
from counterpoise.model import evaluation_mode

__all__ = ["Answerer", "BlackBox", "HuggingFace", "Reply", "grey_like"]

Candidates = Sequence[Sequence[str]]


class Reply:
    """Answers to a batch of questions.

    Args:
        scores: ``(B, K)`` log-probabilities of the candidates up to a constant of each row; -inf where a sample has
        fewer. texts: The answers as text.
    """

    def __init__(self, scores: np.ndarray, texts: Sequence[str]) -> None:
        self.scores, self.texts = scores, list(texts)


class Answerer(Protocol):
    """Interface of functions that answer questions about images."""

    notes: list[str]

    def __call__(self, images: Sequence[Any], questions: Sequence[str], candidates: Candidates) -> Reply:
        """Return the answers; an image of None means a question without an image."""
        ...


def grey_like(image: Any) -> Any:
    """Return a grey image of the same kind and size.

    Example:
        >>> grey_like(np.zeros((2, 2, 3), np.uint8)).max()
        np.uint8(127)
    """
    if isinstance(image, Tensor):
        return torch.full_like(image, 0.5 if image.is_floating_point() else 127)
    if isinstance(image, np.ndarray):
        return np.full_like(image, 0.5 if image.dtype.kind == "f" else 127)
    with extra("data", "A grey picture"):
        from PIL import Image

    if not isinstance(image, Image.Image):
        raise DataError(f"An image should be a picture, an array or a tensor. Found {type(image).__name__}.")
    return Image.new("RGB", image.size, (127, 127, 127))


class HuggingFace:
    """Candidates are scored by the sum of the log-probabilities of their tokens after the prompt.

    The processor creates the prompts, so that placeholder tokens of images are the same in every run.

    Args:
        model: Image-text-to-text model with logits ``(B, T, vocabulary)``.
        processor: Function that is called with ``images``, ``text``, ``padding`` and ``return_tensors``; has a
            ``tokenizer``.
        prompt: Function from a question to the text of the prompt; None uses the chat template, else puts the image
            token before the question.
    """

    def __init__(self, model: nn.Module, processor: Any, prompt: Callable[[str], str] | None = None) -> None:
        self.model, self.processor = model, processor
        self.prompt = prompt or self._prompt
        self.notes: list[str] = ["blind runs show a grey image, so that placeholder tokens stay whole"]
        self._padding = _padding_side(processor)

    def _prompt(self, question: str) -> str:
        token = getattr(self.processor, "image_token", None) or "<image>"
        if token in question:
            return question
        if getattr(self.processor, "chat_template", None):
            content = [{"type": "image"}, {"type": "text", "text": question}]
            return str(
                self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
            )
        return f"{token} {question}"

    @torch.no_grad()
    def __call__(self, images: Sequence[Any], questions: Sequence[str], candidates: Candidates) -> Reply:
        """Score the candidates of each sample."""
        batch = self._batch(images, questions)
        tokens = [[self._tokens(answer) for answer in own] for own in candidates]
        scores = np.full((len(images), max(map(len, candidates))), -np.inf)
        with evaluation_mode(self.model):
            if all(len(answer) == 1 for own in tokens for answer in own):
                self._score_words(batch, tokens, scores)
            else:
                self._score_phrases(batch, tokens, scores)
        return Reply(scores, [c[int(row[: len(c)].argmax())] for c, row in zip(candidates, scores, strict=True)])

    def _batch(self, images: Sequence[Any], questions: Sequence[str]) -> dict[str, Any]:
        """Return the inputs of the model, on its device and in its precision."""
        texts = [self.prompt(q) for q in questions]
        batch = dict(self.processor(images=list(images), text=texts, padding=True, return_tensors="pt"))
        device = next(self.model.parameters()).device
        batch = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        dtype = next((p.dtype for p in self.model.parameters() if p.is_floating_point()), torch.float32)
        return {k: v.to(dtype) if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in batch.items()}

    def _score_words(self, batch: Mapping[str, Any], tokens: Sequence[Sequence[list[int]]], scores: np.ndarray) -> None:
        """Score candidates of one token in a single pass."""
        log_p = self.model(**batch).logits.float().log_softmax(-1)
        for row, own in enumerate(tokens):
            last = int(batch["attention_mask"][row].nonzero().max())
            scores[row, : len(own)] = log_p[row, last, [answer[0] for answer in own]].cpu()

    def _score_phrases(
        self, batch: Mapping[str, Any], tokens: Sequence[Sequence[list[int]]], scores: np.ndarray
    ) -> None:
        """Score candidates of several tokens, with one pass for each position in the lists."""
        for k in range(scores.shape[1]):
            rows = [own[k] if k < len(own) else own[0] for own in tokens]
            known = np.array([k < len(own) for own in tokens])
            scores[known, k] = self._scored(batch, rows)[known]

    def _scored(self, batch: Mapping[str, Any], tokens: Sequence[list[int]]) -> np.ndarray:
        longer = {k: self._appended(k, v, batch, tokens) for k, v in batch.items()}
        logits = self.model(**longer).logits.float().log_softmax(-1)
        totals = []
        for row, own in enumerate(tokens):
            end = int(longer["attention_mask"][row].nonzero().max()) + 1
            places = torch.arange(end - len(own), end, device=logits.device)
            totals.append(float(logits[row, places - 1, torch.tensor(own, device=logits.device)].sum()))
        return np.array(totals)

    def _tokens(self, answer: str) -> list[int]:
        tokens = self.processor.tokenizer(answer, add_special_tokens=False)["input_ids"]
        if not tokens:
            raise DataError(f"The answer {answer!r} should have at least one token. Found none.")
        return list(tokens)

    def _appended(self, key: str, value: Any, batch: Mapping[str, Any], tokens: Sequence[Sequence[int]]) -> Any:
        """Append answers to ids, masks and types, on the tokenizer's side of the padding."""
        ids, mask = batch["input_ids"], batch["attention_mask"]
        if not isinstance(value, Tensor) or value.shape[:2] != ids.shape or value.is_floating_point():
            return value
        rows = []
        for row, own in enumerate(tokens):
            kept = value[row][mask[row].bool()]
            more = own if key == "input_ids" else [int(key == "attention_mask")] * len(own)
            rows.append(torch.cat([kept, value.new_tensor(more)]))
        length = max(map(len, rows))
        fill = getattr(self.processor.tokenizer, "pad_token_id", 0) or 0 if key == "input_ids" else 0
        padded = value.new_full((len(rows), length), fill)
        for row, content in enumerate(rows):
            padded[row, -len(content) :] = content if self._padding == "left" else padded[row, -len(content) :]
            if self._padding != "left":
                padded[row, : len(content)] = content
        return padded


def _padding_side(processor: Any) -> str:
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None:
        raise ModelError(
            "A processor should have a `tokenizer`. Give that of the model, such as AutoProcessor makes it."
        )
    return str(getattr(tokenizer, "padding_side", "right"))


class BlackBox:
    """Any function ``answer(image, question)`` that returns a text, or log-probabilities by candidate.

    Args:
        answer: The function. Withheld images are None, or grey if the function raises an error for None.
        grey: A function from a sample's position to a grey image.
    """

    def __init__(self, answer: Callable[[Any, str], Any]) -> None:
        self.answer = answer
        self.notes: list[str] = []
        self.grey: Callable[[int], Any] | None = None
        self._withholds = True

    def __call__(self, images: Sequence[Any], questions: Sequence[str], candidates: Candidates) -> Reply:
        """Ask one question after another."""
        width = max(map(len, candidates), default=0)
        scores, texts = np.full((len(images), max(width, 1)), -np.inf), []
        for row, (image, question) in enumerate(zip(images, questions, strict=True)):
            value = self._asked(image, question, row)
            own = list(candidates[row]) if candidates else []
            scores[row, : len(own)], text = _read(value, own)
            texts.append(text)
        return Reply(scores, texts)

    def _asked(self, image: Any, question: str, row: int) -> Any:
        if image is None and self._withholds:
            try:
                return self.answer(None, question)
            except Exception as error:  # a user's function may raise anything
                self._withholds = False
                self.notes.append(
                    f"blind runs show a grey image, since the function refused None ({type(error).__name__}: {error})"
                )
        if image is None:
            assert self.grey is not None  # `diagnose_vlm` sets it
            image = self.grey(row)
        return self.answer(image, question)


def _read(value: Any, candidates: Sequence[str]) -> tuple[Any, str]:
    """Return log-probabilities of the candidates and the answer as text."""
    if isinstance(value, str):
        picked = [float(_matches(value, c)) for c in candidates]
        return np.array(picked), value
    if not isinstance(value, Mapping):
        raise ModelError(
            f"`answer` should return a text, or a mapping from candidates to log-probabilities. Found "
            f"{type(value).__name__}."
        )
    missing = [c for c in candidates if c not in value]
    if missing:
        raise ModelError(f"The answer should score every candidate. Missing: {', '.join(missing)}.")
    scores = np.array([float(value[c]) for c in candidates])
    best = max(value, key=lambda c: float(value[c]))
    return scores, str(best)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _matches(text: str, candidate: str) -> bool:
    """Return whether a text begins with a candidate."""
    own = _words(candidate)
    return bool(own) and _words(text)[: len(own)] == own
