from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from counterpoise.errors import ConfigError, DataError, ModelError, NotFoundError
from counterpoise.fusion import Concat, Sum
from counterpoise.model import MultimodalClassifier, build_model, scale_gradient

Make = Callable[..., Any]


def inputs(model: MultimodalClassifier, n: int = 5) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {m: torch.randn(n, 6, generator=generator) for m in model.modalities}


@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0, torch.tensor(0.3)])
def test_scale_gradient_scales_the_gradient_and_nothing_else(scale: float | torch.Tensor) -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = scale_gradient(x, scale)
    assert torch.equal(y, x)
    if isinstance(scale, float) and scale == 0:
        assert not y.requires_grad
    else:
        (y * torch.tensor([1.0, 10.0])).sum().backward()
        torch.testing.assert_close(x.grad, float(scale) * torch.tensor([1.0, 10.0]))


@pytest.mark.parametrize("fusion", ["concat", "sum"])
@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_slices_sum_to_the_fused_logits(modalities: int, fusion: str, make_model: Make) -> None:
    model = make_model(modalities, fusion=fusion, dtype=torch.float64)
    features = model.encode({m: x.double() for m, x in inputs(model).items()})
    total = torch.stack(list(model.fusion.slice_logits(features).values())).sum(0)
    torch.testing.assert_close(total, model.fusion(features))


@pytest.mark.parametrize("gradient", [0.0, 0.25, 1.0])
def test_head_gradient_reaches_the_encoder_in_proportion_and_the_head_in_full(
    gradient: float, make_model: Make
) -> None:
    def gradients(scale: float) -> tuple[torch.Tensor, torch.Tensor | None]:
        model = make_model(2)
        model(inputs(model), head_gradient=scale).unimodal_logits["a"].square().sum().backward()
        return model.head("a").weight.grad, next(model.encoder("a").parameters()).grad

    head, encoder = gradients(gradient)
    full_head, full_encoder = gradients(1.0)
    torch.testing.assert_close(head, full_head)
    if gradient == 0:
        assert encoder is None
    else:
        torch.testing.assert_close(encoder, gradient * full_encoder)


def test_unimodal_runs_one_encoder_only(make_model: Make) -> None:
    model = make_model(3)
    ran: list[str] = []
    for m in model.modalities:
        model.encoder(m).register_forward_hook(lambda *_, m=m: ran.append(m))
    logits = model.unimodal(inputs(model), "b")
    assert ran == ["b"]
    torch.testing.assert_close(logits, model(inputs(model)).unimodal_logits["b"])


def test_a_missing_or_unknown_modality_is_named(make_model: Make) -> None:
    model = make_model(2)
    with pytest.raises(DataError, match=r"modalities a, b.*has a; missing: b"):
        model({"a": torch.zeros(2, 6)})
    with pytest.raises(DataError, match="has a, b, c"):
        model({m: torch.zeros(2, 6) for m in "abc"})
    with pytest.raises(DataError, match="`a`: 2, `b`: 3"):
        model({"a": torch.zeros(2, 6), "b": torch.zeros(3, 6)})


def test_one_modality_is_not_multimodal() -> None:
    with pytest.raises(ModelError, match=r"at least two modalities\. Found 1: a"):
        MultimodalClassifier({"a": nn.Linear(2, 2)}, num_outputs=2)


def test_an_encoder_that_does_not_tell_its_dimension_needs_it_told() -> None:
    class Silent(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    encoders = {"a": Silent(), "b": nn.Linear(3, 4)}
    with pytest.raises(ModelError, match=r"feature dimension of the encoder of `a` \(Silent\)"):
        MultimodalClassifier(encoders, num_outputs=2)
    model = MultimodalClassifier(encoders, num_outputs=2, feature_dims={"a": 3})
    assert model({"a": torch.zeros(2, 3), "b": torch.zeros(2, 3)}).logits.shape == (2, 2)
    with pytest.raises(ModelError, match=r"encoder of `a` should return a tensor of shape \(2, 3\)"):
        model({"a": torch.zeros(2, 7), "b": torch.zeros(2, 3)})


def test_modalities_may_be_called_like_attributes_of_a_module() -> None:
    model = MultimodalClassifier({"type": nn.Linear(2, 3), "half": nn.Linear(2, 3)}, num_outputs=2)
    assert model.modalities == ("type", "half")
    assert model({"type": torch.zeros(1, 2), "half": torch.zeros(1, 2)}).logits.shape == (1, 2)


def test_who_owns_which_parameter_is_asked_of_the_model_not_of_names() -> None:
    shared = nn.Linear(4, 4)
    encoders = {
        "a": nn.Sequential(nn.Linear(2, 4), shared),
        "audio": nn.Sequential(nn.Linear(3, 4), shared),
    }
    model = MultimodalClassifier(encoders, num_outputs=2)
    own = model.encoder_parameters("a")
    assert [p.shape for p in own] == [(4, 2), (4,)]
    assert not {id(p) for p in own} & {id(p) for p in model.encoder_parameters("audio")}


def test_fusion_by_name_class_or_instance() -> None:
    def encoders() -> dict[str, nn.Module]:
        return {"a": nn.Linear(2, 3), "b": nn.Linear(2, 4)}

    assert isinstance(MultimodalClassifier(encoders(), num_outputs=2, fusion="sum").fusion, Sum)
    assert isinstance(MultimodalClassifier(encoders(), num_outputs=2, fusion=Concat).fusion, Concat)
    ready = Sum({"a": 3, "b": 4}, 2)
    assert MultimodalClassifier(encoders(), num_outputs=2, fusion=ready).fusion is ready
    with pytest.raises(NotFoundError, match="Did you mean `concat`"):
        MultimodalClassifier(encoders(), num_outputs=2, fusion="concatt")


def test_build_model_names_unknown_encoders_and_modalities() -> None:
    spec = {"a": ("vector", (4,), 0), "b": ("sequence", (20, 3), 0)}
    with pytest.raises(NotFoundError, match="Did you mean `mlp`"):
        build_model(spec, num_outputs=2, encoders={"a": "mlpp"})
    with pytest.raises(ConfigError, match="Unknown key `c`"):
        build_model(spec, num_outputs=2, encoders={"c": "mlp"})
    model = build_model(spec, num_outputs=2, encoders={"a": "counterpoise.encoders.MLP"}, width=16)
    assert model.feature_dims == {"a": 16, "b": 16}
