"""From truth to acceptable verdicts, and from what was reported to right or wrong.

A truth above the entropy of the labels in the draw counts as that entropy, which is what the intervals end at.

The right verdict on a modality follows from two truths: what it holds, ``available = max(I(X_m; Y), I(X_m; Y | rest))``
as a share of H(Y) (of one nat for real targets), and what the model uses of it, ``used``: by how much replacing the
modality by another sample's worsens the planted model, as a share of the same for the exact posterior.

| what the modality holds | used | acceptable verdicts |
|---|---|---|
| less than 2.5 % | | uninformative |
| 2.5 to 10 % (about the threshold of 5 %) | at least 80 % | uninformative, balanced |
| 2.5 to 10 % | less | uninformative, balanced, under-trained |
| more than 10 % | at least 80 %, or no model | balanced |
| more than 10 % | 10 to 80 % (about the threshold) | balanced, under-trained |
| more than 10 % | at most 10 % | under-trained |
| anything | training samples are looked up by it | overfitting |

Three rules complete the table. *Under-trained* is also acceptable where another modality is not read and the model
could use less than 70 % of what the modality holds without that one (synergy): who is to blame is a matter of words.
*Undecided* is always acceptable and counted separately: saying it always is no success. A *false accusation* is
"under-trained" or "overfitting" on a modality that the table does not allow it for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from calls import Reading
from models import Plant
from worlds import World

from counterpoise.valuation import Estimate

__all__ = ["UNDECIDED", "Truth", "Verdict", "acceptable", "judge", "truth_of"]

UNDECIDED = "undecided"
NOTHING, LITTLE = 0.025, 0.10
UNUSED, USED = 0.1, 0.8
SYNERGY = 0.7
UNREAD = 1e-4
"""Weight below which a planted model does not read a modality."""
ACCUSATIONS = ("under-trained", "overfitting")


@dataclass(frozen=True)
class Truth:
    """Everything that is known about a row.

    Attributes:
        limit: H(Y); infinite for real targets.
        joint: I(X; Y), or None where the library does not estimate that.
        mi: I(X_m; Y), or None, by modality.
        cmi: I(X_m; Y | the others), or None, by modality.
        joint_used: information in the predictions, or None where it is not known.
        used: the same of a modality alone, or None, by modality.
        verdicts: acceptable verdicts by modality; empty where there are none.
        ignored: modalities whose replacement changes no prediction.
    """

    limit: float
    joint: float | None
    mi: Mapping[str, float | None]
    cmi: Mapping[str, float | None]
    joint_used: float | None = None
    used: Mapping[str, float | None] = field(default_factory=dict)
    verdicts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """How one reading compares with the truth.

    Attributes:
        right: number of modalities with an acceptable verdict other than undecided.
        wrong: the others' verdicts, as ``modality: verdict``.
        undecided: number of modalities called undecided.
        accused: the wrong ones among ACCUSATIONS.
        inside: whether an interval holds the truth, by ``mi:a``, ``cmi:a``, ``joint``, ``used:a`` and ``joint_used``.
        error: estimate less truth, by the same names.
        contradictions: what cannot be, in words.
    """

    right: int
    wrong: tuple[str, ...]
    undecided: int
    accused: tuple[str, ...]
    inside: Mapping[str, bool]
    error: Mapping[str, float]
    contradictions: tuple[str, ...]


def acceptable(available: float, used: float | None, *, memorised: bool = False) -> tuple[str, ...]:
    """Return the acceptable verdicts on a modality; see the table above.

    Args:
        available: share of H(Y) that the modality holds.
        used: share of it that the model uses, or None without a model.
        memorised: whether the model looks training samples up by it.

    Example:
        >>> acceptable(0.5, 0.0), acceptable(0.5, 1.0), acceptable(0.0, 1.0), acceptable(0.06, None)
        (('under-trained',), ('balanced',), ('uninformative',), ('uninformative', 'balanced'))
    """
    if memorised:
        return ("overfitting",)
    if available < NOTHING:
        return ("uninformative",)
    good = used is None or used >= USED
    if available < LITTLE:
        return ("uninformative", "balanced") if good else ("uninformative", "balanced", "under-trained")
    if good:
        return ("balanced",)
    return ("under-trained",) if used is not None and used <= UNUSED else ("balanced", "under-trained")


def judge(reading: Reading, truth: Truth, accuracy: float | None) -> Verdict:
    """Compare what was reported with the truth.

    Args:
        reading: What was reported.
        truth: The truth.
        accuracy: The model's accuracy (R²) on the loader's samples, or None without a model.
    """
    right, undecided, wrong = 0, 0, []
    for m, allowed in truth.verdicts.items() if reading.verdicts else ():
        verdict = reading.verdicts.get(m, "missing")
        if verdict == UNDECIDED:
            undecided += 1
        elif verdict in allowed:
            right += 1
        else:
            wrong.append(f"{m}: {verdict}")
    accused = tuple(w for w in wrong if w.split(": ")[1] in ACCUSATIONS)
    inside, error = {}, {}
    most = reading.entropy if np.isfinite(truth.limit) else np.inf
    for name, estimate, value in _pairs(reading, truth):
        if value is not None and np.isfinite(value):
            value = min(value, most)
            inside[name] = bool(estimate.low - 1e-9 <= value <= estimate.high + 1e-9)
            error[name] = float(estimate.value - value)
    contradictions = (*_impossible(reading, truth), *_excluding(reading), *_unfaithful(reading, truth, accuracy))
    return Verdict(right, tuple(wrong), undecided, accused, inside, error, contradictions)


def _pairs(reading: Reading, truth: Truth) -> list[tuple[str, Estimate, float | None]]:
    rows = [("joint", reading.joint, truth.joint)]
    for m in reading.modalities:
        rows.append((f"mi:{m}", reading.mi[m], truth.mi.get(m)))
        rows.append((f"cmi:{m}", reading.cmi[m], truth.cmi.get(m)))
        if m in reading.used:
            rows.append((f"used:{m}", reading.used[m], truth.used.get(m)))
    if reading.joint_used is not None:
        rows.append(("joint_used", reading.joint_used, truth.joint_used))
    return rows


def _named(reading: Reading) -> dict[str, Estimate]:
    return {name: e for name, e, _ in _pairs(reading, Truth(np.inf, None, {}, {}))}


def _impossible(reading: Reading, truth: Truth) -> list[str]:
    """Return the numbers outside [0, H(Y)] and shares above 100 %.

    A number below 0 is excused only by a note that names this number and says that there are too few samples for it, so
    that nobody uses it. Numbers above H(Y) are excused by a note, or a name of the bound, that speaks of
    the labels: where labels are correlated, the sum over labels of their information is no information about all of
    them, and its limit is the sum of their entropies.
    """
    notes = " ".join((*reading.notes, reading.joint.bound)).lower()
    limit = reading.entropy if np.isfinite(truth.limit) and "label" in notes else truth.limit
    slack = max(0.002, 0.002 * limit)
    unit = min(limit, 1.0)
    faults = []
    for name, e in _named(reading).items():
        if not np.isfinite([e.value, e.low, e.high]).all():
            faults.append(f"{name} = {e}: not finite")
        if not e.low - 1e-9 <= e.value <= e.high + 1e-9:
            faults.append(f"{name} = {e}: outside of its own interval")
        if e.value > limit + slack + 2 * e.se or e.low > limit + slack:
            faults.append(f"{name} = {e}: above H(Y) = {limit:.3f}")
        if not _excused(name, reading) and (e.value < -max(0.02 * unit, 2 * e.se) or e.high < -0.01 * unit):
            faults.append(f"{name} = {e}: below 0")
    faults += [f"share of {share} %" for share in re.findall(r"(\d+) ?%", reading.text) if int(share) > 100]
    return faults


def _excused(name: str, reading: Reading) -> bool:
    """Return whether a note says that there are too few samples for an estimate."""
    kind, _, m = name.partition(":")
    names = {"joint": "mi", "mi": f"I({m}; Y)", "cmi": f"I({m}; Y | rest)"}
    known = re.compile(f"(^|[ ,:])({re.escape(name)}|{re.escape(names.get(kind, name))})(?=$|,| =|: )")
    return any("too few" in note.lower() and known.search(note) for note in reading.notes)


def _excluding(reading: Reading) -> list[str]:
    """Return the pairs of intervals of which one should contain no more than the other, and lies above it."""
    e = _named(reading)
    pairs = [("joint_used", "joint")]
    for m in reading.modalities:
        pairs += [(f"mi:{m}", "joint"), (f"cmi:{m}", "joint"), (f"used:{m}", f"mi:{m}"), (f"used:{m}", "joint_used")]
    return [
        f"{low} = {e[low]} excludes {high} = {e[high]}"
        for low, high in pairs
        if low in e and high in e and e[low].low > e[high].high + 1e-6
    ]


def _unfaithful(reading: Reading, truth: Truth, accuracy: float | None) -> list[str]:
    """Return where the diagnosis is not of the model on the samples that it was given."""
    faults = []
    for m in truth.ignored:
        if m in reading.used and reading.used[m].low > 0.02 * min(truth.limit, 1.0):
            faults.append(f"used:{m} = {reading.used[m]}, though replacing it changes nothing")
        if (
            m in reading.permuted
            and reading.accuracy is not None
            and abs(reading.permuted[m] - reading.accuracy) > 1e-3
        ):
            faults.append(f"accuracy {reading.accuracy:.3f} becomes {reading.permuted[m]:.3f} with {m} permuted")
    if accuracy is not None and reading.accuracy is not None and abs(accuracy - reading.accuracy) > 2e-3:
        faults.append(f"accuracy {reading.accuracy:.3f} is reported, the model has {accuracy:.3f}")
    return faults


def truth_of(world: World, plant: Plant | None, effects: Mapping[str, float], exact: Mapping[str, float]) -> Truth:
    """Return the truth of a world and a planted model.

    Args:
        world: The world.
        plant: The model, or None.
        effects: By how much replacing a modality worsens the model; empty without one.
        exact: The same for the exact posterior.
    """
    names = world.modalities
    verdicts = _acceptable_verdicts(world, plant, effects, exact)
    if not world.known:
        none = dict.fromkeys(names)
        return Truth(world.label_limit, None, none, none, None, none, verdicts)
    joint_used, used = _used_information(world, plant)
    ignored = tuple(m for m in names if plant is not None and m != plant.memorised and plant.weights.get(m, 1) < UNREAD)
    return Truth(
        world.label_limit,
        world.joint(),
        {m: world.mi(m) for m in names},
        {m: world.cmi(m) for m in names},
        joint_used,
        used,
        verdicts,
        ignored,
    )


def _acceptable_verdicts(
    world: World,
    plant: Plant | None,
    effects: Mapping[str, float],
    exact: Mapping[str, float],
) -> dict[str, tuple[str, ...]]:
    """Return the verdicts that are right for each modality; see `truth_of`."""
    unread = {m for m in world.modalities if plant is not None and plant.reads(m) < UNREAD}
    verdicts = {}
    for m in world.modalities:
        share = effects[m] / max(exact[m], 1e-12) if plant else None
        memorised = plant is not None and plant.memorised == m
        allowed = acceptable(world.available(m), share, memorised=memorised)
        if allowed == ("balanced",) and unread - {m} and world.mi(m) < SYNERGY * max(world.mi(m), world.cmi(m)):
            allowed = ("balanced", "under-trained")
        verdicts[m] = allowed
    return verdicts


def _used_information(world: World, plant: Plant | None) -> tuple[float | None, dict[str, float | None]]:
    """Return what the predictions use of all modalities and of each one; None and nothing where it is unknown."""
    if plant is None or plant.fitted or plant.gated or plant.point:
        return None, {}
    read = {m: plant.reads(m) for m in world.modalities}
    if not all(w == 1 or w < UNREAD for w in read.values()):
        return None, {}
    alone = {m: world.mi(m) if world.independent else None for m in world.modalities}
    used = {m: alone[m] if w == 1 else 0.0 for m, w in read.items()}
    return world.truths[tuple(m for m, w in read.items() if w == 1)], used
