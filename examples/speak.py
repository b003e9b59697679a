"""Train a text-to-spectrogram model on an invented language of tones, and let it speak a sentence that it never heard.

    python examples/speak.py --text "hello world"

In this language every letter is a chord. Writes speech.wav and spectrogram.png into the folder --out.
"""

from __future__ import annotations

import argparse
import wave
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

LETTERS = " abcdefghijklmnopqrstuvwxyz"
RATE = 8000
WINDOW, HOP = 512, 128
FRAMES = 10  # for one letter


def encode(text: str) -> Tensor:
    return torch.tensor([LETTERS.index(letter) for letter in text])


def pronounce(letters: Tensor) -> Tensor:
    """The sound of texts (batch, length): each letter is two tones that swell and fade; a space is silence."""
    frequencies = 250 * 2 ** (torch.arange(len(LETTERS), device=letters.device) / 9)
    time = torch.arange(FRAMES * HOP, device=letters.device) / RATE
    low = frequencies[letters].unsqueeze(-1)
    tones = torch.sin(2 * torch.pi * low * time) + 0.5 * torch.sin(2 * torch.pi * 1.5 * low * time)
    swell = torch.sin(torch.pi * time / time[-1]).clamp(min=0).sqrt()
    return (tones * swell * (letters > 0).unsqueeze(-1)).flatten(-2) / 2


def spectrogram(sound: Tensor) -> Tensor:
    """Logarithms of magnitudes (batch, frames, frequencies)."""
    window = torch.hann_window(WINDOW, device=sound.device)
    return torch.stft(sound, WINDOW, HOP, window=window, return_complex=True).abs().mT[:, :-1].clamp(min=1e-2).log()


class Speaker(nn.Module):
    """Letters to frames: an embedding, a recurrent network over frames, a projection."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.letter = nn.Embedding(len(LETTERS), width)
        self.position = nn.Parameter(0.1 * torch.randn(FRAMES, width))
        self.recurrent = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.frame = nn.Linear(2 * width, WINDOW // 2 + 1)

    def forward(self, letters: Tensor) -> Tensor:
        x = (self.letter(letters).unsqueeze(2) + self.position).flatten(1, 2)
        return self.frame(self.recurrent(x)[0])  # type: ignore[no-any-return]


def train(steps: int, seed: int) -> tuple[Speaker, list[float]]:
    torch.manual_seed(seed)
    model = Speaker().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    losses = []
    for _ in range(steps):
        letters = torch.randint(len(LETTERS), (16, 8), device="cuda")
        with torch.no_grad():
            target = spectrogram(pronounce(letters))
        with torch.autocast("cuda", dtype=torch.bfloat16):
            guess = model(letters)
        loss = nn.functional.l1_loss(guess.float(), target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return model.eval(), losses


def sound_of(frames: Tensor, rounds: int = 40) -> Tensor:
    """The sound that has this spectrogram: phases are guessed and mended in turns (Griffin and Lim, 1984)."""
    window = torch.hann_window(WINDOW, device=frames.device)
    magnitude = nn.functional.pad(frames.exp().mT, (0, 1))
    phase = torch.rand_like(magnitude) * 2 * torch.pi
    for _ in range(rounds):
        sound = torch.istft(torch.polar(magnitude, phase), WINDOW, HOP, window=window)
        phase = torch.stft(sound, WINDOW, HOP, window=window, return_complex=True).angle()
    return torch.istft(torch.polar(magnitude, phase), WINDOW, HOP, window=window)


def write_wave(path: Path, sound: Tensor) -> None:
    samples = (sound / sound.abs().max().clamp(min=1e-6) * 32000).to(torch.int16).cpu()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.numpy().tobytes())


def show(said: Tensor, meant: Tensor, text: str, path: Path) -> None:
    figure = Figure(figsize=(8, 5), layout="constrained")
    for axes, frames, title in zip(figure.subplots(2, 1), (said, meant), ("the model", "the language"), strict=True):
        axes.imshow(frames.T.cpu()[:160], origin="lower", aspect="auto")
        axes.set(title=title, yticks=[], ylabel="frequency")
        axes.set_xticks([FRAMES * (i + 0.5) for i in range(len(text))], list(text))
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--text", default="the quick brown fox")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/speech"))
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("speak: torch sees no CUDA device")
    if not options.text or set(options.text) - set(LETTERS):
        parser.error("--text may hold small letters and spaces only")
    options.out.mkdir(parents=True, exist_ok=True)
    model, losses = train(options.steps, options.seed)
    letters = encode(options.text).unsqueeze(0).cuda()
    with torch.inference_mode():
        frames = model(letters)
        write_wave(options.out / "speech.wav", sound_of(frames)[0])
        meant = spectrogram(pronounce(letters))
    show(frames[0], meant[0], options.text, options.out / "spectrogram.png")
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}; see and hear {options.out}/")


if __name__ == "__main__":
    main()
