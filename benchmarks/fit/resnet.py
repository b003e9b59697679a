"""ResNet-50 v1.5 on random images, trained or only asked.

torchdevice fit --profile v100 benchmarks/fit/resnet.py --batch 128
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


class Bottleneck(nn.Module):
    def __init__(self, given: int, inner: int, stride: int) -> None:
        super().__init__()
        made = 4 * inner
        self.body = nn.Sequential(
            *(nn.Conv2d(given, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(inplace=True)),
            *(nn.Conv2d(inner, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(inplace=True)),
            *(nn.Conv2d(inner, made, 1, bias=False), nn.BatchNorm2d(made)),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or given != made:
            self.shortcut = nn.Sequential(nn.Conv2d(given, made, 1, stride, bias=False), nn.BatchNorm2d(made))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.body(x) + self.shortcut(x))


def resnet50() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    layers.append(nn.MaxPool2d(3, 2, 1))
    given = 64
    for inner, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            layers.append(Bottleneck(given, inner, stride if block == 0 else 1))
            given = 4 * inner
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(given, 1000))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--pixels", type=int, default=224)
    parser.add_argument("--half", action="store_true", help="float16 autocast")
    parser.add_argument("--train", action="store_true")
    options = parser.parse_args()
    with torch.device("cuda"):
        model = resnet50().train(options.train)
        images = torch.randn(options.batch, 3, options.pixels, options.pixels)
        labels = torch.randint(1000, (options.batch,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cuda", enabled=options.half)
    for _ in range(2 if options.train else 1):
        with torch.autocast("cuda", torch.float16, enabled=options.half), torch.set_grad_enabled(options.train):
            loss = cross_entropy(model(images), labels)
        if options.train:
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
    print(f"{torch.cuda.max_memory_allocated()} bytes at most")


if __name__ == "__main__":
    main()
