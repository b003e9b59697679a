"""timm on cuda: architectures compute what they compute on the CPU; what its training scripts are made of."""

from __future__ import annotations

from typing import Any

import pytest
import torch

try:
    import timm
    import timm.data
    import timm.loss
    import timm.optim
    import timm.utils
except ImportError:  # without torchvision too
    timm = None

pytestmark = pytest.mark.skipif(timm is None, reason="timm, or torchvision, is not installed")

ARCHITECTURES = [
    *("test_resnet", "test_vit", "test_vit2", "test_efficientnet", "test_byobnet", "test_convnext", "test_nfnet"),
    *("resnet10t", "mobilenetv3_small_050", "lcnet_035", "regnetx_002", "repvgg_a0", "mobilevit_xxs", "ghostnet_050"),
    *("levit_128s", "efficientvit_b0", "fastvit_t8", "edgenext_xx_small", "xcit_nano_12_p16_224", "pit_ti_224"),
]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_are_those_of_the_cpu(name: str) -> None:
    results = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=5).to(device).eval()
        size = model.default_cfg["input_size"] if model.default_cfg.get("fixed_input_size") else (3, 64, 64)
        image = torch.randn(1, *size, generator=torch.Generator().manual_seed(1)).to(device).requires_grad_()
        logits = model(image)
        logits.square().sum().backward()
        assert (logits.device.type, image.grad.device.type) == (device, device)
        results.append((logits.detach().cpu(), image.grad.cpu()))
    torch.testing.assert_close(results[1], results[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_training_step_of_the_scripts(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    device = torch.device("cuda")
    model = timm.create_model("test_efficientnet", num_classes=10, drop_rate=0.1, drop_path_rate=0.1).to(device)
    averaged = timm.utils.ModelEmaV3(model, decay=0.9, use_warmup=True)
    optimizer = timm.optim.create_optimizer_v2(model, opt="lamb", lr=1e-2, weight_decay=0.05)
    scaler: Any = timm.utils.NativeScaler()
    mixup = timm.data.Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=10)
    images, labels = torch.randn(4, 3, 64, 64, device=device), torch.arange(4, device=device)
    for step in range(3):
        mixed, targets = mixup(images.clone(), labels)
        with torch.autocast("cuda", dtype):
            loss = timm.loss.SoftTargetCrossEntropy()(model(mixed), targets)
        scaler(loss, optimizer, clip_grad=1.0, clip_mode="agc", parameters=model.parameters())
        optimizer.zero_grad()
        averaged.update(model, step=step)
    assert loss.isfinite()
    top1, top5 = timm.utils.accuracy(averaged.module(images), labels, topk=(1, 5))
    assert top1.device == top5.device == torch.device("cuda:0")


OPTIMIZERS = ("adafactorbv", "adan", "adopt", "lion", "mars", "muon", "nadamw", "radam", "sgdp", "kron")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str) -> None:
    weights = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.LayerNorm(8)).to(device)
        optimizer = timm.optim.create_optimizer_v2(model, opt=name, lr=1e-2)
        inputs = torch.randn(4, 8, generator=torch.Generator().manual_seed(1)).to(device)
        for _ in range(3):
            optimizer.zero_grad()
            model(inputs).square().mean().backward()
            optimizer.step()
        weights.append([weight.detach().cpu() for weight in model.parameters()])
    if name != "kron":  # it draws from torch's generator
        torch.testing.assert_close(weights[1], weights[0], rtol=1e-3, atol=1e-4)


def test_batches_are_prefetched_to_the_gpu() -> None:
    class Images(torch.utils.data.Dataset[Any]):
        transform = None

        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> Any:
            from PIL import Image

            picture = Image.new("RGB", (40, 40), (index, 0, 0))
            return (self.transform(picture) if self.transform else picture), index

    how = {"is_training": True, "num_workers": 0, "use_prefetcher": True, "re_prob": 0.5, "persistent_workers": False}
    loader = timm.data.create_loader(Images(), input_size=(3, 32, 32), batch_size=4, device=torch.device("cuda"), **how)
    batches = list(loader)
    assert [(images.device.type, labels.device.type) for images, labels in batches] == [("cuda", "cuda")] * 2
