"""The catalogue of methods, which the command line, the documentation and the tests read."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from counterpoise._validation import check_keys
from counterpoise.catalogue import Catalogue, Entry, user_name
from counterpoise.errors import ConfigError

if TYPE_CHECKING:
    from counterpoise.methods.base import Method

__all__ = ["METHODS", "MethodEntry", "make_method"]


@dataclass(frozen=True)
class MethodEntry(Entry):
    """One row of the catalogue of methods.

    Attributes:
        untrained: Parts of the model that get no gradient ("fusion", "other encoders"), for the tests.
        random: Whether a step draws random numbers per modality.
        ordered: Whether modalities are treated by their order (a fault of a release that the row keeps).
        resets_encoders: Whether the method writes into encoder weights between epochs.
        early: Hyper-parameters with which it is active from the first epochs, for the tests and the benchmark of a
            step's cost.
    """

    untrained: tuple[str, ...] = ()
    random: bool = False
    ordered: bool = False
    resets_encoders: bool = False
    early: Mapping[str, object] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """The family of the method's class; this imports it."""
        family: str = self.load().family
        return family


class _Methods(Catalogue[MethodEntry]):
    """The catalogue of methods. Methods that read labels at test time can be used by name only: ``all`` and every list
    leave them out.
    """

    def __init__(self, entries: list[MethodEntry], label_reading: list[MethodEntry]) -> None:
        super().__init__("method", entries, base="counterpoise.methods:Method")
        self.label_reading = Catalogue("method", label_reading)

    def resolve(self, name: str) -> Any:
        """See `Catalogue.resolve`."""
        return self.label_reading[name].load() if name in self.label_reading else super().resolve(name)


METHODS = _Methods(
    [
        MethodEntry("joint", "counterpoise.methods:Joint", "joint training through the fused head", "baseline"),
        MethodEntry(
            "unimodal",
            "counterpoise.methods:Unimodal",
            "one modality alone (one run per modality)",
            "baseline",
            untrained=("fusion", "other encoders"),
        ),
        MethodEntry(
            "unimodal-ensemble",
            "counterpoise.methods:UnimodalEnsemble",
            "every modality alone, predictions averaged",
            "baseline",
            untrained=("fusion",),
        ),
        MethodEntry(
            "uniform", "counterpoise.methods:Uniform", "fused loss plus every modality's own", "baseline (sum of CE)"
        ),
        MethodEntry(
            "ogm-ge",
            "counterpoise.methods:OGMGE",
            "slows the dominant modality's gradient, adds noise",
            "Peng et al., CVPR 2022",
        ),
        MethodEntry(
            "arm",
            "counterpoise.methods:ARM",
            "reinforces weak modalities by held-out contributions: fusion, loss, re-sampling",
            "Gao et al., AAAI 2025",
        ),
        MethodEntry(
            "separated-experts",
            "counterpoise.methods:SeparatedExperts",
            "encoders learn from their own smoothed losses; memorising modalities are held back",
            "the library's recipe",
        ),
        MethodEntry(
            "pmr",
            "counterpoise.methods:PMR",
            "pulls slow modalities to their class prototypes",
            "Fan et al., CVPR 2023",
        ),
        MethodEntry(
            "agm",
            "counterpoise.methods:AGM",
            "modulates the gradient of each modality's Shapley share of the logits",
            "Li et al., ICCV 2023",
        ),
        MethodEntry(
            "mla",
            "counterpoise.methods:MLA",
            "one step per modality through a shared head whose gradient is projected",
            "Zhang et al., CVPR 2024",
        ),
        MethodEntry(
            "sample-valuation",
            "counterpoise.methods:SampleValuation",
            "repeats samples with only the modalities that contributed little to them",
            "Wei et al., CVPR 2024",
            early={"warmup": 0},
        ),
        MethodEntry(
            "modality-valuation",
            "counterpoise.methods:ModalityValuation",
            "trains the modality that contributes least again, alone",
            "Wei et al., CVPR 2024",
            early={"warmup": 0},
        ),
        MethodEntry(
            "greedy",
            "counterpoise.methods:Greedy",
            "a branch that relies on the others learns alone for some steps",
            "Wu et al., ICML 2022",
            early={"start": 0},
        ),
        MethodEntry(
            "modality-dropout",
            "counterpoise.methods:ModalityDropout",
            "joint training with missing inputs",
            "Neverova et al., TPAMI 2016",
            random=True,
        ),
        MethodEntry(
            "corruption",
            "counterpoise.methods:Corruption",
            "joint training with corrupted inputs",
            "baseline",
            random=True,
        ),
        MethodEntry(
            "mmpareto",
            "counterpoise.methods:MMPareto",
            "Pareto combination of the joint and each unimodal gradient",
            "Wei & Hu, ICML 2024",
        ),
        MethodEntry(
            "opm",
            "counterpoise.methods:OPM",
            "drops the dominant modality's features at random",
            "Wei et al., TPAMI 2024",
            random=True,
            early={"start": 0},
        ),
        MethodEntry(
            "mmcosine",
            "counterpoise.methods:MMCosine",
            "joint training with a cosine head",
            "Xu et al., ICASSP 2023",
        ),
        MethodEntry(
            "umt",
            "counterpoise.methods:UMT",
            "keeps each encoder near a unimodal teacher's features",
            "Du et al., ICML 2023",
        ),
        MethodEntry(
            "g2d",
            "counterpoise.methods:G2D",
            "unimodal teachers, and the weakly taught encoders train first",
            "Rakib & Bagavathi, ICCV 2025",
        ),
        MethodEntry(
            "mbsd",
            "counterpoise.methods:MBSD",
            "on each sample, distils the stronger modality into the weaker one",
            "Liu et al., WSDM 2023",
        ),
        MethodEntry(
            "cml",
            "counterpoise.methods:CML",
            "a prediction should not become more confident without a modality",
            "Ma et al., ICML 2023",
            random=True,
        ),
        MethodEntry(
            "lfm",
            "counterpoise.methods:LFM",
            "aligns the modalities' predictions first, classifies more later",
            "Yang et al., NeurIPS 2024",
        ),
        MethodEntry(
            "arl",
            "counterpoise.methods:ARL",
            "more gradient for confident encoders that are relied on little",
            "Wei et al., ICCV 2025",
            early={"start": 0},
        ),
        MethodEntry(
            "inforeg",
            "counterpoise.methods:InfoReg",
            "slows the leading encoder down while its information grows fast",
            "Huang et al., CVPR 2025",
        ),
        MethodEntry(
            "amco",
            "counterpoise.methods:AMCo",
            "masks features of the modality that the prediction depends on",
            "Zhou et al., ICASSP 2023",
            random=True,
        ),
        MethodEntry(
            "g-blending",
            "counterpoise.methods:GBlending",
            "weighs each head's loss by generalisation against overfitting",
            "Wang et al., CVPR 2020",
        ),
        MethodEntry(
            "reconboost",
            "counterpoise.methods:ReconBoost",
            "modalities in turn, against what the others explain",
            "Hua et al., ICML 2024",
            untrained=("fusion", "other encoders"),
        ),
        MethodEntry(
            "relearning",
            "counterpoise.methods:Relearning",
            "encoders that overfit are moved back towards their start",
            "Wei et al., ECCV 2024",
            resets_encoders=True,
        ),
        MethodEntry(
            "data-remixing",
            "counterpoise.methods:DataRemixing",
            "each sample trains the modality that is least confident on it",
            "Ma et al., ICML 2025",
            early={"warmup": 0},
        ),
        MethodEntry(
            "cggm",
            "counterpoise.methods:CGGM",
            "the encoder whose classifier gained most gets the smallest gradient",
            "Guo et al., NeurIPS 2024",
        ),
        MethodEntry(
            "mses",
            "counterpoise.methods:MSES",
            "stops each encoder where its own held-out loss stops falling",
            "Fujimori et al., ACPR 2019",
            early={"patience": 1},
        ),
        MethodEntry(
            "mslr",
            "counterpoise.methods:MSLR",
            "every encoder has the learning rate that is best for it alone",
            "Yao & Mihalcea, Findings of ACL 2022",
        ),
        MethodEntry(
            "qmf",
            "counterpoise.methods:QMF",
            "per-sample fusion weights from energies",
            "Zhang et al., ICML 2023",
        ),
        MethodEntry(
            "dgl",
            "counterpoise.methods:DGL",
            "encoders learn from unimodal losses through the fused head, which learns apart from them",
            "Wei et al., ICCV 2025",
        ),
        MethodEntry(
            "separated-gradients",
            "counterpoise.methods:SeparatedGradients",
            "encoders learn from their own heads only, the fused head on top",
            "baseline",
        ),
        MethodEntry(
            "mlb",
            "counterpoise.methods:MLB",
            "speeds up weak encoders and slows down strong ones, in multitask training",
            "Kontras et al., BMVC 2024",
        ),
        MethodEntry(
            "tcmax",
            "counterpoise.methods:TCMax",
            "separates true combinations of modalities and label from all others",
            "TCMax, ICLR 2026",
        ),
        MethodEntry(
            "pcgrad",
            "counterpoise.methods:PCGrad",
            "projects conflicting gradients of the joint and each unimodal loss",
            "Yu et al., NeurIPS 2020",
        ),
        MethodEntry(
            "uncertainty-weighting",
            "counterpoise.methods:UncertaintyWeighting",
            "weighs the fused and the unimodal losses by learned uncertainties",
            "Kendall et al., CVPR 2018",
        ),
        MethodEntry(
            "gradnorm",
            "counterpoise.methods:GradNorm",
            "weighs the fused and the unimodal losses so that their gradients are balanced",
            "Chen et al., ICML 2018",
        ),
        MethodEntry(
            "mcr",
            "counterpoise.methods:MCR",
            "each encoder raises its own influence on the prediction and lowers the others'",
            "Kontras et al., NeurIPS 2025",
            random=True,
        ),
        MethodEntry(
            "amss",
            "counterpoise.methods:AMSS",
            "the encoder of a more informative modality updates fewer of its units",
            "AMSS, TPAMI 2025",
            random=True,
        ),
        MethodEntry(
            "midas",
            "counterpoise.methods:MIDAS",
            "mixes features of samples of different classes, with both labels",
            "MIDAS, NeurIPS 2025",
            random=True,
            early={"warmup": 0},
        ),
        MethodEntry(
            "m-sam",
            "counterpoise.methods:MSAM",
            "minimises the dominant modality's loss together with its sharpness",
            "M-SAM, NeurIPS 2025",
        ),
        MethodEntry(
            "pdf",
            "counterpoise.methods:PDF",
            "branches weighted by a learned prediction of the probability that each is right",
            "Cao et al., ICML 2024",
        ),
        MethodEntry(
            "rgm",
            "counterpoise.methods:RGM",
            "balances the encoders' gradients and removes their conflict",
            "RGM, AAAI 2026",
        ),
        MethodEntry(
            "crmt",
            "counterpoise.methods:CRMT",
            "branches that each separate the classes, then the largest certified margin",
            "Yang et al., ICLR 2024",
        ),
        MethodEntry(
            "pdmp",
            "counterpoise.methods:PDMP",
            "the encoder of the best modality takes larger steps than the others",
            "PDMP, 2026",
        ),
        MethodEntry(
            "miles",
            "counterpoise.methods:MILES",
            "slows the encoder whose modality the prediction depends on too much",
            "Guerra-Manzanares & Shamout, IJCNN 2025",
        ),
        MethodEntry(
            "aug",
            "counterpoise.methods:AUG",
            "the weak modality's classifier gets more blocks; modalities take turns",
            "Jiang et al., NeurIPS 2025",
        ),
        MethodEntry(
            "pmr-official",
            "counterpoise.methods.replicas.official:PMROfficial",
            "PMR as released: a hard switch, no entropy term",
            "Fan et al., CVPR 2023 (code)",
        ),
        MethodEntry(
            "agm-toolkit",
            "counterpoise.methods.replicas.toolkit:AGMToolkit",
            "AGM as in a toolkit: the sign is reversed",
            "Li et al., ICCV 2023 (BalanceBenchmark)",
        ),
        MethodEntry(
            "mla-official",
            "counterpoise.methods.replicas.official:MLAOfficial",
            "MLA as released: the projection is never applied",
            "Zhang et al., CVPR 2024 (code)",
        ),
        MethodEntry(
            "mmpareto-toolkit",
            "counterpoise.methods.replicas.toolkit:MMParetoToolkit",
            "MMPareto as in a toolkit: uniform training times 3",
            "Wei & Hu, ICML 2024 (BalanceBenchmark)",
        ),
        MethodEntry(
            "lfm-official",
            "counterpoise.methods.replicas.official:LFMOfficial",
            "LFM as released: the divergence is reversed",
            "Yang et al., NeurIPS 2024 (code)",
        ),
        MethodEntry(
            "arl-official",
            "counterpoise.methods.replicas.official:ARLOfficial",
            "ARL as released: a constant factor",
            "Wei et al., ICCV 2025 (code)",
            early={"start": 0},
        ),
        MethodEntry(
            "inforeg-official",
            "counterpoise.methods.replicas.official:InfoRegOfficial",
            "InfoReg as released: scores are sums, one window for all",
            "Huang et al., CVPR 2025 (code)",
            ordered=True,
        ),
        MethodEntry(
            "aug-official",
            "counterpoise.methods.replicas.official:AUGOfficial",
            "AUG as released: added blocks never train",
            "Jiang et al., NeurIPS 2025 (code)",
        ),
        MethodEntry(
            "mmcosine-official",
            "counterpoise.methods.replicas.official:MMCosineOfficial",
            "MMCosine as released: predicts without the normalisation",
            "Xu et al., ICASSP 2023 (code)",
        ),
        MethodEntry(
            "opm-toolkit",
            "counterpoise.methods.replicas.toolkit:OPMToolkit",
            "OPM as in a toolkit: the second ratio is taken of the first",
            "Wei et al., TPAMI 2024 (BalanceBenchmark)",
            random=True,
            ordered=True,
            early={"start": 0},
        ),
        MethodEntry(
            "mbsd-toolkit",
            "counterpoise.methods.replicas.toolkit:MBSDToolkit",
            "MBSD as in a toolkit: no divergence, gradient through the weight",
            "Liu et al., WSDM 2023 (BalanceBenchmark)",
        ),
        MethodEntry(
            "g-blending-toolkit",
            "counterpoise.methods.replicas.toolkit:GBlendingToolkit",
            "G-Blending as in a toolkit: losses are sums over batches",
            "Wang et al., CVPR 2020 (BalanceBenchmark)",
        ),
    ],
    [
        MethodEntry(
            "arm-official",
            "counterpoise.methods.replicas.arm:ARMOfficial",
            "ARM as released: reads labels at test",
            "Gao et al., AAAI 2025 (code)",
        ),
    ],
)


def make_method(name: str, arguments: Mapping[str, Any] | None = None) -> Method:
    """Build a method by name (or import path) and hyper-parameters.

    Raises:
        NotFoundError: For an unknown method.
        ConfigError: For an unknown or invalid hyper-parameter, with the nearest name, or if the imported object is not
            a method.

    Example:
        >>> make_method("uniform", {"strenght": 1.0})
        Traceback (most recent call last):
        ...
        counterpoise.errors.ConfigError: Unknown key `strenght` for method `uniform`. Did you mean `strength`? Known:
            strength, smoothing.
    """
    arguments = dict(arguments or {})
    cls = METHODS.resolve(user_name(name))
    if inspect.isabstract(cls):
        missing = ", ".join(f"`{m}`" for m in sorted(cls.__abstractmethods__))
        raise ConfigError(f"Method `{name}` is abstract: `{cls.__name__}` does not implement {missing}.")
    signature = inspect.signature(cls).parameters
    known = [p for p, q in signature.items() if q.kind not in (q.VAR_POSITIONAL, q.VAR_KEYWORD)]
    if len(known) < len(signature):  # a constructor that hands its arguments on
        known += [p for p in cls.declarations if p not in known]
    check_keys(f"method `{name}`", arguments, known)
    return cls(**arguments)
