"""The online probes: linear in the features, by NumPy, and what they start from and keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from counterpoise.methods import ContributionProbes


def test_each_probe_is_a_linear_map_of_the_features_that_it_sees(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batch = make_model(3, dtype=torch.float64), make_batches(3, dtype=torch.float64)[0]
    probes = ContributionProbes(model).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in probes.parameters():
            p.normal_(generator=generator)
    h = tools.features(model, batch)
    weight, bias = probes.weight.detach().numpy(), probes.bias.detach().numpy()
    found = probes(model.encode(batch.inputs)).detach().numpy()
    for k, gone in enumerate([None, *model.modalities]):
        z = np.concatenate([h[m] * (m != gone) for m in model.modalities], axis=1)
        np.testing.assert_allclose(found[k], z @ weight[k].T + bias[k])


def test_probes_begin_undecided_and_what_is_saved_is_what_they_learned(make_model: Any, make_batches: Any) -> None:
    model, batch = make_model(2), make_batches(2)[0]
    probes = ContributionProbes(model)
    assert (probes(model.encode(batch.inputs)) == 0).all()
    assert set(probes.state_dict()) == {name for name, _ in probes.named_parameters()} == {"weight", "bias"}
