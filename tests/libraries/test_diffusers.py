"""diffusers on cuda: pipelines of tiny random parts, their training step, and their ways to save a GPU's memory."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")


def unet() -> Any:
    torch.manual_seed(0)
    blocks = ("DownBlock2D", "AttnDownBlock2D"), ("AttnUpBlock2D", "UpBlock2D")
    return diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=blocks[0],
        up_block_types=blocks[1],
    )


@pytest.mark.parametrize("scheduler", ["DDPM", "DDIM", "DPMSolverMultistep", "EulerAncestralDiscrete"])
def test_images_are_those_of_the_cpu(scheduler: str) -> None:
    """diffusers draws from a CPU generator and moves the noise: the same images on each device."""
    images = []
    for device in ("cpu", "cuda"):
        model, steps = unet().to(device), getattr(diffusers, f"{scheduler}Scheduler")()
        steps.set_timesteps(3, device=device)
        generator = torch.Generator("cpu").manual_seed(3)
        noise = diffusers.utils.torch_utils.randn_tensor((2, 3, 8, 8), generator=generator, device=torch.device(device))
        image = noise * steps.init_noise_sigma
        with torch.no_grad():
            for time in steps.timesteps:
                predicted = model(steps.scale_model_input(image, time), time).sample
                image = steps.step(predicted, time, image, generator=generator).prev_sample
        assert image.device.type == device
        images.append(image.cpu())
    torch.testing.assert_close(images[1], images[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("precision", ["no", "fp16", "bf16"])
def test_training_with_accelerate_and_ema(precision: str) -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = accelerate.Accelerator(mixed_precision=precision)
    assert accelerator.device == torch.device("cuda")
    model = unet()
    model.enable_gradient_checkpointing()
    averaged = diffusers.training_utils.EMAModel(copy.deepcopy(model).parameters(), decay=0.5)
    noises = diffusers.DDPMScheduler(num_train_timesteps=50)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = diffusers.optimization.get_cosine_schedule_with_warmup(optimizer, 1, 6)
    data: Any = torch.utils.data.DataLoader(torch.randn(12, 3, 8, 8), batch_size=2)
    model, optimizer, data, schedule = accelerator.prepare(model, optimizer, data, schedule)
    averaged.to(accelerator.device)
    for images in data:
        noise, times = torch.randn_like(images), torch.randint(0, 50, (2,), device=images.device)
        with accelerator.accumulate(model):
            loss = torch.nn.functional.mse_loss(model(noises.add_noise(images, noise, times), times).sample, noise)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        averaged.step(model.parameters())
    assert loss.isfinite()
    assert loss.device.type == "cuda"
    averaged.copy_to(model.parameters())
    pipeline = diffusers.DDPMPipeline(unet=accelerator.unwrap_model(model), scheduler=noises)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(batch_size=2, num_inference_steps=2, generator=torch.Generator("cuda").manual_seed(0)).images
    assert [image.size for image in images] == [(8, 8)] * 2


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Any]:
    """What a Stable Diffusion pipeline consists of, with a tokenizer that knows letters."""
    letters = [chr(code) for code in range(97, 123)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(
        vocab=str(tmp_path / "vocab.json"), merges=str(tmp_path / "merges.txt"), model_max_length=16
    )
    torch.manual_seed(0)
    text = transformers.CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=words.index("<|startoftext|>"),
        eos_token_id=words.index("<|endoftext|>"),
    )
    return {
        "vae": diffusers.AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=16,
        ),
        "text_encoder": transformers.CLIPTextModel(text).eval(),
        "tokenizer": tokenizer,
        "unet": diffusers.UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=4,
            cross_attention_dim=16,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        ),
        "scheduler": diffusers.DDIMScheduler(clip_sample=False, steps_offset=1),
        "safety_checker": None,
        "feature_extractor": None,
    }


def paint(pipeline: Any, device: str = "cpu") -> np.ndarray[Any, Any]:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator(device).manual_seed(5)
    how = {"num_inference_steps": 2, "height": 16, "width": 16, "output_type": "np"}
    images: np.ndarray[Any, Any] = pipeline("a cat", generator=generator, **how).images
    return images


def test_stable_diffusion_paints_what_it_paints_on_the_cpu(parts: dict[str, Any]) -> None:
    pipeline = diffusers.StableDiffusionPipeline(**parts, requires_safety_checker=False)
    expected = paint(pipeline)
    pipeline.to("cuda")
    np.testing.assert_allclose(paint(pipeline), expected, atol=1e-3)
    pipeline.enable_attention_slicing()
    pipeline.vae.enable_tiling()
    pipeline.vae.enable_slicing()
    np.testing.assert_allclose(paint(pipeline), expected, atol=1e-3)


@pytest.mark.parametrize("offload", ["enable_model_cpu_offload", "enable_sequential_cpu_offload"])
def test_stable_diffusion_in_turns_on_the_gpu(offload: str, parts: dict[str, Any]) -> None:
    pytest.importorskip("accelerate")
    pipeline = diffusers.StableDiffusionPipeline(**parts, requires_safety_checker=False)
    expected = paint(pipeline)
    getattr(pipeline, offload)()
    assert pipeline._execution_device.type == "cuda"
    np.testing.assert_allclose(paint(pipeline), expected, atol=1e-3)
    assert pipeline.unet.device.type in ("cpu", "meta")


def test_stable_diffusion_in_half_precision_from_a_folder(parts: dict[str, Any], tmp_path: Path) -> None:
    diffusers.StableDiffusionPipeline(**parts, requires_safety_checker=False).save_pretrained(tmp_path / "saved")
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "saved", torch_dtype=torch.float16)
    pipeline.to("cuda")
    assert pipeline.unet.dtype == torch.float16
    assert np.isfinite(paint(pipeline, "cuda")).all()
    pipeline.unet.set_attn_processor(diffusers.models.attention_processor.AttnProcessor2_0())
    pipeline.unet.to(memory_format=torch.channels_last)
    assert np.isfinite(paint(pipeline, "cuda")).all()


def test_group_offloading_streams_layers_to_the_gpu() -> None:
    model = unet().eval()
    sample, time = torch.randn(1, 3, 8, 8), torch.tensor([3])
    expected = model(sample, time).sample
    there, here = torch.device("cuda"), torch.device("cpu")
    model.enable_group_offload(there, here, offload_type="leaf_level", use_stream=True)
    torch.testing.assert_close(model(sample.cuda(), time.cuda()).sample.cpu(), expected, rtol=1e-3, atol=1e-4)
