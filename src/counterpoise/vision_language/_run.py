"""One diagnosis of a vision-language model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from counterpoise._notes import Notes
from counterpoise.valuation import Estimate
from counterpoise.vision_language._answers import Answerer, BlackBox, Reply, grey_like
from counterpoise.vision_language._numbers import log_softmax, mean_of, right_log_probabilities, share, wilson
from counterpoise.vision_language._result import VLMDiagnosis
from counterpoise.vision_language._samples import Samples

NO_CHANGE = 1e-6
"""Total variation below which a prediction is the same; rounding."""

OFTEN = 8
"""Minimum number of samples for which the mean prediction for a question is nearly as good as one over many samples."""

OPEN = Estimate(math.nan, math.nan, 0.0, 1.0)
"""An unknown share."""

SMALL_CHANGE = 0.01
"""Total variation below which no prediction depends on an input, if its information is also below `SMALL`."""

SMALL = 0.02
"""Information of an input, as a share of H(answer), below which no prediction depends on it (see `SMALL_CHANGE`)."""


class Run:
    """One diagnosis."""

    def __init__(
        self,
        answerer: Answerer,
        data: Samples,
        swaps: int,
        batch_size: int,
        confidence: float,
        seed: int,
        show: Callable[[str], None],
    ) -> None:
        self.answerer, self.data, self.batch_size, self.show = answerer, data, batch_size, show
        self.confidence, self.seed = confidence, seed
        n = len(data.images)
        self.others = _derangements(n, min(swaps, n - 1), seed)
        self.notes = Notes()

    def diagnosis(self) -> VLMDiagnosis:
        """Run the model with all variants of the inputs, and compare the answers. A failure after the first run becomes
        a note.
        """
        data, n = self.data, len(self.data.images)
        full = self._asked("with the image", data.images, data.questions)
        blind = self.notes.optional(
            "the run without the image", self._asked, "without the image", [None] * n, data.questions
        )
        images = self._swapped("images")
        texts = self._swapped("questions")
        runs = {"full": full, "blind": blind, "swapped": images[0] if images else None}
        shown = {k: r for k, r in runs.items() if r is not None}
        used, text_used, information, part = self._used(full, blind, images, texts)
        accuracy = {} if data.target is None else {k: self._accuracy(r) for k, r in shown.items()}
        preference = None
        if any("conflict" in row for row in data.rows):
            conflict = self.notes.optional("the run with conflicting images", self._conflicts)
            preference = conflict.pop("preference", None) if conflict else None
            accuracy |= conflict or {}
        notes = (*self.answerer.notes, *self.notes)
        return VLMDiagnosis(n, accuracy, used, text_used, information, part, preference, self._table(shown), notes)

    def _swapped(self, what: str) -> list[Reply]:
        """Return the answers with images or questions of other samples; those before a failure."""
        data, replies = self.data, []
        for other in self.others:
            images = [data.images[i] for i in other] if what == "images" else data.images
            questions = [data.questions[i] for i in other] if what == "questions" else data.questions
            reply = self.notes.optional(
                f"a run with other {what}", self._asked, f"with other {what}", images, questions
            )
            if reply is None:
                break
            replies.append(reply)
        return replies

    def _conflicts(self) -> dict[str, Estimate]:
        """Return the text preference and the accuracy of the samples with an image that contradicts the text."""
        data = self.data
        rows = [k for k, row in enumerate(data.rows) if "conflict" in row]
        images, questions = [data.rows[k]["conflict"] for k in rows], [data.questions[k] for k in rows]
        reply = self._asked("with conflicting images", images, questions, rows)
        preference = self._follows(reply, rows)
        if preference is None:
            return {}
        return {"preference": preference, "conflict": self._conflict_accuracy(reply, rows)}

    def _table(self, runs: Mapping[str, Reply]) -> tuple[dict[str, str], ...]:
        """Return question, answer and the model's answers of every sample."""
        rows = []
        for i, (question, row) in enumerate(zip(self.data.questions, self.data.rows, strict=True)):
            answer = {"answer": str(row["answer"])} if "answer" in row else {}
            rows.append({"question": question, **answer, **{k: v.texts[i] for k, v in runs.items()}})
        return tuple(rows)

    def _asked(self, what: str, images: list[Any], questions: list[str], rows: Sequence[int] | None = None) -> Reply:
        own = range(len(images)) if rows is None else rows
        candidates = [self.data.candidates[k] for k in own] if self.data.candidates else []
        replies = []
        for start in range(0, len(images), self.batch_size):
            part = slice(start, start + self.batch_size)
            self.show(f"answers {what}, {start} of {len(images)}")
            shown = images[part]
            if isinstance(self.answerer, BlackBox):
                self.answerer.grey = lambda row, start=start: grey_like(self.data.images[own[start + row]])
            else:
                shown = [grey_like(self.data.images[own[start + i]]) if x is None else x for i, x in enumerate(shown)]
            replies.append(self.answerer(shown, questions[part], candidates[part]))
        return _joined(replies)

    # -- numbers -------------------------------------------------------------------------------------------------------

    def _accuracy(self, reply: Reply) -> Estimate:
        return wilson(self._right(reply), confidence=self.confidence)

    def _right(self, reply: Reply) -> np.ndarray:
        best = reply.scores.argmax(1)
        unsure = (reply.scores == reply.scores.max(1, keepdims=True)).sum(1) > 1  # no candidate, or a tie, is not right
        assert self.data.target is not None  # only asked with labels
        return (best == self.data.target) & ~unsure

    def _follows(self, reply: Reply, rows: Sequence[int]) -> Estimate | None:
        data = self.data
        if data.target is None and not all("text_answer" in data.rows[k] for k in rows):
            return None
        suggested = [str(data.rows[k].get("text_answer", data.rows[k].get("answer"))) for k in rows]
        return self._agreement(reply, rows, suggested)

    def _conflict_accuracy(self, reply: Reply, rows: Sequence[int]) -> Estimate:
        fallback = "conflict_answer" if all("conflict_answer" in self.data.rows[k] for k in rows) else "answer"
        return self._agreement(reply, rows, [str(self.data.rows[k].get(fallback)) for k in rows])

    def _agreement(self, reply: Reply, rows: Sequence[int], wanted: Sequence[str]) -> Estimate:
        chosen = [self.data.candidates[k][int(s.argmax())] for k, s in zip(rows, reply.scores, strict=True)]
        return wilson(np.array([a == b for a, b in zip(chosen, wanted, strict=True)]), confidence=self.confidence)

    def _used(
        self, full: Reply, blind: Reply | None, images: Sequence[Reply], texts: Sequence[Reply]
    ) -> tuple[Estimate, Estimate, Estimate | None, Estimate | None]:
        data = self.data
        if data.target is None:
            self.notes.append("the samples have no answers, so `image_used` tells how much the predictions change")
            change = [self._changed(full, replies) if replies else None for replies in (images, texts)]
            image, text = (OPEN if c is None else mean_of(c, confidence=self.confidence) for c in change)
            return image, text, None, None
        prior = self._prior()
        own = self._known([full.scores])
        known = own - prior
        alike = [_same_question(full, data.keys(), fixed=data.fixed, own=mine) for mine in (False, True)]
        grey = [] if blind is None else [blind.scores]
        lost = {
            "image": self._lost(own, full, images, [[*grey, a] for a in alike], prior),
            "text": self._lost(own, full, texts, [[], []], prior),
        }
        entropy = -float(prior.mean())
        image = self._share("image", lost["image"], known, full, images, entropy)
        text = self._share("text", lost["text"], known, full, texts, entropy)
        if lost["image"] is None:
            return image, text, None, None
        return image, text, *self._information(lost["image"], entropy)

    def _information(self, lost: np.ndarray, entropy: float) -> tuple[Estimate, Estimate]:
        """Return the information that the image adds in nats, and as a percentage of H(answer)."""
        information = mean_of(lost, confidence=self.confidence)
        # Information is in [0, H(answer)]; an image that misleads the model adds none.
        ends = {k: min(max(getattr(information, k), 0.0), entropy) for k in ("value", "low", "high")}
        information = replace(information, **ends)
        return information, Estimate(*(100 * getattr(information, f) / entropy for f in ("value", "se", "low", "high")))

    def _lost(
        self,
        own: np.ndarray,
        full: Reply,
        replies: Sequence[Reply],
        others: Sequence[Sequence[np.ndarray]],
        prior: np.ndarray,
    ) -> np.ndarray | None:
        """Return the nats ``(N,)`` that are lost without one input; None where no run without it succeeded."""
        if not replies:
            return None
        if self._changed(full, replies).max() < NO_CHANGE:
            return np.zeros(len(own))  # nothing is used, whatever can be read from other samples
        return own - self._without(replies, others, prior)

    def _known(self, readouts: Sequence[np.ndarray], with_own: Sequence[np.ndarray] | None = None) -> np.ndarray:
        """Return calibrated log-probabilities ``(N,)`` of the right answers."""
        target, offsets = self.data.target, self.data.fixed
        assert target is not None  # only asked with labels
        return right_log_probabilities(readouts, target, offsets=offsets, seed=self.seed, with_own=with_own)

    def _without(
        self, replies: Sequence[Reply], others: Sequence[Sequence[np.ndarray]], prior: np.ndarray
    ) -> np.ndarray:
        """Return the log-probabilities of the right answers without one input.

        It is a calibrated mixture of the means over other samples' inputs and of ``others`` (without and with the
        sample's own predictions), and not worse than the frequencies of the answers.
        """
        log_p = np.stack([log_softmax(r.scores) for r in replies])
        means = [log_p.mean(0), _log_mean(log_p)]
        known = self._known(*([*means, *more] for more in others))
        return known if known.mean() >= prior.mean() else prior

    def _share(
        self,
        name: str,
        lost: np.ndarray | None,
        known: np.ndarray,
        full: Reply,
        replies: Sequence[Reply],
        entropy: float,
    ) -> Estimate:
        """Return the share of the information that is lost without one input."""
        if lost is None:
            return OPEN
        if not lost.any():
            return Estimate(0.0, 0.0, 0.0, 0.0)
        estimate = share(lost, known, confidence=self.confidence)
        nats = mean_of(lost, confidence=self.confidence)
        if self._changed(full, replies).max() < SMALL_CHANGE and nats.high < SMALL * entropy:
            # For a model with hardly any information any share is possible, but no prediction depends on the input.
            value, high = (max(x, 0.0) / entropy for x in (nats.value, nats.high))
            return Estimate(value, nats.se / entropy, 0.0, min(high, max(estimate.high, value)))
        if not np.isfinite(estimate.value):
            self.notes.append(
                f"the answers know too little for a share of it that the {name} has: `{name}_used` is open"
            )
        return estimate

    def _prior(self) -> np.ndarray:
        """Return log-probabilities ``(N,)`` of the right answers without any input."""
        if self.data.fixed:
            assert self.data.target is not None  # only asked with labels
            return self._known([np.zeros((len(self.data.target), len(self.data.candidates[0])))])
        return -np.log([len(c) for c in self.data.candidates])

    def _changed(self, full: Reply, replies: Sequence[Reply]) -> np.ndarray:
        """Return how far predictions are from those with the sample's own inputs: total variation, or changed texts."""
        if not self.data.candidates:
            return np.mean([[float(a != b) for a, b in zip(full.texts, r.texts, strict=True)] for r in replies], axis=0)
        own = np.exp(log_softmax(full.scores))
        return np.mean([np.abs(own - np.exp(log_softmax(r.scores))).sum(1) / 2 for r in replies], axis=0)


def _joined(replies: Sequence[Reply]) -> Reply:
    """Return the replies to all batches as one; samples with fewer candidates than others get scores of -inf."""
    width = max(r.scores.shape[1] for r in replies)
    scores = [np.pad(r.scores, ((0, 0), (0, width - r.scores.shape[1])), constant_values=-np.inf) for r in replies]
    return Reply(np.concatenate(scores), [text for r in replies for text in r.texts])


def _log_mean(log_p: np.ndarray) -> np.ndarray:
    """Return the logarithm of the mean probability over the first axis; -inf stays."""
    absent = ~np.isfinite(log_p[0])
    return np.where(absent, -np.inf, np.log(np.maximum(np.exp(log_p).mean(0), 1e-12)))


def _same_question(full: Reply, keys: Sequence[Any], *, fixed: bool, own: bool) -> np.ndarray:
    """Return the logarithm of the mean prediction for samples with the same question, ``(N, K)``.

    The mean over all samples (or equal probabilities, where every sample has candidates of its own) has the weight of
    one such sample, and is used alone if a question occurs once. The sample's own prediction is included if ``own`` is
    true and its question occurs at least `OFTEN` times.
    """
    absent = ~np.isfinite(full.scores)
    p = np.exp(log_softmax(full.scores))
    place = {key: k for k, key in enumerate(dict.fromkeys(keys))}
    group = np.array([place[key] for key in keys])
    sums, counts = np.zeros((len(place), p.shape[1])), np.bincount(group)
    np.add.at(sums, group, p)
    everything = (p.sum(0) - p) / (len(p) - 1) if fixed else ~absent / (~absent).sum(1, keepdims=True)
    kept = (own & (counts[group] >= OFTEN))[:, None]
    mean = (sums[group] - np.where(kept, 0, p) + everything) / (counts[group][:, None] + kept)
    return np.where(absent, -np.inf, np.log(np.maximum(mean, 1e-12)))


def _derangements(n: int, count: int, seed: int) -> list[np.ndarray]:
    """Return permutations without a fixed point, all different in every place: shifts of one random order."""
    rng = np.random.default_rng(seed)
    order, shifts = rng.permutation(n), rng.permutation(np.arange(1, n))[:count]
    permutations = []
    for shift in shifts:
        permutation = np.empty(n, int)
        permutation[order] = np.roll(order, shift)
        permutations.append(permutation)
    return permutations
