"""What the families promise to the methods in them, on the smallest method of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from counterpoise.errors import ModelError
from counterpoise.fusion import FUSIONS, Fusion
from counterpoise.methods import Joint, Uniform
from counterpoise.methods.base import by_modality, joint_step, require_modality, require_multiclass
from counterpoise.methods.logits import discounted_loss, is_additive, subset_logits, true_scores, unimodal_logits
from counterpoise.methods.objective import GradientCombination, ModulatedObjective, gradients
from counterpoise.model import MultimodalClassifier


class Plain(GradientCombination):
    """The sum of the two gradients."""

    def combine(self, joint: list[Tensor], own: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        assert not torch.is_grad_enabled()
        return [g + h for g, h in zip(joint, own, strict=True)], torch.tensor(0.3, dtype=joint[0].dtype)


class Loud(ModulatedObjective):
    """Modality `a` gets three times its gradient, and the features have a price."""

    def scales(self, model: Any, features: Any, batch: Any) -> dict[str, Tensor]:
        assert not torch.is_grad_enabled()
        return {"a": 2 + features["a"].new_ones(())}

    def terms(self, model: Any, outputs: Any, batch: Any) -> Any:
        price = self.strength * torch.stack([h.square().mean() for h in outputs.features.values()]).sum()
        return {"price": price}, {"seen": price.detach()}


class Own(GradientCombination):
    """The encoders follow their own heads' gradients, three times, and not the joint loss."""

    def combine(self, joint: list[Tensor], own: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        return [3 * g for g in own], torch.zeros(())


class Slow(ModulatedObjective):
    """Modality `a` gets a quarter of its gradient, and no other factor is named."""

    def scales(self, model: Any, features: Any, batch: Any) -> dict[str, Tensor]:
        assert not torch.is_grad_enabled()
        return {"a": torch.tensor(0.25)}


class Supervised(ModulatedObjective):
    """What its heads learn enters the encoders, times the strength."""

    head_scale = 1.0


class Mean(Fusion):
    """The mean of the features, which are logits already: additive, and without parameters."""

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        return torch.stack(list(self.slice_logits(features).values())).sum(0)

    def slice_logits(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {m: h / len(features) for m, h in features.items()}


@pytest.mark.parametrize("strength", [0.25, 2.0])
def test_the_sum_of_both_gradients_is_uniform_training(
    strength: float, make_model: Any, make_batches: Any, tools: Any
) -> None:
    one, two = (make_model(3, dtype=torch.float64) for _ in range(2))
    batch = make_batches(3, dtype=torch.float64)[0]
    (record,) = Plain(strength).steps(one, batch)
    list(Uniform(strength).steps(two, batch))
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)
    unimodal = sum(record.parts[m].item() for m in one.modalities)
    assert record.loss.item() == pytest.approx(record.parts["fused"].item() + strength * unimodal)
    assert [v.item() for v in record.coefficients.values()] == [0.3] * 3


def test_a_frozen_encoder_has_no_gradients_to_combine(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batch = make_model(2, dtype=torch.float64), make_batches(2, dtype=torch.float64)[0]
    model.encoder("b").requires_grad_(False)
    (record,) = Plain(1.0).steps(model, batch)
    assert [record.coefficients[f"alpha:{m}"].item() for m in "ab"] == [0.3, 0.5]
    assert tools.grads(model, "a")
    assert not tools.grads(model, "b")


def test_a_shaped_objective_by_hand(make_model: Any, make_batches: Any, tools: Any) -> None:
    """A factor that is not named is 1; a term acts on the encoders through the factors, too."""
    one, two = (make_model(2, dtype=torch.float64) for _ in range(2))
    batch = make_batches(2, dtype=torch.float64)[0]
    (record,) = Loud(0.7).steps(one, batch)
    features = two.encode(batch.inputs)
    price = 0.7 * sum(h.square().mean() for h in features.values())
    (nn.functional.cross_entropy(two.fusion(features), batch.target) + price).backward()
    for m, factor in (("a", 3.0), ("b", 1.0)):
        for g, e in zip(tools.grads(one, m), tools.grads(two, m), strict=True):
            torch.testing.assert_close(g, factor * e)
    assert record.parts["price"].item() == pytest.approx(price.item())
    assert record.loss.item() == pytest.approx(sum(part.item() for part in record.parts.values()))
    assert set(record.coefficients) == {"kappa:a", "seen"}


def test_discounted_loss_by_numpy(tools: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    own, known = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    own.requires_grad_()
    known.requires_grad_()
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    q = tools.softmax(known.detach().numpy())[np.arange(6), y]
    expected = ((1 - 0.3 * q) * tools.nll(own.detach().numpy(), y.numpy())).mean()
    loss = discounted_loss(own, known, y, 0.3)
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    assert own.grad is not None
    assert known.grad is None


def test_named_coefficients_keep_no_graph(make_model: Any) -> None:
    coefficients = by_modality(make_model(2), "k", torch.tensor([1.0, 2.0], requires_grad=True))
    assert {name: (value.item(), value.requires_grad) for name, value in coefficients.items()} == {
        "k:a": (1, False),
        "k:b": (2, False),
    }


def test_encoders_that_share_a_layer_train_it_on_the_plain_sum(make_batches: Any, tools: Any) -> None:
    """Only what an encoder has for itself gets the combined gradient."""
    torch.manual_seed(0)
    trunk = nn.Linear(6, 5)
    encoders = {m: nn.Sequential(trunk, nn.Tanh(), nn.Linear(5, 4)) for m in "ab"}
    model, batch = MultimodalClassifier(encoders, num_outputs=3).double(), make_batches(2, dtype=torch.float64)[0]
    list(Own(0.7).steps(model, batch))
    grads = {m: [p.grad.clone() for p in model.encoder_parameters(m)] for m in "ab"}
    shared = [p.grad.clone() for p in trunk.parameters()]
    model.zero_grad()
    outputs = model(batch.inputs)
    unimodal = {m: nn.functional.cross_entropy(z, batch.target) for m, z in outputs.unimodal_logits.items()}
    total = nn.functional.cross_entropy(outputs.logits, batch.target) + 0.7 * (unimodal["a"] + unimodal["b"])
    for g, e in zip(shared, torch.autograd.grad(total, list(trunk.parameters()), retain_graph=True), strict=True):
        torch.testing.assert_close(g, e)
    for m in "ab":
        own = torch.autograd.grad(0.7 * unimodal[m], model.encoder_parameters(m), retain_graph=True)
        for g, e in zip(grads[m], own, strict=True):
            torch.testing.assert_close(g, 3 * e)


def test_the_gradient_by_what_a_loss_does_not_depend_on_is_zero() -> None:
    used, other = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.ones(2, 3))
    grads = gradients(used.square().sum(), [used, other])
    assert [g.tolist() for g in grads] == [[2, 4], [[0, 0, 0], [0, 0, 0]]]


@pytest.mark.parametrize("strength", [0.25, 2.0])
def test_heads_that_are_part_of_a_method_enter_the_encoders_times_its_strength(
    strength: float, make_model: Any, make_batches: Any
) -> None:
    one, two = (make_model(2, dtype=torch.float64) for _ in range(2))
    batch = make_batches(2, dtype=torch.float64)[0]
    list(Supervised(strength).steps(one, batch))
    list(Uniform(strength).steps(two, batch))
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


@pytest.mark.parametrize(("strength", "factor"), [(0.0, 1.0), (1.0, 0.25)])
def test_a_modulated_gradient_is_joint_training_with_a_factor_per_encoder(
    strength: float, factor: float, make_model: Any, make_batches: Any, tools: Any
) -> None:
    one, two = (make_model(2, dtype=torch.float64) for _ in range(2))
    batch = make_batches(2, dtype=torch.float64)[0]
    (record,) = Slow(strength).steps(one, batch)
    (expected,) = Joint().steps(two, batch)
    for m, wanted in (("a", factor), ("b", 1.0)):
        assert len(tools.grads(two, m)) == 4
        for g, e in zip(tools.grads(one, m), tools.grads(two, m), strict=True):
            torch.testing.assert_close(g, wanted * e)
    for p, q in zip(one.fusion.parameters(), two.fusion.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)
    assert record.loss.item() == pytest.approx(expected.loss.item())
    assert {k: v.item() for k, v in record.coefficients.items()} == ({"kappa:a": 0.25} if strength else {})


def test_a_step_of_joint_training_is_joints_and_goes_through_the_loops_own_backward(
    make_model: Any, make_batches: Any
) -> None:
    one, two = (make_model(2, dtype=torch.float64) for _ in range(2))
    batch = make_batches(2, dtype=torch.float64)[0]
    (record,) = joint_step(one, batch, lambda loss: (loss / 4).backward())
    (expected,) = Joint().steps(two, batch)
    assert record.loss == expected.loss
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad / 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", sorted(FUSIONS))
def test_which_fusions_are_sums_over_modalities(name: str, dtype: torch.dtype, make_model: Any) -> None:
    model = make_model(3, fusion=name, dtype=dtype)
    assert is_additive(model.fusion) is (name in ("concat", "sum", "shared-head"))
    assert is_additive(Mean({"a": 3, "b": 3}, 3)), "a fusion needs no parameters for that"


def test_what_a_modality_says_alone_is_its_slice_or_its_own_head(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batch = make_model(3, dtype=torch.float64), make_batches(3, dtype=torch.float64)[0]
    features = model.encode(batch.inputs)
    for sliced, expected in ((True, tools.slices(model, batch)), (False, tools.heads(model, batch))):
        logits = unimodal_logits(model, features, sliced=sliced).detach().numpy()
        np.testing.assert_allclose(logits, np.stack(list(expected.values())))


def test_true_scores_are_sums_of_the_true_class_probability_over_the_batch(make_model: Any, tools: Any) -> None:
    z = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.tensor([0, 2, 1, 1, 0])
    expected = tools.softmax(z.numpy())[:, np.arange(5), y.numpy()].sum(1)
    assert true_scores(make_model(2), z, y).tolist() == pytest.approx(expected.tolist())


def test_a_subset_sees_zeros_or_what_is_given_for_the_modalities_outside_it(make_model: Any, make_batches: Any) -> None:
    model, batch = make_model(2, dtype=torch.float64), make_batches(2, dtype=torch.float64)[0]
    features = model.encode(batch.inputs)
    a, b = features["a"], features["b"]
    for absent in (None, {m: torch.full((1, 8), 0.5, dtype=torch.float64) for m in "ab"}):
        gone = torch.full_like(a, 0.5 if absent else 0.0)
        expected = [model.fusion({"a": x, "b": y}) for x, y in ((gone, gone), (a, gone), (gone, b), (a, b))]
        torch.testing.assert_close(subset_logits(model, features, absent), torch.stack(expected))


def test_what_a_method_requires_of_a_model(make_model: Any) -> None:
    model = make_model(2)
    require_modality(model, "b")
    with pytest.raises(ModelError, match=r"no modality `c`\. It has a, b"):
        require_modality(model, "c")
    require_multiclass(Joint(), model, "it counts classes")
    with pytest.raises(
        ModelError, match=r"`Joint` needs a multiclass task: it counts classes\. Found a multilabel task"
    ):
        require_multiclass(Joint(), make_model(2, task="multilabel"), "it counts classes")


def test_a_method_that_does_not_say_so_needs_no_held_out_samples() -> None:
    assert not Slow(1.0).needs_held_out
