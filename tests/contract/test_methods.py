"""Contract battery: every method of the catalogue x every check. A row declares its exceptions, with a reason."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from counterpoise.errors import ConfigError, ModelError
from counterpoise.inference import make_rule, predict
from counterpoise.methods import METHODS, EpochContext, Method, make_method
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

Make = Callable[..., Any]
ALL = sorted(METHODS)
WITH_STRENGTH = [name for name in ALL if "strength" in METHODS[name].load().declarations]


def targets(batches: Sequence[Batch]) -> torch.Tensor:
    order = torch.cat([b.index for b in batches])
    return torch.cat([b.target for b in batches])[order.argsort()]


def prepared(name: str, model: MultimodalClassifier, batches: Sequence[Batch], **arguments: Any) -> Method:
    """A method that has been set up, without a warm-up, with teachers (untrained copies) if it needs them."""
    method = make_method(name, {**METHODS[name].early, **arguments})
    method.use_teachers({required: copy.deepcopy(model) for required in method.requires})
    model.fusion = method.prepare(model, targets(batches)).fusion
    parameter = next(model.parameters())
    return method.to(parameter.device, parameter.dtype)


def start(method: Method, model: MultimodalClassifier, batches: Sequence[Batch]) -> None:
    """Open the first epoch, and then one in which ramps and stages have begun."""
    for number in (0, 2):
        where = EpochContext(number, 10, train=lambda: batches, held_out=lambda: batches[:1])
        method.on_epoch_start(model, where)


def train(
    method: Method,
    model: MultimodalClassifier,
    batches: Sequence[Batch],
    *,
    epochs: range = range(2),
    optimizer: torch.optim.Optimizer | None = None,
    lr: float = 1e-2,
) -> list[float]:
    parameters = [p for p in [*model.parameters(), *method.parameters()] if p.requires_grad]
    optimizer = optimizer or torch.optim.SGD(parameters, lr=lr, momentum=0.9)
    losses = []
    for epoch in epochs:
        torch.manual_seed(epoch)
        method.on_epoch_start(model, EpochContext(epoch, 10, train=lambda: batches, held_out=lambda: batches[:1]))
        for batch in batches:
            for record in method.steps(model, batch):
                optimizer.step()
                optimizer.zero_grad()
                losses.append(record.loss.item())
    return losses


def state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def shared_state(model: MultimodalClassifier) -> list[torch.Tensor]:
    """Encoders and unimodal heads by modality, then the fused head: comparable across methods that wrap the fusion."""
    parts = [p for m in model.modalities for p in (*model.encoder(m).parameters(), *model.head(m).parameters())]
    return [p.detach().clone() for p in (*parts, *model.fusion.parameters())]


@pytest.mark.parametrize("name", ALL)
def test_default_constructible_and_repr_round_trips(name: str) -> None:
    method = make_method(name)
    cls = type(method)
    assert repr(eval(repr(method), {cls.__name__: cls})) == repr(method)
    assert cls.__doc__
    assert "Example" in cls.__doc__


@pytest.mark.parametrize("name", ALL)
def test_every_hyperparameter_refuses_an_invalid_value(name: str) -> None:
    cls = METHODS[name].load()
    wrong_kinds: tuple[object, ...] = (float("nan"), float("inf"), "no", 2.5, [], object())
    for parameter, declared in cls.declarations.items():
        declared.check(cls.__name__, declared.default)
        for value in (declared.limits.invalid(), *wrong_kinds):
            try:
                declared.check(cls.__name__, value)
            except ConfigError:
                with pytest.raises(ConfigError, match=f"Parameter `{parameter}` of `{cls.__name__}` should"):
                    make_method(name, {parameter: value})
            else:  # a number where numbers are allowed, a text where names are
                assert value in (2.5, "no")
                assert getattr(make_method(name, {parameter: value}), parameter) == value


@pytest.mark.parametrize("name", ALL)
def test_hyperparameters_cannot_be_changed_and_are_documented(name: str) -> None:
    method = make_method(name)
    assert list(inspect.signature(type(method)).parameters) == list(method.hyperparameters)
    for parameter, value in method.hyperparameters.items():
        with pytest.raises(AttributeError, match=parameter):
            setattr(method, parameter, value)
        assert f"        {parameter}: " in (type(method).__doc__ or ""), "its Args section describes it"
    with pytest.raises(ConfigError, match="stregnth"):
        type(method)(stregnth=1.0)


@pytest.mark.parametrize("name", ALL)
def test_prepare_leaves_the_model_of_the_caller_as_it_is(name: str, make_model: Make, make_batches: Make) -> None:
    model, batches = make_model(2), make_batches(2)
    method = make_method(name, METHODS[name].early)
    method.use_teachers({required: copy.deepcopy(model) for required in method.requires})
    fusion, before = model.fusion, state(model)
    trained = method.prepare(model, targets(batches))
    assert model.fusion is fusion
    assert all(torch.equal(value, before[key]) for key, value in state(model).items())
    start(method, trained, batches)
    for _ in method.steps(trained, batches[0]):
        pass
    for m in model.modalities:
        assert trained.encoder(m) is model.encoder(m)
        assert trained.head(m) is model.head(m)
    if trained is not model and name not in ("mmcosine", "mmcosine-official"):
        with pytest.raises(ModelError, match="prepare"):  # these call the new fusion by name
            next(method.steps(model, batches[0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("modalities", [2, 3, 4])
@pytest.mark.parametrize("name", ALL)
def test_fills_finite_gradients_and_leaves_the_batch_alone(
    name: str, modalities: int, dtype: torch.dtype, make_model: Make, make_batches: Make
) -> None:
    model, batches = make_model(modalities, dtype=dtype), make_batches(modalities, dtype=dtype)
    method = prepared(name, model, batches)
    before = copy.deepcopy(batches[0])
    start(method, model, batches)
    filled: set[str] = set()
    steps = 0
    for record in method.steps(model, batches[0]):
        steps += 1
        assert torch.isfinite(record.loss)
        assert not record.loss.requires_grad
        for parameter, p in model.named_parameters():
            if p.grad is not None:
                assert torch.isfinite(p.grad).all(), parameter
                filled.add(parameter)
        model.zero_grad()
    assert steps >= 1
    allowed_empty = METHODS[name].untrained
    for parameter, _ in model.named_parameters():
        part = parameter.split(".")[0]
        if part == "fusion" and "fusion" in allowed_empty:
            continue
        if "other encoders" in allowed_empty and "_a." not in parameter:
            continue
        assert parameter in filled, f"{parameter} got no gradient"
    for m in before.inputs:
        assert torch.equal(before.inputs[m], batches[0].inputs[m])
    assert torch.equal(before.target, batches[0].target)


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("name", WITH_STRENGTH)
def test_strength_zero_is_joint_training_bit_for_bit(
    name: str, modalities: int, make_model: Make, make_batches: Make
) -> None:
    batches = make_batches(modalities)
    reference, model = make_model(modalities), make_model(modalities)
    train(prepared("joint", reference, batches), reference, batches)
    train(prepared(name, model, batches, strength=0.0), model, batches)
    for expected, actual in zip(shared_state(reference), shared_state(model), strict=True):
        assert torch.equal(expected, actual)


@pytest.mark.parametrize("name", WITH_STRENGTH)
def test_full_strength_is_not_joint_training(name: str, make_model: Make, make_batches: Make) -> None:
    """The other side of the check above: the method does something."""
    batches = make_batches(2)
    reference, model = make_model(2), make_model(2)
    train(prepared("joint", reference, batches), reference, batches, epochs=range(8))
    train(prepared(name, model, batches), model, batches, epochs=range(8))
    encoders = [list(m.encoder("a").parameters()) + list(m.encoder("b").parameters()) for m in (reference, model)]
    assert any(not torch.equal(p, q) for p, q in zip(*encoders, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_the_loss_falls(name: str, make_model: Make, make_batches: Make) -> None:
    model, batches = make_model(2), make_batches(2, batches=6)
    method = prepared(name, model, batches)
    train(method, model, batches, epochs=range(12))
    rule = make_rule(method.default_rule, model.modalities, model.task, feature_dims=model.feature_dims)
    accuracy = torch.cat([predict(model, b.inputs, rule).argmax(-1) == b.target for b in batches]).double().mean()
    assert accuracy > 0.6, "chance is 0.33"


@pytest.mark.parametrize("name", ALL)
def test_resuming_equals_going_on(name: str, make_model: Make, make_batches: Make) -> None:
    batches = make_batches(2)

    def build() -> tuple[MultimodalClassifier, Method, torch.optim.Optimizer]:
        model = make_model(2)
        method = prepared(name, model, batches)
        parameters = [*model.parameters(), *method.parameters()]
        return model, method, torch.optim.SGD(parameters, lr=1e-2, momentum=0.9)

    model, method, optimizer = build()
    train(method, model, batches, epochs=range(4), optimizer=optimizer)

    first, first_method, first_optimizer = build()
    train(first_method, first, batches, epochs=range(2), optimizer=first_optimizer)
    saved = copy.deepcopy([first.state_dict(), first_method.state_dict(), first_optimizer.state_dict()])
    second, second_method, second_optimizer = build()
    second.load_state_dict(saved[0])
    second_method.load_state_dict(saved[1])
    second_optimizer.load_state_dict(saved[2])
    train(second_method, second, batches, epochs=range(2, 4), optimizer=second_optimizer)

    expected, resumed = state(model), state(second)
    for key in expected:
        assert torch.equal(expected[key], resumed[key]), key


@pytest.mark.parametrize("name", ALL)
def test_the_order_in_which_modalities_are_named_does_not_matter(
    name: str, make_model: Make, make_batches: Make
) -> None:
    if name == "unimodal":
        pytest.skip("its default is the first modality")
    if METHODS[name].random:
        pytest.skip("draws random numbers per modality, in order")
    there, back = ("a", "b", "c"), ("c", "a", "b")
    results = []
    for names in (there, back):
        torch.manual_seed(0)
        model = make_model(names, dtype=torch.float64)
        with torch.no_grad():  # the fused head too must not depend on the order
            for p in model.fusion.parameters():
                p.zero_()
        batches = make_batches(names, dtype=torch.float64)
        arguments = {"noise": False} if "noise" in METHODS[name].load().declarations else {}
        train(prepared(name, model, batches, **arguments), model, batches, lr=1e-3)
        results.append({m: list(model.encoder(m).parameters()) for m in there})
    for m in there:
        for p, q in zip(results[0][m], results[1][m], strict=True):
            torch.testing.assert_close(p, q, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ALL)
def test_equal_modalities_get_equal_coefficients(name: str, make_model: Make, make_batches: Make) -> None:
    if METHODS[name].ordered:
        pytest.skip("keeps a released fault that treats modalities by their order")
    model, batches = make_model(3, tied=True), make_batches(3, alike=True)
    width = model.feature_dims["a"]
    with torch.no_grad():
        for p in model.fusion.parameters():
            if p.ndim == 2 and p.shape[1] == 3 * width:
                p.copy_(p[:, :width].repeat(1, 3))
    method = prepared(name, model, batches)
    start(method, model, batches)
    checked = 0
    for record in method.steps(model, batches[0]):
        by_kind: dict[str, list[float]] = {}
        for key, value in record.coefficients.items():
            by_kind.setdefault(key.split(":")[0], []).append(value.item())
        for values in by_kind.values():
            checked += 1
            assert max(values) == pytest.approx(min(values), rel=1e-4)
        model.zero_grad()
    assert checked or name not in ("ogm-ge", "agm", "agm-toolkit", "cggm", "mses"), (
        "a gradient modulation reports its coefficients"
    )


@pytest.mark.parametrize("name", ALL)
def test_a_frozen_encoder_is_tolerated(name: str, make_model: Make, make_batches: Make) -> None:
    model, batches = make_model(2), make_batches(2)
    for p in model.encoder("b").parameters():
        p.requires_grad_(False)
    frozen = [p.clone() for p in model.encoder("b").parameters()]
    train(prepared(name, model, batches), model, batches)
    if not METHODS[name].resets_encoders:
        assert all(torch.equal(p, q) for p, q in zip(frozen, model.encoder("b").parameters(), strict=True))


@pytest.mark.parametrize("name", ALL)
def test_a_batch_of_one_and_a_missing_class(name: str, make_model: Make, make_batches: Make) -> None:
    model, batches = make_model(2), make_batches(2)
    method = prepared(name, model, batches)
    one = Batch({m: x[:1] for m, x in batches[0].inputs.items()}, batches[0].target[:1], batches[0].index[:1])
    rows = batches[1].target != 0
    missing = Batch({m: x[rows] for m, x in batches[1].inputs.items()}, batches[1].target[rows], batches[1].index[rows])
    losses = train(method, model, [one, missing])
    assert torch.isfinite(torch.tensor(losses)).all()
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("name", ALL)
def test_bfloat16_autocast(name: str, make_model: Make, make_batches: Make) -> None:
    model, batches = make_model(2), make_batches(2)
    method = prepared(name, model, batches)
    optimizer = torch.optim.SGD([*model.parameters(), *method.parameters()], lr=1e-2)
    start(method, model, batches)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for record in method.steps(model, batches[0]):
            assert torch.isfinite(record.loss)
            optimizer.step()
            optimizer.zero_grad()
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("name", ALL)
def test_predictions_are_per_sample_and_know_no_target(name: str, make_model: Make, make_batches: Make) -> None:
    model, batches = make_model(2), make_batches(2)
    method = prepared(name, model, batches)
    train(method, model, batches, epochs=range(1))
    rule = make_rule(method.default_rule, model.modalities, model.task, feature_dims=model.feature_dims)
    together = predict(model, batches[0].inputs, rule)
    alone = predict(model, {m: x[3:4] for m, x in batches[0].inputs.items()}, rule)
    torch.testing.assert_close(together[3:4], alone)
    assert "target" not in inspect.signature(predict).parameters


@pytest.mark.parametrize("name", ALL)
def test_gradient_accumulation_of_one_batch_split_in_two_steps_once(
    name: str, make_model: Make, make_batches: Make
) -> None:
    """Two identical micro-batches at half weight give the gradients of one."""
    if METHODS[name].load().alternates or METHODS[name].random:
        pytest.skip("steps more than once a batch, or draws random numbers")
    batches = make_batches(2, dtype=torch.float64)
    arguments = {"noise": False} if "noise" in METHODS[name].load().declarations else {}
    gradients = []
    for repeats in (1, 2):
        model = make_model(2, dtype=torch.float64)
        method = prepared(name, model, batches, **arguments)
        start(method, model, batches)
        state_before = copy.deepcopy(method.state_dict())
        fusion_before = copy.deepcopy(model.fusion.state_dict())
        for _ in range(repeats):
            method.load_state_dict(state_before)
            model.fusion.load_state_dict(fusion_before)
            for _record in method.steps(model, batches[0], backward=lambda loss, k=repeats: (loss / k).backward()):
                pass
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 0
    for p, q in zip(*gradients, strict=True):
        torch.testing.assert_close(p, q)
