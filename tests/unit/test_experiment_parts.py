"""Methods with hyper-parameters by name, and the combinations of a method's parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from counterpoise.cli._words import data_names, words
from counterpoise.data import DataInfo, Modality
from counterpoise.errors import ConfigError, NotFoundError
from counterpoise.experiment.compare import combinations_of, expand
from counterpoise.experiment.config import parse_method

INFO = DataInfo("toy", (Modality("a", "vector", (2,)), Modality("b", "vector", (2,))), "multiclass", 2)


def test_commas_in_brackets_do_not_part_methods() -> None:
    assert words("joint, arm[tau=1,loss_weights=false],uniform") == [
        "joint",
        "arm[tau=1,loss_weights=false]",
        "uniform",
    ]


def test_commas_in_the_name_of_a_file_do_not_split_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a,b.npz", "c, d.npz", "e.npz"):
        (tmp_path / name).touch()
    assert data_names("a,b.npz") == ["a,b.npz"]
    assert data_names("kanji,a,b.npz, e.npz") == ["kanji", "a,b.npz", "e.npz"]
    assert data_names("x,y.npz") == ["x", "y.npz"]
    assert data_names("c, d.npz,kanji,") == ["c, d.npz", "kanji"]


@pytest.mark.parametrize("text", ["arm[", "arm[tau]", "arm[tau=1", "[tau=1]", "arm[=1]"])
def test_what_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"NAME\[KEY=VALUE"):
        parse_method(text)


def test_an_ablation_is_all_eight_combinations_and_joint_for_reference() -> None:
    configs = expand(INFO, "toy", ["joint"], seeds=2, ablation="arm")
    arms = [tuple(sorted(c.method_args)) for c in configs if c.method == "arm" and c.seed == 0]
    assert len(arms) == len(set(arms)) == 8
    assert () in arms
    assert ("fusion", "loss_weights", "resampling") in arms
    assert len({c.rule for c in configs if c.method == "arm"}) == 1
    assert [c.method for c in configs].count("joint") == 2


def test_only_methods_with_parts_can_be_taken_apart() -> None:
    with pytest.raises(ConfigError, match="has no parts"):
        combinations_of("ogm-ge")
    with pytest.raises(NotFoundError, match="Did you mean"):
        combinations_of("amr")


def test_hyper_parameters_are_checked_where_the_method_is_made() -> None:
    from counterpoise.methods import make_method

    (config,) = [c for c in expand(INFO, "toy", ["ogm-ge[strength=0.5]"], seeds=1) if c.method == "ogm-ge"]
    assert make_method(config.method, config.method_args).strength == 0.5
    with pytest.raises(ConfigError, match="Did you mean `strength`"):
        make_method(*parse_method("ogm-ge[strenght=0.5]"))


def test_an_underscore_may_stand_for_a_hyphen() -> None:
    (config,) = [c for c in expand(INFO, "toy", ["ogm_ge"], seeds=1) if c.method != "joint"]
    assert config.method == "ogm-ge"


def test_a_method_of_your_own_needs_no_row(tmp_path: object) -> None:
    """An import path in place of a name, from the plan of a comparison to the trained model."""
    from counterpoise.config import FitConfig, RunConfig
    from counterpoise.data import from_arrays
    from counterpoise.training import fit

    own = "counterpoise.methods._uniform.Uniform"
    assert [c.method for c in expand(INFO, "toy", [own], seeds=1)] == ["joint", own]
    rng = np.random.default_rng(0)
    x = {m: rng.normal(size=(60, 3)).astype(np.float32) for m in "ab"}
    data = from_arrays(x, rng.integers(2, size=60), name="own")
    fitted = fit(data, RunConfig("own", own, fit=FitConfig(epochs=1, accelerator="cpu")))
    assert type(fitted.method).__name__ == "Uniform"


def test_labels_in_brackets_are_shown_and_not_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    from counterpoise.cli._results import show
    from counterpoise.runs import Metric, RowId, RunRecord

    def record(row: RowId, seed: int, score: float) -> RunRecord:
        return RunRecord(f"{row}{seed}", "toy", row, seed, metrics=(Metric("accuracy", score + seed / 100),))

    rows = ((RowId("joint"), 0.5), (RowId("arm", {"tau": 1.0}), 0.8))
    show([record(row, seed, score) for row, score in rows for seed in (0, 1)])
    shown = capsys.readouterr().out
    assert shown.count("[tau=1.0]") >= 2  # in the table and in the words
