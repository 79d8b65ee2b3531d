"""Methods train a module as it is: equal to the rebuilt model, and the module's own forward stays what it was."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import counterpoise
from counterpoise.diagnosis import DiagnosisOptions, diagnose
from counterpoise.errors import DataError, ModelError, NotFoundError
from counterpoise.fusion import Fusion
from counterpoise.methods import METHODS, OGMGE, EpochContext, Method, make_method
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch
from counterpoise.wrapping import WrappedModel, wrap

CLASSES = 3


class Product(Fusion):
    """No sum over modalities, so that methods use heads in both forms."""

    def __init__(self) -> None:
        super().__init__({"image": 6, "text": 6}, CLASSES)
        self.mix = nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, CLASSES))

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        return self.mix(torch.cat([features["image"], features["text"]], 1))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vision = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.1), nn.Linear(6, 6))
        self.language = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6))
        self.rest = Product()

    def forward(self, text: Tensor, image: Tensor) -> Tensor:
        image = self.vision(image)
        return self.rest({"image": image, "text": self.language(text)})


def make_batches(n: int = 48, size: int = 16) -> list[Batch]:
    g = torch.Generator().manual_seed(0)
    y = torch.randint(CLASSES, (n,), generator=g)
    image = torch.randn(n, 5, generator=g) + nn.functional.one_hot(y, 5)
    text = torch.randn(n, 4, generator=g) + 2 * nn.functional.one_hot(y, 4)
    return [Batch({"image": image[i], "text": text[i]}, y[i], i) for i in torch.arange(n).split(size)]


def make_pair() -> tuple[MultimodalClassifier, WrappedModel, Plain]:
    torch.manual_seed(0)
    net = Plain()
    own = copy.deepcopy(net)
    rebuilt = MultimodalClassifier(
        {"image": own.vision, "text": own.language},
        num_outputs=CLASSES,
        fusion=own.rest,
        feature_dims={"image": 6, "text": 6},
    )
    wrapped = wrap(net, encoders={"image": "vision", "text": "language"}, num_outputs=CLASSES)
    for m in wrapped.modalities:
        wrapped.head(m).load_state_dict(rebuilt.head(m).state_dict())
    return rebuilt, wrapped, net


def train(
    model: MultimodalClassifier,
    method: Method,
    batches: list[Batch],
    epochs: int = 2,
    context: Callable[[], Any] = contextlib.nullcontext,
    lr: float = 0.05,
) -> MultimodalClassifier:
    target = torch.cat([b.target for b in batches])
    method.use_teachers({name: copy.deepcopy(model) for name in method.requires})
    model = method.prepare(model, target)
    parameters = [p for p in [*model.parameters(), *method.parameters()] if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=lr, momentum=0.9)
    for epoch in range(epochs):
        torch.manual_seed(epoch)
        method.on_epoch_start(model, EpochContext(epoch, 10, train=lambda: batches, held_out=lambda: batches[:1]))
        for batch in batches:
            with context():
                for record in method.steps(model, batch):
                    assert bool(record.loss.isfinite())
                    optimizer.step()
                    optimizer.zero_grad()
    return model


REFUSED = {
    "agm": "runs each encoder",
    "aug": "replaces the fusion",
    "crmt": "replaces the fusion",
    "greedy": "replaces the fusion",
    "mla": "replaces the fusion",
    "mmcosine": "linear fused head",
    "pdf": "replaces the fusion",
    "qmf": "replaces the fusion",
    "reconboost": "additive fusion",
    "tcmax": "additive fusion",
}
"""Methods that need a fusion of their own, slices, or encoders that run by themselves."""


def early(name: str) -> Method:
    return make_method(name, METHODS[name].early)


def without_some(batches: list[Batch], value: float = 0.0) -> list[Batch]:
    """The batches with every third sample lacking a modality, in whose place stands a value; one image is left."""
    incomplete = []
    for k, batch in enumerate(batches):
        rows = torch.arange(len(batch))
        masks = {"image": rows % 3 != 0, "text": rows % 3 != 1}
        if k == 1:
            masks = {"image": rows == 1, "text": rows != 1}
        inputs = {m: fill(x, masks[m], value) for m, x in batch.inputs.items()}
        incomplete.append(Batch(inputs, batch.target, batch.index, masks))
    return incomplete


def fill(x: Any, mask: Tensor, value: float) -> Tensor:
    return torch.where(mask.view(-1, *[1] * (x.ndim - 1)), x, value)


@pytest.mark.parametrize("missing", [False, True], ids=["complete", "incomplete"])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_equals_the_rebuilt_model_or_says_why_not(name: str, missing: bool) -> None:
    rebuilt, wrapped, net = make_pair()
    batches = without_some(make_batches(), float("nan")) if missing else make_batches()
    reason = REFUSED.get(name.partition("-")[0])
    if reason is not None:
        with pytest.raises(ModelError, match=reason):
            early(name).prepare(wrapped, torch.cat([b.target for b in batches]))
        return
    if missing and early(name).incomplete is not None:
        with pytest.raises(DataError, match="samples that lack modalities"):
            train(wrapped, early(name), batches)
        return
    trained = train(wrapped, early(name), batches)
    expected = train(rebuilt, early(name), batches)
    pairs = {"vision": rebuilt.encoder("image"), "language": rebuilt.encoder("text")}
    for part, module in pairs.items():
        for (key, own), (_, other) in zip(
            getattr(net, part).state_dict().items(), module.state_dict().items(), strict=True
        ):
            assert torch.equal(own, other), (part, key)
    for m in wrapped.modalities:
        assert torch.equal(trained.head(m).weight, expected.head(m).weight), m
    inputs, present = batches[0].inputs, batches[0].present
    predicted = [counterpoise.predict(model, inputs, present=present) for model in (trained, expected)]
    assert torch.equal(*predicted)


MUST_WORK = [
    "joint",
    "uniform",
    "ogm-ge",
    "g-blending",
    "modality-dropout",
    "mmpareto",
    "pmr",
    "opm",
    "arm",
    "dgl",
    "cggm",
]


class Attending(nn.Module):
    """Text attends to image patches; the image has a stem outside its encoder, and the text a mask."""

    def __init__(self, checkpointed: bool = False) -> None:
        super().__init__()
        self.checkpointed = checkpointed
        self.stem, self.norm = nn.Linear(6, 8), nn.BatchNorm1d(8)
        self.vision = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16))
        self.words = nn.Embedding(20, 16)
        self.cross = nn.MultiheadAttention(16, 2, batch_first=True)
        self.out = nn.Linear(16, CLASSES)

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        stem = self.norm(self.stem(pixel_values).flatten(0, 1)).view(*pixel_values.shape[:2], 8)
        patches = checkpoint(self.vision, stem, use_reentrant=False) if self.checkpointed else self.vision(stem)
        tokens = self.words(input_ids)
        mixed = tokens + self.cross(tokens, patches, patches)[0]
        weight = attention_mask.unsqueeze(-1)
        return stem.mean(), self.out((mixed * weight).sum(1) / weight.sum(1))


KEYS = {"image": ["pixel_values"], "text": ["input_ids", "attention_mask"]}


def token_batches(n: int = 96, size: int = 24) -> list[Batch]:
    g = torch.Generator().manual_seed(0)
    y = torch.randint(CLASSES, (n,), generator=g)
    batches = []
    for k, i in enumerate(torch.arange(n).split(size)):
        pixels = torch.randn(len(i), 4, 6, generator=g) + 2 * nn.functional.one_hot(y[i], 6)[:, None]
        ids = torch.randint(20, (len(i), 4 + k % 2), generator=g)  # batches differ in length
        mask = torch.ones_like(ids)
        mask[::2, -1] = 0
        inputs: dict[str, Any] = {"image": pixels, "text": {"input_ids": ids, "attention_mask": mask}}
        batches.append(Batch(inputs, y[i], i))
    return batches


def make_attending(**options: Any) -> tuple[Attending, WrappedModel]:
    torch.manual_seed(0)
    net = Attending(**options)
    model = wrap(net, {"image": "vision", "text": "words"}, num_outputs=CLASSES, inputs=KEYS)
    return net, model


def flat(batch: Batch) -> dict[str, Tensor]:
    return {"pixel_values": batch.inputs["image"], **batch.inputs["text"]}


@pytest.mark.parametrize("name", MUST_WORK)
def test_a_module_with_cross_attention_learns_as_it_is(name: str) -> None:
    net, model = make_attending()
    batches = token_batches()
    before = net(**flat(batches[0]))[1]
    assert torch.equal(model(batches[0].inputs).logits, before)
    assert torch.equal(net(**flat(batches[0]))[1], before)
    trained = train(model, early(name), batches, epochs=16)
    assert net.vision is model.net.vision
    correct = [counterpoise.predict(trained, b.inputs).argmax(1) == b.target for b in batches]
    assert float(torch.cat(correct).float().mean()) > 0.8
    if name != "arm":  # its fusion weights stand between the encoders and the rest
        net.eval()
        assert torch.equal(net(**flat(batches[0]))[1], counterpoise.predict(trained, batches[0].inputs))


def test_features_are_pooled_over_the_tokens_that_the_mask_keeps() -> None:
    net, model = make_attending()
    batch = token_batches()[0]
    vectors = model.vectors(model.encode(batch.inputs))
    ids, mask = batch.inputs["text"]["input_ids"], batch.inputs["text"]["attention_mask"]
    expected = torch.stack([net.words(row[keep.bool()]).mean(0) for row, keep in zip(ids, mask, strict=True)])
    torch.testing.assert_close(vectors["text"], expected)
    assert vectors["image"].shape == (24, 16)


@pytest.mark.parametrize(
    ("encoder", "shape", "dim", "mean"),
    [
        (nn.Conv1d(4, 6, 3), (4, 9), 6, lambda z: z.mean(2)),
        (nn.Sequential(nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6), nn.ReLU()), (4, 9), 6, lambda z: z.mean(2)),
        (nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2)), (1, 9, 8), 6, lambda z: z.mean((2, 3))),
        (nn.Sequential(nn.Conv1d(4, 6, 3), nn.Flatten(), nn.Linear(42, 5), nn.ReLU()), (4, 9), 5, lambda z: z),
        (nn.GRU(4, 6, batch_first=True, bidirectional=True), (9, 4), 12, lambda z: z[0].mean(1)),
        (nn.LSTM(4, 6, batch_first=True), (9, 4), 6, lambda z: z[0].mean(1)),
        (nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), (9, 4), 4, lambda z: z.mean(1)),
        (
            nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2),
            (9, 4),
            4,
            lambda z: z.mean(1),
        ),
    ],
)
def test_layers_over_time_and_space_need_no_dimension(
    encoder: nn.Module, shape: tuple[int, ...], dim: int, mean: Callable[[Any], Tensor]
) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.signal, self.other, self.head = encoder, nn.Linear(3, dim), nn.Linear(dim, CLASSES)

        def forward(self, signal: Tensor, other: Tensor) -> Tensor:
            return self.head(mean(self.signal(signal)) + self.other(other))

    model = wrap(Net().eval(), {"signal": "signal", "other": "other"}, num_outputs=CLASSES).eval()
    x = {"signal": torch.randn(7, *shape), "other": torch.randn(7, 3)}
    out = copy.deepcopy(model)(x)
    assert model.feature_dims["signal"] == dim
    torch.testing.assert_close(out.logits, model.net(**x))
    torch.testing.assert_close(model.vectors(model.encode(x))["signal"], mean(model.net.signal(x["signal"])))
    assert out.unimodal_logits["signal"].shape == (7, CLASSES)


def test_the_stem_before_an_encoder_gets_the_gradient_of_the_plain_sum() -> None:
    """A method that combines gradients by encoder treats what comes before encoders as shared."""
    net, model = make_attending()
    reference, plain = copy.deepcopy((net, model))
    batch = token_batches()[0]
    method = make_method("mmpareto", {})
    prepared = method.prepare(model, batch.target)
    for _ in method.steps(prepared, batch):
        pass
    outputs = plain(batch.inputs)
    loss = plain.task.loss(outputs.logits, batch.target)
    loss = loss + sum(plain.task.loss(u, batch.target) for u in outputs.unimodal_logits.values())
    loss.backward()
    torch.testing.assert_close(net.stem.weight.grad, reference.stem.weight.grad)


def test_the_stem_is_found_after_a_backward_pass() -> None:
    net, model = make_attending()
    model(token_batches()[0].inputs).logits.sum().backward()  # the graph is freed
    parameters = [id(p) for p in model.encoder("image").parameters()]
    assert {id(p) for p in (*net.stem.parameters(), *net.vision.parameters())} <= set(parameters)
    assert id(net.out.weight) not in parameters


def test_a_batch_norm_outside_the_encoders_counts_a_batch_once() -> None:
    net, model = make_attending()
    alone = copy.deepcopy(net)
    batch = token_batches()[0]
    model(batch.inputs)
    alone(**flat(batch))
    assert int(net.norm.num_batches_tracked) == 1
    assert torch.equal(net.norm.running_mean, alone.norm.running_mean)


def test_checkpointing_changes_no_bit_and_the_form_that_cannot_work_is_refused() -> None:
    weights = []
    for checkpointed in (False, True):
        net, model = make_attending(checkpointed=checkpointed)
        train(model, OGMGE(), token_batches())
        weights.append(net.vision[0].weight)
    assert torch.equal(*weights)

    class Reentrant(Plain):
        def forward(self, text: Tensor, image: Tensor) -> Tensor:
            image = checkpoint(self.vision, image.requires_grad_(), use_reentrant=True)
            return self.rest({"image": image, "text": self.language(text)})

    model = wrap(Reentrant(), {"image": "vision", "text": "language"}, num_outputs=CLASSES)
    with pytest.raises(ModelError, match="use_reentrant=False"):
        model(make_batches()[0].inputs)


def test_accumulation_adds_up_to_the_whole_batch() -> None:
    """Without layers and methods that look at a batch as a whole, parts add up."""
    gradients = []
    for parts in (1, 2):
        net, model = make_attending()
        net.norm.eval()
        whole = token_batches()[0]
        method = make_method("uniform", {})
        prepared = method.prepare(model, whole.target)
        for i in torch.arange(24).split(24 // parts):
            inputs = {"image": whole.inputs["image"][i], "text": {k: v[i] for k, v in whole.inputs["text"].items()}}
            batch = Batch(inputs, whole.target[i], i)
            for _ in method.steps(prepared, batch, backward=lambda loss, parts=parts: (loss / parts).backward()):
                pass
        gradients.append([p.grad for p in net.parameters()])
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


def test_bf16_autocast_trains() -> None:
    _, model = make_attending()
    trained = train(model, OGMGE(), token_batches(), 8, lambda: torch.autocast("cpu", torch.bfloat16))
    assert all(p.dtype == torch.float32 for p in trained.parameters())
    batch = token_batches()[0]
    assert float((counterpoise.predict(trained, batch.inputs).argmax(1) == batch.target).float().mean()) > 0.8


def test_a_frozen_encoder_stays_and_the_other_learns() -> None:
    net, model = make_attending()
    net.words.requires_grad_(False)
    before, vision = net.words.weight.clone(), net.vision[0].weight.clone()
    train(model, OGMGE(), token_batches())
    assert torch.equal(net.words.weight, before)
    assert not torch.equal(net.vision[0].weight, vision)


@pytest.mark.parametrize("where", ["model", "encoder"])
def test_compiled_encoders_give_the_same_training(where: str) -> None:
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        net = Plain()
        net.vision[3].p = net.rest.mix[2].p = 0.0
        called: Any = net
        count: list[int] = []
        if compiled:
            torch._dynamo.reset()

            def backend(graph: Any, inputs: Any, count: list[int] = count) -> Any:
                count.append(1)
                return graph.forward

            if where == "model":
                called = torch.compile(net, backend=backend)
            else:
                net.vision = torch.compile(net.vision, backend=backend)
        model = wrap(called, {"image": "vision", "text": "language"}, num_outputs=CLASSES)
        train(model, OGMGE(noise=False), make_batches())
        assert bool(count) == compiled
        results.append(net.language[0].weight)
    torch.testing.assert_close(*results)


def test_wrapped_by_data_parallel_and_lora() -> None:
    net = Plain()
    model = wrap(nn.DataParallel(net), {"image": "vision", "text": "language"}, num_outputs=CLASSES)
    assert model.net is net
    peft = pytest.importorskip("peft")
    lora = peft.get_peft_model(Plain(), peft.LoraConfig(target_modules=["language.0"], r=2))
    model = wrap(lora, {"image": "vision", "text": "language"}, num_outputs=CLASSES)
    batches = make_batches()
    adapter = next(p for name, p in lora.named_parameters() if "lora_B" in name)
    train(model, OGMGE(noise=False), batches)
    assert float(adapter.detach().abs().max()) > 0


def test_a_hugging_face_model_with_structured_outputs() -> None:
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}

    class Towers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            vision = transformers.ViTConfig(image_size=8, patch_size=4, num_channels=1, **small)
            self.vision = transformers.ViTModel(vision, add_pooling_layer=False)
            self.text = transformers.BertModel(transformers.BertConfig(vocab_size=20, **small))
            self.out = nn.Linear(16, CLASSES)

        def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Any:
            image = self.vision(pixel_values=pixel_values).last_hidden_state[:, 0]
            text = self.text(input_ids=input_ids, attention_mask=attention_mask).pooler_output
            return {"logits": self.out(torch.cat([image, text], 1))}

    torch.manual_seed(0)
    net = Towers().train()
    model = wrap(net, {"image": "vision", "text": "text"}, num_outputs=CLASSES, inputs=KEYS)
    batches = [Batch({**b.inputs, "image": torch.randn(len(b), 1, 8, 8)}, b.target, b.index) for b in token_batches()]
    trained = train(model, make_method("uniform", {}), batches)
    net.eval()
    expected = net(batches[0].inputs["image"], **batches[0].inputs["text"])["logits"]
    assert torch.equal(counterpoise.predict(trained, batches[0].inputs), expected)
    assert model.vectors(model.encode(batches[0].inputs))["text"].shape == (24, 8)


def test_a_copy_trains_its_own_module_and_weights_survive_saving() -> None:
    net, model = make_attending()
    batches = token_batches()
    train(model, OGMGE(), batches, 1)
    other = copy.deepcopy(model)
    assert other.net is not net
    before = net.out.weight.clone()
    train(other, OGMGE(), batches, 1)
    assert torch.equal(net.out.weight, before)
    assert not torch.equal(other.net.out.weight, before)
    fresh = make_attending()[1]
    fresh.load_state_dict(other.state_dict())
    inputs = batches[0].inputs
    assert torch.equal(counterpoise.predict(fresh, inputs), counterpoise.predict(other, inputs))


def test_a_wrapped_model_is_diagnosed_like_the_module() -> None:
    net, model = make_attending()
    trained = train(model, OGMGE(), token_batches(240, 80), 6)
    options = DiagnosisOptions(estimator="variational-linear", damage=False, progress=False)
    diagnosis = diagnose(trained, token_batches(240, 80), options=options)
    plain = diagnose(
        net, [{**flat(b), "label": b.target} for b in token_batches(240, 80)], modalities=KEYS, options=options
    )
    assert diagnosis.clean == plain.clean
    for m in ("image", "text"):
        assert diagnosis.evidence[m].realised.value == pytest.approx(plain.evidence[m].realised.value, abs=1e-6)


def test_what_cannot_be_wrapped_is_refused() -> None:
    net = Plain()
    names = {"image": "vision", "text": "language"}
    with pytest.raises(NotFoundError, match="languag"):
        wrap(net, {**names, "text": "languag"}, num_outputs=CLASSES)
    with pytest.raises(ModelError, match="at least two"):
        wrap(net, {"image": "vision"}, num_outputs=CLASSES)
    with pytest.raises(ModelError, match="inside"):
        wrap(net, {"image": "vision", "text": "vision.0"}, num_outputs=CLASSES)
    with pytest.raises(ModelError, match="inside it"):
        wrap(net, {"image": "vision", "text": nn.Linear(4, 6)}, num_outputs=CLASSES)
    batch = make_batches()[0]
    with pytest.raises(DataError, match="missing: text"):
        wrap(net, names, num_outputs=CLASSES)({"image": batch.inputs["image"]})
    with pytest.raises(ModelError, match="num_outputs"):
        wrap(net, names, num_outputs=7)(batch.inputs)
    with pytest.raises(ModelError, match="should have 4 columns"):
        wrap(net, names, num_outputs=CLASSES, feature_dims={"image": 4})(batch.inputs)
    with pytest.raises(ModelError, match="inputs="):
        wrap(net, {"picture": "vision", "words": "language"}, num_outputs=CLASSES)(
            {"picture": batch.inputs["image"], "words": batch.inputs["text"]}
        )

    class Twice(Plain):
        def forward(self, text: Tensor, image: Tensor) -> Tensor:
            self.vision(image)
            return super().forward(text, image)

    with pytest.raises(ModelError, match="at least twice"):
        wrap(Twice(), names, num_outputs=CLASSES)(batch.inputs)

    class Skips(Plain):
        def forward(self, text: Tensor, image: Tensor) -> Tensor:
            return self.rest({"image": self.vision(image), "text": text @ self.language[0].weight.T})

    with pytest.raises(ModelError, match="was not"):
        wrap(Skips(), names, num_outputs=CLASSES)(batch.inputs)
