"""Train a small convolutional network to tell circles, squares and triangles apart, in mixed precision.

    python examples/classify_shapes.py

Writes predictions.png, test images with the network's answers, and loss.txt into the folder --out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

SHAPES = ("circle", "square", "triangle")
SIZE = 32


def draw(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images (count, 3, SIZE, SIZE) of one shape each, of any place, size, turn and colour, in noise; and labels."""
    labels = torch.randint(len(SHAPES), (count,), generator=generator)
    place, size, turn = (torch.rand(count, 1, 1, generator=generator) for _ in range(3))
    shift = torch.rand(count, 1, 1, generator=generator)
    grid = torch.linspace(-1, 1, SIZE)
    x = grid.view(1, 1, SIZE) - 0.8 * (place - 0.5)
    y = grid.view(1, SIZE, 1) - 0.8 * (shift - 0.5)
    angle = torch.atan2(y, x) - 6.3 * turn
    corners = torch.tensor([1.0, 4.0, 3.0])[labels].view(-1, 1, 1)
    # The distance from the centre to the edge of a regular polygon; a circle's is the same everywhere.
    sector = torch.pi / corners
    edge = torch.where(corners > 1, torch.cos(sector) / torch.cos((angle % (2 * sector)) - sector), 1.0)
    inside = (x**2 + y**2).sqrt() < (0.35 + 0.2 * size) * edge
    colour = 0.3 + 0.7 * torch.rand(count, 3, 1, 1, generator=generator)
    noise = 0.25 * torch.randn(count, 3, SIZE, SIZE, generator=generator)
    return (inside.unsqueeze(1) * colour + noise).clamp(0, 1), labels


def network() -> nn.Module:
    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]

    head = [nn.Flatten(), nn.Dropout(0.1), nn.Linear(64 * 4 * 4, len(SHAPES))]
    return nn.Sequential(*block(3, 16), *block(16, 32), *block(32, 64), *head)


def train(steps: int, seed: int) -> tuple[nn.Module, list[float]]:
    torch.manual_seed(seed)
    images, labels = draw(min(4000, 64 * steps), torch.Generator().manual_seed(seed))
    loader = DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True, pin_memory=True)
    model = network().cuda().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    scaler = torch.amp.GradScaler("cuda")
    losses: list[float] = []
    while len(losses) < steps:
        for batch, targets in loader:
            batch = batch.cuda(non_blocking=True).to(memory_format=torch.channels_last)
            with torch.autocast("cuda", dtype=torch.float16):
                loss = nn.functional.cross_entropy(model(batch), targets.cuda(non_blocking=True))
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
            losses.append(loss.item())
            if len(losses) == steps:
                break
    return model.eval(), losses


def show(images: Tensor, labels: Tensor, answers: Tensor, path: Path) -> None:
    figure = Figure(figsize=(8, 5.4), layout="constrained")
    for axes, image, label, answer in zip(figure.subplots(4, 6).flat, images, labels, answers, strict=False):
        axes.imshow(image.permute(1, 2, 0))
        axes.set_title(SHAPES[int(answer)], color="black" if label == answer else "red", fontsize=9)
        axes.axis("off")
    figure.suptitle("What the network says; red where it is wrong")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/shapes"))
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("classify_shapes: torch sees no CUDA device")
    options.out.mkdir(parents=True, exist_ok=True)
    model, losses = train(options.steps, options.seed)
    images, labels = draw(500, torch.Generator().manual_seed(options.seed + 1))
    with torch.inference_mode(), torch.autocast("cuda", dtype=torch.float16):
        answers = model(images.cuda()).argmax(1).cpu()
    accuracy = (answers == labels).float().mean().item()
    show(images, labels, answers, options.out / "predictions.png")
    (options.out / "loss.txt").write_text("".join(f"{loss:.4f}\n" for loss in losses))
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}, {accuracy:.1%} of 500 new images right; see {options.out}/")


if __name__ == "__main__":
    main()
