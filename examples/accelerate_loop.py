"""A method on a module as it is, with Hugging Face Accelerate; in two processes: torchrun --nproc-per-node 2 FILE."""

import accelerate
import torch
from torch import nn

from counterpoise import wrap
from counterpoise.integrations import MethodSampler, MethodTraining
from counterpoise.methods import ARM


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.vision, self.words, self.head = nn.Linear(16, 8), nn.EmbeddingBag(50, 8), nn.Linear(8, 2)

    def forward(self, image, text):
        return self.head(torch.relu(self.vision(image) * self.words(text)))


torch.manual_seed(0)
label = torch.arange(400) % 2
image = torch.randn(400, 16) + label[:, None]
text = torch.randint(0, 25, (400, 6)) + 25 * label[:, None]
rows = [{"image": i, "text": t, "label": y} for i, t, y in zip(image, text, label, strict=True)]

accelerator, method = accelerate.Accelerator(cpu=True), ARM()
loader = torch.utils.data.DataLoader(rows[:320], batch_size=32, sampler=MethodSampler(method, 320))
training = MethodTraining(method, loader, held_out=torch.utils.data.DataLoader(rows[320:], batch_size=80))
model = training.prepare(wrap(Net().to(accelerator.device), {"image": "vision", "text": "words"}, num_outputs=2))
# The loader is not prepared: its sampler shares the samples among the processes.
optimizer = accelerator.prepare(torch.optim.AdamW([*model.parameters(), *method.parameters()], lr=1e-2))
for epoch in range(4):
    training.start_epoch(epoch, total=4)
    for item in loader:
        for record in method.steps(model, training.batch(item), backward=accelerator.backward):
            optimizer.step()
            optimizer.zero_grad()
    accelerator.print(f"epoch {epoch}: loss {record.loss:.3f}")
