from __future__ import annotations

import pytest
import torch

from counterpoise.errors import ModelError, NotFoundError
from counterpoise.inference import RULES, Calibrated, Ensemble, Fused, FusedUnimodal, UnimodalRule, make_rule, predict
from counterpoise.model import build_model
from counterpoise.records import Outputs
from counterpoise.tasks import MultiClass, MultiLabel, Regression

G = torch.Generator().manual_seed(0)


def outputs(n: int = 400, quality: tuple[float, ...] = (1.0, 2.0, 0.0)) -> tuple[Outputs, torch.Tensor]:
    """Experts whose logits carry the class with the given strength, in unit noise: fused, a, b."""
    target = torch.randint(3, (n,), generator=G)
    code = torch.nn.functional.one_hot(target, 3).float()
    logits = [q * code + torch.randn(n, 3, generator=G) for q in quality]
    return Outputs({}, logits[0], {"a": logits[1], "b": logits[2]}), target


TASK = MultiClass(3)


def test_plain_rules_are_what_they_say() -> None:
    out, _ = outputs(20)
    assert torch.equal(Fused(("a", "b"), TASK)(out), out.logits)
    assert torch.equal(UnimodalRule(("a", "b"), TASK, "b")(out), out.unimodal_logits["b"])
    expected = torch.stack([z.log_softmax(-1) for z in out.unimodal_logits.values()]).mean(0)
    torch.testing.assert_close(Ensemble(("a", "b"), TASK)(out), expected)
    everything = torch.stack([z.log_softmax(-1) for z in (out.logits, *out.unimodal_logits.values())]).mean(0)
    torch.testing.assert_close(FusedUnimodal(("a", "b"), TASK)(out), everything)


def test_a_calibrated_rule_starts_as_the_mean_and_improves_the_held_out_likelihood() -> None:
    fitting, y = outputs()
    fresh, z = outputs()
    rule, mean = Calibrated(("a", "b"), TASK), FusedUnimodal(("a", "b"), TASK)
    torch.testing.assert_close(rule(fresh).softmax(-1), mean(fresh).softmax(-1), atol=1e-6, rtol=1e-5)
    before = TASK.loss(rule(fresh), z)
    rule.fit(fitting, y)
    assert TASK.loss(rule(fresh), z) < before
    assert rule.weights[1] > rule.weights[0] > rule.weights[2]


def test_calibrated_weights_are_near_the_optimum_of_their_objective() -> None:
    """SciPy's optimizer finds nothing better than what the fit ends at."""
    from scipy.optimize import minimize

    out, y = outputs(300)
    rule = Calibrated(("a", "b"), TASK)
    rule.fit(out, y)
    experts = out.experts().double().log_softmax(-1)

    def objective(x: object) -> float:
        v = torch.as_tensor(x, dtype=torch.float64)
        logits = torch.einsum("k,kbc->bc", (v[0] + v[1:]).exp(), experts)
        return (TASK.loss(logits, y) + 2 / len(y) * v[1:].square().sum()).item()

    value = objective([float(rule.temperature), *rule.theta.tolist()])
    best = minimize(objective, [0.0, 0.0, 0.0, 0.0]).fun
    assert value == pytest.approx(best, abs=2e-3)


def test_a_calibrated_rule_survives_its_state_dict() -> None:
    out, y = outputs()
    rule = Calibrated(("a", "b"), TASK)
    rule.fit(out, y)
    copy = Calibrated(("a", "b"), TASK)
    copy.load_state_dict(rule.state_dict())
    assert torch.equal(copy(out), rule(out))
    assert copy.fitted


@pytest.mark.parametrize("task", [MultiLabel(2), Regression(2)])
def test_rules_for_other_likelihoods(task: MultiLabel | Regression) -> None:
    logits = [torch.randn(50, 2, generator=G) for _ in range(3)]
    target = (logits[1] > 0).long() if task.name == "multilabel" else logits[1]
    out = Outputs({}, logits[0], {"a": logits[1], "b": logits[2]})
    rule = Calibrated(("a", "b"), task)
    before = task.loss(rule(out), target)
    rule.fit(out, target)
    assert task.loss(rule(out), target) < before
    assert rule.weights.argmax() == 1
    if task.name == "regression":  # a mean of means: equal experts give themselves
        same = Outputs({}, logits[0], {"a": logits[0], "b": logits[0]})
        torch.testing.assert_close(rule(same), logits[0])


def test_unknown_rules_and_modalities() -> None:
    with pytest.raises(NotFoundError, match="Did you mean `calibrated`"):
        make_rule("calibratd", ("a", "b"), TASK)
    with pytest.raises(ModelError, match="no modality `c`"):
        make_rule("unimodal", ("a", "b"), TASK, modality="c")


@pytest.mark.parametrize("name", list(RULES))
@pytest.mark.parametrize("task", ["multiclass", "multilabel", "regression"])
@pytest.mark.parametrize("modalities", [2, 3])
def test_every_rule_predicts_on_the_device_of_the_model(name: str, task: str, modalities: int) -> None:
    """The meta device stands in for a second device: any tensor created on the CPU is an error."""
    shapes = {m: ("vector", (4 + k,), 0) for k, m in enumerate("abc"[:modalities])}
    model = build_model(shapes, num_outputs=3, task=task, width=8)
    rule = make_rule(name, model.modalities, model.task, feature_dims=model.feature_dims)
    model, rule = model.to("meta"), rule.to("meta")
    inputs = {m: torch.zeros(5, *shape, device="meta") for m, (_, shape, _) in shapes.items()}
    logits, contributions = predict(model, inputs, rule, return_contributions=True)
    assert (logits.shape, logits.device.type) == ((5, 3), "meta")
    assert {m: (v.shape, v.device.type) for m, v in contributions.items()} == dict.fromkeys(shapes, ((5,), "meta"))


@pytest.mark.parametrize("name", list(RULES))
def test_buffers_of_rules_exist_on_every_accelerator(name: str) -> None:
    """Apple's MPS has no float64."""
    rule = make_rule(name, ("a", "b"), TASK, feature_dims={"a": 4, "b": 4})
    assert all(v.dtype in (torch.float32, torch.bool) for v in rule.state_dict().values())
