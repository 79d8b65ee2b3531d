"""One stream of tokens that holds several modalities is diagnosed as the same model with two inputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from counterpoise.diagnosis import DiagnosisOptions, diagnose
from counterpoise.errors import DataError

FAST = DiagnosisOptions(estimator="variational-linear", damage=False)


class Two(nn.Module):
    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return 3 * image[..., :2].mean(1) + 0.2 * text[..., :2].mean(1)


class One(nn.Module):
    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        assert attention_mask is None or attention_mask.shape == inputs_embeds.shape[:2]
        assert bool((inputs_embeds[:, 0] == 1).all())  # the first token stays
        return Two()(inputs_embeds[:, 1:4], inputs_embeds[:, 4:])


@pytest.fixture(scope="module")
def parts() -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    y = torch.randint(2, (300,), generator=g)
    image, text = (torch.randn(300, n, 4, generator=g) for n in (3, 2))
    for x in (image, text):
        x[..., :2] += nn.functional.one_hot(y, 2)[:, None]
    return image, text, y


SLICES = {"image": slice(1, 4), "text": slice(4, None)}
NAMED = {m: ("inputs_embeds", part) for m, part in SLICES.items()}


def stream(image: Tensor, text: Tensor) -> Tensor:
    return torch.cat([torch.ones(len(image), 1, 4), image, text], 1)


@pytest.mark.parametrize("form", ["positional", "mapping", "masked", "samples"])
def test_slices_of_a_stream_equal_two_inputs(form: str, parts: tuple[Tensor, Tensor, Tensor]) -> None:
    image, text, y = parts
    x = stream(image, text)
    whole: dict[str, Any] = {"inputs_embeds": x, "labels": y}
    modalities: Any = NAMED if form == "masked" else SLICES
    if form == "masked":
        whole["attention_mask"] = torch.ones(x.shape[:2], dtype=torch.long)
    loader = {"positional": [(x, y)], "samples": [(x[i], int(y[i])) for i in range(300)]}.get(form, [whole])
    diagnosis = diagnose(One(), loader, modalities=modalities, options=FAST)
    plain = diagnose(Two(), [{"image": image, "text": text, "labels": y}], options=FAST)
    assert diagnosis.clean == plain.clean
    for m in ("image", "text"):
        assert diagnosis.evidence[m].realised.value == pytest.approx(plain.evidence[m].realised.value, abs=1e-6)


def test_slices_that_cannot_be_are_refused(parts: tuple[Tensor, Tensor, Tensor]) -> None:
    image, text, y = parts
    x = stream(image, text)
    wrong: dict[str, tuple[Any, str]] = {
        "in several modalities": ({"image": slice(1, 4), "text": slice(3, None)}, "several"),
        "no position": ({"image": slice(1, 4), "text": slice(40, None)}, "should hold a position"),
        "mixed": ({"image": slice(1, 4), "text": ["x"]}, "all modalities"),
        "rest differs": ({"image": slice(1, 3), "text": slice(4, None)}, "the same in every sample"),
        "unknown input": ({m: ("tokens", part) for m, part in SLICES.items()}, "one input"),
    }
    for modalities, message in wrong.values():
        with pytest.raises(DataError, match=message):
            diagnose(One(), [{"inputs_embeds": x, "labels": y}], modalities=modalities, options=FAST)
