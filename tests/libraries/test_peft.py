"""peft on cuda: adapters on a tiny Llama learn, merge, and are saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

LAYERS = {"target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
ADAPTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("LoraConfig", {"r": 4, **LAYERS}),
    "dora": ("LoraConfig", {"r": 4, "use_dora": True, **LAYERS}),
    "rslora": ("LoraConfig", {"r": 4, "use_rslora": True, "init_lora_weights": "pissa", **LAYERS}),
    "adalora": ("AdaLoraConfig", {"init_r": 4, "target_r": 2, "total_step": 20, **LAYERS}),
    "ia3": ("IA3Config", {**LAYERS, "feedforward_modules": []}),
    "loha": ("LoHaConfig", {"r": 4, **LAYERS}),
    "lokr": ("LoKrConfig", {"r": 4, **LAYERS}),
    "oft": ("OFTConfig", {"oft_block_size": 4, **LAYERS}),
    "boft": ("BOFTConfig", {"boft_block_size": 4, **LAYERS}),
    "vera": ("VeraConfig", {"r": 4, **LAYERS, "target_modules": ["q_proj"]}),
    "fourierft": ("FourierFTConfig", {"n_frequency": 20, **LAYERS}),
    "hra": ("HRAConfig", {"r": 4, **LAYERS}),
    "prompt": ("PromptTuningConfig", {"num_virtual_tokens": 3, "task_type": "CAUSAL_LM"}),
    "prefix": ("PrefixTuningConfig", {"num_virtual_tokens": 3, "task_type": "CAUSAL_LM"}),
}


def llama() -> Any:
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, num_attention_heads=4))


def train(model: Any, device: str, half: bool = False) -> list[float]:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-2)
    tokens = torch.arange(16).view(2, 8).to(device)
    losses = []
    for _ in range(3):
        with torch.autocast(device, torch.bfloat16, enabled=half):
            loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("kind", ADAPTERS)
def test_adapters_learn_what_they_learn_on_the_cpu(kind: str, tmp_path: Path) -> None:
    name, settings = ADAPTERS[kind]
    losses, outputs = {}, {}
    tokens = torch.arange(8).view(1, 8)
    for device in ("cpu", "cuda"):
        model = peft.get_peft_model(llama(), getattr(peft, name)(**settings))
        torch.manual_seed(1)
        model.load_state_dict({key: value + 0.01 * torch.randn_like(value) if value.is_floating_point() else value
                               for key, value in model.state_dict().items()})  # fmt: skip
        model.to(device)
        losses[device] = train(model, device)
        outputs[device] = model.eval()(input_ids=tokens.to(device)).logits.detach()
    assert outputs["cuda"].device.type == "cuda"
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-3)
    torch.testing.assert_close(outputs["cuda"].cpu(), outputs["cpu"], rtol=1e-2, atol=1e-3)
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(llama().cuda(), tmp_path)
    assert {weight.device.type for weight in again.parameters()} == {"cuda"}
    if kind not in ("prompt", "prefix"):
        merged = model.merge_and_unload()
        torch.testing.assert_close(merged(input_ids=tokens.cuda()).logits, outputs["cuda"], rtol=1e-2, atol=1e-3)


def test_half_precision_with_gradient_checkpointing() -> None:
    model = llama().to("cuda", torch.bfloat16)
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_dropout=0.1, **LAYERS)).train()
    losses = train(adapted, "cuda", half=True)
    assert losses[-1] < losses[0]
    assert {weight.dtype for weight in adapted.parameters() if weight.requires_grad} == {torch.float32}
