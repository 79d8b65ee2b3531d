"""What methods compute where samples lack modalities, against the same numbers from the samples that have them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from counterpoise.methods import ARM, EpochContext, ModalityDropout, Unimodal, UnimodalEnsemble
from counterpoise.methods._agm import AGM
from counterpoise.methods._amco import modality_mass
from counterpoise.methods._crmt import certified_margin, other_class_scores
from counterpoise.methods._lfm import jensen_shannon
from counterpoise.methods._mcr import influence
from counterpoise.methods._mla import EntropyWeightedHead
from counterpoise.methods._pdf import PredictiveFusion
from counterpoise.methods._pmr import PMR
from counterpoise.methods._qmf import EnergyFusion, rank_loss
from counterpoise.methods._remixing import least_confident
from counterpoise.methods._valuation import sample_values
from counterpoise.methods.arm import held_out_contributions
from counterpoise.methods.checks import Subject, incomplete, optimizer_of
from counterpoise.methods.logits import error_losses, expert_masks, subset_logits, true_scores, unimodal_logits
from counterpoise.methods.passes import batch_rows, head_losses, trained_alone
from counterpoise.records import Batch
from counterpoise.tasks import MultiClass, Regression


@pytest.fixture
def case() -> tuple[Any, list[Batch]]:
    subject = Subject("joint", {})
    return subject.model(3), incomplete(subject.batches(3), float("nan"))


def alone(batch: Batch, m: str) -> Batch:
    """Return the samples that have the modality; the others may lack anything."""
    return batch_rows(batch, batch.present[m].nonzero().flatten())


def test_scores_are_means_over_the_samples_that_have_the_modality(case: Any) -> None:
    model, batches = case
    batch = batches[0]
    outputs = model(batch.inputs, present=batch.present)
    logits = unimodal_logits(model, outputs.features, sliced=False, present=batch.present)
    scores = true_scores(model, logits, batch.target, None, batch.present)
    losses = error_losses(model, outputs.experts(), batch.target, expert_masks(outputs))
    for k, m in enumerate("abc"):
        z, y = logits[k][batch.present[m]], batch.target[batch.present[m]]
        right = z.softmax(-1).gather(-1, y[:, None])
        assert scores[k].item() == pytest.approx(len(batch) * right.mean().item(), rel=1e-5)
        assert losses[k + 1].item() == pytest.approx(-right.log().mean().item(), rel=1e-5)


def test_a_modality_that_nobody_has_is_as_good_as_the_mean_of_the_others(case: Any) -> None:
    model, batches = case
    batch = batches[1]
    assert not batch.present["c"].any()
    features = model.encode(batch.inputs, batch.present)
    logits = unimodal_logits(model, features, sliced=False, present=batch.present)
    scores = true_scores(model, logits, batch.target, None, batch.present)
    assert scores[2].item() == pytest.approx(scores[:2].mean().item(), rel=1e-6)


def test_losses_of_heads_are_those_of_the_samples_that_have_the_modality(case: Any) -> None:
    model, batches = case
    losses = head_losses(model, batches)
    for k, m in enumerate("abc"):
        parts = [alone(b, m) for b in batches if b.present[m].any()]
        assert losses[k + 1].item() == pytest.approx(head_losses(model, parts)[k + 1].item(), rel=1e-6)
    trained = trained_alone(model, [batches], "a", lr=1e-2, seed=0)
    assert all(bool(p.isfinite().all()) for p in trained.parameters())
    others = zip(trained.encoder("b").parameters(), model.encoder("b").parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in others)


def test_subsets_with_and_without_an_absent_modality_are_equal(case: Any) -> None:
    model, batches = case
    batch = batches[0]
    features = model.encode(batch.inputs, batch.present)
    logits = subset_logits(model, features, present=batch.present)  # (), a, b, c, ab, ac, bc, abc
    lacks = ~batch.present["c"]
    for without, with_c in ((0, 3), (1, 5), (2, 6), (4, 7)):
        assert torch.allclose(logits[without][lacks], logits[with_c][lacks])
    assert torch.allclose(logits[7], model(batch.inputs, present=batch.present).logits)
    values = sample_values(model, features, batch.target, batch.present)
    masks = torch.stack([batch.present[m] for m in "abc"])
    assert values.T[~masks].abs().max() < 1e-12
    # The values of a sample sum to the number of its modalities where the prediction from all of them is right.
    right = logits[7].argmax(-1) == batch.target
    assert torch.allclose(values.sum(1), right * masks.sum(0).double())


def test_shares_of_the_fused_logits_sum_to_them(case: Any) -> None:
    model, batches = case
    batch = batches[0]
    features = model.encode(batch.inputs, batch.present)
    absent = {m: model.encoder(m)(torch.zeros(1, 6)) for m in "abc"}
    shares = AGM.shares(model, features, absent, batch.present)
    assert torch.allclose(shares.sum(0), model(batch.inputs, present=batch.present).logits, atol=1e-5)


def test_functions_of_all_modalities_are_those_of_the_modalities_that_a_sample_has() -> None:
    """Where every sample lacks the third modality, each is what two modalities give."""
    generator = torch.Generator().manual_seed(0)
    logits, y = torch.randn(3, 5, 4, generator=generator), torch.tensor([0, 1, 2, 3, 0])
    masks = torch.tensor([True, True, False]).unsqueeze(1).expand(3, 5)
    assert torch.allclose(jensen_shannon(logits, masks), jensen_shannon(logits[:2]))
    assert torch.allclose(modality_mass(logits, masks)[:2] * 3 / 2, modality_mass(logits[:2]))
    assert torch.equal(least_confident(logits, masks), least_confident(logits[:2]))
    assert torch.allclose(other_class_scores(logits, y, masks), other_class_scores(logits[:2], y))
    scale, bias, bound = torch.rand(3, 4, generator=generator), torch.zeros(4), torch.ones(3, 4)
    margin = certified_margin(logits * masks.unsqueeze(-1), scale, bias, bound, y, masks)
    assert torch.allclose(margin, certified_margin(logits[:2], scale[:2], bias, bound[:2], y))
    c, d = torch.rand(3, 5, generator=generator), torch.rand(3, 5, generator=generator)
    assert torch.allclose(rank_loss(c, d, masks), rank_loss(c[:2], d[:2]))


def test_fusions_of_methods_leave_out_what_a_sample_lacks() -> None:
    torch.manual_seed(0)
    heads = {m: torch.nn.Linear(3, 4) for m in "abc"}
    features = {m: torch.randn(5, 3) for m in "abc"}
    present = {m: torch.full((5,), m != "c") for m in "abc"}
    for kind in (EnergyFusion, PredictiveFusion):
        whole, part = kind(heads).eval(), kind({m: heads[m] for m in "ab"}).eval()
        expected = part({m: features[m] for m in "ab"})
        assert torch.allclose(whole.fuse(features, present), expected, atol=1e-6), kind
    shared = EntropyWeightedHead(dict.fromkeys("abc", 3), 4)
    two = EntropyWeightedHead(dict.fromkeys("ab", 3), 4)
    two.head = shared.head
    assert torch.allclose(shared.fuse(features, present), two({m: features[m] for m in "ab"}), atol=1e-6)


def test_influence_pairs_samples_that_have_the_modality(case: Any) -> None:
    model, batches = case
    batch = batches[0]
    features = {m: h.detach() for m, h in model.encode(batch.inputs, batch.present).items()}
    order = torch.arange(len(batch)).roll(1).unsqueeze(0)
    influences = influence(model.fusion, features, order, 0.0, batch.present)
    both = batch.present["a"] & batch.present["a"].roll(1)
    moved = {**features, "a": features["a"].roll(1, 0)}
    logits = model.fusion.fuse(features, batch.present)[both], model.fusion.fuse(moved, batch.present)[both]
    p, q = (z.softmax(-1) for z in logits)
    middle = (p + q) / 2
    expected = 0.5 * ((p * (p / middle).log()).sum(-1) + (q * (q / middle).log()).sum(-1)).mean()
    assert influences[0].item() == pytest.approx(expected.item(), rel=1e-4)


def test_prototypes_are_means_of_the_samples_that_have_the_modality(case: Any) -> None:
    model, batches = case
    method = PMR(share=1.0)
    method.prepare(model, torch.cat([b.target for b in batches]))
    method.on_epoch_start(model, EpochContext(0, 2, train=lambda: batches))
    for m in "abc":
        h = torch.cat([model.encode(b.inputs, b.present)[m][b.present[m]] for b in batches]).detach()
        y = torch.cat([b.target[b.present[m]] for b in batches])
        for c in y.unique().tolist():
            assert torch.allclose(method.prototypes(m)[c], h[y == c].mean(0), atol=1e-5)


@pytest.mark.parametrize("m", ["a", "b", "c"])
def test_the_ensemble_trains_every_modality_as_alone(case: Any, m: str) -> None:
    runs: list[list[Tensor]] = []
    for method in (Unimodal(modality=m), UnimodalEnsemble()):
        model = Subject("joint", {}).model(3)
        method.prepare(model, torch.cat([b.target for b in case[1]]))
        optimizer = optimizer_of(method, model)
        for batch in case[1]:
            for _ in method.steps(model, batch):
                optimizer.step()
                optimizer.zero_grad()
        runs.append([*model.encoder(m).parameters(), *model.head(m).parameters()])
    assert all(torch.equal(p, q) for p, q in zip(*runs, strict=True))


def test_dropped_modalities_are_absent_ones() -> None:
    """The encoder of a dropped modality does not see the sample, and one modality always stays."""
    subject = Subject("joint", {})
    model, batch = subject.model(2), subject.batches(2)[0]
    seen: list[int] = []
    model.encoder("a").register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    torch.manual_seed(0)
    for _ in ModalityDropout(0.5, dropped="absent").steps(model, batch):
        pass
    assert 0 < seen[0] < len(batch)
    only = replace(batch, present={"a": torch.arange(32) < 16, "b": torch.arange(32) >= 16})
    seen.clear()
    for _ in ModalityDropout(1.0, dropped="absent").steps(model, only):
        pass
    assert seen == [16], "the only modality of a sample is not dropped"


@pytest.mark.parametrize("task", [MultiClass(3), Regression(2)], ids=["classes", "reals"])
def test_held_out_contributions_of_complete_samples_do_not_depend_on_masks(task: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(3, (60,), generator=generator) if task.has_classes else torch.randn(60, 2, generator=generator)
    size = task.num_outputs
    clean = 2.0 * torch.nn.functional.one_hot(y, 3) if task.has_classes else 0.8 * y
    experts = torch.stack([clean, clean, torch.randn(60, size, generator=generator)])
    prior = torch.zeros(size)
    plain = held_out_contributions(task, experts, y, prior)
    masked = held_out_contributions(task, experts, y, prior, torch.ones(2, 60, dtype=torch.bool))
    for name in ("alone", "marginal", "alone_error", "marginal_error"):
        assert torch.allclose(getattr(plain, name), getattr(masked, name), atol=1e-5), name
    # Half of the samples lack the informative modality: what it tells is measured on the other half.
    masks = torch.stack([torch.arange(60) % 4 < 2, torch.ones(60, dtype=torch.bool)])
    blank = torch.cat([torch.ones(1, 60, dtype=torch.bool), masks]).unsqueeze(-1)
    half = held_out_contributions(task, torch.where(blank, experts, 0.0), y, prior, masks)
    assert half.alone[0].item() == pytest.approx(plain.alone[0].item(), abs=0.25)
    assert half.alone_error[0] > plain.alone_error[0]


def test_arm_gives_no_weight_to_what_is_absent(case: Any) -> None:
    """A sample is drawn more often because of a modality that it has, never because of one that it lacks."""
    _, batches = case
    model = Subject("joint", {}).model(3)
    method = ARM()
    model = method.prepare(model, torch.cat([b.target for b in batches]))
    method.on_epoch_start(model, EpochContext(0, 4, train=lambda: batches, held_out=lambda: batches[:1]))
    for batch in batches:
        for _ in method.steps(model, batch):
            model.zero_grad()
    known = method.resampler.known
    for batch in batches:
        masks = torch.stack([batch.present[m] for m in "abc"], 1)
        assert torch.equal(known[batch.index].isfinite(), masks)
