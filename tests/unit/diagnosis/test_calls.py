"""The model gets the user's own inputs: through wrappers, by keyword, with masks, paddings and types as they are."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from counterpoise.diagnosis import DiagnosisOptions, adapt, diagnose
from counterpoise.diagnosis._store import Store
from counterpoise.errors import ConfigError, DataError, ModelError

FAST = DiagnosisOptions(estimator="variational-linear", damage=False)


class Net(nn.Module):
    """Reads the video only; its arguments are in another order than those of the batches."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(5, 2)

    def forward(self, video: Tensor, audio: Tensor) -> Tensor:
        return 4 * video[:, :2] + 0 * audio[:, :2]


class Passing(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.net(*args, **kwargs)


class Keywords(Passing):
    def forward(self, **batch: Any) -> Any:
        return self.net(**batch)


class Positions(Passing):
    def forward(self, *args: Any) -> Any:
        return self.net(*args)


class PeftLike(Passing):
    """PEFT wraps twice and passes everything on."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(Passing(net))


@pytest.fixture(scope="module")
def batch() -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    y = torch.randint(2, (300,), generator=g)
    audio, video = (0.7 * torch.randn(300, 5, generator=g) for _ in "ab")
    for x in (audio, video):
        x[:, :2] += nn.functional.one_hot(y, 2)
    return {"audio": audio, "video": video, "label": y}


@functools.wraps(Net.forward)
def _decorated(*args: Any, **kwargs: Any) -> Any:
    return Net.forward(*args, **kwargs)


WRAPPED = {
    "DataParallel": lambda: nn.DataParallel(Net()),
    "compiled": lambda: torch.compile(Net(), backend="eager"),
    "compiled DataParallel": lambda: nn.DataParallel(torch.compile(Net(), backend="eager")),
    "*args, **kwargs": lambda: Passing(Net()),
    "**batch": lambda: Keywords(Net()),
    "*args": lambda: Positions(Net()),
    "twice": lambda: PeftLike(Net()),
    "partial": lambda: functools.partial(Passing(Net())),
    "__wrapped__": lambda: functools.partial(_decorated, Net()),
}


@pytest.mark.parametrize("name", list(WRAPPED))
def test_wrappers_are_looked_through(name: str, batch: dict[str, Tensor]) -> None:
    diagnosis = diagnose(WRAPPED[name](), [batch], options=FAST)
    assert diagnosis.clean["accuracy"] == diagnose(Net(), [batch], options=FAST).clean["accuracy"]
    assert {m: f.verdict for m, f in diagnosis.findings.items()} == {"audio": "under-trained", "video": "balanced"}


def test_the_order_of_a_mapping_is_never_the_order_of_arguments(batch: dict[str, Tensor]) -> None:
    with pytest.raises(ModelError, match="not clear how to call"):
        diagnose(lambda x, y: x[:, :2] + y[:, :2], [batch])
    stated = diagnose(lambda x, y: x[:, :2] + 0 * y[:, :2], [batch], modalities=["video", "audio"], options=FAST)
    assert stated.findings["audio"].verdict == "under-trained"


class Decoder(nn.Module):
    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        rows = torch.arange(len(input_ids))
        positions = torch.arange(input_ids.shape[1])
        last = input_ids[rows, (positions * attention_mask).argmax(1)]
        return 5 * torch.stack([(last == 1).float(), (last == 2).float()], 1) + 0 * pixel_values[:, :1]


@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_padding_stays_on_the_side_on_which_the_loader_put_it(side: str) -> None:
    g = torch.Generator().manual_seed(0)
    batches = []
    for length in (4, 7, 9, 5):
        y = torch.randint(2, (60,), generator=g)
        ids = torch.randint(3, 20, (60, length), generator=g)
        ids[:, 0] = 0 if side != "right" else ids[:, 0]
        ids[:, -1] = 0 if side != "left" else ids[:, -1]
        ids[:, -1 if side == "left" else -2] = 1 + y
        inputs = {"pixel_values": torch.randn(60, 4, generator=g), "input_ids": ids, "attention_mask": (ids > 0).long()}
        batches.append({**inputs, "labels": y})
    diagnosis = diagnose(Decoder(), batches, options=FAST)
    assert diagnosis.modalities == ("pixel_values", "input_ids")
    assert diagnosis.clean["accuracy"] == 1
    assert {m: f.verdict for m, f in diagnosis.findings.items()} == {
        "pixel_values": "uninformative",
        "input_ids": "balanced",
    }


def test_probabilities_are_recognised() -> None:
    g = torch.Generator().manual_seed(0)
    y = torch.randint(2, (300,), generator=g)
    a, b = (torch.randn(300, 2, generator=g) + 1.5 * y[:, None] for _ in "ab")
    loader = [{"a": a, "b": b, "label": y}]

    def odds(a: Tensor, b: Tensor) -> Tensor:
        return 1.5 * (a.sum(1) + b.sum(1) - 3)

    models = {
        "logits": lambda a, b: torch.stack([0 * odds(a, b), odds(a, b)], 1),
        "softmax": lambda a, b: torch.stack([0 * odds(a, b), odds(a, b)], 1).softmax(1),
        "one column": lambda a, b: odds(a, b)[:, None],
        "sigmoid": lambda a, b: odds(a, b).sigmoid()[:, None],
        "NumPy": lambda a, b: np.stack([0 * odds(a, b).numpy(), odds(a, b).numpy()], 1),
        "(loss, logits)": lambda a, b: (torch.tensor(0.5), torch.stack([0 * odds(a, b), odds(a, b)], 1)),
    }
    diagnoses = {name: diagnose(model, loader, options=FAST) for name, model in models.items()}
    for name, diagnosis in diagnoses.items():
        assert diagnosis.clean == pytest.approx(diagnoses["logits"].clean, abs=1e-3), name
        assert any("probabilities" in note for note in diagnosis.notes) == (name in ("softmax", "sigmoid"))


class Rows(Dataset[Any]):
    def __init__(self, n: int) -> None:
        g = torch.Generator().manual_seed(0)
        self.y = torch.randint(2, (n,), generator=g)
        self.a = torch.randn(n, 2, generator=g) + 2 * self.y[:, None]
        self.b = torch.randn(n, 2, generator=g)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"a": self.a[i], "b": self.b[i], "label": self.y[i]}


class Named(NamedTuple):
    a: Tensor
    b: Tensor
    label: Tensor


class Module:
    """What a LightningDataModule offers."""

    def prepare_data(self) -> None:
        pass

    def setup(self, stage: str) -> None:
        pass

    def test_dataloader(self) -> Any:
        raise RuntimeError("there is none")

    def val_dataloader(self) -> Any:
        return DataLoader(Rows(200), batch_size=30)


def reads_a(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack([2 - a.sum(1), a.sum(1) - 2 + 0 * b.sum(1)], 1)


def test_all_forms_of_data_give_the_same_diagnosis() -> None:
    rows = Rows(200)
    words = [["no", "yes"][k] for k in rows.y]
    loaders = {
        "one batch": [{"a": rows.a, "b": rows.b, "label": rows.y}],
        "data set": rows,
        "samples": [rows[i] for i in range(200)],
        "tuples": [(rows.a[i], rows.b[i], int(rows.y[i])) for i in range(200)],
        "module": Module(),
        "named tuple": [Named(rows.a, rows.b, rows.y)],
        "workers": DataLoader(rows, batch_size=7, num_workers=1),
        "words": [{"a": rows.a, "b": rows.b, "label": words}],
        "bytes": [{"a": rows.a.numpy(), "b": rows.b.numpy(), "label": np.array(words)}],
    }
    reports = {name: repr(diagnose(reads_a, loader, options=FAST)) for name, loader in loaders.items()}
    for name, report in reports.items():
        expected = reports["words" if name == "bytes" else "one batch"]
        assert name == "words" or report == expected, name
    with pytest.raises(DataError, match="`yes` is not among"):
        diagnose(reads_a, loaders["words"], class_names=["no", "maybe"])


@pytest.mark.parametrize("kind", ["float64", "bfloat16", "uint16", "reversed"])
def test_every_kind_of_number_reaches_the_model(kind: str) -> None:
    rows = Rows(100)
    net = nn.Linear(2, 2)
    model: Any = lambda a, b: net(a) + b  # noqa: E731
    a: Any = rows.a
    if kind == "float64":
        module = nn.Module()
        module.net = net
        module.forward = lambda a, b: net(a) + b  # type: ignore[method-assign]
        model, a = module, a.double()
    elif kind == "bfloat16":
        net = net.bfloat16()
        a = a.bfloat16()
    elif kind == "uint16":
        model, a = lambda a, b: a[:, :2].float() + b, (20 + 5 * a.numpy()).clip(0).astype("u2")
    else:
        model, a = lambda a, b: a + b, a.numpy()[:, ::-1]
    diagnosis = diagnose(model, [{"a": a, "b": rows.b, "label": rows.y}], options=FAST)
    assert diagnosis.valuation.n == 100


def test_texts_are_passed_on_and_a_failing_corruption_is_a_note() -> None:
    rows = Rows(200)
    texts = ["a good film" if k else "a dull film" for k in rows.y]

    def model(text: list[str], b: Tensor) -> Tensor:
        if not b.any():
            raise ValueError("no zeros here")
        good = torch.tensor([float("good" in t) for t in text])
        return torch.stack([3 - 6 * good, 6 * good - 3], 1) + 0 * b[:, :1]

    diagnosis = diagnose(model, [{"text": texts, "b": rows.b, "label": rows.y}], estimator="variational-linear")
    assert diagnosis.evidence["text"].realised.value > 0.6  # type: ignore[union-attr]
    assert diagnosis.findings["b"].verdict == "uninformative"
    assert any("no zeros here" in note for note in diagnosis.notes)
    assert {d.corruption.kind for d in diagnosis.corrupted if d.modality == "text"} == {"permute"}


def test_large_inputs_go_to_a_file_and_come_back(tmp_path: Any) -> None:
    store = Store(budget=1000)
    parts = [torch.randn(5, 20) for _ in range(4)]
    for part in parts:
        store.add({"a": part, "b": part[:, :1]})
    assert not store.in_memory
    kept = torch.tensor([0, 3, 7, 16])
    store.keep(kept)
    joined = torch.cat([inputs["a"] for _, inputs in store.batches(3)])
    torch.testing.assert_close(joined, torch.cat(parts)[kept])
    torch.testing.assert_close(store.row(2)["a"], torch.cat(parts)[7:8])
    store.close()


def test_settings_are_options_or_their_fields_and_nothing_else(batch: dict[str, Tensor]) -> None:
    options = DiagnosisOptions(limit=100, estimator="variational-linear", damage=False)
    one = diagnose(Net(), [batch], options=options)
    other = diagnose(Net(), [batch], limit=100, estimator="variational-linear", damage=False)
    assert repr(one) == repr(other)
    with pytest.raises(ConfigError, match=r"Unknown key `limits`.*Did you mean `limit`"):
        diagnose(Net(), [batch], limits=100)  # type: ignore[call-arg]
    adapter = adapt(lambda inputs: inputs["video"][:, :2], call="dict")
    assert diagnose(adapter.model, [batch], adapter=adapter, options=FAST).findings["video"].verdict == "balanced"
