"""Re-learning: purity by hand, the soft reset by formula, when it happens, and on which samples."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.errors import ConfigError, ModelError
from counterpoise.methods import EpochContext, Joint, Relearning
from counterpoise.methods._relearning import cluster, purity
from counterpoise.model import MultimodalClassifier


def test_purity_of_clusters_by_hand() -> None:
    x = np.repeat([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]], 4, axis=0) + np.linspace(0, 0.1, 12)[:, None]

    def purity_of(features: np.ndarray, target: Any, clusters: int) -> float:
        return purity(torch.from_numpy(features).float(), torch.as_tensor(target), clusters)

    assert purity_of(x, np.repeat([0, 1, 2], 4), 3) == 1
    assert purity_of(x, [0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 0, 1], 3) == pytest.approx((3 + 4 + 2) / 12)
    wide, narrow = np.linspace(0, 1000, 12), 100 + np.arange(12) % 2
    assert purity_of(np.stack([wide, narrow], 1), np.arange(12) % 2, 2) == 1, "dimensions are put on one scale"
    assert purity_of(np.zeros((6, 2)), [0, 0, 0, 1, 1, 2], 3) == 0.5, "dead features"
    assert purity_of(np.eye(2), [0, 1], 3) == 1, "fewer samples than clusters"


@pytest.mark.parametrize("seed", range(3))
def test_clusters_are_as_good_as_those_of_scikit_learn(seed: int) -> None:
    """The inertia of the best of three restarts, on overlapping clusters in eight dimensions."""
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(seed)
    x = rng.normal(size=(400, 8)) + 2 * rng.normal(size=(6, 8))[rng.integers(6, size=400)]
    labels = cluster(torch.from_numpy(x), 6).numpy()
    assert len(np.unique(labels)) == 6
    inertia = sum(((x[labels == k] - x[labels == k].mean(0)) ** 2).sum() for k in range(6))
    assert inertia < 1.02 * KMeans(6, n_init=10, random_state=0).fit(x).inertia_


def test_encoders_go_back_towards_their_start_by_the_formula(
    make_model: Any, make_batches: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batches = make_model(3, dtype=torch.float64), make_batches(3, dtype=torch.float64)
    method = tools.prepare(Relearning(strength=3.0, every=4), model, batches)
    initial = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    purities = {"train": {"a": 0.9, "b": 0.6, "c": 0.4}, "held_out": {"a": 0.5, "b": 0.6, "c": 0.5}}
    monkeypatch.setattr(method, "_purities", lambda model, epoch, which: purities[which])
    method.on_epoch_start(model, EpochContext(5, 20, train=lambda: batches, held_out=lambda: batches))
    shares = {"a": np.tanh(3 * 0.4), "b": 0.0, "c": np.tanh(3 * 0.1)}
    for name, value in model.state_dict().items():
        share = next((w for m, w in shares.items() if f"encoder_{m}." in name), 0.0)
        torch.testing.assert_close(value, initial[name] + (1 - share), msg=name)


def test_an_overfitting_encoder_is_reset_more(make_model: Any, make_batches: Any, tools: Any) -> None:
    """Held-out samples decide: a toolkit takes the test set's features instead."""
    model, batches = make_model(2), make_batches(2, batches=6)
    held = [b for b in batches[3:]]  # noqa: C416
    for b in held:
        b.inputs["a"][:] = torch.randn(b.inputs["a"].shape, generator=torch.Generator().manual_seed(0))
    method = tools.prepare(Relearning(every=1), model, batches)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.2)
    after = copy.deepcopy(model.state_dict())
    method.on_epoch_start(model, EpochContext(2, 9, train=lambda: batches[:3], held_out=lambda: held))

    def share(m: str) -> float:
        name = f"_encoders.encoder_{m}.0.weight"
        return ((after[name] - model.state_dict()[name]) / (after[name] - before[name])).mean().item()

    assert share("a") > share("b")
    assert share("a") > 0.3


def test_when_it_re_learns(make_model: Any, make_batches: Any, tools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batches = make_model(2), make_batches(2)
    assert Relearning.needs_held_out
    for every, total, expected in (
        (3, 20, [4, 7, 10]),
        (None, 90, [21, 41, 61]),
        (None, 900, [201, 401, 601]),
        (None, 9, [3, 5, 7]),
        (None, 4, [2, 3]),
        (None, 2, []),
    ):
        method = tools.prepare(Relearning(every=every), model, batches)
        seen: list[int] = []

        def purities(model: Any, epoch: EpochContext, which: str, seen: list[int] = seen) -> dict[str, float]:
            seen.append(epoch.number)
            return {"a": 0.5, "b": 0.5}

        monkeypatch.setattr(method, "_purities", purities)
        for number in range(total):
            method.on_epoch_start(model, EpochContext(number, total))
        assert sorted(set(seen)) == expected
    with pytest.raises(ConfigError, match="`every`"):
        Relearning(every=0)


def test_a_frozen_encoder_stays(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(Relearning(every=1), model, batches)
    for p in model.encoder("a").parameters():
        p.requires_grad_(False).add_(1.0)
    before = [p.clone() for p in model.encoder("a").parameters()]
    method.on_epoch_start(model, EpochContext(2, 9, train=lambda: batches[:2], held_out=lambda: batches[2:]))
    assert all(torch.equal(p, q) for p, q in zip(before, model.encoder("a").parameters(), strict=True))


def test_a_frozen_layer_below_another_does_not_shift_what_the_other_goes_back_to(
    make_model: Any, make_batches: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a method of lower precision, too."""
    model, batches = make_model(2, dtype=torch.float64), make_batches(2, dtype=torch.float64)
    method = tools.prepare(Relearning(strength=3.0, every=1), model, batches).float()
    assert not any(b.requires_grad for b in method.buffers())
    first, last = model.encoder("a")[0], model.encoder("a")[2]
    first.requires_grad_(False)
    initial = [p.detach().clone() for p in last.parameters()]
    kept = first.weight.clone()
    with torch.no_grad():
        for p in last.parameters():
            p.add_(1.0)
    purities = {"train": {"a": 0.9, "b": 0.6}, "held_out": {"a": 0.5, "b": 0.6}}
    monkeypatch.setattr(method, "_purities", lambda model, epoch, which: purities[which])
    method.on_epoch_start(model, EpochContext(2, 9))
    assert torch.equal(first.weight, kept)
    for p, q in zip(last.parameters(), initial, strict=True):
        torch.testing.assert_close(p, q + 1 - np.tanh(3 * 0.4), rtol=1e-6, atol=1e-6)


def test_in_between_it_is_joint_training(make_model: Any, make_batches: Any, tools: Any) -> None:
    one, two, batches = make_model(2), make_model(2), make_batches(2)
    list(tools.prepare(Relearning(), one, batches).steps(one, batches[0]))
    list(Joint().steps(two, batches[0]))
    assert all(torch.equal(g, h) for g, h in zip(tools.grads(one, "b"), tools.grads(two, "b"), strict=True))


def test_features_of_half_precision_have_a_purity(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2, dtype=torch.bfloat16), make_batches(2, dtype=torch.bfloat16)
    method = tools.prepare(Relearning(), model, batches)
    with torch.no_grad():
        purities = method._purities(model, EpochContext(2, 9, train=lambda: batches), "train")
    assert all(1 / 3 <= p <= 1 for p in purities.values())


def test_a_task_without_classes_is_refused(make_model: Any) -> None:
    with pytest.raises(ModelError, match="multiclass"):
        Relearning().prepare(make_model(2, task="regression"), torch.zeros(4, 3))


def test_an_encoder_without_parameters_has_nothing_to_forget(make_batches: Any, tools: Any) -> None:
    torch.manual_seed(0)
    encoders = {"a": torch.nn.Linear(6, 5), "b": torch.nn.Identity()}
    model, batches = MultimodalClassifier(encoders, num_outputs=3, feature_dims={"a": 5, "b": 6}), make_batches(2)
    method = tools.prepare(Relearning(every=1), model, batches)
    initial, features = [p.detach().clone() for p in model.encoder("a").parameters()], model.encode(batches[0].inputs)
    with torch.no_grad():
        for p in model.encoder("a").parameters():
            p.add_(1.0)
    method.on_epoch_start(model, EpochContext(2, 9, train=lambda: batches[:1], held_out=lambda: batches[1:]))
    assert all((p < q + 1).all() for p, q in zip(model.encoder("a").parameters(), initial, strict=True))
    assert torch.equal(model.encode(batches[0].inputs)["b"], features["b"])
