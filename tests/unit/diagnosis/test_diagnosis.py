"""What a diagnosis can be turned into: the JSON that was promised, tables, a page that runs nothing, a figure."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from counterpoise.diagnosis import Diagnosis, diagnose, diagnose_arrays
from counterpoise.errors import OutputError

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def of_model() -> Diagnosis:
    torch.manual_seed(0)
    y = torch.randint(2, (300,))
    inputs = {m: torch.randn(300, 1) + 2 * y[:, None] for m in ("a", "b")}

    def model(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(a), 2 * a - 2], 1)

    return diagnose(model, [(inputs, y)], class_names=["no", "yes"])


@pytest.fixture(scope="module")
def evil() -> Diagnosis:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=200)
    features = {EVIL: y + rng.normal(size=200), "$x_{$": rng.normal(size=200)}
    return diagnose_arrays(features, y, class_names=["<b>no</b>", "a&b"])


def test_json_has_the_promised_fields(of_model: Diagnosis, tmp_path: Path) -> None:
    path = of_model.save_json(tmp_path / "new" / "d.json")
    content = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert content["unit"] == "nats"
    assert content["n"] == 300
    assert 0.6 < content["entropy"] < 0.7
    assert set(content["joint_mi"]) >= {"value", "low", "high"}
    assert list(content["modalities"]) == ["a", "b"]
    for row in content["modalities"].values():
        assert set(row["mi"]) >= {"value", "low", "high"}
        assert row["cmi"]["low"] <= row["cmi"]["value"] <= row["cmi"]["high"]
    assert content["modalities"]["b"]["verdict"] == content["verdict"] == "under-trained"
    assert content["modalities"]["b"]["lost"]["value"] == content["modalities"]["b"]["number"]
    corruptions = {(row["corruption"]["kind"], row["corruption"]["strength"]) for row in content["corrupted"]}
    assert corruptions == {("zeros", 1), ("mean", 1), ("permute", 1), ("noise", 0.5), ("noise", 1), ("noise", 2)}
    assert content == json.loads(json.dumps(of_model.to_dict()))


def test_what_a_deaf_model_does_to_a_modality_is_in_the_numbers(of_model: Diagnosis) -> None:
    """The model reads a only, so corrupting b changes nothing, and what it reads of a is all available information."""
    for row in of_model.corrupted:
        if row.modality == "b":
            assert row.scores == pytest.approx(of_model.clean)
    permuted = next(d for d in of_model.corrupted if (d.modality, d.corruption.kind) == ("a", "permute"))
    assert permuted.scores["accuracy"] < 0.6 < of_model.clean["accuracy"]
    realised = {m: e.realised for m, e in of_model.evidence.items()}
    assert realised["a"] is not None
    assert realised["b"] is not None
    assert abs(realised["b"].value) < 0.005
    assert realised["a"].value == pytest.approx(of_model.evidence["a"].mi.value, abs=0.01)
    assert of_model.joint_realised is not None
    assert of_model.joint_realised.value == pytest.approx(realised["a"].value)
    assert of_model.samples is not None
    assert not len(of_model.samples.relies_on["b"])
    assert len(of_model.samples.relies_on["a"])
    assert [row.dominant for row in of_model.classes] == ["a", "a"]


def test_it_prints_as_a_table(of_model: Diagnosis) -> None:
    text = repr(of_model)
    assert text == str(of_model)
    assert text.startswith("Diagnosis: b is under-trained\nOf what can be known")
    assert "\nb is under-trained" in text
    share = 100 * of_model.joint_realised.value / of_model.valuation.entropy
    assert f"the predictions use {share:.0f} %" in text
    assert "counterpoise compare" in " ".join(text.split())
    assert any(line.split()[:2] == ["b", "under-trained"] for line in text.splitlines())
    assert "none" in text
    assert "rely on a" in text


def test_rich_prints_the_same_words_and_no_markup(of_model: Diagnosis, evil: Diagnosis) -> None:
    from rich.console import Console

    for diagnosis in (of_model, evil):
        stream = io.StringIO()
        Console(file=stream, width=200, no_color=True).print(diagnosis)
        assert all(m in stream.getvalue() for m in diagnosis.modalities)
        assert diagnosis.verdict in stream.getvalue()


def test_pandas_has_a_row_per_modality(of_model: Diagnosis) -> None:
    table = of_model.to_pandas().set_index("modality")
    assert table.loc["b", "verdict"] == "under-trained"
    assert table.loc["a", "mi"] == of_model.valuation.mi["a"].value
    assert table.loc["a", "used_low"] <= table.loc["a", "used"] <= table.loc["a", "used_high"]
    compact = of_model.to_pandas(compact=True)
    assert compact.equals(of_model.to_pandas()[list(compact)])
    assert {"modality", "verdict", "mi", "used"} < set(compact)
    assert not [c for c in compact if c.endswith(("_low", "_high"))]


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action", "data") and v]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("name", ["of_model", "evil"])
def test_the_page_needs_nothing_and_runs_nothing(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    diagnosis = request.getfixturevalue(name)
    page = diagnosis.save_html(tmp_path / "d.html").read_text()
    seen = Seen()
    seen.feed(page)
    assert not {"script", "iframe", "object", "embed", "form", "b"} & set(seen.tags)
    assert all(link.startswith(("#", "data:image/", "data:audio/", "data:,")) for link in seen.links)
    assert "svg" in seen.tags
    assert seen.tags.count("h1") == 1
    words = " ".join(seen.text)
    assert all(m in words for m in diagnosis.modalities)
    assert page == diagnosis.save_html(tmp_path / "again.html").read_text()  # the same again


def test_plots_are_axes_of_bars_in_per_cent(evil: Diagnosis, of_model: Diagnosis, tmp_path: Path) -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    axes = evil.plot()
    assert [type(axis).__name__ for axis in axes] == ["Axes"] * (1 + bool(evil.corrupted))
    axes[0].figure.savefig(tmp_path / "figure.svg")  # names with mathematics in them are drawn as they are
    plt.close(axes[0].figure)
    own = plt.figure().subplots()
    assert of_model.plot(own) is own
    widths = [bar.get_width() for bar in own.patches]
    first = of_model.evidence[of_model.modalities[0]].mi.value
    assert widths[0] == pytest.approx(100 * first / of_model.valuation.entropy)
    plt.close("all")


def test_notebooks_show_tables_in_which_names_are_only_shown(evil: Diagnosis) -> None:
    for thing in (evil, evil.valuation):
        seen = Seen()
        seen.feed(thing._repr_html_())
        assert "table" in seen.tags
        assert not {"script", "img", "b"} & set(seen.tags)
        assert all(m in " ".join(seen.text) for m in evil.modalities)


def test_places_that_cannot_be_written_to_are_named(of_model: Diagnosis, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for write in (of_model.save_json, of_model.save_html):
        with pytest.raises(OutputError, match="Could not write"):
            write(tmp_path / "file" / "d.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_numbers_that_are_none_are_null(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.r_[rng.integers(2, size=100), 2]
    diagnosis = diagnose_arrays({"a": rng.normal(size=101), "b": y}, y)
    text = json.dumps(diagnosis.to_dict(), allow_nan=False)  # raises for a NaN
    assert json.loads(text)["n"] == 101


def test_all_modalities_together_carry_at_least_what_one_of_them_carries(of_model: Diagnosis, evil: Diagnosis) -> None:
    for diagnosis in (of_model, evil):
        joint = diagnosis.joint_available
        assert all(joint.value >= evidence.mi.value for evidence in diagnosis.evidence.values())
        assert diagnosis.joint_realised is None or joint.value >= diagnosis.joint_realised.value - 2 * joint.se
        numbers = f"{joint.value:.3f} nats [{max(joint.low, 0):.3f}, {joint.high:.3f}]"
        assert numbers in " ".join(str(diagnosis).split())
        assert diagnosis.to_dict()["joint_available"]["value"] == pytest.approx(joint.value)
