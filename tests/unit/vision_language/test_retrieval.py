"""Two towers of known dependence: nothing shared, everything shared, and classes only."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from counterpoise import diagnose_retrieval
from counterpoise.errors import DataError, ModelError


class Towers(nn.Module):
    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        return image, text


def normal(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(4))
def test_independent_towers_share_nothing(seed: int) -> None:
    diagnosis = diagnose_retrieval(Towers(), [(normal(400, 8, seed), normal(400, 8, seed + 50))])
    assert diagnosis.bound.value <= 0.02
    assert diagnosis.recall["image->text"][1].low <= 1 / 400 <= diagnosis.recall["image->text"][1].high + 0.01


def test_identical_embeddings_share_everything() -> None:
    x = normal(300, 8, 0)
    diagnosis = diagnose_retrieval(Towers(), [{"image": part, "text": part} for part in x.split(100)])
    assert diagnosis.n == 300
    assert all(diagnosis.recall[d][k].value == 1 for d in diagnosis.recall for k in (1, 5, 10))
    assert diagnosis.bound.value == pytest.approx(math.log(300), abs=1e-3)
    assert any("log n" in note for note in diagnosis.notes)
    assert diagnosis.gap == pytest.approx(0, abs=1e-6)
    assert diagnosis.frozen == {"image": pytest.approx(1 / 300), "text": pytest.approx(1 / 300)}


def test_towers_that_share_the_class_only() -> None:
    g = torch.Generator().manual_seed(0)
    y = torch.randint(4, (400,), generator=g)
    towers = [5 * nn.functional.one_hot(y, 4).float() + 0.5 * torch.randn(400, 4, generator=g) for _ in "ab"]
    diagnosis = diagnose_retrieval(Towers(), [((towers[0], towers[1]), y)])
    assert diagnosis.bound.value == pytest.approx(math.log(4), abs=0.1)
    # At its class means a tower still finds the class, within which the partner is found by chance.
    assert diagnosis.frozen_class["image"] == pytest.approx(4 / 400, abs=0.008)
    assert diagnosis.frozen_class["image"] > 2 * diagnosis.frozen["image"]
    assert diagnosis.to_dict()["n"] == 400


def test_clip_of_transformers_and_what_cannot_be_read() -> None:
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={"vocab_size": 20, "max_position_embeddings": 8, "eos_token_id": 2, **small},
        vision_config={"image_size": 8, "patch_size": 4, **small},
        projection_dim=8,
    )
    torch.manual_seed(0)
    clip = transformers.CLIPModel(config)
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 20, (40, 5), generator=g)
    batch = {"pixel_values": normal(40, 3 * 64, 0).view(40, 3, 8, 8), "input_ids": ids, "attention_mask": ids * 0 + 1}
    diagnosis = diagnose_retrieval(clip, [batch])
    assert diagnosis.n == 40
    assert diagnosis.bound.value < 0.3
    with pytest.raises(ModelError, match="two embeddings"):
        diagnose_retrieval(lambda image, text: image, [(normal(40, 3, 0), normal(40, 3, 1))])
    with pytest.raises(DataError, match="ten pairs"):
        diagnose_retrieval(Towers(), [(normal(4, 3, 0), normal(4, 3, 1))])


class Similarities(nn.Module):
    """A CLIP that returns similarities only; the text may come in two parts."""

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        u, v = (nn.functional.normalize(z, dim=1) for z in (pixel_values, input_ids))
        return SimpleNamespace(logits_per_image=7.0 * u @ v.T)


@pytest.mark.parametrize("masked", [False, True])
def test_similarities_alone_give_what_embeddings_give(masked: bool) -> None:
    g = torch.Generator().manual_seed(0)
    y = torch.randint(4, (90,), generator=g)
    u, v = (3 * nn.functional.one_hot(y, 6).float() + torch.randn(90, 6, generator=g) for _ in "ab")
    rows = list(zip(u.split(40), v.split(40), y.split(40), strict=True))
    extra = [{"attention_mask": torch.ones_like(b)} if masked else {} for _, b, _ in rows]
    batches = [{"pixel_values": a, "input_ids": b, "label": c, **e} for (a, b, c), e in zip(rows, extra, strict=True)]
    groups = {"image": ["pixel_values"], "text": ["input_ids", *extra[0]]}
    diagnosis = diagnose_retrieval(Similarities(), batches, groups=groups if masked else None)
    plain = diagnose_retrieval(Towers(), [((a, b), c) for a, b, c in rows])
    for direction, recall in plain.recall.items():
        assert {k: e.value for k, e in diagnosis.recall[direction].items()} == {k: e.value for k, e in recall.items()}
    assert diagnosis.bound.value == pytest.approx(plain.bound.value, abs=0.02)  # the grid of scales is another
    assert diagnosis.frozen == {m: pytest.approx(x) for m, x in plain.frozen.items()}
    assert diagnosis.frozen_class["image"] == pytest.approx(plain.frozen_class["image"], abs=0.02)
    assert math.isnan(diagnosis.gap)
    assert diagnosis.to_dict()["gap"] is None
    if masked:
        with pytest.raises(ModelError, match="groups="):
            diagnose_retrieval(Similarities(), batches)


def test_what_was_computed_before_a_failure_is_kept() -> None:
    x = normal(60, 8, 0)
    # A label too few in each batch: no class means, but everything else.
    broken = diagnose_retrieval(Towers(), [((a, a), torch.arange(k, k + 29)) for k, a in enumerate(x.split(30))])
    assert broken.recall["image->text"][1].value == 1
    assert broken.frozen_class == {}
    assert any("left out: the class means" in note for note in broken.notes)


def test_progress_is_shown_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from counterpoise.diagnosis import _progress

    monkeypatch.setattr(_progress, "DELAY", 0.0)
    diagnose_retrieval(Towers(), [(normal(40, 8, 0), normal(40, 8, 1))], progress=True)
    assert "embeddings" in capsys.readouterr().err
