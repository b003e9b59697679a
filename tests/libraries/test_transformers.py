"""transformers on cuda: every kind of model computes what it computes on the CPU; Trainer, generate, offloading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers")

TEXT = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
#: Nothing of these is default: attention of groups, experts, state spaces, convolutions, encoders with decoders.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", {**TEXT, "num_key_value_heads": 2}),
    "gpt2": ("GPT2LMHeadModel", {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    "gpt_neox": ("GPTNeoXForCausalLM", TEXT),
    "opt": ("OPTForCausalLM", {**TEXT, "ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 64}),
    "bloom": ("BloomForCausalLM", {"vocab_size": 64, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "falcon": ("FalconForCausalLM", {**TEXT, "alibi": True, "new_decoder_architecture": False}),
    "phi3": ("Phi3ForCausalLM", {**TEXT, "pad_token_id": 0}),
    "gemma3_text": ("Gemma3ForCausalLM", {**TEXT, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4}),
    "qwen3": ("Qwen3ForCausalLM", {**TEXT, "num_key_value_heads": 2, "head_dim": 8}),
    "mixtral": ("MixtralForCausalLM", {**TEXT, "num_key_value_heads": 2, "num_local_experts": 4}),
    "qwen3_moe": (
        "Qwen3MoeForCausalLM",
        {
            **TEXT,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
        },
    ),
    "gpt_oss": (
        "GptOssForCausalLM",
        {**TEXT, "num_key_value_heads": 2, "head_dim": 8, "num_local_experts": 4, "sliding_window": 4},
    ),
    "deepseek_v3": (
        "DeepseekV3ForCausalLM",
        {
            **TEXT,
            "num_key_value_heads": 4,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_group": 2,
            "topk_group": 1,
            "q_lora_rank": 8,
            "kv_lora_rank": 8,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
            "moe_intermediate_size": 16,
            "first_k_dense_replace": 1,
        },
    ),
    "mamba": ("MambaForCausalLM", {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
    "mamba2": (
        "Mamba2ForCausalLM",
        {
            "vocab_size": 64,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "state_size": 4,
            "chunk_size": 4,
            "num_heads": 8,
            "head_dim": 8,
            "n_groups": 2,
        },
    ),
    "recurrent_gemma": (
        "RecurrentGemmaForCausalLM",
        {**TEXT, "num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 8},
    ),
    "bert": ("BertForMaskedLM", TEXT),
    "modernbert": ("ModernBertForMaskedLM", {**TEXT, "pad_token_id": 0, "local_attention": 4}),
    "deberta-v2": (
        "DebertaV2ForMaskedLM",
        {**TEXT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 4},
    ),
    "longformer": ("LongformerForMaskedLM", {**TEXT, "attention_window": 4, "max_position_embeddings": 64}),
    "big_bird": ("BigBirdForMaskedLM", {**TEXT, "attention_type": "original_full"}),
    "t5": (
        "T5ForConditionalGeneration",
        {
            "vocab_size": 64,
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 48,
            "num_layers": 2,
            "num_heads": 4,
            "decoder_start_token_id": 0,
        },
    ),
    "bart": (
        "BartForConditionalGeneration",
        {
            "vocab_size": 64,
            "d_model": 32,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
        },
    ),
    "vit": ("ViTForImageClassification", {**TEXT, "image_size": 32, "patch_size": 8}),
    "swin": (
        "SwinForImageClassification",
        {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
    ),
    "resnet": ("ResNetForImageClassification", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}),
    "segformer": (
        "SegformerForImageClassification",
        {
            "num_encoder_blocks": 2,
            "depths": [1, 1],
            "sr_ratios": [4, 2],
            "hidden_sizes": [8, 16],
            "num_attention_heads": [1, 2],
            "patch_sizes": [7, 3],
            "strides": [4, 2],
            "mlp_ratios": [2, 2],
        },
    ),
    "wav2vec2": (
        "Wav2Vec2ForSequenceClassification",
        {
            **TEXT,
            "conv_dim": [8, 8],
            "conv_stride": [4, 4],
            "conv_kernel": [8, 8],
            "num_conv_pos_embeddings": 8,
            "num_conv_pos_embedding_groups": 2,
            "classifier_proj_size": 8,
            "num_feat_extract_layers": 2,
            "apply_spec_augment": False,
            "layerdrop": 0.0,
        },
    ),
}
IMAGES = ("vit", "swin", "resnet", "segformer")


def build(name: str) -> Any:
    """A model of random weights in training mode, without dropout, so that devices can be compared."""
    model, settings = MODELS[name]
    config = transformers.AutoConfig.for_model(name, **settings)
    for probability in [key for key in vars(config) if "drop" in key and isinstance(getattr(config, key), float)]:
        setattr(config, probability, 0.0)
    torch.manual_seed(0)
    return getattr(transformers, model)(config).train()


def inputs(name: str, device: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    if name not in (*IMAGES, "wav2vec2"):
        tokens = torch.randint(3, 64, (2, 8), device="cpu")
        mask = torch.ones_like(tokens)
        mask[1, 6:] = 0
        given = {"input_ids": tokens, "attention_mask": mask, "labels": tokens}
    else:
        values = torch.randn((2, 3, 32, 32) if name in IMAGES else (2, 400), device="cpu")
        given = {"pixel_values" if name in IMAGES else "input_values": values, "labels": torch.tensor([0, 1])}
    return {name: value.to(device) for name, value in given.items()}


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_those_of_the_cpu(name: str) -> None:
    results = {}
    for device in ("cpu", "cuda"):
        model = build(name).to(device)
        output = model(**inputs(name, device))
        output.loss.backward()
        assert output.loss.device.type == device
        gradients = {key: weight.grad.cpu() for key, weight in model.named_parameters() if weight.grad is not None}
        results[device] = {"loss": output.loss.detach().cpu(), "logits": output.logits.detach().cpu(), **gradients}
    torch.testing.assert_close(results["cuda"], results["cpu"], rtol=1e-3, atol=1e-5)


class Sentences(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens = torch.arange(index, index + 8) % 60 + 3
        return {"input_ids": tokens, "labels": tokens}


@pytest.mark.parametrize(
    "how",
    [
        {"fp16": True},
        {"bf16": True, "gradient_checkpointing": True},
        {"optim": "adamw_torch_fused", "tf32": True},
        {"torch_compile": True},
        {"dataloader_num_workers": 1, "dataloader_pin_memory": True, "auto_find_batch_size": True},
    ],
    ids=lambda how: "-".join(how)[:40],
)
def test_trainer(how: dict[str, Any], tmp_path: Path) -> None:
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=4,
        save_steps=2,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        learning_rate=1e-2,
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
        **how,
    )
    assert (arguments.device.type, arguments.n_gpu) == ("cuda", 1)
    model = build("llama")
    trainer = transformers.Trainer(model=model, args=arguments, train_dataset=Sentences(), eval_dataset=Sentences())
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    assert next(trainer.model.parameters()).device == torch.device("cuda:0")
    again = transformers.Trainer(model=build("llama"), args=arguments, train_dataset=Sentences())
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert again.state.global_step == 4
    assert trainer.evaluate()["eval_loss"] < losses[0]


GENERATIONS: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "static cache": {"do_sample": False, "cache_implementation": "static", "disable_compile": True},
    "offloaded cache": {"do_sample": False, "cache_implementation": "offloaded"},
    "beams": {"do_sample": False, "num_beams": 3, "no_repeat_ngram_size": 2},
    "prompt lookup": {"do_sample": False, "prompt_lookup_num_tokens": 3},
}


@pytest.mark.parametrize("how", GENERATIONS)
def test_generated_tokens_are_those_of_the_cpu(how: str) -> None:
    tokens = {}
    for device in ("cpu", "cuda"):
        model = build("llama").eval().to(device)
        settings = transformers.GenerationConfig(max_new_tokens=8, pad_token_id=0, **GENERATIONS[how])
        if device == "cpu" and how == "offloaded cache":
            settings.cache_implementation = None
        given = inputs("llama", device)["input_ids"][:1]
        tokens[device] = model.generate(given, attention_mask=torch.ones_like(given), generation_config=settings)
    assert tokens["cuda"].device.type == "cuda"
    assert tokens["cuda"].tolist() == tokens["cpu"].tolist()


def test_assisted_generation() -> None:
    model, assistant = build("llama").eval().cuda(), build("llama").eval().cuda()
    tokens = torch.arange(3, 11, device="cuda").view(1, -1)
    alone = model.generate(tokens, max_new_tokens=8, do_sample=False, pad_token_id=0)
    helped = model.generate(tokens, max_new_tokens=8, do_sample=False, pad_token_id=0, assistant_model=assistant)
    assert helped.tolist() == alone.tolist()


def test_sampling_follows_the_seed() -> None:
    model = build("llama").eval().cuda()
    tokens = torch.arange(3, 11, device="cuda").view(1, -1)
    drawn = []
    for seed in (1, 1, 2):
        transformers.set_seed(seed)
        how = {"do_sample": True, "top_p": 0.9, "top_k": 20, "num_return_sequences": 2, "max_new_tokens": 8}
        drawn.append(model.generate(tokens, pad_token_id=0, **how).tolist())
    assert drawn[0] == drawn[1] != drawn[2]


def test_static_cache_compiles_the_decoder() -> None:
    """On a GPU, and only there, `generate` compiles the forward pass over a static cache by itself."""
    model = build("llama").eval()
    tokens = torch.arange(3, 11).view(1, -1)
    how = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    expected = model.generate(tokens, **how).tolist()
    assert model.cuda().generate(tokens.cuda(), **how, cache_implementation="static").tolist() == expected
    assert hasattr(model, "_compiled_call")


@pytest.mark.parametrize("where", ["auto", "cuda", {"": 0}, "half offloaded"])
def test_device_map(where: Any, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    original = build("llama").eval()
    original.save_pretrained(tmp_path)
    if where == "half offloaded":
        where = {"model.embed_tokens": 0, "model.layers.0": 0, "model.layers.1": "cpu", "model.norm": 0,
                 "model.rotary_emb": 0, "lm_head": 0}  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, device_map=where)
    given = inputs("llama", "cpu")
    expected = original(**given).logits
    result = model(**{name: value.cuda() for name, value in given.items()}).logits
    assert result.device == torch.device("cuda:0")
    torch.testing.assert_close(result.cpu(), expected)
