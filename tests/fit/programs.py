"""Small deterministic programs, each a training or an inference in a few steps, that a dry run must measure exactly."""

from __future__ import annotations

_TRAIN = """
import torch
from torch import nn
torch.manual_seed(0)
"""

MLP = (
    _TRAIN
    + """
model = nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.LayerNorm(1024), nn.Linear(1024, 10)).cuda()
optimizer = torch.optim.AdamW(model.parameters())
for _ in range(3):
    x = torch.randn(512, 256, device="cuda")
    y = torch.randint(0, 10, (512,), device="cuda")
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
"""
)

CONV = (
    _TRAIN
    + """
class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.one = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
    def forward(self, x):
        return torch.relu(x + self.norm(self.one(x)))
model = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), Block(32), nn.MaxPool2d(2), Block(32), nn.AdaptiveAvgPool2d(1),
                      nn.Flatten(), nn.Linear(32, 10)).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for _ in range(3):
    x = torch.randn(16, 3, 64, 64, device="cuda")
    y = torch.randint(0, 10, (16,), device="cuda")
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""
)

_GPT = (
    _TRAIN
    + """
class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(batch, length, width))
class Layer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.one, self.two = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(0.1))
    def forward(self, x):
        x = x + self.attention(self.one(x))
        return x + self.mlp(self.two(x))
class GPT(nn.Module):
    def __init__(self, vocabulary=1000, width=128, heads=4, layers=3, length=64, checkpointed=False):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(length, width)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.checkpointed = checkpointed
    def forward(self, tokens):
        x = self.tokens(tokens) + self.places(torch.arange(tokens.size(1), device=tokens.device))
        for layer in self.layers:
            if self.checkpointed:
                x = torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False)
            else:
                x = layer(x)
        return self.head(self.norm(x))
def train(model, steps=3, dtype=None, scaler=None):
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(steps):
        tokens = torch.randint(0, 1000, (8, 64), device="cuda")
        with torch.autocast("cuda", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            logits = model(tokens[:, :-1])
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        if scaler is None:
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        else:
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
"""
)

GPT = _GPT + "train(GPT().cuda())\n"
GPT_BFLOAT16 = _GPT + "train(GPT().cuda(), dtype=torch.bfloat16)\n"
GPT_SCALED = _GPT + "train(GPT().cuda(), dtype=torch.float16, scaler=torch.amp.GradScaler('cuda'))\n"
GPT_CHECKPOINTED = _GPT + "train(GPT(checkpointed=True).cuda())\n"
GPT_INFERENCE = (
    _GPT
    + """
with torch.inference_mode():
    model = GPT().cuda().half()
    for _ in range(2):
        model(torch.zeros(4, 64, dtype=torch.long, device="cuda")).softmax(-1).argmax(-1)
"""
)

GRU = (
    _TRAIN
    + """
model = nn.GRU(64, 128, num_layers=2, batch_first=True).cuda()
optimizer = torch.optim.Adam(model.parameters(), fused=True)
for _ in range(2):
    out, _state = model(torch.randn(16, 20, 64, device="cuda"))
    out.square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
"""
)

#: Without oneDNN's kernel of whole layers, of whose memory torch knows no shapes: as `torchdevice fit` runs programs.
LSTM = "import torch\ntorch.backends.mkldnn.enabled = False\n" + GRU.replace("nn.GRU", "nn.LSTM")

ALL = {
    "mlp": MLP,
    "conv": CONV,
    "gpt": GPT,
    "gpt-bfloat16": GPT_BFLOAT16,
    "gpt-float16-scaler": GPT_SCALED,
    "gpt-checkpointed": GPT_CHECKPOINTED,
    "gpt-inference": GPT_INFERENCE,
    "gru": GRU,
    "lstm": LSTM,
}
