import sys

import numpy as np
import pytest
import scipy.signal
import torch
from trees import frames, write_image

from counterpoise.data.preparation import (
    RECIPES,
    Flow,
    Frames,
    Image,
    Padded,
    Text,
    UnreadableError,
    optical_flow,
    quantise,
    sound_features,
    swap_padding,
)
from counterpoise.errors import ConfigError, MissingExtraError, NotFoundError


def ignore(kind: str, detail: str) -> None:
    raise AssertionError(f"{kind}: {detail}")


def kaldi(sound: np.ndarray, step: int) -> np.ndarray:
    """One row of a Kaldi filter bank, from its definition."""
    window = sound[160 * step : 160 * step + 400].astype(np.float64)
    window = window - window.mean()
    window = np.r_[window[0] * (1 - 0.97), window[1:] - 0.97 * window[:-1]]
    window = window * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399))
    power = np.abs(np.fft.rfft(window, 512)) ** 2
    mel = lambda f: 1127 * np.log(1 + f / 700)  # noqa: E731
    edges = np.linspace(mel(20), mel(8000), 130)
    places = mel(np.arange(257) * 16000 / 512)
    row = []
    for k in range(128):
        low, middle, high = edges[k : k + 3]
        weight = np.minimum((places - low) / (middle - low), (high - places) / (high - middle)).clip(min=0)
        row.append(np.log(max(weight @ power, np.finfo(np.float32).eps)))
    return (np.array(row) + 4.503877) / (2 * 5.141276)


def test_fbank_is_kaldis_by_its_definition():
    rng = np.random.default_rng(0)
    sound = (0.3 * rng.normal(size=3 * 16000)).astype(np.float32)
    features = sound_features(sound, RECIPES["fbank"])
    assert features.shape == (1, 1024, 128)
    centred = sound - sound.mean()
    for step in (0, 7, 100):
        np.testing.assert_allclose(features[0, step], kaldi(centred, step), atol=4e-3)
    assert not features[0, 400:].astype(np.float32).std(), "three seconds are 298 steps; behind them one constant"


def test_stft_is_scipys():
    recipe = RECIPES["stft-vggsound"]
    sound = np.random.default_rng(1).normal(size=10 * 16000).astype(np.float32) / 10
    features = sound_features(sound, recipe)[0]
    _, _, z = scipy.signal.stft(sound, window="hann", nperseg=256, noverlap=128, boundary="zeros", padded=False)
    np.testing.assert_allclose(features, np.log(np.abs(z) * 128 + 1e-7), atol=0.02)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("seconds", [0.01, 1.0, 11.0])
def test_every_recipe_gives_its_shape_for_sounds_of_any_length(name, seconds):
    recipe = RECIPES[name]
    sound = np.random.default_rng(0).normal(size=round(seconds * recipe.rate)).astype(np.float32) / 4
    features = sound_features(sound, recipe)
    assert features.shape == recipe.stored_shape
    assert np.isfinite(features).all()


def test_crema_d_tiles_to_three_seconds():
    recipe = RECIPES["stft-crema-d"]
    assert recipe.shape == (1, 257, 188)
    one = np.random.default_rng(0).normal(size=recipe.rate).astype(np.float32) / 4
    np.testing.assert_array_equal(sound_features(one, recipe), sound_features(np.tile(one, 3), recipe))


def texture(size: int = 64) -> np.ndarray:
    rng = np.random.default_rng(0)
    image = scipy.ndimage.gaussian_filter(rng.normal(size=(size, size)), 2)
    return np.repeat((127 + 120 * image / np.abs(image).max()).astype(np.uint8)[..., None], 3, -1)


def test_flow_is_the_motion():
    image = texture()
    flow = optical_flow(image, np.roll(image, (1, 3), (0, 1)))
    assert np.median(flow[0]) == pytest.approx(3, abs=0.2)
    assert np.median(flow[1]) == pytest.approx(1, abs=0.2)


def test_in_the_mirror_u_changes_its_sign_and_v_does_not():
    first, second = texture(), np.roll(texture(), (1, 3), (0, 1))
    plain, mirrored = (
        optical_flow(first, second),
        optical_flow(np.ascontiguousarray(first[:, ::-1]), np.ascontiguousarray(second[:, ::-1])),
    )
    inner = (slice(12, -12), slice(12, -12))
    assert np.abs(mirrored[0][:, ::-1] + plain[0])[inner].mean() < 0.3
    assert np.abs(mirrored[1][:, ::-1] - plain[1])[inner].mean() < 0.3
    np.testing.assert_array_equal(quantise(-plain), 255 - quantise(plain))


def test_tv_l1_without_contrib_says_what_to_install():
    import cv2

    if hasattr(cv2, "optflow"):
        pytest.skip("this OpenCV has contrib")
    with pytest.raises(NotFoundError, match="opencv-contrib"):
        optical_flow(texture(), texture(), "tvl1")
    with pytest.raises(ConfigError, match="Did you mean `dis`"):
        optical_flow(texture(), texture(), "diss")


@pytest.mark.parametrize("first", [0, 1])
def test_frames_are_counted_from_zero_or_one(first, tmp_path):
    folder = tmp_path / "clip"
    for k in range(12):  # more than nine: numbers, not names, give the order
        write_image(folder / f"frame_{first + k}.png", label=k)
    frames = Frames(keep=12, frames=3, size=24).read(folder, ignore)
    alone = np.stack([Image(24).read(folder / f"frame_{first + k}.png", ignore) for k in range(12)])
    np.testing.assert_array_equal(frames, alone)


def test_a_gap_in_the_numbers_is_reported(tmp_path):
    folder = frames(tmp_path / "clip", 0, count=6)
    (folder / "frame_00003.jpg").unlink()
    remarks = []
    Frames(keep=3, frames=3, size=24).read(folder, lambda *remark: remarks.append(remark))
    assert [kind for kind, _ in remarks] == ["numbering"]
    assert "[3]" in remarks[0][1]


def test_flow_folders_give_u_then_v(tmp_path):
    u, v = frames(tmp_path / "u", 1), frames(tmp_path / "v", 2, first=0)
    flow = Flow(keep=4, frames=3, size=24).read((u, v), ignore)
    assert flow.shape == (4, 2, 24, 24)
    assert flow.dtype == np.uint8
    assert abs(float(flow[:, 0].mean()) - float(flow[:, 1].mean())) > 5


@pytest.mark.parametrize(("content", "kind"), [(b"", "truncated"), (b"no image", "undecodable"), (None, "missing")])
def test_broken_images_are_named(content, kind, tmp_path):
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableError) as info:
        Image(24).read(path, ignore)
    assert info.value.kind == kind
    whole = write_image(tmp_path / "b.jpg", size=64).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableError) as info:
        Image(24).read(path, ignore)
    assert info.value.kind == "truncated"


def test_minus_infinity_in_covarep_becomes_zero_and_is_reported():
    remarks = []
    rows = np.ones((3, 2), np.float32)
    rows[1, 0] = -np.inf
    rows_read = Padded(2, 5).read(rows, lambda *remark: remarks.append(remark))
    np.testing.assert_array_equal(rows_read, [[0, 0], [0, 0], [1, 1], [0, 1], [1, 1]])
    assert remarks == [("not finite", "1 of 6 entries, set to 0")]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A tokenizer on disk, as the hub's are, padding with the id that the parameter says."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    def make(padding: int) -> str:
        special = ["[UNK]", "[UNK]", "[UNK]"]
        special[padding] = "[PAD]"
        special[(padding + 1) % 3] = "[CLS]"
        vocabulary = {w: k for k, w in enumerate([*special, "a", "dog", "barks"])}
        raw = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
        raw.pre_tokenizer = pre_tokenizers.Whitespace()
        raw.post_processor = processors.TemplateProcessing(
            single="[CLS] $A", special_tokens=[("[CLS]", vocabulary["[CLS]"])]
        )
        folder = tmp_path_factory.mktemp(f"tokenizer{padding}")
        PreTrainedTokenizerFast(
            tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]"
        ).save_pretrained(folder)
        return str(folder)

    return make


@pytest.mark.parametrize("padding", [0, 1])
def test_padding_is_always_zero_whatever_the_tokenizer_pads_with(padding, tokenizer):
    from transformers import AutoTokenizer

    folder = tokenizer(padding)
    ids = Text(folder, length=6).read("a dog barks", ignore)
    assert (ids == 0).tolist() == [False] * 4 + [True] * 2
    own = AutoTokenizer.from_pretrained(folder)("a dog barks", padding="max_length", max_length=6)
    np.testing.assert_array_equal(swap_padding(ids, padding), own["input_ids"])
    np.testing.assert_array_equal(ids != 0, np.array(own["attention_mask"], bool))


def test_long_texts_are_cut_by_the_tokenizer(tokenizer):
    assert (Text(tokenizer(0), length=3).read("a dog barks a dog", ignore) != 0).all()


def test_a_tokenizer_that_is_nowhere_says_what_to_do(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(NotFoundError, match="--tokenizer words"):
        Text("no-such-organisation/no-such-tokenizer").read("a", ignore)


def test_nothing_random_is_left_behind():
    state = torch.get_rng_state()
    sound_features(np.zeros(100, np.float32), RECIPES["fbank-small"])
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    "make",
    [
        lambda: Frames(frames=-1),
        lambda: Frames(frames=5, keep=4),
        lambda: Frames(size=4),
        lambda: Frames(fps=-1),
        lambda: Image(0),
        lambda: Text(length=0),
        lambda: Padded(3, 0),
    ],
)
def test_sizes_that_cannot_be_are_refused_before_anything_is_read(make):
    with pytest.raises(ConfigError, match="Found"):
        make()


def test_without_pyav_the_command_that_installs_it_is_reported(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"pip install \"counterpoise\[prepare\]\""):
        Frames(size=16).read(write_image(tmp_path / "a.mp4.png").rename(tmp_path / "a.mp4"), ignore)
