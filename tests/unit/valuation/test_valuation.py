"""The record: units, JSON, tables."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from counterpoise.errors import DataError
from counterpoise.valuation import Estimate, Valuation


@pytest.fixture
def valuation() -> Valuation:
    e = Estimate(0.5, 0.1, 0.3, 0.7, "lower")
    return Valuation(
        modalities=("image", "text"),
        n=40,
        entropy=0.8,
        joint_mi=e,
        mi={"image": e, "text": Estimate(-0.01, 0.02, -0.05, 0.03)},
        cmi={"image": e, "text": e},
        co_information=Estimate(-0.2, 0.1, -0.4, 0.0),
        subsets={("image", "text"): e},
        per_class={"mi": np.array([0.4, math.nan])},
        per_sample={"mi": np.array([0.1, 0.9])},
        estimator="variational",
        notes=("a note",),
    )


def test_json_round_trip(valuation: Valuation) -> None:
    text = json.dumps(valuation.to_dict(samples=True), allow_nan=False)
    back = Valuation.from_dict(json.loads(text))
    assert back == valuation
    np.testing.assert_array_equal(back.per_class["mi"], valuation.per_class["mi"])
    np.testing.assert_array_equal(back.per_sample["mi"], valuation.per_sample["mi"])
    assert "per_sample" not in valuation.to_dict()


def test_json_has_the_documented_keys(valuation: Valuation) -> None:
    fields = valuation.to_dict()
    assert fields["unit"] == "nats"
    assert (fields["n"], fields["entropy"]) == (40, 0.8)
    assert {"value", "low", "high", "se"} <= set(fields["joint_mi"])
    assert set(fields["modalities"]["text"]) == {"mi", "cmi"}


def test_units(valuation: Valuation) -> None:
    bits = valuation.in_bits()
    assert bits.unit == "bits"
    assert bits.entropy == pytest.approx(0.8 / math.log(2))
    assert bits.cmi["text"].se == pytest.approx(0.1 / math.log(2))
    assert bits.in_nats().joint_mi.value == pytest.approx(0.5)
    fraction = bits.as_fraction()
    assert fraction.entropy == pytest.approx(1)
    assert fraction.joint_mi.high == pytest.approx(0.7 / 0.8)
    assert fraction.per_sample["mi"][1] == pytest.approx(0.9 / 0.8)
    assert fraction.as_fraction() is fraction
    with pytest.raises(DataError, match="Keep the valuation in nats"):
        fraction.in_bits()
    with pytest.raises(DataError, match="not a scale"):
        replace(valuation, differential=True).as_fraction()


def test_table_and_frame(valuation: Valuation) -> None:
    text = str(valuation)
    assert "I(all; Y) = 0.500 [0.300, 0.700] nats" in text
    assert "text" in text
    assert "0.000 [0.000, 0.030]" in text  # there is no information below 0
    assert "note: a note" in text
    frame = valuation.to_pandas()
    assert len(frame) == 6
    row = frame[(frame.quantity == "mi") & (frame.modality == "text")].iloc[0]
    assert (row.value, row.bound) == (-0.01, "estimate")
    compact = valuation.to_pandas(compact=True).set_index("modality")
    assert compact.loc["text", "mi"] == -0.01
    assert list(compact.index) == list(valuation.modalities)
