"""A learning of two tiny classes, for what the training loop itself does. It can be pickled, as several processes need."""

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tasks.models._lightning import Learning


class Limited(nn.Module):
    """A network that has no memory for more than `most` images at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 2))

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.most:
            raise torch.OutOfMemoryError(f"CUDA out of memory at {len(images)} images")
        logits: Tensor = self.layers(images)
        return logits


class Tiny(Learning):
    """Bright and dark images."""

    classes = ("bright", "dark")

    def __init__(self, most: int = 1000, items: int = 16) -> None:
        torch.manual_seed(0)
        labels = torch.arange(items) % 2
        images = (
            torch.randint(0, 128, (items, 3, 8, 8), dtype=torch.uint8) + 127 * (1 - labels).to(torch.uint8)[:, None, None, None]
        )
        self.network, self.data = Limited(most), TensorDataset(images, labels)

    def losses(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        images, labels = batch
        return {"loss": nn.functional.cross_entropy(self.network(images.float() / 255), labels)}
