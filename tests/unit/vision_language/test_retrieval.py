"""Two towers of known dependence: nothing shared, everything shared, and classes only."""

from __future__ import annotations

import math

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
    found = diagnose_retrieval(Towers(), [(normal(400, 8, seed), normal(400, 8, seed + 50))])
    assert found.bound.value <= 0.02
    assert found.recall["image->text"][1].low <= 1 / 400 <= found.recall["image->text"][1].high + 0.01


def test_identical_embeddings_share_everything() -> None:
    x = normal(300, 8, 0)
    found = diagnose_retrieval(Towers(), [{"image": part, "text": part} for part in x.split(100)])
    assert found.n == 300
    assert all(found.recall[d][k].value == 1 for d in found.recall for k in (1, 5, 10))
    assert found.bound.value == pytest.approx(math.log(300), abs=1e-3)
    assert any("log n" in note for note in found.notes)
    assert found.gap == pytest.approx(0, abs=1e-6)
    assert found.frozen == {"image": pytest.approx(1 / 300), "text": pytest.approx(1 / 300)}


def test_towers_that_share_the_class_only() -> None:
    g = torch.Generator().manual_seed(0)
    y = torch.randint(4, (400,), generator=g)
    towers = [5 * nn.functional.one_hot(y, 4).float() + 0.5 * torch.randn(400, 4, generator=g) for _ in "ab"]
    found = diagnose_retrieval(Towers(), [((towers[0], towers[1]), y)])
    assert found.bound.value == pytest.approx(math.log(4), abs=0.1)
    # At its class means a tower still finds the class, within which the partner is found by chance.
    assert found.frozen_class["image"] == pytest.approx(4 / 400, abs=0.008)
    assert found.frozen_class["image"] > 2 * found.frozen["image"]
    assert found.to_dict()["n"] == 400


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
    found = diagnose_retrieval(clip, [batch])
    assert found.n == 40
    assert found.bound.value < 0.3
    with pytest.raises(ModelError, match="two embeddings"):
        diagnose_retrieval(lambda image, text: image, [(normal(40, 3, 0), normal(40, 3, 1))])
    with pytest.raises(DataError, match="ten pairs"):
        diagnose_retrieval(Towers(), [(normal(4, 3, 0), normal(4, 3, 1))])
