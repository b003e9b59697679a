"""Text to speech: a tiny model, trained here on an invented language of tones, or any one of the Hub.

    python examples/speak.py --text "hello world"
    pip install transformers
    python examples/speak.py --model facebook/mms-tts-eng --text "Hello, world."

In the language of the tiny model, which speaks a sentence that it never heard, every letter is a chord. Writes
speech.wav and spectrogram.png into the folder --out.
"""

from __future__ import annotations

import argparse
import wave
from collections.abc import Callable
from pathlib import Path

import torch
from demo import Demo
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


def write_wave(path: Path, sound: Tensor, rate: int = RATE) -> None:
    samples = (sound / sound.abs().max().clamp(min=1e-6) * 32000).to(torch.int16).cpu()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.numpy().tobytes())


def from_hub(name: str) -> Callable[[str], tuple[Tensor, int]]:
    """What speaks by a model of Hugging Face's: a sound, and its rate."""
    from transformers import pipeline

    speaker = pipeline("text-to-speech", model=name, device="cuda")

    def speak(text: str) -> tuple[Tensor, int]:
        said = speaker(text)
        return torch.as_tensor(said["audio"], device="cuda").float().flatten(), int(said["sampling_rate"])

    return speak


def show(spectrograms: dict[str, Tensor], text: str, path: Path) -> None:
    """One below the other; below the letters of the invented language, where they are."""
    figure = Figure(figsize=(8, 2.5 * len(spectrograms)), layout="constrained")
    for axes, (title, frames) in zip(
        figure.subplots(len(spectrograms), 1, squeeze=False)[:, 0], spectrograms.items(), strict=True
    ):
        axes.imshow(frames.T.cpu()[:160], origin="lower", aspect="auto")
        axes.set(title=title, yticks=[], ylabel="frequency")
        if len(frames) == FRAMES * len(text):
            axes.set_xticks([FRAMES * (i + 0.5) for i in range(len(text))], list(text))
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--text", default="the quick brown fox")
    parser.add_argument(
        "--model", help="a text-to-speech model of the Hub, or a folder; without one a tiny one is made"
    )
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/speech"))
    options = parser.parse_args()
    if not options.text:
        parser.error("--text has nothing to say")
    demo = Demo("speak", options.out)
    torch.manual_seed(options.seed)
    speaker = demo.from_hub(options.model, from_hub)
    if speaker is not None:
        sound, rate = speaker(options.text)
        said = {"the model": spectrogram(sound)}
    elif set(options.text) - set(LETTERS):
        parser.error("the tiny model knows small letters and spaces only, in --text")
    else:
        model, losses = train(options.steps, options.seed)
        letters, rate = encode(options.text).unsqueeze(0).cuda(), RATE
        with torch.inference_mode():
            frames = model(letters)
            sound = sound_of(frames)[0]
            said = {"the model": frames[0], "the language": spectrogram(pronounce(letters))[0]}
        print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}")
    write_wave(options.out / "speech.wav", sound, rate)
    show(said, options.text, options.out / "spectrogram.png")
    print(f"{len(sound) / rate:.1f} s of sound")
    print(demo.ending("speech.wav", "spectrogram.png"))


if __name__ == "__main__":
    main()
