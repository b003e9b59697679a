"""Train a tiny Llama of Hugging Face transformers on a nursery rhyme, byte by byte, and let it recite.

    pip install transformers
    python examples/generate_text.py

Nothing is downloaded. Writes text.txt, what greedy search, beam search and sampling generate, into the folder --out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

RHYME = """Twinkle, twinkle, little star,
How I wonder what you are!
Up above the world so high,
Like a diamond in the sky.
"""


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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--prompt", default="Twinkle")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/generate"))
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("generate_text: torch sees no CUDA device")
    options.out.mkdir(parents=True, exist_ok=True)
    model, losses = train(options.steps, options.seed)
    prompt = torch.tensor([list(options.prompt.encode())], device=model.device)
    searches: dict[str, dict[str, Any]] = {
        "greedy": {"do_sample": False},
        "beams": {"do_sample": False, "num_beams": 3},
        "sampled": {"do_sample": True, "temperature": 0.8, "top_k": 20},
    }
    texts = []
    for name, how in searches.items():
        settings = GenerationConfig(max_new_tokens=120, pad_token_id=0, eos_token_id=0, **how)
        tokens = model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=settings)
        texts.append(f"--- {name}\n{bytes(tokens[0].tolist()).rstrip(bytes(1)).decode(errors='replace')}\n")
    (options.out / "text.txt").write_text("".join(texts))
    print("".join(texts) + f"loss {losses[0]:.3f} -> {losses[-1]:.3f}; see {options.out}/text.txt")


if __name__ == "__main__":
    main()
