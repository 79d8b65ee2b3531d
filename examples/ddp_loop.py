"""A method in a loop of your own in several processes.

Run it with: torchrun --nproc-per-node 2 ddp_loop.py

Do not wrap the model in `DistributedDataParallel`: the steps of a method exchange features and average gradients.
"""

import os

import torch
from torch import nn

from counterpoise.integrations import MethodSampler, MethodTraining
from counterpoise.methods import MMPareto
from counterpoise.model import MultimodalClassifier

if "RANK" in os.environ:
    torch.distributed.init_process_group("gloo")  # "nccl" on GPUs
torch.manual_seed(0)
label = torch.arange(400) % 4
rows = [{"audio": torch.randn(8) + y % 2, "video": torch.randn(6) + y // 2, "label": y} for y in label]
method = MMPareto()
loader = torch.utils.data.DataLoader(rows, batch_size=16, sampler=MethodSampler(method, len(rows)))
training = MethodTraining(method, loader)
encoders = {"audio": nn.Sequential(nn.Linear(8, 16), nn.ReLU()), "video": nn.Sequential(nn.Linear(6, 16), nn.ReLU())}
dims = {"audio": 16, "video": 16}
model = training.prepare(MultimodalClassifier(encoders, num_outputs=4, feature_dims=dims))  # equal in all processes
optimizer = torch.optim.AdamW([*model.parameters(), *method.parameters()], lr=1e-2)
for epoch in range(3):
    training.start_epoch(epoch, total=3)
    for item in loader:
        for record in method.steps(model, training.batch(item)):
            optimizer.step()
            optimizer.zero_grad()
    if os.environ.get("RANK", "0") == "0":
        print(f"epoch {epoch}: loss {record.loss:.3f}")
