"""The rows of the table: a world with known information, a model with planted reliance, a form, a number of samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from models import BLIND, EXACT, Plant, blind, memoriser, scaled
from worlds import (
    Classes,
    Discrete,
    Heteroscedastic,
    Linear,
    Multilabel,
    World,
    common_copy,
    noisy_copies,
    parity,
    parts,
)

__all__ = ["CASES", "WORLDS", "Case"]


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        world: Key of WORLDS.
        plant: The model, or None for arrays.
        form: A key of `forms.MODELS` or `forms.ARRAYS`.
        n: Number of samples.
        train: Whether the training samples are given as well.
        copies: How often every row is repeated; of the rows of class 1 only where it is negative.
        share: Repetitions relative to the others: less for slow rows.
        covered: Whether intervals are compared with the truth (not so where copies change the distribution).
    """

    world: str
    plant: Plant | None
    form: str
    n: int
    train: bool = False
    copies: int = 1
    share: float = 1.0
    covered: bool = True

    @property
    def name(self) -> str:
        """Name in the table."""
        extra = (", train=" if self.train else "") + (f", {abs(self.copies)} copies" if self.copies != 1 else "")
        return f"{self.world} | {self.plant.name if self.plant else 'no model'}{extra} | {self.form} | {self.n:,}"


TEMPERED = Plant("exact, over-confident", temperature=3.0)
FITTED = Plant("fitted by scikit-learn", fitted=True)
GATED = Plant("b gates by 1e-6", {"b": 1e-6}, gated=True)
MEAN = Plant("exact mean", {"b": 0.0}, point=True)
NOBODY = blind("a", "b")

WORLDS: dict[str, World] = {
    "2 classes": Classes(2, (1.0, 1.5)),
    "3 classes": Classes(3, (1.0, 1.5)),
    "10 classes": Classes(10, (1.0, 1.5), columns=8),
    "20 classes": Classes(20, (1.0, 3.0), columns=8),
    "60 classes": Classes(60, (1.0, 1.5), columns=8),
    "3 modalities": Classes(4, (1.0, 1.3, 1.6)),
    "5 modalities": Classes(3, (1.0, 1.2, 1.4, 1.6, np.inf)),
    "b unrelated": Classes(3, (1.0, np.inf)),
    "b unrelated, 12 columns": Classes(2, (0.8, np.inf), noise=(8, 8)),
    "all unrelated": Classes(2, (np.inf, np.inf)),
    "counts": Classes(4, (1.0, 1.5), counts=True),
    "labels 20 % wrong": Classes(2, (0.5, 0.6), flip=0.2),
    "labels 40 % wrong": Classes(2, (0.3, 0.3), flip=0.4),
    "9 : 1": Classes(2, (0.6, 0.8), prior=(0.9, 0.1)),
    "99 : 1": Classes(2, (0.4, 0.5), prior=(0.99, 0.01)),
    "99 : 1, b unrelated": Classes(2, (0.4, np.inf), prior=(0.99, 0.01)),
    "strong beside weak": Classes(2, (0.25, 2.0)),
    "strong beside 60 columns": Classes(3, (0.4, np.inf), noise=(0, 60)),
    "500 columns": Classes(2, (0.5, 0.5), noise=(496, 496)),
    "2,048 columns of noise": Classes(2, (np.inf, np.inf), noise=(2044, 2044)),
    "2,048 columns beside": Classes(2, (0.7, np.inf), noise=(0, 2044)),
    "subjects": Classes(2, (0.7, 0.9), groups=60, offset=0.7),
    "subjects, b unrelated": Classes(2, (0.7, np.inf), groups=30, offset=0.7),
    "copies of 4 classes": Discrete(noisy_copies(4, (0.1, 0.15))),
    "common copy": Discrete(common_copy(2, 0.1), given_target=False),
    "common copy, 3 modalities": Discrete(common_copy(3, 0.1, 3), given_target=False),
    "unique parts": Discrete(parts((2, 2), 0.1)),
    "unique, b unrelated": Discrete(parts((3, 1), 0.1)),
    "XOR": Discrete(parity(2, 0.05), given_target=False),
    "XOR, 30 columns": Discrete(parity(2, 0.02), noise=28, given_target=False),
    "XOR of 3": Discrete(parity(3, 0.02), given_target=False),
    "XOR of 3, 20 columns": Discrete(parity(3, 0.02), noise=18, given_target=False),
    "sum modulo 3": Discrete(parity(2, 0.05, 3), given_target=False),
    "parity of 4 inside a": Discrete(parts((2, 1), 0.02), noise=16, parity=(4, 0)),
    "real target": Linear((0.7, 0.4)),
    "real target, weak b": Linear((0.8, 0.3)),
    "real target, redundant": Linear((0.7, 0.65), between=0.8),
    "real target, b unrelated": Linear((0.8, 0.0)),
    "real target in dollars": Linear((0.7, 0.5), unit=3e4, origin=5e5),
    "real target, no noise": Linear((0.8, 0.6)),
    "heteroscedastic": Heteroscedastic(),
    "4 labels": Multilabel(
        (
            Discrete(noisy_copies(2, (0.05, 0.1))),
            Discrete(noisy_copies(2, (0.05, 0.3))),
            Discrete(noisy_copies(2, (0.1, 0.05))),
            Discrete(parity(2, 0.02), given_target=False),
        )
    ),
    "3 labels, b unrelated": Multilabel(tuple(Discrete(noisy_copies(2, (flip, 0.5))) for flip in (0.05, 0.1, 0.2))),
    "4 equal labels": Multilabel((Discrete(noisy_copies(2, (0.1, 0.2))),), equal=4),
}

CASES: tuple[Case, ...] = (
    # weights: what a model reads decides, not what could be decoded
    Case("2 classes", EXACT, "module", 1000),
    Case("2 classes", EXACT, "module", 300),
    Case("2 classes", EXACT, "module", 100),
    Case("2 classes", TEMPERED, "module", 1000),
    Case("2 classes", BLIND, "module", 1000),
    Case("2 classes", blind("a"), "module", 1000),
    Case("2 classes", NOBODY, "module", 1000),
    Case("2 classes", scaled(0.01), "module", 1000),
    Case("2 classes", scaled(1e-6), "module", 1000),
    Case("2 classes", GATED, "module", 1000),
    Case("3 classes", scaled(0.5), "module", 1000),
    Case("3 classes", scaled(1e-6, "a"), "tuple batches", 1000),
    Case("10 classes", EXACT, "module", 1000, share=0.5),
    Case("10 classes", scaled(1e-6), "module", 1000, share=0.5),
    Case("20 classes", EXACT, "module", 400, share=0.25),
    Case("20 classes", EXACT, "module", 1000, share=0.25),
    Case("20 classes", BLIND, "module", 1000, share=0.25),
    Case("60 classes", EXACT, "module", 2000, share=0.15),
    Case("60 classes", BLIND, "module", 2000, share=0.15),
    Case("3 modalities", EXACT, "mapping", 1000),
    Case("3 modalities", blind("c"), "mapping", 1000),
    Case("3 modalities", scaled(1e-6, "b"), "mapping", 1000),
    Case("5 modalities", EXACT, "mapping", 1000, share=0.5),
    Case("5 modalities", blind("b", "c"), "mapping", 1000, share=0.5),
    Case("counts", EXACT, "module", 1000),
    Case("counts", BLIND, "module", 1000),
    # nothing to know
    Case("b unrelated", EXACT, "module", 1000),
    Case("b unrelated, 12 columns", EXACT, "module", 500),
    Case("all unrelated", EXACT, "module", 1000),
    Case("unique, b unrelated", EXACT, "module", 1000),
    # noise and imbalance
    Case("labels 20 % wrong", EXACT, "module", 1000),
    Case("labels 20 % wrong", BLIND, "module", 1000),
    Case("labels 40 % wrong", EXACT, "module", 2000),
    Case("9 : 1", EXACT, "module", 1000),
    Case("9 : 1", BLIND, "module", 1000),
    Case("99 : 1", EXACT, "module", 5000),
    Case("99 : 1", BLIND, "module", 5000),
    Case("99 : 1, b unrelated", EXACT, "module", 3000),
    # redundancy, unique parts and synergy
    Case("common copy", EXACT, "module", 1000),
    Case("common copy", BLIND, "module", 1000),
    Case("common copy, 3 modalities", EXACT, "mapping", 1000),
    Case("unique parts", EXACT, "module", 1000),
    Case("unique parts", scaled(0.01), "module", 1000),
    Case("XOR", EXACT, "module", 1000),
    Case("XOR", BLIND, "module", 1000),
    Case("XOR, 30 columns", EXACT, "module", 1000),
    Case("XOR of 3", EXACT, "mapping", 1000),
    Case("XOR of 3, 20 columns", EXACT, "mapping", 1000),
    Case("sum modulo 3", EXACT, "module", 1000),
    Case("parity of 4 inside a", EXACT, "module", 1000),
    # training samples
    Case("b unrelated", EXACT, "module", 500, train=True),
    Case("2 classes", EXACT, "module", 500, train=True),
    Case("20 classes", EXACT, "module", 500, train=True, share=0.25),
    Case("2 classes", BLIND, "module", 500, train=True),
    Case("b unrelated", memoriser(), "module", 500, train=True),
    Case("2 classes", memoriser(), "module", 500, train=True),
    Case("b unrelated, 12 columns", memoriser(), "module", 200, train=True),
    # wide features
    Case("500 columns", EXACT, "module", 500, share=0.5),
    Case("500 columns", BLIND, "module", 500, share=0.5),
    Case("2,048 columns beside", EXACT, "module", 400, share=0.5),
    # groups and copies
    Case("subjects", EXACT, "module", 1200),
    Case("subjects", BLIND, "module", 1200),
    Case("subjects, b unrelated", EXACT, "module", 900),
    Case("2 classes", EXACT, "module", 300, copies=3),
    # real targets
    Case("real target", EXACT, "module", 1000),
    Case("real target", BLIND, "module", 1000),
    Case("real target", scaled(1e-6), "module", 1000),
    Case("real target, weak b", EXACT, "module", 1000),
    Case("real target, redundant", EXACT, "module", 1000),
    Case("real target, b unrelated", EXACT, "module", 500),
    Case("real target in dollars", EXACT, "module", 1000),
    Case("real target, no noise", EXACT, "module", 500),
    Case("real target, no noise", BLIND, "module", 500),
    Case("heteroscedastic", MEAN, "module", 1000),
    # several labels
    Case("4 labels", EXACT, "module", 1000),
    Case("4 labels", BLIND, "module", 1000),
    Case("3 labels, b unrelated", EXACT, "module", 1000),
    Case("4 equal labels", EXACT, "module", 1000),
    # forms of models: the first modality of the signature is the second of the batch
    *(
        Case("3 classes", plant, form, 600, share=0.5)
        for form in ("Lightning", "compiled", "DataParallel", "wrapped", "keywords", "bf16", "NumPy function")
        for plant in (EXACT, blind("a"))
    ),
    Case("3 classes", EXACT, "wrapped twice", 600, share=0.5),
    Case("3 classes", BLIND, "nested batches", 600, share=0.5),
    Case("3 classes", EXACT, "probabilities", 600, share=0.5),
    Case("3 classes", FITTED, "probabilities", 600, share=0.5),
    Case("2 classes", FITTED, "NumPy function", 1000, share=0.5),
    Case("2 classes", EXACT, "one logit", 600, share=0.5),
    Case("2 classes", BLIND, "one probability", 600, share=0.5),
    *(
        Case("copies of 4 classes", plant, form, 600, share=0.5)
        for form in ("left padding", "right padding", "Hugging Face")
        for plant in (EXACT, BLIND)
    ),
    Case("copies of 4 classes", scaled(1e-6), "Hugging Face", 600, share=0.5),
    # many samples
    Case("3 classes", EXACT, "module", 20000, share=0.25),
    Case("3 classes", scaled(1e-6), "module", 20000, share=0.25),
    # arrays, files and frames without a model
    Case("2 classes", None, "arrays", 100),
    Case("2 classes", None, "arrays", 1000),
    Case("10 classes", None, "arrays", 1000, share=0.5),
    Case("60 classes", None, "arrays", 2000, share=0.15),
    Case("5 modalities", None, "arrays", 1000, share=0.5),
    Case("all unrelated", None, "arrays", 300),
    Case("b unrelated", None, "arrays", 1000),
    Case("XOR", None, "arrays", 1000),
    Case("common copy", None, "arrays", 1000),
    Case("labels 20 % wrong", None, "arrays", 1000),
    Case("99 : 1", None, "arrays", 5000),
    Case("strong beside weak", None, "arrays", 1000),
    Case("strong beside 60 columns", None, "arrays", 600),
    Case("2,048 columns of noise", None, "arrays", 200, share=0.5),
    Case("2,048 columns beside", None, "arrays", 400, share=0.5),
    Case("500 columns", None, "arrays", 500, share=0.5),
    Case("subjects", None, "arrays", 1200),
    Case("subjects, b unrelated", None, "arrays", 900),
    Case("all unrelated", None, "arrays", 150, copies=5),
    Case("all unrelated", None, "arrays", 300, copies=-9, covered=False),
    Case("2 classes", None, "arrays", 300, copies=3),
    Case("real target", None, "arrays", 1000),
    Case("heteroscedastic", None, "arrays", 1000),
    Case("real target in dollars", None, "arrays", 1000),
    Case("4 labels", None, "arrays", 1000),
    Case("4 equal labels", None, "arrays", 1000),
    Case("3 classes", None, "arrays", 20000, share=0.25),
    Case("3 classes", None, "bf16 tensors", 600),
    Case("3 classes", None, "objects", 600),
    Case("3 classes", None, "estimate", 600),
    Case("real target", None, "estimate", 600),
    Case("copies of 4 classes", None, "DataFrame", 600),
    Case("unique, b unrelated", None, "DataFrame", 600),
    Case("real target, b unrelated", None, "DataFrame", 600),
    Case("copies of 4 classes", None, "CSV", 600),
    Case("subjects", None, "CSV", 1200, share=0.5),
    Case("real target", None, "CSV", 600),
    Case("3 classes", None, "npz", 600),
    Case("subjects, b unrelated", None, "npz", 900),
    Case("4 labels", None, "npz", 600),
)
