"""Fill in blanks: a tiny masked language model, trained on a nursery rhyme letter by letter, or any one of the Hub.

    python examples/fill_mask.py --text "Like a di_mond in the s_y."
    pip install transformers
    python examples/fill_mask.py --model distilbert/distilbert-base-uncased --text "Paris is the _ of France."

Writes filled.txt and choices.png, what it held likely for each blank, into the folder --out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from demo import RHYME, Demo
from matplotlib.figure import Figure
from torch import Tensor, nn

BLANK = "_"
LENGTH = 40  # of a piece of the rhyme
SHOWN = 5

#: For each blank of a text the likeliest pieces with their probabilities.
Choices = list[list[tuple[str, float]]]


class Filler(nn.Module):
    """Bytes with blanks to the bytes that were there: a transformer whose sense of place is a convolution."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.letter = nn.Embedding(256, width)
        self.neighbours = nn.Conv1d(width, width, 9, padding=4)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.guess = nn.Linear(width, 256)

    def forward(self, letters: Tensor) -> Tensor:
        x = self.letter(letters)
        return self.guess(self.layers(x + self.neighbours(x.mT).mT))  # type: ignore[no-any-return]


def train(steps: int, seed: int) -> tuple[Filler, list[float]]:
    torch.manual_seed(seed)
    model = Filler().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rhyme = torch.tensor(list(RHYME.encode()), device="cuda")
    losses = []
    for _ in range(steps):
        starts = torch.randint(0, len(rhyme) - LENGTH, (16, 1), device="cuda")
        letters = rhyme[starts + torch.arange(LENGTH, device="cuda")]
        hidden = torch.rand(letters.shape, device="cuda") < 0.2
        with torch.autocast("cuda", dtype=torch.bfloat16):
            guess = model(letters.masked_fill(hidden, ord(BLANK)))
        loss = nn.functional.cross_entropy(guess[hidden].float(), letters[hidden])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return model.eval(), losses


def likeliest(logits: Tensor, name: Callable[[int], str]) -> Choices:
    best = logits.float().softmax(-1).topk(SHOWN)
    return [
        [(name(piece), probability) for piece, probability in zip(pieces, probabilities, strict=True)]
        for pieces, probabilities in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


@torch.inference_mode()
def fill(model: Filler, text: str) -> Choices:
    letters = torch.tensor([list(text.encode())], device="cuda")
    return likeliest(model(letters)[letters == ord(BLANK)], chr)


def from_hub(name: str) -> Callable[[str], Choices]:
    """What fills texts by a model of Hugging Face's."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModelForMaskedLM.from_pretrained(name).to("cuda").eval()
    if tokenizer.mask_token is None:
        raise ValueError("its tokenizer knows no mask")

    @torch.inference_mode()
    def filled(text: str) -> Choices:
        pieces = tokenizer(text.replace(BLANK, tokenizer.mask_token), return_tensors="pt").to("cuda")
        blanks = pieces["input_ids"] == tokenizer.mask_token_id
        return likeliest(model(**pieces).logits[blanks], lambda piece: str(tokenizer.decode([piece])).strip())

    return filled


def show(choices: Choices, path: Path) -> None:
    figure = Figure(figsize=(2.5 * len(choices) + 1, 3), layout="constrained")
    for number, (axes, choice) in enumerate(
        zip(figure.subplots(1, len(choices), squeeze=False)[0], choices, strict=True)
    ):
        names = [repr(piece) for piece, _ in choice]
        axes.barh(range(len(choice)), [probability for _, probability in choice])
        axes.set(title=f"blank {number + 1}", yticks=range(len(choice)), yticklabels=names, xlim=(0, 1))
        axes.invert_yaxis()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--text", default="Like a di_mond in the s_y.", help=f"with a {BLANK} for each blank")
    parser.add_argument(
        "--model", help="a masked language model of the Hub, or a folder; without one a tiny one is made"
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/filled"))
    options = parser.parse_args()
    if BLANK not in options.text:
        parser.error(f"--text has no blank: write {BLANK} for it")
    demo = Demo("fill_mask", options.out)
    filler = demo.from_hub(options.model, from_hub)
    if filler is not None:
        choices = filler(options.text)
    else:
        model, losses = train(options.steps, options.seed)
        choices = fill(model, options.text)
        print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}")
    filled = options.text
    for choice in choices:
        filled = filled.replace(BLANK, choice[0][0], 1)
    print(filled)
    (options.out / "filled.txt").write_text(f"{filled}\n", encoding="utf-8")
    show(choices, options.out / "choices.png")
    print(demo.ending("filled.txt", "choices.png"))


if __name__ == "__main__":
    main()
