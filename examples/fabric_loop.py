"""A method in a loop of your own with Lightning Fabric: pass `fabric.backward`.

In two processes: torchrun --nproc-per-node 2 fabric_loop.py
"""

import os

import lightning
import torch

from counterpoise.data import open_data
from counterpoise.encoders import TemporalConv
from counterpoise.integrations import MethodSampler, MethodTraining
from counterpoise.methods import OGMGE
from counterpoise.model import MultimodalClassifier

split = open_data("smartwatch").train
rows = [
    {**{m: torch.from_numpy(a[i]) for m, a in split.arrays.items()}, "label": y} for i, y in enumerate(split.target)
]
fabric = lightning.Fabric(accelerator="cpu", devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
fabric.launch()
method = OGMGE()
loader = torch.utils.data.DataLoader(rows, batch_size=64, sampler=MethodSampler(method, len(rows)))
training = MethodTraining(method, loader)  # held_out=..., for methods that need it
encoders = {m: TemporalConv((100, 3), 16) for m in split.arrays}
model = training.prepare(fabric.to_device(MultimodalClassifier(encoders, num_outputs=7)))
optimizer = fabric.setup_optimizers(torch.optim.AdamW([*model.parameters(), *method.parameters()], lr=1e-3))
batches = fabric.setup_dataloaders(loader, use_distributed_sampler=False)  # the sampler shares the samples
for epoch in range(2):
    training.start_epoch(epoch, total=2)
    for item in batches:
        with fabric.autocast():
            for record in method.steps(model, training.batch(item), backward=fabric.backward):
                optimizer.step()
                optimizer.zero_grad()
    fabric.print(f"epoch {epoch}: loss {record.loss:.3f}")
