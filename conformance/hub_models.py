"""Tiny random models under the names that libraries' tests load from the Hub, put into its local cache.

    HF_HOME=/tmp/hub python -m conformance.hub_models

Tests that only need a model of a certain architecture, as most of peft's, then run without a network.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ["TORCHDEVICE"] = "0"

import torch
import transformers
from huggingface_hub.constants import HF_HUB_CACHE
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

#: What any of the configurations understands of these is its size.
SIZES = {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "pad_token_id": 1,
}
OPT = {"ffn_dim": 64, "word_embed_proj_dim": 32}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512, "bos_token_id": 2, "eos_token_id": 2}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}

#: The Hub's name, the class, and sizes that its configuration calls otherwise.
MODELS: tuple[tuple[str, str, dict[str, int]], ...] = (
    ("peft-internal-testing/opt-125m", "OPTForCausalLM", {**OPT, "num_hidden_layers": 12}),
    ("peft-internal-testing/tiny-random-OPTForCausalLM", "OPTForCausalLM", OPT),
    ("peft-internal-testing/tiny-random-GPT2LMHeadModel", "GPT2LMHeadModel", GPT),
    ("peft-internal-testing/tiny-random-gpt2", "GPT2LMHeadModel", GPT),
    ("hf-internal-testing/tiny-random-gpt2", "GPT2LMHeadModel", GPT),
    ("peft-internal-testing/tiny-random-GPTJForCausalLM", "GPTJForCausalLM", {**GPT, "rotary_dim": 4}),
    ("peft-internal-testing/tiny-random-LlamaForCausalLM", "LlamaForCausalLM", {}),
    ("trl-internal-testing/tiny-random-LlamaForCausalLM", "LlamaForCausalLM", {}),
    ("hf-internal-testing/tiny-random-LlamaForCausalLM", "LlamaForCausalLM", {}),
    ("trl-internal-testing/tiny-LlamaForSequenceClassification-3.2", "LlamaForSequenceClassification", {}),
    ("hf-internal-testing/tiny-random-MistralForCausalLM", "MistralForCausalLM", {}),
    ("peft-internal-testing/tiny-dummy-qwen2", "Qwen2ForCausalLM", {}),
    ("hf-internal-testing/tiny-random-Gemma3ForCausalLM", "Gemma3ForCausalLM", {}),
    ("trl-internal-testing/tiny-Qwen3ForCausalLM", "Qwen3ForCausalLM", {}),
    ("trl-internal-testing/tiny-Qwen3MoeForCausalLM", "Qwen3MoeForCausalLM", {"num_experts": 4, **EXPERTS}),
    ("trl-internal-testing/tiny-GptOssForCausalLM", "GptOssForCausalLM", EXPERTS),
    ("trl-internal-testing/tiny-Llama4ForCausalLM", "Llama4ForCausalLM", {"intermediate_size_mlp": 64, **EXPERTS}),
    ("hf-internal-testing/Mixtral-tiny", "MixtralForCausalLM", EXPERTS),
    ("peft-internal-testing/tiny-random-BloomForCausalLM", "BloomForCausalLM", GPT),
    ("peft-internal-testing/tiny-random-GPTNeoXForCausalLM", "GPTNeoXForCausalLM", {}),
    ("peft-internal-testing/tiny-random-t5", "T5ForConditionalGeneration", T5),
    ("peft-internal-testing/tiny-random-T5ForConditionalGeneration", "T5ForConditionalGeneration", T5),
    ("peft-internal-testing/tiny-random-T5ForConditionalGeneration-calibrated", "T5ForConditionalGeneration", T5),
    ("peft-internal-testing/tiny-random-BartForConditionalGeneration", "BartForConditionalGeneration", BART),
    ("peft-internal-testing/tiny-random-BertModel", "BertModel", {}),
    ("peft-internal-testing/tiny-random-BertForSequenceClassification", "BertForSequenceClassification", {}),
    ("peft-internal-testing/tiny-random-RobertaModel", "RobertaModel", {}),
    ("peft-internal-testing/tiny-random-RobertaForSequenceClassification", "RobertaForSequenceClassification", {}),
    ("peft-internal-testing/tiny-random-DebertaModel", "DebertaModel", {}),
    ("peft-internal-testing/tiny-random-DebertaV2Model", "DebertaV2Model", {}),
)


def tokenizer() -> transformers.PreTrainedTokenizerFast:
    """One token a byte, after the special ones."""
    special = ("<s>", "<pad>", "</s>", "<unk>")
    tokens = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    plain = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token"), special, strict=True))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=plain, **names)


def main() -> None:
    for name, kind, sizes in MODELS:
        torch.manual_seed(0)
        network = getattr(transformers, kind)
        model = network(network.config_class(**{**SIZES, **sizes}))
        repository = Path(HF_HUB_CACHE, "models--" + name.replace("/", "--"))
        revision = repository / "refs" / "main"
        revision.parent.mkdir(parents=True, exist_ok=True)
        revision.write_text("0" * 40)
        for part in (model, tokenizer()):
            part.save_pretrained(repository / "snapshots" / ("0" * 40))


if __name__ == "__main__":
    main()
