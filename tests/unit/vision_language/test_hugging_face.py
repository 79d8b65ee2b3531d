"""A tiny LLaVA from a configuration: candidates are scored as without padding, and a model without eyes is flagged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from counterpoise import diagnose_vlm
from counterpoise.errors import ConfigError
from counterpoise.vision_language._answers import HuggingFace

transformers = pytest.importorskip("transformers")

WORDS = ["<pad>", "<s>", "<unk>", "<image>", "is", "it", "dark", "or", "light", "now", "yes", "no", "very"]


class Processor:
    """What AutoProcessor offers: an image token becomes as many placeholders as there are patches."""

    image_token = "<image>"

    def __init__(self, side: str) -> None:
        from tokenizers import Tokenizer, models, pre_tokenizers

        words = Tokenizer(models.WordLevel({w: k for k, w in enumerate(WORDS)}, unk_token="<unk>"))
        words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        self.tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", padding_side=side
        )

    def __call__(self, images: Any, text: Any, padding: bool, return_tensors: str) -> Any:
        whole = [t.replace("<image>", " ".join(["<image>"] * 4)) for t in text]
        tokens = self.tokenizer(whole, padding=padding, return_tensors=return_tensors)
        return {**tokens, "pixel_values": torch.stack([torch.as_tensor(x, dtype=torch.float32) for x in images])}


def make_model() -> Any:
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(image_size=16, patch_size=8, **small),
        text_config=transformers.LlamaConfig(
            vocab_size=len(WORDS), num_key_value_heads=2, max_position_embeddings=32, pad_token_id=0, **small
        ),
        image_token_index=3,
        vision_feature_select_strategy="default",
        vision_feature_layer=-1,
    )
    return transformers.LlavaForConditionalGeneration(config).eval()


def make_samples(n: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    light = rng.integers(2, size=n)
    questions = ["is it light", "is it light or dark now"]
    return [
        {"image": np.full((3, 16, 16), 2.0 * k - 1), "question": questions[i % 2], "answer": ["no", "yes"][k]}
        for i, k in enumerate(light)
    ]


@pytest.mark.parametrize("side", ["left", "right"])
def test_candidates_are_scored_as_they_are_one_by_one(side: str) -> None:
    model, processor, rows = make_model(), Processor(side), make_samples(4)
    answers = ["yes", "very dark"]
    reply = HuggingFace(model, processor)(
        [r["image"] for r in rows], [r["question"] for r in rows], [answers] * len(rows)
    )
    for row, scores in zip(rows, reply.scores, strict=True):
        for answer, score in zip(answers, scores, strict=True):
            prompt = processor([row["image"]], [f"<image> {row['question']}"], True, "pt")
            own = processor.tokenizer(answer, return_tensors="pt", add_special_tokens=False)["input_ids"]
            ids = torch.cat([prompt["input_ids"], own], 1)
            with torch.no_grad():
                logits = model(input_ids=ids, attention_mask=ids * 0 + 1, pixel_values=prompt["pixel_values"]).logits
            start = ids.shape[1] - own.shape[1]
            expected = sum(float(logits[0, start + k - 1].log_softmax(-1)[t]) for k, t in enumerate(own[0]))
            assert score == pytest.approx(expected, abs=1e-4)


def test_a_model_without_eyes_is_flagged_and_one_with_eyes_is_not() -> None:
    model, processor, rows = make_model(), Processor("left"), make_samples(64)
    answers = torch.tensor([WORDS.index("no"), WORDS.index("yes")])
    batch = processor([r["image"] for r in rows], [f"<image> {r['question']}" for r in rows], True, "pt")
    target = torch.tensor([["no", "yes"].index(r["answer"]) for r in rows])
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        logits = model(**batch).logits[:, -1]
        torch.nn.functional.cross_entropy(logits, answers[target]).backward()
        optimizer.step()
    sighted = diagnose_vlm(model, processor, rows, answers=["no", "yes"], swaps=2)
    assert sighted.accuracy["full"].value > 0.95
    assert not sighted.ignores_image
    assert sighted.image_used.low > 0.8
    with torch.no_grad():
        for p in model.model.multi_modal_projector.parameters():
            p.zero_()
    blind = diagnose_vlm(model, processor, rows, answers=["no", "yes"], swaps=2)
    assert blind.ignores_image
    with pytest.raises(ConfigError, match="processor"):
        diagnose_vlm(model, samples=rows, answers=["no", "yes"])


class QwenProcessor(Processor):
    """Pictures become rows of patches ``(patches, D)``, those of all pictures one after the other."""

    image_token = "<image>"

    def __call__(self, images: Any, text: Any, padding: bool, return_tensors: str) -> Any:
        tokens = super().__call__(images, text, padding, return_tensors)
        pixels = tokens.pop("pixel_values").unfold(2, 4, 4).unfold(3, 4, 4)  # (B, 3, 4, 4, 4, 4)
        ids = tokens["input_ids"]
        return {
            "input_ids": ids,
            "attention_mask": tokens["attention_mask"],
            "mm_token_type_ids": (ids == 3).int(),
            "pixel_values": pixels.permute(0, 2, 3, 1, 4, 5).reshape(-1, 48),
            "image_grid_thw": torch.tensor([[1, 4, 4]] * len(images)),
        }


def test_a_qwen_whose_pixels_are_patches() -> None:
    torch.manual_seed(0)
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "mlp_ratio": 2, "patch_size": 4}
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    text = {"vocab_size": len(WORDS), "num_key_value_heads": 2, "max_position_embeddings": 64, **small, **special}
    config = transformers.Qwen2VLConfig(
        text_config={**text, "rope_parameters": rope},
        vision_config={**vision, "temporal_patch_size": 1, "spatial_merge_size": 2},
        image_token_id=3,
        video_token_id=len(WORDS) - 1,
        vision_start_token_id=1,
        vision_end_token_id=2,
    )
    model = transformers.Qwen2VLForConditionalGeneration(config).eval()
    rows, answers = make_samples(12), ["yes", "very dark"]
    processor = QwenProcessor("left")
    reply = HuggingFace(model, processor)([r["image"] for r in rows], [r["question"] for r in rows], [answers] * 12)
    for row, scores in zip(rows[:3], reply.scores, strict=False):
        own = processor([row["image"]], [f"<image> {row['question']}"], True, "pt")
        own["input_ids"] = torch.cat([own["input_ids"], torch.tensor([[WORDS.index("yes")]])], 1)
        own["attention_mask"] = torch.ones_like(own["input_ids"])
        own["mm_token_type_ids"] = (own["input_ids"] == 3).int()
        with torch.no_grad():
            log_p = model(**own).logits.log_softmax(-1)
        assert scores[0] == pytest.approx(float(log_p[0, -2, WORDS.index("yes")]), abs=1e-4)
    diagnosis = diagnose_vlm(model, processor, rows, answers=["yes", "no"], swaps=2)
    assert diagnosis.n == 12
    assert set(diagnosis.accuracy) == {"full", "blind", "swapped"}
