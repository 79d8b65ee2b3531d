"""Samples that lack modalities: batches, encoders, fusions and losses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from counterpoise.errors import ConfigError, DataError
from counterpoise.fusion import FUSIONS, Concat, Fusion, Sum
from counterpoise.methods.base import unimodal_losses
from counterpoise.methods.passes import batch_rows, concat_batches
from counterpoise.model import MultimodalClassifier, build_model
from counterpoise.records import Batch, MovedPresence, known_presence, present_mean

MODALITIES = {"a": ("vector", (4,), 0), "b": ("vector", (6,), 0), "c": ("sequence", (12, 3), 0)}


def inputs(size: int = 7) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {m: torch.randn(size, *shape, generator=generator) for m, (_, shape, _) in MODALITIES.items()}


def present() -> dict[str, torch.Tensor]:
    return {
        "a": torch.tensor([1, 0, 1, 0, 1, 1, 0]).bool(),
        "b": torch.tensor([1, 1, 0, 1, 0, 1, 1]).bool(),
        "c": torch.tensor([1, 0, 0, 0, 0, 0, 0]).bool(),  # one sample: batch norm cannot train on it
    }


def spoiled(x: dict[str, torch.Tensor], masks: dict[str, torch.Tensor], value: float) -> dict[str, torch.Tensor]:
    return {m: torch.where(masks[m].view(-1, *[1] * (v.ndim - 1)), v, value) for m, v in x.items()}


def model(fusion: str = "concat", **options) -> MultimodalClassifier:
    torch.manual_seed(0)
    return build_model(MODALITIES, num_outputs=3, width=8, fusion=fusion, **options)


def batch(masks=None) -> Batch:
    return Batch(inputs(), torch.tensor([0, 1, 2, 0, 1, 2, 0]), torch.arange(7), masks)


# -- batches -----------------------------------------------------------------------------------------------------------


def test_complete_masks_are_none():
    complete = {m: torch.ones(7, dtype=torch.bool) for m in MODALITIES}
    assert batch(complete).present is None
    assert batch(present()).present is not None


@pytest.mark.parametrize(
    "masks",
    [
        {"a": torch.ones(7, dtype=torch.bool)},
        {m: torch.ones(7) for m in MODALITIES},
        {m: torch.ones(6, dtype=torch.bool) for m in MODALITIES},
        {m: torch.arange(7) > 0 for m in MODALITIES},
    ],
    ids=["names", "type", "length", "empty sample"],
)
def test_wrong_masks_are_refused(masks):
    with pytest.raises(DataError):
        batch(masks)


def test_an_encoder_reads_the_positions_of_moved_masks_on_the_cpu():
    """Masks on the meta device have no values, so that reading them fails, as reading others waits for kernels."""
    masks = present()
    moved = Batch(inputs(), torch.zeros(7, dtype=torch.long), torch.arange(7), masks).to("meta").to("meta").present
    assert isinstance(moved, MovedPresence)
    m = model().eval()
    for name, features in m.encode(inputs(), moved).items():
        assert torch.equal(features, m.encode(inputs(), masks)[name])


def test_masks_move_with_the_samples():
    whole = batch(present())
    rows = torch.tensor([3, 0])
    some = batch_rows(whole, rows)
    assert all(torch.equal(some.present[m], mask[rows]) for m, mask in present().items())
    both = concat_batches([whole, batch()])
    assert all(torch.equal(both.present[m][:7], mask) for m, mask in present().items())
    assert all(bool(mask[7:].all()) for mask in both.present.values())
    assert concat_batches([batch(), batch()]).present is None
    assert whole.to("meta").present["a"].device.type == "meta"
    assert batch_rows(whole, torch.tensor([0])).present is None  # this sample has everything


def test_present_mean_of_nobody_is_zero():
    assert present_mean(torch.ones(2, 3), torch.zeros(3, dtype=torch.bool)).tolist() == [0, 0]
    assert known_presence(("a",), 3, None) is None


# -- model -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("absent", [None, "auto", "token", "zeros"])
@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_complete_masks_change_no_bit(fusion, absent):
    complete = {m: torch.ones(7, dtype=torch.bool) for m in MODALITIES}
    results = []
    for masks in (None, complete):
        net = model(fusion, absent=absent)
        outputs = net(inputs(), present=masks)
        (outputs.logits.sum() + sum(u.sum() for u in outputs.unimodal_logits.values())).backward()
        results.append([outputs.logits, *[p.grad for p in net.parameters() if p.grad is not None]])
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_only_wanted_tokens_are_parameters(fusion):
    today = set(model(fusion).state_dict())
    assert set(model(fusion, absent="zeros").state_dict()) == today
    assert len(model(fusion, absent="token").state_dict()) == len(today) + len(MODALITIES)
    skips = FUSIONS.resolve(fusion).absent == "skip"
    assert len(model(fusion, absent="auto").state_dict()) == len(today) + (0 if skips else len(MODALITIES))
    with pytest.raises(ConfigError):
        model(fusion, absent="mean")


@pytest.mark.parametrize("absent", [None, "auto", "token", "zeros"])
@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_absent_rows_have_no_influence(fusion, absent):
    results = []
    for value in (0.0, float("nan"), 1e30):
        net = model(fusion, absent=absent)
        outputs = net(spoiled(inputs(), present(), value), present=present())
        (outputs.logits.square().sum() + sum(u.square().sum() for u in outputs.unimodal_logits.values())).backward()
        results.append([outputs.logits, *[p.grad for p in net.parameters() if p.grad is not None], *net.buffers()])
    assert all(bool(x.isfinite().all()) for x in results[0])
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


@pytest.mark.parametrize("fusion", ["sum", "shared-head", "gated", "attention", "low-rank-tensor"])
def test_skipping_equals_a_fusion_without_the_modality(fusion):
    """Where nobody has c, a fusion that skips predicts what the same weights give without any part of c."""
    net = model(fusion).eval()
    masks = {m: torch.full((7,), m != "c") for m in MODALITIES}
    features = net.encode(inputs(), masks)
    other = net.encode({**inputs(), "c": torch.randn(7, 12, 3)}, None)
    logits = net.fusion.fuse({**features, "c": other["c"]}, masks)
    assert torch.allclose(net.fusion.fuse(features, masks), logits)
    if fusion == "sum":
        expected = sum(net.fusion.heads[m](features[m]) for m in ("a", "b"))
    elif fusion == "shared-head":
        expected = sum(net.fusion.head(features[m]) for m in ("a", "b")) / 2
    elif fusion == "attention":
        expected = net.fusion({m: features[m] for m in ("a", "b")})
    else:
        return
    assert torch.allclose(logits, expected, atol=1e-5)


def test_slices_sum_to_the_logits():
    for fusion in ("concat", "sum", "shared-head"):
        for absent in (None, "token", "zeros"):
            net = model(fusion, absent=absent)
            if net.fusion.tokens is not None:
                for token in net.fusion.tokens.values():
                    nn.init.ones_(token)
            features = net.encode(inputs(), present())
            total = torch.stack(list(net.fusion.slices(features, present()).values())).sum(0)
            assert torch.allclose(total, net.fusion.fuse(features, present()), atol=1e-6)


def test_token_is_read_where_a_modality_is_absent_and_learns():
    net = model("concat", absent="token")
    nn.init.ones_(net.fusion.tokens["token_c"])
    features = net.encode(inputs(), present())
    filled = torch.cat([features["a"], features["b"], torch.where(present()["c"][:, None], features["c"], 1.0)], -1)
    logits = net.fusion.fuse(features, present())
    assert torch.allclose(logits, net.fusion.head(filled), atol=1e-6)
    logits.sum().backward()
    weight = net.fusion.head.weight[:, -8:].sum(0)
    assert torch.allclose(net.fusion.tokens["token_c"].grad, 6 * weight)


def test_another_fusion_reads_absent_modalities_alike():
    dims = model().feature_dims
    assert model(absent="token").with_fusion(Sum(dims, 3)).fusion.tokens is not None
    assert not model(absent="zeros").with_fusion(Sum(dims, 3)).fusion.skips
    assert model().with_fusion(Sum(dims, 3)).fusion.skips
    around = _Around(model(absent="token").fusion)
    assert model(absent="token").with_fusion(Concat(dims, 3)).fusion.tokens is not None
    assert around.tokens is None


class _Around(Fusion):
    def __init__(self, inner: Fusion) -> None:
        super().__init__(inner.feature_dims, inner.num_outputs)
        self.inner = inner

    def forward(self, features):
        return self.inner(features)


def test_encoders_see_present_samples_only():
    seen = []

    class Spy(nn.Module):
        feature_dim = 4

        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x):
            seen.append(len(x))
            return self.norm(x)

    net = MultimodalClassifier({"a": Spy(), "b": nn.Linear(6, 4)}, num_outputs=3)
    x = {m: inputs()[m] for m in ("a", "b")}
    mask = present()["a"]
    net(x, present={"a": mask, "b": torch.ones(7, dtype=torch.bool)})
    assert seen == [4]
    assert torch.allclose(net.encoder("a").norm.running_mean, 0.1 * x["a"][mask].mean(0), atol=1e-6)
    # Nobody has it: the encoder does not run, and its gradient stays None. One sample: running statistics.
    outputs = net(x, present={"a": torch.zeros(7, dtype=torch.bool), "b": torch.ones(7, dtype=torch.bool)})
    assert seen == [4]
    (outputs.logits.sum() + outputs.unimodal_logits["a"].sum()).backward()
    assert net.encoder("a").norm.weight.grad is None
    before = net.encoder("a").norm.running_mean.clone()
    one = torch.arange(7) == 2
    features = net.encode(x, {"a": one, "b": torch.ones(7, dtype=torch.bool)})
    assert seen == [4, 1]
    assert features["a"].isfinite().all()
    assert net.encoder("a").norm.training
    assert torch.equal(before, net.encoder("a").norm.running_mean)


def test_nested_inputs():
    class Bag(nn.Module):
        feature_dim = 3

        def forward(self, x):
            return (x["ids"].float() * x["mask"]).sum(1, keepdim=True).expand(-1, 3)

    net = MultimodalClassifier({"text": Bag(), "b": nn.Linear(6, 4)}, num_outputs=3)
    x = {"text": {"ids": torch.arange(14).view(7, 2), "mask": torch.ones(7, 2)}, "b": inputs()["b"]}
    masks = {"text": present()["a"], "b": torch.ones(7, dtype=torch.bool)}
    features = net.encode(x, masks)["text"]
    assert features[masks["text"]].eq(net.encode(x)["text"][masks["text"]]).all()
    assert not features[~masks["text"]].any()


# -- losses ------------------------------------------------------------------------------------------------------------


def test_unimodal_losses_are_means_over_present_samples():
    net = model()
    outputs = net(inputs(), present=present())
    losses = unimodal_losses(net, outputs, batch().target)
    for m, mask in present().items():
        expected = nn.functional.cross_entropy(outputs.unimodal_logits[m][mask], batch().target[mask])
        assert torch.equal(losses[m], expected)
        assert not outputs.unimodal_logits[m][~mask].any()
    masks = {"a": torch.ones(7, dtype=torch.bool), "b": torch.ones(7, dtype=torch.bool)}
    masks["c"] = torch.zeros(7, dtype=torch.bool)
    assert unimodal_losses(net, net(inputs(), present=masks), batch().target)["c"] == 0
