"""Available, used and training information of each modality, brought together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from counterpoise._notes import Notes
from counterpoise.diagnosis._available import (
    Lattice,
    at_least,
    best_of,
    capped,
    flags_of,
    from_valuation,
    merged,
    raised,
    shapley_share,
)
from counterpoise.diagnosis._evidence import Evidence
from counterpoise.diagnosis._information import Scored, independent, linear_information
from counterpoise.diagnosis._options import DiagnosisOptions
from counterpoise.diagnosis._used import Used
from counterpoise.tasks import Task
from counterpoise.valuation import Estimate, Valuation
from counterpoise.valuation.assembly import SubsetEstimate, combine

IGNORED = 0.005
"""A modality whose replacement changes less than this share of the predictions is ignored by the model."""


@dataclass
class Comparison:
    """What the modalities carry, compared with what the model uses."""

    used: Used
    valuations: Mapping[str, Valuation]
    options: DiagnosisOptions
    notes: Notes

    def __post_init__(self) -> None:
        self.problem = self.used.problem
        self.heads = {name: capped(from_valuation(v, name), self.problem) for name, v in self.valuations.items()}
        self.own: Lattice = {s: q.term for s, q in self.used.lattice.items()}
        self.available = best_of([*self.heads.values(), self.own], self.problem.group)

    def evidence(
        self, learnt: Used | None, permuted: Mapping[str, Tensor | None]
    ) -> tuple[dict[str, Evidence], Valuation, str]:
        """Return the evidence on each modality, the valuation, and what its features are: inputs or features.

        Args:
            learnt: The information in predictions on training samples, if there are any.
            permuted: Logits with each modality permuted; None where the model refused.
        """
        self._weak_heads()
        logits = self.used.logits
        changed = {m: changed_share(self.problem.task, logits, permuted[m]) for m in self.used.modalities}
        ignored = self._ignored(changed)
        evidence = {}
        for m in self.used.modalities:
            e = replace(self._compared(m, set() if m in ignored else ignored), changed=changed[m])
            e = self._with_training(self._with_encoder(e, m), m, learnt)
            evidence[m] = self._with_decodable(e, m) if m in ignored else e
        return evidence, *self._valuation()

    def _valuation(self) -> tuple[Valuation, str]:
        """Return the valuation of the features, or of the inputs, joined with the model's own predictions."""
        source = "features" if "features" in self.heads else "inputs"
        flags = {flag for name, v in self.valuations.items() for flag in flags_of(v, name)}
        best = best_of([self.heads[source], self.own], self.problem.group)
        valuation = merged(self.valuations[source], best, self.problem, flags)
        return raised(valuation, {s: q.estimate for s, q in self.used.lattice.items()}), source

    def _with_encoder(self, e: Evidence, m: str) -> Evidence:
        """Return evidence with the information in the features of a modality, where they are known."""
        encoder = self.valuations["features"].mi[m] if "features" in self.valuations else None
        return replace(e, encoder=encoder)

    def _with_decodable(self, e: Evidence, m: str) -> Evidence:
        """Return evidence with what can be decoded from the unimodal predictions of an ignored modality."""
        decodable = self.notes.optional(f"what can be decoded of {m}", self._decodable, self.used.alone[m])
        return e if decodable is None else replace(e, decodable=decodable.estimate)

    def _decodable(self, logits: Tensor) -> Scored:
        return linear_information(self.problem, logits, confidence=self.options.confidence)

    def _ignored(self, changed: Mapping[str, float | None]) -> set[str]:
        """Return the modalities that change hardly any prediction and whose unimodal predictions carry no
        information.
        """
        own, problem = self.own, self.problem
        small = self.options.thresholds.negligible * problem.task.information_scale(problem.target)
        unmoved = [m for m, share in changed.items() if share is not None and share < IGNORED]
        return {m for m in unmoved if frozenset([m]) in own and own[frozenset([m])].value < small}

    def _with_training(self, e: Evidence, m: str, learnt: Used | None) -> Evidence:
        """Return evidence with the training information of a modality, where it was measured."""
        if learnt is None:
            return e
        shown = learnt.lattice[frozenset([m])].estimate
        gap = None if e.realised is None else independent(shown, e.realised, self.options.confidence)
        return replace(e, shown=shown, gap=gap)

    def _compared(self, m: str, ignored: set[str]) -> Evidence:
        """Return available and used information of one modality, alone and given the others.

        The predictions can only use the information that m adds to modalities that they do not ignore, so ignored
        modalities are left out of the comparison.
        """
        used, own, available = self.used, self.own, self.available
        modalities = used.modalities
        whole, alone, rest = frozenset(modalities), frozenset([m]), used.rest(m)
        most = used.problem.largest_information

        def total(*terms: tuple[float, SubsetEstimate], least: float = 0.0) -> Estimate:
            return combine(terms, used.problem.group, self.options.confidence, least=least, most=most)

        # What the model knows of m given the others, where modalities that harm it are averaged out.
        known = best_of([own], used.problem.group)
        carried = Evidence(
            at_least(total((1.0, available[alone])), used.lattice[alone].estimate if used.averaged else None),
            total((1.0, available[whole]), (-1.0, available[rest])),
            joint=at_least(total((1.0, available[whole])), used.readout.whole.estimate),
            joint_lost=total((1.0, available[whole]), (-1.0, known[whole])),
        )
        if not used.averaged:
            return carried
        top, others = whole - ignored, rest - ignored
        if top not in known or top not in available or (others and others not in own):
            top, others = whole, rest
        lost_cmi = [(1.0, available[top]), (-1.0, known[top])]
        if others:
            lost_cmi += [(-1.0, available[others]), (1.0, own[others])]
        share = list(shapley_share(available, m, modalities))
        share += [(-w, q) for w, q in shapley_share({**own, whole: known[whole]}, m, modalities)]
        return replace(
            carried,
            realised=used.lattice[alone].estimate,
            lost=total((1.0, available[alone]), (-1.0, own[alone])),
            lost_cmi=total(*lost_cmi, least=-most),
            shortfall=total(*share, least=-most),
        )

    def _weak_heads(self) -> None:
        """Add a note if the model's predictions carry significantly more information than those of all fitted
        classifiers.
        """
        own, whole, group = self.own, frozenset(self.used.modalities), self.problem.group
        heads = best_of(list(self.heads.values()), group)
        gain = combine([(1.0, own[whole]), (-1.0, heads[whole])], group)
        if gain.low > 0 and gain.value > 0.02 * max(own[whole].value, 1e-9):
            self.notes.append(
                f"the model's predictions know {own[whole].value:.3f} nats, the fitted classifiers find "
                f"{max(heads[whole].value, 0.0):.3f}: they are too weak for these inputs, and the model's number counts"
            )


def changed_share(task: Task, logits: Tensor, permuted: Tensor | None) -> float | None:
    """Return the share of predictions that change when a modality is replaced by another sample's."""
    if permuted is None:
        return None
    before, after = task.point(logits), task.point(permuted)
    if before.is_floating_point():
        moved = (before - after).abs() > 0.01 * before.std(0, correction=0).clamp_min(1e-12)
    else:
        moved = before != after
    return float(moved.reshape(len(moved), -1).double().mean())
