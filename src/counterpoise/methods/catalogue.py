"""The methods by name: the CLI, the docs and the batteries of tests read this table."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from counterpoise._validation import check_keys
from counterpoise.catalogue import Catalogue, Entry

if TYPE_CHECKING:
    from counterpoise.methods.base import Method

__all__ = ["METHODS", "MethodEntry", "make_method"]


@dataclass(frozen=True)
class MethodEntry(Entry):
    """A method's row.

    Attributes:
        family: objective, gradient, unimodal, ...
        untrained: which of the model's parts get no gradient ("fusion", "other encoders"), for the batteries.
        random: whether a step draws random numbers per modality.
        ordered: whether modalities are treated by their order (a fault of a release that the row keeps).
        alternates: whether a batch takes more than one optimizer step.
        resets_encoders: whether the method writes into encoder weights between epochs.
        early: hyper-parameters with which it acts from the first epochs on, for the batteries and the benchmark of a step's cost.
    """

    family: str = "objective"
    untrained: tuple[str, ...] = ()
    random: bool = False
    ordered: bool = False
    alternates: bool = False
    resets_encoders: bool = False
    early: Mapping[str, object] = field(default_factory=dict)


class _Methods(Catalogue[MethodEntry]):
    """The methods, and by their names only those that read labels at test: ``all`` is without them, and so is every list."""

    def __init__(self, entries: list[MethodEntry], label_reading: list[MethodEntry]) -> None:
        super().__init__("method", entries)
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
            family="unimodal",
            untrained=("fusion", "other encoders"),
        ),
        MethodEntry(
            "unimodal-ensemble",
            "counterpoise.methods:UnimodalEnsemble",
            "every modality alone, predictions averaged",
            "baseline",
            family="unimodal",
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
            family="gradient",
        ),
        MethodEntry(
            "arm",
            "counterpoise.methods:ARM",
            "reinforces weak modalities by contribution: fusion, loss, re-sampling",
            "Gao et al., AAAI 2025",
            family="objective",
            random=True,
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
            family="gradient",
        ),
        MethodEntry(
            "mla",
            "counterpoise.methods:MLA",
            "one step per modality through a shared head whose gradient is projected",
            "Zhang et al., CVPR 2024",
            family="alternation",
            alternates=True,
        ),
        MethodEntry(
            "sample-valuation",
            "counterpoise.methods:SampleValuation",
            "trains again, alone, what a modality contributed little to, per sample",
            "Wei et al., CVPR 2024",
            family="resampling",
            early={"warmup": 0},
        ),
        MethodEntry(
            "modality-valuation",
            "counterpoise.methods:ModalityValuation",
            "trains the modality that contributes least again, alone",
            "Wei et al., CVPR 2024",
            family="resampling",
            early={"warmup": 0},
        ),
        MethodEntry(
            "greedy",
            "counterpoise.methods:Greedy",
            "a branch that leans on the others learns alone for some steps",
            "Wu et al., ICML 2022",
            family="fusion",
            early={"start": 0},
        ),
        MethodEntry(
            "modality-dropout",
            "counterpoise.methods:ModalityDropout",
            "joint training with missing inputs",
            "Neverova et al., TPAMI 2016",
            family="data",
            random=True,
        ),
        MethodEntry(
            "corruption",
            "counterpoise.methods:Corruption",
            "joint training with damaged inputs",
            "baseline",
            family="data",
            random=True,
        ),
        MethodEntry(
            "mmpareto",
            "counterpoise.methods:MMPareto",
            "Pareto combination of the joint and each unimodal gradient",
            "Wei & Hu, ICML 2024",
            family="combination",
        ),
        MethodEntry(
            "opm",
            "counterpoise.methods:OPM",
            "drops the dominant modality's features at random",
            "Wei et al., TPAMI 2024",
            family="features",
            random=True,
            early={"start": 0},
        ),
        MethodEntry(
            "mmcosine",
            "counterpoise.methods:MMCosine",
            "joint training with a cosine head",
            "Xu et al., ICASSP 2023",
            family="fusion",
        ),
        MethodEntry(
            "umt",
            "counterpoise.methods:UMT",
            "keeps each encoder near a unimodal teacher's features",
            "Du et al., ICML 2023",
            family="teachers",
        ),
        MethodEntry(
            "g2d",
            "counterpoise.methods:G2D",
            "unimodal teachers, and the weakly taught encoders train first",
            "Rakib & Bagavathi, ICCV 2025",
            family="teachers",
        ),
        MethodEntry(
            "mbsd",
            "counterpoise.methods:MBSD",
            "per sample, the weaker modality learns from the stronger",
            "Liu et al., WSDM 2023",
        ),
        MethodEntry(
            "cml",
            "counterpoise.methods:CML",
            "taking a modality away should not make a prediction surer",
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
            "more gradient for encoders that are sure and little relied on",
            "Wei et al., ICCV 2025",
            early={"start": 0},
        ),
        MethodEntry(
            "inforeg",
            "counterpoise.methods:InfoReg",
            "holds the leading encoder back while information is gathered fast",
            "Huang et al., CVPR 2025",
        ),
        MethodEntry(
            "amco",
            "counterpoise.methods:AMCo",
            "masks features of the modality that the prediction depends on",
            "Zhou et al., ICASSP 2023",
            family="features",
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
            family="alternation",
            untrained=("fusion", "other encoders"),
        ),
        MethodEntry(
            "relearning",
            "counterpoise.methods:Relearning",
            "encoders that overfit are moved back towards their start",
            "Wei et al., ECCV 2024",
            family="reset",
            resets_encoders=True,
        ),
        MethodEntry(
            "data-remixing",
            "counterpoise.methods:DataRemixing",
            "each sample trains the modality that is least sure of it",
            "Ma et al., ICML 2025",
            family="resampling",
            early={"warmup": 0},
        ),
        MethodEntry(
            "cggm",
            "counterpoise.methods:CGGM",
            "the encoder whose classifier gained most gets the smallest gradient",
            "Guo et al., NeurIPS 2024",
            family="gradient",
        ),
        MethodEntry(
            "mses",
            "counterpoise.methods:MSES",
            "stops each encoder where its own held-out loss stops falling",
            "Fujimori et al., ACPR 2019",
            family="gradient",
            early={"patience": 1},
        ),
        MethodEntry(
            "mslr",
            "counterpoise.methods:MSLR",
            "every encoder steps with the learning rate that suits it alone",
            "Yao & Mihalcea, Findings of ACL 2022",
            family="learning-rate",
        ),
        MethodEntry(
            "qmf",
            "counterpoise.methods:QMF",
            "per-sample fusion weights from energies",
            "Zhang et al., ICML 2023",
            family="fusion",
        ),
        MethodEntry(
            "dgl",
            "counterpoise.methods:DGL",
            "encoders learn from unimodal losses only, the fused head on top",
            "Wei et al., ICCV 2025",
            family="gradient-cut",
        ),
        MethodEntry(
            "aug",
            "counterpoise.methods:AUG",
            "the weak modality's classifier gets more blocks; modalities take turns",
            "Jiang et al., NeurIPS 2025",
            family="alternation",
            alternates=True,
        ),
        MethodEntry(
            "pmr-official",
            "counterpoise.methods:PMROfficial",
            "PMR as released: a hard switch, no entropy term",
            "Fan et al., CVPR 2023 (code)",
        ),
        MethodEntry(
            "agm-toolkit",
            "counterpoise.methods:AGMToolkit",
            "AGM as in a toolkit: the sign is reversed",
            "Li et al., ICCV 2023 (BalanceBenchmark)",
            family="gradient",
        ),
        MethodEntry(
            "mla-official",
            "counterpoise.methods:MLAOfficial",
            "MLA as released: the projection is never applied",
            "Zhang et al., CVPR 2024 (code)",
            family="alternation",
            alternates=True,
        ),
        MethodEntry(
            "mmpareto-toolkit",
            "counterpoise.methods:MMParetoToolkit",
            "MMPareto as in a toolkit: uniform training times 3",
            "Wei & Hu, ICML 2024 (BalanceBenchmark)",
            family="combination",
        ),
        MethodEntry(
            "lfm-official",
            "counterpoise.methods:LFMOfficial",
            "LFM as released: the divergence is reversed",
            "Yang et al., NeurIPS 2024 (code)",
        ),
        MethodEntry(
            "arl-official",
            "counterpoise.methods:ARLOfficial",
            "ARL as released: a constant factor",
            "Wei et al., ICCV 2025 (code)",
        ),
        MethodEntry(
            "inforeg-official",
            "counterpoise.methods:InfoRegOfficial",
            "InfoReg as released: scores are sums, one window for all",
            "Huang et al., CVPR 2025 (code)",
            ordered=True,
        ),
        MethodEntry(
            "aug-official",
            "counterpoise.methods:AUGOfficial",
            "AUG as released: added blocks never train",
            "Jiang et al., NeurIPS 2025 (code)",
            family="alternation",
            alternates=True,
        ),
        MethodEntry(
            "mmcosine-official",
            "counterpoise.methods:MMCosineOfficial",
            "MMCosine as released: predicts without the normalisation",
            "Xu et al., ICASSP 2023 (code)",
            family="fusion",
        ),
        MethodEntry(
            "opm-toolkit",
            "counterpoise.methods:OPMToolkit",
            "OPM as in a toolkit: the second ratio is taken of the first",
            "Wei et al., TPAMI 2024 (BalanceBenchmark)",
            family="features",
            random=True,
            ordered=True,
            early={"start": 0},
        ),
        MethodEntry(
            "mbsd-toolkit",
            "counterpoise.methods:MBSDToolkit",
            "MBSD as in a toolkit: no divergence, gradient through the weight",
            "Liu et al., WSDM 2023 (BalanceBenchmark)",
        ),
        MethodEntry(
            "g-blending-toolkit",
            "counterpoise.methods:GBlendingToolkit",
            "G-Blending as in a toolkit: losses are sums over batches",
            "Wang et al., CVPR 2020 (BalanceBenchmark)",
        ),
    ],
    [
        MethodEntry(
            "arm-official",
            "counterpoise.methods:ARMOfficial",
            "ARM as released: reads labels at test",
            "Gao et al., AAAI 2025 (code)",
        ),
    ],
)


def make_method(name: str, arguments: Mapping[str, Any] | None = None) -> Method:
    """Build a method by name (or import path) and hyper-parameters.

    Raises:
        NotFoundError: for an unknown method.
        ConfigError: for an unknown or invalid hyper-parameter, with the nearest name.

    Example:
        >>> make_method("uniform", {"strenght": 1.0})
        Traceback (most recent call last):
        ...
        counterpoise.errors.ConfigError: Unknown key `strenght` for method `uniform`. Did you mean `strength`? Known:
            strength.
    """
    arguments = dict(arguments or {})
    cls = METHODS.resolve(name)
    known = [p for p in inspect.signature(cls.__init__).parameters if p != "self"]
    check_keys(f"method `{name}`", arguments, known)
    method: Method = cls(**arguments)
    return method
