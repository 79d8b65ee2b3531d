"""Any method in a loop of your own: it fills the gradients, you step."""

import torch

from counterpoise.data import BatchLoader, holdout_split, open_data
from counterpoise.encoders import TemporalConv
from counterpoise.methods import ARM, EpochContext
from counterpoise.model import MultimodalClassifier

data = open_data("smartwatch")
encoders = {m: TemporalConv((100, 3), 64) for m in ("accelerometer", "gyroscope")}  # or any module of yours
model = MultimodalClassifier(encoders, num_outputs=7)

method = ARM()
model = method.prepare(model, torch.from_numpy(data.train.target))
optimizer = torch.optim.AdamW([*model.parameters(), *method.parameters()], lr=1e-3)
# ARM measures contributions on samples that are not trained on.
kept, held = holdout_split(data.train.target, data.train.group, share=0.1, seed=0)
loader = BatchLoader(data.train, batch_size=64, seed=0, indices=kept, plan=method.resample)
for epoch in range(3):
    loader.set_epoch(epoch)
    method.on_epoch_start(model, EpochContext(epoch, 3, held_out=lambda: data.train.subset(held).batches(512)))
    for batch in loader:
        for record in method.steps(model, batch):  # gradients are ready: step now
            optimizer.step()
            optimizer.zero_grad()
    print(f"epoch {epoch}: loss {record.loss:.3f}", {k: round(v.item(), 3) for k, v in record.coefficients.items()})
