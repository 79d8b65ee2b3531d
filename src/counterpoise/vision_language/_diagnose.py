"""`diagnose_vlm`: whether the answers of a vision-language model depend on the image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from counterpoise._validation import Interval
from counterpoise.diagnosis import Progress
from counterpoise.errors import ConfigError, DataError
from counterpoise.vision_language._answers import Answerer, BlackBox, HuggingFace
from counterpoise.vision_language._result import VLMDiagnosis
from counterpoise.vision_language._run import Run
from counterpoise.vision_language._samples import read_samples

__all__ = ["diagnose_vlm"]


def diagnose_vlm(
    model: nn.Module | Callable[[Any, str], Any],
    processor: Any = None,
    samples: Iterable[Mapping[str, Any]] | None = None,
    answers: Sequence[str] | None = None,
    *,
    fields: Mapping[str, str] | None = None,
    prompt: Callable[[str], str] | None = None,
    swaps: int = 4,
    batch_size: int = 16,
    confidence: float = 0.95,
    seed: int = 0,
    progress: bool | None = None,
) -> VLMDiagnosis:
    r"""Measure whether the answers of a vision-language model depend on the image.

    The model answers with the image, without it, and with the images of ``swaps`` other samples (and with the
    questions of others). With labels, predictions are calibrated (a temperature and one offset per answer,
    cross-fitted and corrected to be centred), and

    .. math:: I = CE(\bar p(y | text)) - CE(p(y | image, text)), \quad
        used = \frac{CE(\bar p(y | text)) - CE(p(y | image, text))}{H(Y) - CE(p(y | image, text))}

    where :math:`\bar p(y | text)` is the prediction of the answer without the sample's own image: a
    calibrated mixture of the mean prediction over other images, the mean of their log-probabilities, the blind run, and
    the mean prediction for other samples with the same question. For a calibrated model, and questions that occur
    often, I is therefore I(answer; image | text), and ``used`` is its share of I(answer; image, text). If no prediction
    changes with the image, both are 0.

    Args:
        model: A Hugging Face image-text-to-text model, or a function ``answer(image, question)`` that returns a
            mapping from candidates to log-probabilities, or a text.
        processor: The model's processor; None for a function.
        samples: Mappings with ``image``, ``question`` and, if known, ``answer``; also ``answers`` (the candidates of
            the sample), ``conflict`` (an image whose answer differs from the one that the text suggests),
            ``text_answer`` (the answer that the text suggests; by default ``answer``) and ``conflict_answer`` (the
            answer of that image).
        answers: Candidates of all samples. A function that returns text needs none without labels.
        fields: Names of the fields in the samples, ``{"image": "pixel", ...}``.
        prompt: Function from a question to the text of the prompt, for a Hugging Face model.
        swaps: Number of other samples whose image (and question) is shown instead.
        batch_size: Samples in a forward pass.
        confidence: Level of the intervals.
        seed: Seed of swaps and folds.
        progress: Whether to show progress; None shows it in a terminal.

    Raises:
        DataError: For too few samples, or fields that are missing.
        ConfigError: For settings out of range.
        ModelError: For answers that cannot be read.

    Example:
        >>> import numpy as np
        >>> def answer(image, question):                         # it looks at the image
        ...     return {"dark": 3.0 * (image is None or image.mean() < 0), "light": 0.0}
        >>> rng = np.random.default_rng(0)
        >>> bright = rng.integers(2, size=60)
        >>> rows = [{"image": np.full(3, 2.0 * b - 1), "question": "?", "answer": ["dark", "light"][b]} for b in bright]
        >>> diagnose_vlm(answer, samples=rows, answers=["dark", "light"]).ignores_image
        False
    """
    Interval(1, integer=True).check("diagnose_vlm", "swaps", swaps)
    Interval(1, integer=True).check("diagnose_vlm", "batch_size", batch_size)
    Interval(0, 1, "()").check("diagnose_vlm", "confidence", confidence)
    data = read_samples(samples, answers, fields or {})
    if isinstance(model, nn.Module):
        if processor is None:
            raise ConfigError("A Hugging Face model needs its processor: diagnose_vlm(model, processor, samples, ...).")
        if not data.candidates:
            raise DataError(
                "A Hugging Face model needs candidates: answers=['yes', 'no'], or `answers` in each sample."
            )
        answerer: Answerer = HuggingFace(model, processor, prompt)
    else:
        answerer = BlackBox(model)
    with Progress(progress) as show:
        return Run(answerer, data, swaps, batch_size, confidence, seed, show).diagnosis()
