"""Let a causal language model write: a tiny Llama of transformers, trained here on a rhyme, or any one of the Hub.

    pip install transformers
    python examples/generate_text.py
    python examples/generate_text.py --model HuggingFaceTB/SmolLM2-135M --prompt "The capital of France is"

Without --model nothing is downloaded. Writes text.txt, what greedy search, beam search and sampling generate, into the
folder --out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from demo import RHYME, Demo
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM


@dataclass(frozen=True)
class Writer:
    """A model with the pieces that its texts are made of."""

    model: Any
    encode: Callable[[str], list[int]]
    decode: Callable[[list[int]], str]
    #: The piece that fills short texts up.
    padding: int


def from_hub(name: str) -> Writer:
    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.bfloat16).to("cuda").eval()
    padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return Writer(
        model, tokenizer.encode, lambda pieces: str(tokenizer.decode(pieces, skip_special_tokens=True)), padding or 0
    )


def train(steps: int, seed: int) -> tuple[LlamaForCausalLM, list[float]]:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config).to("cuda", torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    text = torch.tensor([*RHYME.encode(), 0], device="cuda")
    losses = []
    for _ in range(steps):
        starts = torch.randint(0, len(text) // 3, (8,), device="cuda").tolist()
        shortest = len(text) - max(starts)
        batch = torch.stack([text[start : start + shortest] for start in starts])
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return model.eval(), losses


def spell(pieces: list[int]) -> str:
    return bytes(pieces).rstrip(bytes(1)).decode(errors="replace")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--prompt", default="Twinkle")
    parser.add_argument(
        "--model", help="a causal language model of the Hub, or a folder; without one a tiny one is made"
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/generate"))
    options = parser.parse_args()
    demo = Demo("generate_text", options.out)
    writer = demo.from_hub(options.model, from_hub)
    if writer is None:
        model, losses = train(options.steps, options.seed)
        writer = Writer(model, lambda text: list(text.encode()), spell, padding=0)
        print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}")
    torch.manual_seed(options.seed)
    prompt = torch.tensor([writer.encode(options.prompt)], device="cuda")
    searches: dict[str, dict[str, Any]] = {
        "greedy": {"do_sample": False},
        "beams": {"do_sample": False, "num_beams": 3},
        "sampled": {"do_sample": True, "temperature": 0.8, "top_k": 20},
    }
    texts = []
    for name, how in searches.items():
        settings = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": 120, "pad_token_id": writer.padding}
        tokens = writer.model.generate(prompt, **settings, **how)
        texts.append(f"--- {name}\n{writer.decode(tokens[0].tolist())}\n")
    (options.out / "text.txt").write_text("".join(texts), encoding="utf-8")
    print("".join(texts) + demo.ending("text.txt"))


if __name__ == "__main__":
    main()
