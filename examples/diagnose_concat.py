"""A plain module that concatenates two encoders, trained as usual: does it use both of its inputs?

Nothing about the module is special: `forward` takes two tensors, the loader yields tuples. Names of the modalities come
from the signature, the encoders' features from the names of the submodules.

Run it: python examples/diagnose_concat.py
"""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from counterpoise.diagnosis import diagnose


class Concat(nn.Module):
    """Two encoders side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.audio_encoder = nn.Sequential(nn.Linear(40, 8), nn.Tanh())
        self.video_encoder = nn.Sequential(nn.Linear(40, 8), nn.Tanh())
        self.head = nn.Linear(16, 3)

    def forward(self, audio: Tensor, video: Tensor) -> Tensor:
        """Return logits (B, 3)."""
        return self.head(torch.cat([self.audio_encoder(audio), self.video_encoder(video)], 1))


def make_loader(n: int, seed: int) -> DataLoader:
    g = torch.Generator().manual_seed(seed)
    target = torch.randint(3, (n,), generator=g)
    class_code = nn.functional.one_hot(target, 40).float()
    audio = torch.randn(n, 40, generator=g) + 3.0 * class_code  # easy
    video = 0.02 * (torch.randn(n, 40, generator=g) + 2.0 * class_code)  # as good, but faint: gradients are small
    return DataLoader(TensorDataset(audio, video, target), batch_size=100)


def main(n: int = 1000, seed: int = 0) -> object:
    torch.manual_seed(seed)
    model, train, held_out = Concat(), make_loader(n, seed), make_loader(n, seed + 1)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        for audio, video, target in train:
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(audio, video), target).backward()
            optimiser.step()
    diagnosis = diagnose(model, held_out, train=train, features={"audio": "audio_encoder", "video": "video_encoder"})
    print(diagnosis)
    return diagnosis


if __name__ == "__main__":
    main()
