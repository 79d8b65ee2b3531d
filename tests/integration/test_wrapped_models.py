"""Models as other libraries wrap them give the same diagnosis as the model inside."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from counterpoise.diagnosis import Diagnosis, DiagnosisOptions, diagnose

OPTIONS = DiagnosisOptions(estimator="variational-linear", damage=False, progress=False)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image, self.text, self.head = nn.Linear(4, 6), nn.Embedding(12, 6), nn.Linear(6, 2)

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask[..., None]
        words = (self.text(input_ids) * mask).sum(1) / mask.sum(1)
        return self.head(torch.relu(self.image(pixel_values)) + words)


def make_batch() -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    y = torch.randint(2, (240,), generator=g)
    pixels = torch.randn(240, 4, generator=g) + y[:, None]
    ids = torch.randint(3, 12, (240, 5), generator=g)
    ids[:, 0] = 1 + y
    return {"pixel_values": pixels, "input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": y}


def make_net() -> Net:
    torch.manual_seed(0)
    net, batch = Net(), make_batch()
    inputs = {k: v for k, v in batch.items() if k != "labels"}
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(**inputs), batch["labels"]).backward()
        optimizer.step()
    return net


@pytest.fixture(scope="module")
def net() -> Net:
    return make_net()


@pytest.fixture(scope="module")
def plain(net: Net) -> Diagnosis:
    return diagnose(net, [make_batch()], options=OPTIONS)


def assert_same(diagnosis: Diagnosis, plain: Diagnosis) -> None:
    assert set(diagnosis.modalities) == {"pixel_values", "input_ids"}
    assert diagnosis.clean == pytest.approx(plain.clean, abs=1e-6)
    for m in plain.modalities:
        assert diagnosis.evidence[m].realised.value == pytest.approx(plain.evidence[m].realised.value, abs=1e-6)
        assert diagnosis.findings[m].verdict == plain.findings[m].verdict


def test_compiled_by_inductor(net: Net, plain: Diagnosis) -> None:
    assert_same(diagnose(torch.compile(net, backend="aot_eager"), [make_batch()], options=OPTIONS), plain)


def test_distributed_data_parallel(net: Net, plain: Diagnosis, tmp_path: Any) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(net)
        assert_same(diagnose(wrapped, [make_batch()], options=OPTIONS), plain)
    finally:
        torch.distributed.destroy_process_group()


def test_accelerate(net: Net, plain: Diagnosis) -> None:
    accelerate = pytest.importorskip("accelerate")
    wrapped = accelerate.Accelerator(cpu=True).prepare(make_net())
    assert_same(diagnose(wrapped, [make_batch()], options=OPTIONS), plain)


def test_lora(net: Net, plain: Diagnosis) -> None:
    peft = pytest.importorskip("peft")
    wrapped = peft.get_peft_model(make_net(), peft.LoraConfig(target_modules=["image"], r=2))
    assert_same(diagnose(wrapped, [make_batch()], options=OPTIONS), plain)


class WithLoss(nn.Module):
    def __init__(self, net: nn.Module, kind: str) -> None:
        super().__init__()
        self.net, self.kind = net, kind

    def forward(
        self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None
    ) -> Any:
        logits = self.net(pixel_values, input_ids, attention_mask)
        if self.kind == "tuple":
            return logits.logsumexp(1).mean(), logits
        from transformers.modeling_outputs import SequenceClassifierOutput

        return SequenceClassifierOutput(loss=logits.logsumexp(1).mean(), logits=logits, hidden_states=(logits,))


@pytest.mark.parametrize("kind", ["tuple", "ModelOutput"])
def test_outputs_with_a_loss(kind: str, net: Net, plain: Diagnosis) -> None:
    assert_same(diagnose(WithLoss(net, kind), [make_batch()], options=OPTIONS), plain)


def test_hugging_face_data_sets_and_nested_tokenizer_batches(net: Net, plain: Diagnosis) -> None:
    datasets = pytest.importorskip("datasets")
    batch = make_batch()
    rows = datasets.Dataset.from_dict({k: v.tolist() for k, v in batch.items()})
    assert_same(diagnose(net, rows, options=OPTIONS), plain)
    assert_same(diagnose(net, rows.with_format("torch"), options=OPTIONS), plain)
    text = {k: batch[k] for k in ("input_ids", "attention_mask")}

    class Nested(nn.Module):
        def forward(self, image: Tensor, text: dict[str, Tensor]) -> Tensor:
            return net(image, **text)

    diagnosis = diagnose(
        Nested(), [{"image": batch["pixel_values"], "text": text, "labels": batch["labels"]}], options=OPTIONS
    )
    assert set(diagnosis.modalities) == {"image", "text"}
    assert diagnosis.evidence["text"].realised.value == pytest.approx(
        plain.evidence["input_ids"].realised.value,
        abs=1e-6,
    )
