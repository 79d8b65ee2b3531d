"""MCR, MIDAS, PDF and CRMT: one step by NumPy or autograd, and the identities of their papers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from torch.nn import functional as F  # noqa: N812 - the common name

from counterpoise.errors import ModelError
from counterpoise.methods import CRMT, MCR, MIDAS, PDF, EpochContext, Joint, Uniform
from counterpoise.methods._crmt import certified_margin, other_class_scores
from counterpoise.methods._mcr import class_contrast, influence, jensen_shannon
from counterpoise.methods._midas import mixing_sources, swap_similarity, weak_factor
from counterpoise.methods._pdf import holo_confidence


def gradients(method: Any, model: Any, batch: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    torch.manual_seed(0)
    list(method.steps(model, batch))
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


# -- MCR ---------------------------------------------------------------------------------------------------------------


def test_jensen_shannon_is_that_of_scipy() -> None:
    z = np.random.default_rng(0).normal(size=(2, 6, 4))
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    expected = jensenshannon(p[0], p[1], axis=1) ** 2
    np.testing.assert_allclose(jensen_shannon(*torch.from_numpy(z)).numpy(), expected, rtol=1e-8)


@pytest.mark.parametrize("modalities", [2, 3])
def test_mcr_gradients_of_the_three_games(modalities: int, warm: Any, tools: Any) -> None:
    """Each encoder gets its own influence plus k times that of the others; heads get the sum."""
    model, batches = warm(modalities, epochs=2)
    batch, grads = batches[0], {}
    for game in ("greedy", "independent", "collaborative"):
        method = tools.prepare(MCR(game=game, unimodal=0.0, contrast=0.0, influence=1.0), model, batches)
        grads[game] = gradients(method, model, batch)
    joint = gradients(Joint(), model, batch)
    torch.manual_seed(0)
    drawn = torch.rand(6, len(batch)).argsort(-1)
    own: dict[str, dict[str, torch.Tensor]] = {}
    for m in model.modalities:  # by plain autograd, one modality's influence at a time
        model.zero_grad()
        features = model.encode(batch.inputs)
        p = model.fusion(features).softmax(-1)
        total = torch.zeros((), dtype=p.dtype)
        for row in drawn:
            q = model.fusion({**features, m: features[m][row]}).softmax(-1)
            mean = (p + q) / 2
            total = total + 0.5 * ((p * (p / mean).log()).sum(1) + (q * (q / mean).log()).sum(1)).mean() / 6
        total.backward()
        own[m] = {name: x.grad.clone() for name, x in model.named_parameters() if x.grad is not None}
    for name in joint:
        if name.startswith("_encoders"):
            mine = next(m for m in model.modalities if f"encoder_{m}." in name)
            for game, k in (("greedy", -1), ("independent", 0), ("collaborative", 1)):
                pull = own[mine][name] + k * sum(own[m][name] for m in model.modalities if m != mine)
                torch.testing.assert_close(grads[game][name], joint[name] - pull)
        elif name.startswith("fusion"):
            torch.testing.assert_close(grads["greedy"][name], joint[name] - sum(own[m][name] for m in own))


def test_mcr_influence_identities(warm: Any) -> None:
    model, batches = warm(2, epochs=1)
    features = model.encode(batches[0].inputs)
    nothing = influence(model.fusion, features, torch.arange(32).unsqueeze(0), -1.0)
    assert nothing.abs().max() < 1e-12, "the identity changes nothing"
    with torch.no_grad():
        model.fusion.head.weight[:, 8:] = 0
    ignored = influence(model.fusion, features, torch.randperm(32).unsqueeze(0), 0.0)
    assert ignored[1] == 0
    assert ignored[0] > 0


def test_mcr_contrast_and_bottleneck(warm: Any, tools: Any) -> None:
    model, batches = warm(2, epochs=1)
    batch, y = batches[0], batches[0].target.numpy()
    h = tools.features(model, batch)
    unit = {m: x / np.linalg.norm(x, axis=1, keepdims=True) for m, x in h.items()}
    total = 0.0
    for first, second in (("a", "b"), ("b", "a")):
        critic = np.exp(unit[first] @ unit[second].T / 0.1)
        total -= np.log((critic * (y[:, None] == y)).sum(1) / critic.sum(1)).mean()
    added = sum(
        class_contrast(torch.from_numpy(h[i]), torch.from_numpy(h[j]), batch.target, 0.1).item()
        for i, j in (("a", "b"), ("b", "a"))
    )
    assert added == pytest.approx(total)
    method = tools.prepare(MCR(contrast=0.0, influence=0.0, unimodal=0.0, bottleneck=0.5), model, batches)
    (record,) = method.steps(model, batch)
    assert record.parts["bottleneck"].item() == pytest.approx(
        0.5 * np.square(np.concatenate([h["a"], h["b"]], 1)).sum(1).mean()
    )
    expected = np.zeros((3, 16))
    np.add.at(expected, y, -np.concatenate([h["a"], h["b"]], 1) / len(y))
    np.testing.assert_allclose(method.centres.grad.numpy(), expected, rtol=1e-10)


def test_mcr_without_weights_is_joint_training(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(MCR(unimodal=0.0, influence=0.0, contrast=0.0), model, batches)
    joint = gradients(Joint(), model, batches[0])
    for name, g in gradients(method, model, batches[0]).items():
        torch.testing.assert_close(g, joint[name])


# -- MIDAS -------------------------------------------------------------------------------------------------------------


def test_midas_sources_are_pairs_for_two_modalities_and_latin_for_more() -> None:
    torch.manual_seed(0)
    first, second = mixing_sources(2, 5, torch.device("cpu")).split(5, dim=1)
    assert first[0].tolist() == second[1].tolist() == [0, 1, 2, 3, 4]
    assert first[1].tolist() == second[0].tolist()
    for block in mixing_sources(3, 4, torch.device("cpu")).split(4, dim=1):
        assert sum(row.tolist() == [0, 1, 2, 3] for row in block) >= 1
        assert all(sorted(row.tolist()) == [0, 1, 2, 3] for row in block)


def test_midas_loss_sample_by_sample(warm: Any, tools: Any) -> None:
    """Two modalities, as the paper writes them; then the factor of the weak modality moves."""
    model, batches = warm(2, epochs=2)
    batch, y = batches[0], batches[0].target.numpy()
    method = tools.prepare(MIDAS(mix=2.0, warmup=0, rate=5.0), model, batches)
    method.alpha.copy_(torch.tensor([1.0, 1.5]))
    torch.manual_seed(0)
    partner = torch.rand(1, len(batch)).argsort(-1)[0].numpy()
    torch.manual_seed(0)
    (record,) = method.steps(model, batch)

    h, own = tools.features(model, batch), {m: tools.softmax(z) for m, z in tools.heads(model, batch).items()}
    weight, bias = (p.detach().numpy() for p in model.fusion.parameters())

    def cosine(u: np.ndarray, v: np.ndarray) -> float:
        return float(u @ v / np.linalg.norm(u) / np.linalg.norm(v))

    losses, confidences, reliances = [], [], []
    for i, j in enumerate(partner):
        if y[i] == y[j]:
            continue
        for first, second, sim in (
            (i, j, cosine(h["b"][j], h["b"][i])),
            (j, i, cosine(h["a"][j], h["a"][i])),
        ):
            p = tools.softmax(np.concatenate([h["a"][first], h["b"][second]]) @ weight.T + bias)
            c = own["a"][first, y[first]] / (own["a"][first, y[first]] + own["b"][second, y[second]])
            soft = -1.0 * c * np.log(p[y[first]]) - 1.5 * (1 - c) * np.log(p[y[second]])
            losses.append((1 + (sim + 1) / 2) * soft)
            confidences.append([c, 1 - c])
            reliances.append(np.array([p[y[first]], p[y[second]]]) / (p[y[first]] + p[y[second]]))
    assert record.parts["mix"].item() == pytest.approx(2 * np.mean(losses))
    mean, share = np.mean(confidences, 0), np.mean(reliances, 0)
    expected = [1.0, 1.0]
    weak = int(mean.argmin())
    expected[weak] = max(1.0, [1.0, 1.5][weak] + 5 * (mean[weak] - share[weak]))
    assert method.alpha.tolist() == pytest.approx(expected)


def test_midas_identities(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    without = tools.prepare(MIDAS(mix=0.0, warmup=0), model, batches)
    uniform = gradients(Uniform(), model, batches[0])
    for name, g in gradients(without, model, batches[0]).items():
        assert torch.equal(g, uniform[name])
    one = copy.deepcopy(batches[0])
    one.target.zero_()
    (record,) = tools.prepare(MIDAS(warmup=0), model, batches).steps(model, one)
    assert record.parts["mix"] == 0, "a batch of one class has no mixed sample"
    warming = tools.prepare(MIDAS(warmup=2), model, batches)
    warming.on_epoch_start(model, EpochContext(1, 5))
    grads = gradients(warming, model, batches[0])
    assert not any(g.any() for name, g in grads.items() if name.startswith("fusion"))
    warming.on_epoch_start(model, EpochContext(2, 5))
    assert any(g.any() for name, g in gradients(warming, model, batches[0]).items() if name.startswith("fusion"))
    same = swap_similarity({"a": torch.ones(3, 2), "b": -torch.ones(3, 2)}, mixing_sources(2, 3, torch.device("cpu")))
    assert all(v in (0.0, pytest.approx(1.0)) for v in same.tolist())
    assert weak_factor(torch.tensor([1.0, 1.4]), torch.tensor([0.2, 0.8]), torch.tensor([0.9, 0.1]), 1.0).tolist() == [
        1,
        1,
    ]


# -- PDF ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modalities", [2, 3])
def test_pdf_step_and_test_form_in_numpy(modalities: int, warm: Any, tools: Any) -> None:
    model, batches = warm(modalities, epochs=2)
    batch, y = batches[0], batches[0].target.numpy()
    rows = np.arange(len(y))
    method = PDF()
    model = method.prepare(model, torch.cat([b.target for b in batches]))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in (*model.fusion.gates.values(), *model.fusion.offsets.values()):
            p.copy_(0.2 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    h, z = tools.features(model, batch), tools.heads(model, batch)
    c = np.stack(
        [
            1
            / (
                1
                + np.exp(
                    -(
                        h[m] @ model.fusion.gates[f"gate_{m}"].detach().numpy()
                        + model.fusion.offsets[f"offset_{m}"].item()
                    )
                )
            )
            for m in model.modalities
        ]
    )
    o = np.stack(
        [
            sum(np.log(c[j]) for j in range(modalities) if j != m) / ((modalities - 1) * np.log(c).sum(0))
            for m in range(modalities)
        ]
    )
    np.testing.assert_allclose(o.sum(0), 1)
    stacked = np.stack([z[m] for m in model.modalities])
    p = np.stack([tools.softmax(x) for x in stacked])
    w = tools.softmax((c + o).T).T
    (record,) = method.steps(model, batch)
    fused = tools.nll((w[..., None] * stacked).sum(0), y).mean()
    assert record.parts["fused"].item() == pytest.approx(fused)
    assert record.parts["confidence"].item() == pytest.approx(np.abs(c - p[:, rows, y]).mean(1).sum())
    distance = np.abs(p - 1 / 3).mean(-1)
    k = distance / distance.max(0)
    w = tools.softmax(((c + o) * k).T).T
    model.eval()
    np.testing.assert_allclose(model(batch.inputs).logits.detach().numpy(), (w[..., None] * stacked).sum(0), rtol=1e-9)


def test_pdf_gradients_stay_apart(warm: Any, tools: Any) -> None:
    """Confidences learn from their own loss only, and encoders from the classification losses only."""
    model, batches = warm(2, epochs=2)
    batch = batches[0]
    model = PDF().prepare(model, torch.cat([b.target for b in batches]))
    grads = gradients(PDF(), model, batch)
    model.zero_grad()
    features = model.encode(batch.inputs)
    branches = model.fusion.branch_logits(features)
    nll = [F.cross_entropy(z, batch.target) for z in branches]
    # At the start every c is 1/2, o = 1/2 and the weights are 1/2.
    (F.cross_entropy(branches.mean(0), batch.target) + sum(nll)).backward()
    for name, p in model.named_parameters():
        if name.startswith(("_encoders", "fusion.weights", "fusion.biases")):
            torch.testing.assert_close(grads[name], p.grad)
    right = torch.stack([z.softmax(-1)[torch.arange(32), batch.target] for z in branches]).detach()
    for k, m in enumerate("ab"):
        slope = (0.5 - right[k]).sign() * 0.25 / 32
        torch.testing.assert_close(grads[f"fusion.offsets.offset_{m}"], slope.sum())
        torch.testing.assert_close(grads[f"fusion.gates.gate_{m}"], slope @ features[m].detach())
    assert holo_confidence(torch.full((2, 3), -1e-12)).tolist() == [[0.5] * 3] * 2


# -- CRMT --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modalities", [2, 3])
def test_crmt_first_part(modalities: int, warm: Any, tools: Any) -> None:
    model, batches = warm(modalities, epochs=2)
    batch, y = batches[0], batches[0].target.numpy()
    h = tools.features(model, batch)
    rows = {m: model.head(m).weight.detach().numpy() for m in model.modalities}
    o = {m: h[m] @ (w / np.linalg.norm(w, axis=1, keepdims=True)).T for m, w in rows.items()}
    z = 0.1 * sum(o.values())
    penalty = []
    for i, c in enumerate(y):
        others = [np.exp(o[m][i, k] - o[m][i, c]) for m in o for k in range(3) if k != c]
        penalty.append(np.log(sum(others) + 1e-5))
    method = CRMT()
    model = method.prepare(model, torch.cat([b.target for b in batches]))
    (record,) = method.steps(model, batch)
    assert record.parts["fused"].item() == pytest.approx(tools.nll(z, y).mean())
    assert record.parts["branches"].item() == pytest.approx(2 * np.mean(penalty))
    assert other_class_scores(300 * torch.randn(2, 4, 3), torch.tensor([0, 1, 2, 0])).isfinite()


def test_crmt_second_part_moves_the_class_weights_only(warm: Any, make_batches: Any) -> None:
    model, batches = warm(2, epochs=2)
    method = CRMT(share=0.5)
    model = method.prepare(model, torch.cat([b.target for b in batches]))
    method.on_epoch_start(model, EpochContext(1, 4, train=lambda: batches))
    assert not method.measured
    method.on_epoch_start(model, EpochContext(2, 4, train=lambda: batches))
    grads = gradients(method, model, batches[0])
    assert {n for n in grads if not n.startswith("_heads")} == {"fusion.scale"}
    largest = torch.zeros(2, 3, dtype=torch.float64)
    for batch in batches:
        for k, m in enumerate("ab"):
            unit = F.normalize(model.fusion.weights[f"weight_{m}"].detach(), dim=-1)
            for x in batch.inputs[m]:
                jacobian = torch.func.jacrev(lambda v, m=m, unit=unit: model.encoder(m)(v) @ unit.T)(x).detach()
                largest[k] = torch.maximum(largest[k], jacobian.norm(dim=1))
    torch.testing.assert_close(method.lipschitz.double(), largest, rtol=1e-5, atol=1e-7)

    batch = batches[0]
    o = model.fusion.branch_scores(model.encode(batch.inputs)).detach()
    a = model.fusion.scale.detach().clone().requires_grad_()
    margins = []
    for i, y in enumerate(batch.target.tolist()):
        z = (a * o[:, i]).sum(0)
        wrong = max((k for k in range(3) if k != y), key=lambda k: z[k].item())
        slope = ((a[:, y] * largest[:, y] + a[:, wrong] * largest[:, wrong]) ** 2).sum().sqrt()
        margins.append((z[y] - z[wrong]) / slope)
    torch.stack(margins).mean().backward()
    torch.testing.assert_close(grads["fusion.scale"], -0.03 * a.grad, rtol=1e-4, atol=1e-9)
    assert certified_margin(o, a, torch.zeros(3).double(), largest, batch.target).item() == pytest.approx(
        torch.stack(margins).mean().item()
    )


def test_crmt_second_part_resumes(warm: Any, make_batches: Any) -> None:
    model, batches = warm(2, epochs=2)
    method = CRMT(share=0.5)
    model = method.prepare(model, torch.cat([b.target for b in batches]))
    method.on_epoch_start(model, EpochContext(2, 4, train=lambda: batches))
    other = CRMT(share=0.5)
    other.prepare(model, torch.cat([b.target for b in batches]))
    other.load_state_dict(method.state_dict())
    other.on_epoch_start(model, EpochContext(3, 4, train=lambda: pytest.fail("measured already")))
    assert torch.equal(other.lipschitz, method.lipschitz)


@pytest.mark.parametrize("method", [MCR(), MIDAS(), PDF(), CRMT()])
def test_tasks_without_classes_are_refused(method: Any, make_model: Any) -> None:
    with pytest.raises(ModelError, match="multiclass"):
        method.prepare(make_model(2, task="regression"), torch.zeros(4, 3))
