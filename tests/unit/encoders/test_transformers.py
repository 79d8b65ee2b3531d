import json
from pathlib import Path

import pytest
import torch
import yaml

from counterpoise.config import FitConfig, ModelConfig, OptimConfig
from counterpoise.data import DATASETS
from counterpoise.data.preparation import Settings
from counterpoise.encoders import BERT, ResNet18, SequenceTransformer, ViT
from counterpoise.errors import ConfigError, NotFoundError
from counterpoise.model import build_model

RECIPES = sorted((Path(__file__).parents[3] / "benchmarks" / "recipes").glob("*.yaml"))


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_resnet18_has_the_published_number_of_parameters():
    assert count(ResNet18((3, 64, 64))) == 11_689_512 - 513_000  # torchvision's, less its classifier
    assert count(ResNet18((1, 64, 64))) == 11_176_512 - 2 * 64 * 49


def test_frames_are_pooled_over_time():
    torch.manual_seed(0)
    encoder = ResNet18((3, 3, 32, 32)).eval()
    video = torch.rand(2, 3, 3, 32, 32)
    alone = torch.stack([encoder(video[:, k]) for k in range(3)]).mean(0)
    torch.testing.assert_close(encoder(video), alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(encoder(video.flip(1)), encoder(video), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("encoder", "x"),
    [
        (BERT((9,), 16, 30, layers=1, heads=2), torch.tensor([[3, 4, 5, 0, 0, 0, 0, 0, 0]])),
        (
            SequenceTransformer((9, 4), 16, layers=1, heads=2),
            torch.cat([torch.zeros(1, 6, 4), torch.randn(1, 3, 4)], 1),
        ),
    ],
)
def test_padding_is_looked_at_by_nobody(encoder, x):
    encoder.eval()
    real = x != 0 if x.ndim == 2 else (x != 0).any(-1)
    cut = x[:, real[0]]
    torch.testing.assert_close(encoder(x), encoder(cut), atol=1e-5, rtol=1e-4)


def test_an_empty_sequence_gives_finite_features():
    assert SequenceTransformer((5, 3), 8, heads=2).eval()(torch.zeros(2, 5, 3)).isfinite().all()


@pytest.mark.parametrize(
    ("encoder", "x"),
    [
        (ResNet18((2, 32, 32)), torch.rand(3, 2, 32, 32)),
        (ViT((3, 32, 32), 16, layers=1, heads=2, patch=8), torch.rand(3, 3, 32, 32)),
        (BERT((7,), 16, 40, layers=1, heads=2), torch.randint(1, 40, (3, 7))),
        (SequenceTransformer((6, 5), 16, heads=2), torch.randn(3, 6, 5)),
    ],
)
def test_every_parameter_that_is_used_gets_a_gradient(encoder, x):
    out = encoder(x)
    assert out.shape == (3, encoder.feature_dim)
    out.square().sum().backward()
    without = [name for name, p in encoder.named_parameters() if p.grad is None]
    assert not without


def test_pretrained_weights_load_and_a_grey_picture_means_the_same_in_any_number_of_channels(tmp_path):
    torch.manual_seed(0)
    ResNet18((3, 32, 32)).network.save_pretrained(tmp_path)
    rgb, grey = (ResNet18((c, 32, 32), pretrained=str(tmp_path)).eval() for c in (3, 1))
    picture = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(grey(picture), rgb(picture.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("kind", "size"), [(ResNet18, 32), (ViT, 16)])
def test_pretrained_weights_get_pictures_as_their_own_preprocessing_makes_them(kind, size, tmp_path):
    torch.manual_seed(0)
    own = kind((3, size, size)) if kind is ResNet18 else ViT((3, size, size), 16, layers=1, heads=2, patch=8)
    own.network.save_pretrained(tmp_path)
    mean, deviation = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
    plain = kind((3, size, size), pretrained=str(tmp_path)).eval()
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": mean, "image_std": deviation}))
    encoder = kind((3, size, size), pretrained=str(tmp_path)).eval()
    picture = torch.rand(2, 3, size, size)
    by_hand = (picture - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(deviation).view(3, 1, 1)
    torch.testing.assert_close(encoder(picture), plain(by_hand), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(encoder(picture), plain(picture), atol=1e-3)


def test_a_pretrained_text_model_that_pads_with_another_id_gets_its_own_ids_back(tmp_path):
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, pad_token_id=1
    )
    own = BertModel(config, add_pooling_layer=False).eval()
    own.save_pretrained(tmp_path)
    encoder = BERT((5,), 16, 20, pretrained=str(tmp_path)).eval()
    theirs = torch.tensor([[0, 7, 8, 1, 1]])  # 0 is their first special token, 1 their padding
    ours = torch.tensor([[1, 7, 8, 0, 0]])
    expected = own(input_ids=theirs, attention_mask=(theirs != 1).long()).last_hidden_state[:, 0]
    torch.testing.assert_close(encoder(ours), expected)
    with pytest.raises(ConfigError, match="--tokenizer"):
        BERT((5,), 16, 21, pretrained=str(tmp_path))


@pytest.mark.parametrize("kind", [ResNet18, ViT])
def test_offline_the_message_says_what_to_do(kind, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(NotFoundError, match="leave `pretrained` out"):
        kind((3, 32, 32), pretrained="no-such-organisation/no-such-model")


def test_arguments_of_encoders_are_checked_by_name():
    modalities = {"a": ("sequence", (6, 5), 0), "b": ("vector", (3,), 0)}
    built = build_model(modalities, num_outputs=2, encoders={"a": "transformer[layers=3,heads=2]"}, width=8)
    assert len(built.encoder("a").blocks.layers) == 3
    with pytest.raises(ConfigError, match="Did you mean `layers`"):
        build_model(modalities, num_outputs=2, encoders={"a": "transformer[layer=3]"})
    with pytest.raises(ConfigError, match="multiple of `heads`"):
        build_model(modalities, num_outputs=2, encoders={"a": "transformer[heads=3]"}, width=8)


SHAPES = {
    "audio": ("image", (1, 40, 32), 0),
    "video": ("video", (2, 3, 32, 32), 0),
    "rgb": ("video", (2, 3, 32, 32), 0),
    "flow": ("video", (2, 2, 32, 32), 0),
    "image": ("image", (3, 32, 32), 0),
    "text": ("tokens", (8,), 50),
    "vision": ("sequence", (8, 5), 0),
}


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_is_a_valid_configuration_that_builds(path):
    text = path.read_text()
    assert text.startswith("# "), "a recipe says where its numbers come from"
    assert "# Prepare: " in text
    settings = yaml.safe_load(text)
    OptimConfig(**settings["optim"]), FitConfig(**settings["fit"])
    model = ModelConfig(**settings["model"])
    shapes = dict(SHAPES)
    if "mosei" in path.stem:
        shapes |= {"text": ("sequence", (8, 6), 0), "audio": ("sequence", (8, 4), 0)}
    if "av-mnist" in path.stem:
        shapes |= {"image": ("image", (1, 28, 28), 0)}
    scratch = {m: e.partition("[pretrained")[0] for m, e in model.encoders.items()}
    built = build_model({m: shapes[m] for m in scratch}, num_outputs=3, encoders=scratch, width=model.width)
    inputs = {
        m: torch.randint(0, 50, (2, 8)) if shapes[m][0] == "tokens" else torch.rand(2, *shapes[m][1]) for m in scratch
    }
    outputs = built(inputs)
    assert outputs.logits.shape == (2, 3)
    optimizer = torch.optim.SGD(built.parameters(), lr=0.01)
    before = [p.detach().clone() for p in built.parameters()]
    torch.nn.functional.cross_entropy(outputs.logits, torch.tensor([0, 2])).backward()
    optimizer.step()
    moved = sum(not torch.equal(a, b) for a, b in zip(before, built.parameters(), strict=True))
    assert moved > len(before) / 2


def test_every_raw_set_with_published_recipes_has_one():
    named = {path.stem.rsplit("-", 1)[0] for path in RECIPES}
    covered = {"kinetics-sounds", "crema-d", "ucf101", "vggsound", "ave", "balanced-av", "food101", "mosei", "av-mnist"}
    assert covered == named
    assert covered - {"av-mnist"} <= set(DATASETS)


def test_settings_never_ask_for_more_frames_than_are_kept():
    assert Settings(keep=2).clip(fps=1.0, keep=10, frames=3, size=8)["frames"] == 2
    assert Settings(frames=12).clip(fps=1.0, keep=10, frames=3, size=8)["keep"] == 12
