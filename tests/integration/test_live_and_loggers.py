"""During training: the line per epoch, and the same curves as scalars of TensorBoard, Weights & Biases and a CSV."""

from __future__ import annotations

import csv
import importlib.machinery
import io
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers.logger import DummyLogger
from rich.console import Console

from counterpoise.config import FitConfig, ModelConfig, RunConfig
from counterpoise.data import MultimodalData
from counterpoise.data.worlds import Dominant, Gaussian
from counterpoise.errors import ConfigError, MissingExtraError, NotFoundError
from counterpoise.experiment.runner import run, run_folder
from counterpoise.runs import CurveId
from counterpoise.training import EpochLines, fit
from counterpoise.training.callbacks import loggers as module
from counterpoise.training.callbacks.loggers import tag
from counterpoise.training.callbacks.progress import make_columns
from counterpoise.training.module import TOTAL_LOSS

EPOCHS = 3


@pytest.fixture(scope="module")
def data() -> MultimodalData:
    return Dominant().data(240, seed=0)


def config(data: MultimodalData, method: str = "arm", epochs: int = EPOCHS) -> RunConfig:
    return RunConfig(
        data.info.name,
        method,
        model=ModelConfig(width=8),
        fit=FitConfig(epochs=epochs, batch_size=64, accelerator="cpu"),
    )


def screen(width: int = 100, *, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None, legacy_windows=False)


def said(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


# -- the line ----------------------------------------------------------------------------------------------------------


def test_a_line_per_epoch_with_the_numbers_of_the_curves(data: MultimodalData) -> None:
    console = screen()
    history = fit(data, config(data), callbacks=[EpochLines(console)]).history
    title, headings, *lines = said(console)
    assert title.startswith(f"arm on {data.info.name}, seed 0: {EPOCHS} epochs")
    assert headings.split() == ["epoch", "loss", "accuracy", *data.info.names, "joint", "left"]
    assert len(lines) == EPOCHS
    for epoch, line in enumerate(lines):
        shown = [float(x) for x in re.findall(r"-?\d+\.\d+", line)]
        expected = [history[TOTAL_LOSS][epoch], 100 * history[CurveId("score", "accuracy")][epoch]]
        for m in data.info.names:
            expected += [
                history[CurveId("contribution", "phi_mi", m)][epoch],
                history[CurveId("contribution", "phi_cmi", m)][epoch],
            ]
        assert shown == pytest.approx([*expected, history[CurveId("contribution", "phi_mi")][epoch]], abs=0.051)
        assert re.match(rf" *{epoch + 1}/{EPOCHS} ", line)
        assert re.search(r" \d+:\d\d$", line)
    assert lines[-1].endswith("0:00")
    assert len({len(line) for line in (headings, *lines)}) == 1  # aligned


def test_no_terminal_gets_plain_text_and_a_terminal_a_bar_that_goes_away(data: MultimodalData) -> None:
    plain = screen()
    fit(data, config(data, epochs=2), callbacks=[EpochLines(plain)])
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", "\n".join(said(plain)))
    live = screen(terminal=True)
    fit(data, config(data, epochs=2), callbacks=[EpochLines(live)])
    text = "\n".join(said(live))
    assert "batches" in text
    assert text.rstrip().endswith("\x1b[2K")  # the bar's line is erased
    assert "\x1b[?25h" in text  # the cursor is back
    for line in said(plain)[:2]:
        assert line in text


def test_the_bar_goes_away_when_training_fails(data: MultimodalData, stop_before: Any) -> None:
    console = screen(terminal=True)
    lines = EpochLines(console)
    with pytest.raises(InterruptedError):
        fit(data, config(data), callbacks=[lines, stop_before(1)])
    assert lines._bar is None
    assert "\x1b[?25h" in "\n".join(said(console))


def test_fit_says_nothing_unless_asked(data: MultimodalData, capsys: pytest.CaptureFixture[str]) -> None:
    fit(data, config(data, "joint", 2))
    assert capsys.readouterr().out == ""
    fit(data, config(data, "joint", 2), progress=True)
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_a_score_that_is_no_share_and_training_without_contributions() -> None:
    data = Gaussian().data(200, seed=0)
    console = screen()
    history = fit(data, config(data, "joint"), callbacks=[EpochLines(console)], curves=False).history
    title, headings, *lines = said(console)
    assert "contributions" not in title
    assert headings.split() == ["epoch", "loss", "r2", "left"]
    assert lines[0].split()[2] == f"{history[CurveId('score', 'r2')][0]:.3f}"


def test_one_modality_alone_is_the_only_one_shown(data: MultimodalData) -> None:
    console = screen()
    fit(data, config(data, "unimodal"), callbacks=[EpochLines(console)])
    assert said(console)[1].split() == ["epoch", "loss", "accuracy", data.info.names[0], "left"]


def test_many_modalities_fit_on_a_narrow_screen() -> None:
    names = ["accelerometer", "gyroscope", "magnetometer", "eeg", "audio", "video"]
    columns = make_columns(names, "accuracy", 80)
    assert sum(c.width + 2 for c in columns) <= 80
    values = {CurveId("contribution", "phi_mi", m): 1.234 for m in names}
    for column, name in zip(columns[2:], names, strict=False):
        assert column.heading == name or (column.heading.endswith("…") and name.startswith(column.heading[:-1]))
        assert column.text(values) == "1.23"
        assert len(column.heading) <= column.width
    wide = make_columns(names, "accuracy", 200)
    assert [c.heading for c in wide[2:-1]] == names
    assert wide[2].text(values) == "1.23 (–)"


# -- loggers -----------------------------------------------------------------------------------------------------------


class Memory(DummyLogger):
    """A logger of one's own that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: dict[int, dict[str, float]] = {}

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        assert step is not None
        assert step not in self.steps, "an epoch is logged once"
        self.steps[step] = dict(metrics)


def test_a_logger_of_ones_own_gets_every_curve_of_every_epoch(data: MultimodalData) -> None:
    memory, second = Memory(), Memory()
    history = fit(data, config(data), logger=[memory, second]).history
    expected = {e: {tag(name): curve[e] for name, curve in history.items()} for e in range(EPOCHS)}
    assert memory.steps == second.steps == expected
    names = set(memory.steps[0])
    first = data.info.names[0]
    wanted = {"loss/total", "score/accuracy", "score/nll", "contribution/phi_mi", f"score/accuracy/{first}"}
    assert wanted | {f"contribution/phi_cmi/{first}"} <= names
    assert any(name.startswith("loss/") for name in names)  # the parts of the loss
    assert any(name.startswith("coefficient/lambda/") for name in names)  # what ARM chose


def read_events(folder: Path) -> dict[str, dict[int, float]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {name: {s.step: s.value for s in events.Scalars(name)} for name in events.Tags()["scalars"]}


def read_csv(folder: Path) -> dict[str, dict[int, float]]:
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        name: {int(r["step"]): float(r[name]) for r in rows if r[name]} for name in rows[0] if name not in ("step", "")
    }


READERS = {"tensorboard": read_events, "csv": read_csv}


@pytest.mark.parametrize("name", READERS)
def test_the_log_holds_the_curves_also_of_interrupted_and_of_finished_runs(
    name: str, data: MultimodalData, tmp_path: Path, stop_before: Any
) -> None:
    if name == "tensorboard":
        pytest.importorskip("tensorboard")

    def check(folder: Path, history: Any) -> None:
        scalars = READERS[name](folder / name)
        assert set(scalars) == set(map(tag, history))
        for curve, values in history.items():
            assert scalars[tag(curve)] == pytest.approx(dict(enumerate(values)), rel=1e-6)

    settings = config(data)
    folder = tmp_path / "whole"
    check(folder, fit(data, settings, folder=folder, logger=name).history)
    assert "arm" in (folder / name / "hparams.yaml").read_text()

    for label, before in (("logged from the start", name), ("not logged before", "none")):
        folder = tmp_path / label
        with pytest.raises(InterruptedError):
            fit(data, settings, folder=folder, callbacks=[stop_before(2)], logger=before)
        check(folder, fit(data, settings, folder=folder, logger=name).history)

    record = run(settings, tmp_path / "out", data=data)
    assert not (tmp_path / "out" / "runs" / record.key / name).exists()
    for _ in range(2):  # the second time it is there
        run(settings, tmp_path / "out", data=data, logger=name)
        check(run_folder(settings, data, tmp_path / "out"), {c.id: c.values for c in record.curves})


@pytest.fixture
def fake_wandb(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What Lightning's logger calls of the package ``wandb``, which is too large to install for a test."""

    class Settings(dict):  # type: ignore[type-arg]
        def update(self, values: dict[str, Any], allow_val_change: bool = False) -> None:
            super().update(values)

    class Run:
        def __init__(self) -> None:
            self.logged: list[dict[str, float]] = []
            self.config = Settings()

        def log(self, values: dict[str, float]) -> None:
            self.logged.append(values)

        def define_metric(self, *names: str, **more: Any) -> None:
            assert names

    fake: Any = types.ModuleType("wandb")
    fake.runs, fake.calls, fake.run = [], [], None

    def init(**arguments: Any) -> Run:
        fake.runs.append((arguments, Run()))
        return fake.runs[-1][1]

    fake.init, fake.finish = init, lambda: fake.calls.append("finish")
    modules = {"wandb": fake}
    for name in ("wandb.sdk", "wandb.sdk.lib", "wandb.wandb_run"):
        modules[name] = types.ModuleType(name)
        vars(modules[name]).update(Run=Run, RunDisabled=Run)
    for name, stub in modules.items():
        stub.__spec__ = importlib.machinery.ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, stub)
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", True)
    return fake


def test_weights_and_biases_gets_the_curves_and_the_configuration(
    data: MultimodalData, tmp_path: Path, fake_wandb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    settings = config(data)
    record = run(settings, tmp_path, data=data, logger="wandb")
    ((arguments, logged),) = fake_wandb.runs
    assert arguments["project"] == "counterpoise"
    assert (arguments["id"], arguments["resume"]) == (record.key, "allow")
    assert Path(arguments["dir"]) == run_folder(settings, data, tmp_path)
    assert logged.config["method"] == "arm"
    assert [row.pop("trainer/global_step") for row in logged.logged] == list(range(EPOCHS))
    for epoch, row in enumerate(logged.logged):
        assert row == {tag(curve.id): curve.values[epoch] for curve in record.curves}
    assert fake_wandb.calls == ["finish"]


def test_mistakes_are_named_before_any_work(
    data: MultimodalData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFoundError, match="Did you mean `tensorboard`"):
        run(config(data), tmp_path, data=data, logger="tensorbord")
    with pytest.raises(ConfigError, match="without `folder`"):
        fit(data, config(data), logger="csv")
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    for name in ("tensorboard", "wandb"):
        with pytest.raises(MissingExtraError, match=rf'pip install "counterpoise\[{name}\]"'):
            run(config(data), tmp_path, data=data, logger=name)
    assert not any(tmp_path.iterdir())


def test_ctrl_c_reaches_the_caller(data: MultimodalData, stop_before: Any) -> None:
    import signal

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(data, config(data), callbacks=[stop_before(1, KeyboardInterrupt)])
    assert signal.getsignal(signal.SIGINT) is before
