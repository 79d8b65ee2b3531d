"""The default and the domain of every numeric hyper-parameter, as the docs give them: a change of one is meant."""

from __future__ import annotations

import math

import pytest

from counterpoise.errors import ConfigError
from counterpoise.methods import METHODS, make_method
from counterpoise.methods.hyperparameters import Interval

TABLE = """
uniform           strength        1.0    [0,inf)
uniform           smoothing       0.0    [0,1)
ogm-ge            strength        0.3    [0,inf)
ogm-ge            smoothing       0.0    [0,1)
ogm-ge            start           0      int [0,inf)
ogm-ge            end             None   int [1,inf)
pmr               strength        1.0    [0,inf)
pmr               smoothing       0.0    [0,1)
pmr               momentum        0.2    [0,1]
pmr               share           0.1    (0,1]
pmr               entropy         0.1    [0,inf)
pmr               entropy_epochs  5      int [0,inf)
agm               strength        1.5    [0,inf)
agm               cap             10.0   (0,inf)
mla               ridge           0.1    (0,1]
sample-valuation  strength        1.0    [0,inf)
sample-valuation  warmup          5      int [0,inf)
modality-valuation strength        1.0    [0,inf)
modality-valuation warmup          5      int [0,inf)
modality-valuation share           0.2    (0,1]
greedy            epsilon         0.01   [0,inf)
greedy            window          5      int [1,inf)
greedy            start           2      int [0,inf)
modality-dropout  strength        0.2    [0,1]
corruption        strength        0.5    [0,1]
mmpareto          strength        1.0    [0,inf)
mmpareto          smoothing       0.0    [0,1)
mmpareto          gamma           1.5    (0,inf)
opm               strength        0.5    [0,1]
opm               smoothing       0.0    [0,1)
opm               sensitivity     0.5    [0,inf)
opm               probability     0.7    [0,1]
opm               start           6      int [0,inf)
mmcosine          scale           10.0   (0,inf)
umt               strength        10.0   [0,inf)
umt               smoothing       0.0    [0,1)
g2d               strength        1.0    [0,inf)
g2d               smoothing       0.0    [0,1)
g2d               share           0.5    [0,1]
mbsd              strength        1.0    [0,inf)
mbsd              smoothing       0.0    [0,1)
cml               strength        1.0    [0,inf)
cml               smoothing       0.0    [0,1)
cml               penalty         10.0   [0,inf)
lfm               strength        1.0    [0,inf)
lfm               smoothing       0.0    [0,1)
lfm               rate            0.03   [0,inf)
lfm               lookahead       0.01   (0,inf)
lfm               samples         16     int [2,inf)
arl               strength        1.0    [0,inf)
arl               smoothing       0.0    [0,1)
arl               gamma           4.0    [0,inf)
arl               temperature     8.0    [0,inf)
arl               start           6      int [0,inf)
inforeg           strength        1.0    [0,inf)
inforeg           smoothing       0.0    [0,1)
inforeg           beta            0.95   [0,inf)
inforeg           window          10     int [1,inf)
inforeg           threshold       0.05   [0,inf)
amco              strength        0.5    [0,1]
amco              smoothing       0.0    [0,1)
amco              ramp            0.3    (0,1]
g-blending        strength        1.0    [0,1]
g-blending        smoothing       0.0    [0,1)
g-blending        super_epoch     10     int [1,inf)
g-blending        inner_epochs    2      int [1,inf)
g-blending        inner_lr        0.001  (0,inf)
reconboost        ratio           0.2    [0,1]
reconboost        stage_epochs    4      int [1,inf)
reconboost        rectify_epochs  4      int [0,inf)
relearning        strength        3.0    [0,inf)
relearning        every           None   int [1,inf)
relearning        times           3      int [0,inf)
data-remixing     strength        1.0    [0,inf)
data-remixing     smoothing       0.0    [0,1)
data-remixing     warmup          10     int [0,inf)
cggm              strength        1.0    [0,1]
cggm              smoothing       0.0    [0,1)
cggm              rho             1.3    (0,inf)
cggm              direction       0.1    [0,inf)
cggm              floor           0.0    [0,1]
mses              strength        1.0    [0,1]
mses              smoothing       0.0    [0,1)
mses              patience        3      int [1,inf)
qmf               rank            0.1    [0,inf)
qmf               temperature     10.0   (0,inf)
dgl               strength        1.0    [0,1]
dgl               smoothing       0.0    [0,1)
dgl               alpha           4.0    [0,inf)
separated-gradients strength      1.0    [0,1]
separated-gradients smoothing       0.0    [0,1)
mlb               strength        1.0    [0,inf)
mlb               smoothing       0.0    [0,1)
mlb               alpha           0.8    [0,inf)
tcmax             strength        1.0    [0,1]
tcmax             smoothing       0.0    [0,1)
pcgrad            strength        1.0    [0,inf)
pcgrad            smoothing       0.0    [0,1)
uncertainty-weighting strength    1.0    [0,inf)
uncertainty-weighting smoothing       0.0    [0,1)
gradnorm          strength        1.0    [0,inf)
gradnorm          smoothing       0.0    [0,1)
gradnorm          alpha           1.5    [0,inf)
gradnorm          rate            0.025  [0,1]
mcr               strength        1.0    [0,inf)
mcr               smoothing       0.0    [0,1)
mcr               unimodal        1.0    [0,inf)
mcr               influence       0.1    [0,inf)
mcr               contrast        1.0    [0,inf)
mcr               bottleneck      0.0    [0,inf)
mcr               permutations    6      int [1,inf)
amss              strength        1.0    [0,1]
amss              smoothing       0.0    [0,1)
amss              temperature     0.2    (0,inf)
midas             strength        1.0    [0,1]
midas             smoothing       0.0    [0,1)
midas             mix             1.0    [0,inf)
midas             rate            0.05   [0,inf)
midas             warmup          5      int [0,inf)
m-sam             strength        1.0    [0,inf)
m-sam             radius          0.05   [0,inf)
rgm               strength        1.0    [0,1]
rgm               blocks          8      int [1,inf)
crmt              rho             2.0    [0,inf)
crmt              share           0.25   [0,1)
pdmp              strength        1.0    [0,inf)
pdmp              best            2.0    [1,inf)
pdmp              rest            1.0    (0,1]
miles             strength        1.0    [0,inf)
miles             threshold       0.2    [0,inf)
miles             factor          0.5    (0,1]
aug               discount        0.5    [0,1]
aug               tolerance       0.01   [0,inf)
aug               blocks          11     int [1,inf)
pmr-official      strength        1.0    [0,inf)
pmr-official      momentum        0.2    [0,1]
pmr-official      share           0.1    (0,1]
agm-toolkit       strength        0.1    [0,inf)
agm-toolkit       cap             7.0    (0,inf)
mmpareto-toolkit  strength        1.0    [0,inf)
mmpareto-toolkit  gamma           1.5    (0,inf)
inforeg-official  strength        1.0    [0,inf)
inforeg-official  window          10     int [1,inf)
inforeg-official  threshold       0.05   [0,inf)
lfm-official      strength        1.0    [0,inf)
arl-official      strength        1.0    [0,inf)
arl-official      gamma           4.0    [0,inf)
arl-official      start           6      int [0,inf)
arm               strength        1.0    [0,inf)
arm               smoothing       0.0    [0,1)
arm               tau             2.0    [0,inf)
arm               gamma           1.0    [0,inf)
arm               rate            0.5    [0,inf)
separated-experts strength        1.0    [0,inf)
separated-experts smoothing       0.1    [0,1)
separated-experts tau             2.0    [0,inf)
separated-experts gamma           1.0    [0,inf)
separated-experts rate            0.5    [0,inf)
mslr              strength        1.0    [0,inf)
mslr              window          5      int [1,inf)
mslr              inner_epochs    2      int [1,inf)
mslr              inner_lr        0.001  (0,inf)
"""
ROWS = [tuple(line.split(maxsplit=3)) for line in TABLE.strip().splitlines()]


@pytest.mark.parametrize(("name", "parameter", "default", "domain"), ROWS, ids=[f"{r[0]}-{r[1]}" for r in ROWS])
def test_default_and_domain(name: str, parameter: str, default: str, domain: str) -> None:
    kind, _, limits = domain.rpartition(" ")
    low, high = (float(x) for x in limits[1:-1].split(","))
    step = 1 if kind == "int" else 1e-9

    def accepts(value: float) -> bool:
        try:
            method = make_method(name, {parameter: int(value) if kind == "int" else value})
        except ConfigError:
            return False
        assert getattr(method, parameter) == value, "it is stored under its own name"
        return True

    assert make_method(name).hyperparameters[parameter] == (None if default == "None" else float(default))
    assert default == "None" or accepts(float(default))
    assert accepts(low) == (limits[0] == "[")
    assert accepts(low + step)
    assert not accepts(low - step)
    if math.isfinite(high):
        assert accepts(high) == (limits[-1] == "]")
        assert accepts(high - step)
        assert not accepts(high + step)
    else:
        assert accepts(1e6)
        with pytest.raises(ConfigError):
            make_method(name, {parameter: math.inf})
    if kind == "int":
        with pytest.raises(ConfigError):
            make_method(name, {parameter: low + 1.5})


@pytest.mark.parametrize(
    ("name", "parameter", "default"),
    [
        ("ogm-ge", "noise", True),
        ("g-blending", "online", True),
        ("lfm", "schedule", "heuristic"),
        ("unimodal", "modality", None),
        ("mslr", "rates", None),
    ],
)
def test_default_that_is_no_number(name: str, parameter: str, default: object) -> None:
    assert make_method(name).hyperparameters[parameter] is default


def test_the_table_has_every_number() -> None:
    """Of the methods that it names."""
    named: dict[str, set[str]] = {}
    for name, parameter, *_ in ROWS:
        named.setdefault(name, set()).add(parameter)
    for name, names in named.items():
        limits = METHODS[name].load().declarations
        assert names == {p for p, h in limits.items() if isinstance(h.limits, Interval)}, name
