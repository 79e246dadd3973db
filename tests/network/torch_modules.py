"""PyTorch modules as people write them, for the tests of their reading."""

from tests.support import require

torch = require("torch")
nn, F = torch.nn, torch.nn.functional


class Module(nn.Module):
    """A forward function of (module, x), with parts by name."""

    def __init__(self, forward, buffers=None, **parts):
        super().__init__()
        self._forward = forward
        for name, part in parts.items():
            setattr(self, name, part)
        for name, buffer in (buffers or {}).items():
            self.register_buffer(name, buffer)

    def forward(self, x):
        return self._forward(self, x)


def images(*size, batch=2):
    return torch.randn(batch, *(size or (3, 8, 8)))


def sequences(batch=3, length=6, width=8):
    return torch.randn(batch, length, width)


def tokens(batch=3, length=6):
    return torch.randint(0, 20, (batch, length))


class ResidualCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.LayerNorm([16, 8, 8])
        self.second = nn.Conv2d(16, 16, 3, padding="same")
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        h = self.first(x)
        h = h + self.second(F.relu(self.norm(h)))
        return self.head(F.relu(h).mean((2, 3)))


class Encoder(nn.Module):
    def __init__(self, norm_first=False, batch_first=True, learned=True):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.positions = nn.Embedding(6, 8) if learned else None
        layer = nn.TransformerEncoderLayer(
            8, 2, 16, batch_first=batch_first, norm_first=norm_first, activation="gelu"
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)
        self.batch_first = batch_first

    def forward(self, tokens):
        h = self.embed(tokens)
        if self.positions is not None:
            h = h + self.positions(torch.arange(tokens.shape[1]))
        if not self.batch_first:
            h = h.transpose(0, 1)
        return self.head(self.encoder(h).mean(1 if self.batch_first else 0))


class Views(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.hidden = nn.Linear(6 * 36, 12)
        self.head = nn.Linear(12, 2)

    def forward(self, x):
        h = F.gelu(self.conv(x))
        h = h.view(h.size(0), -1)
        return self.head(F.gelu(self.hidden(h), approximate="tanh"))


def vgg():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(3, 2, 1),
        nn.Flatten(), nn.Linear(48, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 10),
    )  # fmt: skip


class BasicBlock(nn.Module):
    """He et al. 2016, with in-place operations as in torchvision; `first`: activation first."""

    def __init__(self, inputs, outputs, stride, first):
        super().__init__()
        self.first = first
        self.norm1 = nn.BatchNorm2d(inputs if first else outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.down = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 else None

    def forward(self, x):
        if self.first:
            h = F.relu(self.norm1(x))
            shortcut = x if self.down is None else self.down(h)
            return self.conv2(F.relu(self.norm2(self.conv1(h)))) + shortcut
        out = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        out += x if self.down is None else self.down(x)
        return self.relu(out)


def resnet(first):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        BasicBlock(8, 8, 1, first), BasicBlock(8, 12, 2, first),
        nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(1), nn.Linear(12, 10),
    )  # fmt: skip


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1 = nn.Conv2d(3, 4, 3, padding=1)
        self.down2 = nn.Conv2d(4, 6, 3, padding=1)
        self.middle = nn.Conv2d(6, 6, 3, padding=1)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear")
        self.up1 = nn.Conv2d(12, 4, 3, padding=1)
        self.transposed = nn.ConvTranspose2d(4, 4, 2, 2)
        self.up2 = nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x):
        a = F.relu(self.down1(x))
        b = F.relu(self.down2(F.max_pool2d(a, 2)))
        c = F.relu(self.middle(F.avg_pool2d(b, 2)))
        d = F.relu(self.up1(torch.cat([self.up(c), b], 1)))
        return self.up2(torch.cat([a, self.transposed(d)], dim=1))


class VisionTransformer(nn.Module):
    """With a class token; patches by a convolution, or by views and a linear layer."""

    def __init__(self, by_views):
        super().__init__()
        self.by_views = by_views
        self.patches = nn.Linear(48, 8) if by_views else nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.positions = nn.Parameter(torch.randn(1, 5, 8) * 0.02)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        b = x.shape[0]
        if self.by_views:
            x = x.reshape(b, 3, 2, 4, 2, 4).permute(0, 2, 4, 3, 5, 1).reshape(b, -1, 48)
            x = self.patches(x)
        else:
            x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(b, -1, -1), x], 1) + self.positions
        return self.head(self.encoder(x)[:, 0])


class GPT(nn.Module):
    """Attention written out, as in minGPT."""

    def __init__(self, length=6):
        super().__init__()
        self.embed, self.positions = nn.Embedding(20, 8), nn.Embedding(length, 8)
        self.norm, self.attend, self.project = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.head = nn.Linear(8, 20, bias=False)
        self.register_buffer("mask", torch.tril(torch.ones(length, length))[None, None])

    def forward(self, tokens):
        b, t = tokens.shape
        x = self.embed(tokens) + self.positions(torch.arange(t))
        q, k, v = self.attend(self.norm(x)).split(8, dim=2)
        q, k, v = (y.view(b, t, 2, 4).transpose(1, 2) for y in (q, k, v))
        a = (q @ k.transpose(-2, -1)) * (1.0 / k.size(-1) ** 0.5)
        a = a.masked_fill(self.mask[:, :, :t, :t] == 0, float("-inf")).softmax(-1)
        y = (a @ v).transpose(1, 2).contiguous().view(b, t, 8)
        return self.head(x + self.project(y))


class SwiGLU(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 8)
        self.both = nn.Linear(8, 32, bias=False)
        self.back = nn.Linear(16, 8, bias=False)
        self.gate = nn.Sequential(nn.Linear(8, 16), nn.GLU())
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        h = self.inner(x)
        a, b = self.both(h).chunk(2, dim=-1)
        h = h + self.back(F.silu(a) * b)
        return self.head(h + self.gate(h))


class Elman(nn.Module):
    def __init__(self, layers=2, batch_first=True, states=True):
        super().__init__()
        self.rnn = nn.RNN(4, 8, layers, batch_first=batch_first, nonlinearity="relu")
        self.head = nn.Linear(8, 3)
        self.batch_first, self.states = batch_first, states

    def forward(self, x):
        states, last = self.rnn(x if self.batch_first else x.transpose(0, 1))
        if not self.states:
            return self.head(last.squeeze(0))
        return self.head(states[:, -1] if self.batch_first else states[-1])


class Mixer(nn.Module):
    """Tolstikhin et al. 2021: a linear layer over positions."""

    def __init__(self):
        super().__init__()
        self.tokens, self.channels = nn.Linear(6, 6), nn.Linear(8, 8)

    def forward(self, x):
        x = x + self.tokens(x.transpose(1, 2)).transpose(1, 2)
        return (x + F.gelu(self.channels(x))).mean(1)


class OwnNorm(nn.Module):
    """Norms that people write themselves."""

    def __init__(self, width, kind):
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(torch.ones(width))
        if kind.startswith("layer"):
            self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x):
        if self.kind == "rms":
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight
        if self.kind == "rms, weight first":
            return self.weight * x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6)
        mean = x.mean(-1, keepdim=True)
        if self.kind == "layer, squares":
            var = (x - mean).pow(2).mean(-1, keepdim=True)
            return (x - mean) / (var + 1e-5).sqrt() * self.weight + self.bias
        var = x.var(-1, keepdim=True, unbiased=self.kind == "layer, unbiased")
        return self.weight * (x - mean) / torch.sqrt(var + 1e-5) + self.bias


def squeeze_excite(m, x):
    h = F.relu(m.conv(x))
    gate = torch.sigmoid(m.up(F.relu(m.down(h.mean((2, 3))))))
    return m.head((h * gate[:, :, None, None]).mean((2, 3)))


def einsum_attention(m, x):
    b, t, c = x.shape
    q, k, v = (layer(x).view(b, t, 2, 4) for layer in (m.q, m.k, m.v))
    a = (torch.einsum("bthd,bshd->bhts", q, k) * 0.5).softmax(-1)
    return m.head(torch.einsum("bhts,bshd->bthd", a, v).reshape(b, t, c))


def fused_attention(m, x):
    b, t, c = x.shape
    q, k, v = m.qkv(m.inner(x)).reshape(b, t, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return m.head(out.transpose(1, 2).reshape(b, t, c))


def patch_merging(m, x):
    h = m.inner(x)
    parts = [h[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
    return m.outer(m.norm(torch.cat(parts, -1))).flatten(1, 2).mean(1)


def dense_block(m, x):
    a = m.conv0(x)
    b = m.conv1(F.relu(m.norm1(a)))
    return F.relu(m.norm2(torch.cat([a, b], 1))).mean((2, 3))


def frames(m, x):
    b, t = x.shape[:2]
    h = F.relu(m.conv(x.flatten(0, 1))).mean((2, 3)).view(b, t, -1)
    return m.head(m.rnn(h)[0][:, -1])


def interleaved_heads(m, x):
    b, t, c = x.shape
    q, k, v = (layer(x).view(b, t, 4, 2).permute(0, 3, 1, 2) for layer in (m.q, m.k, m.v))
    out = F.scaled_dot_product_attention(q, k, v)
    return m.head(out.permute(0, 2, 3, 1).reshape(b, t, c))


def channels_first_norm(m, x):
    h = m.conv(x)
    mean = h.mean(1, keepdim=True)
    h = (h - mean) / torch.sqrt((h - mean).pow(2).mean(1, keepdim=True) + 1e-6)
    return m.head(m.weight[:, None, None] * h + m.bias[:, None, None])


def masked_attention(m, x):
    b, t = x.shape[:2]
    q, k, v = (layer(x).view(b, t, 2, 4).transpose(1, 2) for layer in (m.q, m.k, m.v))
    seen = torch.tril(torch.ones(t, t, dtype=torch.bool))
    return m.head(F.scaled_dot_product_attention(q, k, v, seen).transpose(1, 2).flatten(2))


def highway(m, x):
    h = m.inner(x)
    gate = torch.sigmoid(m.a(h))
    return m.head(gate * F.relu(m.b(h)) + (1 - gate) * h)


def patches_by_unfold(m, x):
    patches = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5)
    return m.inner(patches.flatten(3)).flatten(1, 2)


def in_place(m, x):
    h = m.relu(m.conv(x))
    h = m.norm(h).flatten(2).transpose(1, 2)
    h = F.silu(m.attend(h, h, h)[0], inplace=True)
    h = F.dropout(m.last(h), 0.0).mean(1)
    h *= 2
    return m.head(h.clamp_(min=-1))


def qkv(**more):
    return {name: nn.Linear(8, 8) for name in "qkv"} | {"head": nn.Linear(8, 3)} | more


READ = {
    "mlp": lambda: (nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)), images(3)),
    "residual CNN with LayerNorm": lambda: (ResidualCNN(), images()),
    "post-norm encoder": lambda: (Encoder(), tokens()),
    "pre-norm encoder, positions first": lambda: (Encoder(True, False), tokens()),
    "gelu and views": lambda: (Views(), images(1, 8, 8)),
    "one example": lambda: (Views(), images(1, 8, 8, batch=1)),
    "VGG": lambda: (vgg(), images()),
    "ResNet v1": lambda: (resnet(first=False), images()),
    "ResNet v2": lambda: (resnet(first=True), images()),
    "U-Net": lambda: (UNet(), images()),
    "ViT": lambda: (VisionTransformer(by_views=False), images()),
    "ViT by views": lambda: (VisionTransformer(by_views=True), images()),
    "GPT": lambda: (GPT(), tokens()),
    "SwiGLU": lambda: (SwiGLU(), images(5)),
    "Elman": lambda: (Elman(), torch.randn(2, 5, 4)),
    "Elman, time first": lambda: (Elman(1, batch_first=False), torch.randn(2, 5, 4)),
    "Elman, last state": lambda: (Elman(1, states=False), torch.randn(2, 5, 4)),
    "sine": lambda: (
        Module(lambda m, x: m.b(torch.sin(30 * m.a(x))), a=nn.Linear(2, 8), b=nn.Linear(8, 1)),
        images(2),
    ),
    "average pools": lambda: (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding="same"), nn.GELU(), nn.AvgPool2d(3, 2, 1),
            nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"), nn.SiLU(),
            nn.AvgPool2d(2, padding=1, count_include_pad=False), nn.Flatten(), nn.Linear(72, 3),
        ),
        images(),
    ),
    "MultiheadAttention": lambda: (
        Module(
            lambda m, x: m.head(m.attend(m.q(x), x, x)[0]),
            attend=nn.MultiheadAttention(8, 2, batch_first=True), q=nn.Linear(8, 8),
            head=nn.Linear(8, 3),
        ),
        sequences(),
    ),
    "attention from a learned query": lambda: (
        Module(
            lambda m, x: m.attend(m.query.expand(len(x), -1, -1), m.k(x), m.k(x))[0][:, 0],
            attend=nn.MultiheadAttention(32, 2, batch_first=True), k=nn.Linear(8, 32),
            query=nn.Parameter(torch.randn(1, 1, 32)),
        ),
        sequences(),
    ),
    "attention by einsum": lambda: (Module(einsum_attention, **qkv()), sequences()),
    "attention, fused and causal": lambda: (
        Module(
            fused_attention, inner=nn.Linear(8, 8), qkv=nn.Linear(8, 24), head=nn.Linear(8, 3)
        ),
        sequences(),
    ),
    "attention without softmax": lambda: (
        Module(lambda m, x: m.head((m.q(x) @ m.k(x).mT / 8) @ m.v(x)), **qkv()),
        sequences(),
    ),
    "attention without a scale": lambda: (
        Module(lambda m, x: m.head((m.q(x) @ m.k(x).mT).softmax(-1) @ m.v(x)), **qkv()),
        sequences(),
    ),
    "heads side by side within channels": lambda: (
        Module(interleaved_heads, **qkv()), sequences()
    ),
    **{
        f"own norm: {kind}": lambda kind=kind: (
            nn.Sequential(nn.Linear(8, 8), OwnNorm(8, kind), nn.Linear(8, 2)), sequences()
        )
        for kind in ("rms", "rms, weight first", "layer", "layer, unbiased", "layer, squares")
    },
    "normalize": lambda: (
        Module(
            lambda m, x: m.b(F.normalize(m.a(x), dim=-1)), a=nn.Linear(8, 8), b=nn.Linear(8, 2)
        ),
        sequences(),
    ),
    "RMSNorm and LayerNorm of all": lambda: (
        nn.Sequential(
            nn.Linear(8, 8), nn.RMSNorm(8, eps=1e-6), nn.Linear(8, 8), nn.LayerNorm([6, 8]),
            nn.Linear(8, 2),
        ),
        sequences(),
    ),
    "layer scale": lambda: (
        Module(
            lambda m, x: m.head(m.a(x) + m.scale * F.gelu(m.b(x))), a=nn.Linear(8, 8),
            b=nn.Linear(8, 8), head=nn.Linear(8, 2), scale=nn.Parameter(torch.full((8,), 1e-2)),
        ),
        sequences(),
    ),
    "squeeze and excite": lambda: (
        Module(
            squeeze_excite, conv=nn.Conv2d(3, 8, 3, padding=1), down=nn.Linear(8, 4),
            up=nn.Linear(4, 8), head=nn.Linear(8, 2),
        ),
        images(),
    ),
    "GroupNorm": lambda: (
        nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 4, 3)),
        images(),
    ),
    "Conv1d, dilated": lambda: (
        Module(
            lambda m, x: m.head(F.relu(m.conv(x)).mean(-1)),
            conv=nn.Conv1d(4, 8, 5, stride=2, padding=2, dilation=2), head=nn.Linear(8, 3),
        ),
        images(4, 20),
    ),
    "Conv1d of a transposed sequence": lambda: (
        Module(
            lambda m, x: m.head(F.relu(m.conv(x.transpose(1, 2))).transpose(1, 2)),
            conv=nn.Conv1d(8, 8, 4, padding="same"), head=nn.Linear(8, 3),
        ),
        sequences(),
    ),
    "ConvTranspose2d": lambda: (nn.ConvTranspose2d(3, 4, 3, 2, 1, 1), images()),
    "padding taken over": lambda: (
        Module(lambda m, x: m.conv(F.pad(x, (1, 2, 1, 0))), conv=nn.Conv2d(3, 4, 3, stride=2)),
        images(),
    ),
    "reflected padding": lambda: (
        Module(
            lambda m, x: F.pad(m.conv(x), (1, 1, 1, 1), mode="reflect"), conv=nn.Conv2d(3, 4, 3)
        ),
        images(),
    ),
    "patch merging": lambda: (
        Module(patch_merging, inner=nn.Linear(8, 8), norm=nn.LayerNorm(32), outer=nn.Linear(32, 6)),
        torch.randn(2, 4, 4, 8),
    ),
    "channel shuffle": lambda: (
        Module(
            lambda m, x: m.b(F.relu(m.a(x)).view(-1, 2, 4, 8, 8).transpose(1, 2).flatten(1, 2)),
            a=nn.Conv2d(3, 8, 1), b=nn.Conv2d(8, 4, 3),
        ),
        images(),
    ),
    "dense block": lambda: (
        Module(
            dense_block, conv0=nn.Conv2d(3, 8, 3, padding=1), norm1=nn.BatchNorm2d(8),
            conv1=nn.Conv2d(8, 4, 3, padding=1), norm2=nn.BatchNorm2d(12),
        ),
        images(),
    ),
    "graph convolution": lambda: (
        Module(
            lambda m, x: m.b(m.graph @ F.relu(torch.einsum("ij,bjc->bic", m.graph, m.a(x)))),
            buffers={"graph": torch.rand(6, 6)}, a=nn.Linear(8, 8), b=nn.Linear(8, 3),
        ),
        sequences(),
    ),
    "fixed positions": lambda: (
        Module(
            lambda m, x: m.b(F.relu(m.embed(x) + m.table[:, : x.size(1)])),
            buffers={"table": torch.randn(1, 10, 8)}, embed=nn.Embedding(20, 8), b=nn.Linear(8, 3),
        ),
        tokens(),
    ),
    "stacked": lambda: (
        Module(
            lambda m, x: m.c(torch.stack([F.relu(m.a(x)), m.b(x)], 1).mean(1)),
            a=nn.Linear(5, 8), b=nn.Linear(5, 8), c=nn.Linear(8, 2),
        ),
        images(5),
    ),
    "flipped, sliced, largest": lambda: (
        Module(
            lambda m, x: m.b(m.a(x).flip(1)[:, 2:5].amax(1)), a=nn.Linear(8, 8), b=nn.Linear(8, 2)
        ),
        sequences(),
    ),
    "picked positions, flattened": lambda: (
        Module(
            lambda m, x: m.b(m.a(x)[:, [0, 3, 5]].flatten(1)), a=nn.Linear(8, 8), b=nn.Linear(24, 2)
        ),
        sequences(),
    ),
    "pairs of positions": lambda: (
        Module(
            lambda m, x: m.b(m.a(x).view(-1, 3, 16)).mean(1), a=nn.Linear(8, 8), b=nn.Linear(16, 4)
        ),
        sequences(),
    ),
    "Conv3d": lambda: (
        Module(lambda m, x: m.conv(x).mean((2, 3, 4)), conv=nn.Conv3d(3, 4, 3, padding=1)),
        images(3, 4, 4, 4),
    ),
    "frames, then recurrence": lambda: (
        Module(
            frames, conv=nn.Conv2d(3, 6, 3), rnn=nn.RNN(6, 8, batch_first=True),
            head=nn.Linear(8, 2),
        ),
        torch.randn(2, 4, 3, 5, 5),
    ),
    "normalised input": lambda: (
        Module(
            lambda m, x: m.conv((x - m.mean) / m.std).mean(3).mean(2),
            buffers={"mean": torch.rand(3, 1, 1), "std": 1 + torch.rand(3, 1, 1)},
            conv=nn.Conv2d(3, 4, 3),
        ),
        images(),
    ),
    "whole numbers as colours": lambda: (
        Module(
            lambda m, x: m.conv(x.to(m.conv.weight.dtype) / 255).mean((2, 3)),
            conv=nn.Conv2d(3, 4, 3),
        ),
        torch.randint(0, 256, (2, 3, 6, 6), dtype=torch.uint8),
    ),
    "adaptive pool of unequal windows": lambda: (
        Module(
            lambda m, x: m.head(F.adaptive_avg_pool2d(m.conv(x), 3).flatten(1)),
            conv=nn.Conv2d(3, 4, 1), head=nn.Linear(36, 2),
        ),
        images(),
    ),
    "norm of channels that come first": lambda: (
        Module(
            channels_first_norm, conv=nn.Conv2d(3, 8, 3), head=nn.Conv2d(8, 4, 3),
            weight=nn.Parameter(torch.ones(8)), bias=nn.Parameter(torch.zeros(8)),
        ),
        images(),
    ),
    "attention with a boolean mask": lambda: (Module(masked_attention, **qkv()), sequences()),
    "MultiheadAttention with a mask": lambda: (
        Module(
            lambda m, x: m.attend(x, x, x, attn_mask=m.mask)[0],
            attend=nn.MultiheadAttention(8, 2, batch_first=True),
            buffers={"mask": torch.triu(torch.full((6, 6), float("-inf")), 1)},
        ),
        sequences(),
    ),
    "highway": lambda: (
        Module(
            highway, inner=nn.Linear(5, 8), a=nn.Linear(8, 8), b=nn.Linear(8, 8),
            head=nn.Linear(8, 2),
        ),
        images(5),
    ),
    "patches by unfold": lambda: (Module(patches_by_unfold, inner=nn.Linear(48, 8)), images()),
    "everything in place": lambda: (
        Module(
            in_place, conv=nn.Conv2d(3, 8, 3), relu=nn.ReLU(inplace=True), norm=nn.GroupNorm(2, 8),
            attend=nn.MultiheadAttention(8, 2, batch_first=True), last=nn.LayerNorm(8),
            head=nn.Linear(8, 2),
        ),
        images(),
    ),
    "gated convolution": lambda: (
        Module(
            lambda m, x: m.b(F.glu(m.a(x), dim=1)), a=nn.Conv2d(3, 16, 3), b=nn.Conv2d(8, 4, 3)
        ),
        images(),
    ),
    "input beside hidden": lambda: (
        Module(
            lambda m, x: m.b(torch.cat([x, F.relu(m.a(x))], -1)), a=nn.Linear(5, 8),
            b=nn.Linear(13, 2),
        ),
        images(5),
    ),
    "hidden positions filled": lambda: (
        Module(
            lambda m, x: m.b(torch.where(torch.arange(6)[:, None] > 2, m.a(x), 0.5)),
            a=nn.Linear(8, 8), b=nn.Linear(8, 2),
        ),
        sequences(),
    ),
    "decoder layer": lambda: (
        Module(
            lambda m, x: m.layer(m.a(x)[:, :3], m.b(x)), a=nn.Linear(8, 8), b=nn.Linear(8, 8),
            layer=nn.TransformerDecoderLayer(8, 2, 16, batch_first=True),
        ),
        sequences(),
    ),
    "largest over points": lambda: (
        Module(
            lambda m, x: m.b(torch.max(F.relu(m.a(x)), 2, keepdim=True)[0].view(-1, 8)),
            a=nn.Conv1d(3, 8, 1), b=nn.Linear(8, 2),
        ),
        images(3, 10),
    ),
    "own weights": lambda: (
        Module(
            lambda m, x: torch.einsum("bi,io->bo", torch.tanh(x @ m.w + m.b), m.v / 40**0.5),
            w=nn.Parameter(torch.randn(64, 40) / 8), b=nn.Parameter(torch.zeros(40)),
            v=nn.Parameter(torch.randn(40, 3)),
        ),
        images(64),
    ),
}  # fmt: skip
"""Modules that are read, each with an example, by what they show."""


def tied():
    module = Module(
        lambda m, x: m.head(m.embed(x)), embed=nn.Embedding(20, 8), head=nn.Linear(8, 20, False)
    )
    module.head.weight = module.embed.weight
    return module


def no_grad(m, x):
    with torch.no_grad():
        h = m.a(x)
    return m.b(h)


def written_into(m, x):
    h = m.a(x)
    h[:, 0] = 0
    return m.b(h)


def grouped_queries(m, x):
    b, t, _ = x.shape
    q = m.q(x).view(b, t, 2, 4).transpose(1, 2)
    k, v = (layer(x).view(b, t, 1, 4).transpose(1, 2).expand(b, 2, t, 4) for layer in (m.k, m.v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def two(forward):
    return Module(forward, a=nn.Linear(8, 8), b=nn.Linear(8, 8))


REFUSED = {
    "linear": lambda: (Mixer(), sequences(), "mix positions"),
    "f.weight": lambda: (
        Module(
            lambda m, x: m.o(torch.tanh(m.f(x[:, 0])) * torch.tanh(m.f(x[:, 1]))),
            f=nn.Linear(8, 8), o=nn.Linear(8, 1),
        ),
        sequences(), "more than once",
    ),
    "head.weight": lambda: (tied(), tokens(), "second name"),
    "a.weight": lambda: (two(lambda m, x: m.a(F.relu(m.a(x)))), sequences(), "more than once"),
    "conv2d": lambda: (
        nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, groups=6)), images(), "6 groups"
    ),
    "lstm": lambda: (
        Module(lambda m, x: m.rnn(x)[0], rnn=nn.LSTM(8, 8, batch_first=True)),
        sequences(), "not one of the operations",
    ),
    "gru": lambda: (
        Module(lambda m, x: m.rnn(x)[0], rnn=nn.GRU(8, 8, batch_first=True)),
        sequences(), "not one of the operations",
    ),
    "pixel_shuffle": lambda: (
        nn.Sequential(nn.Conv2d(3, 8, 1), nn.PixelShuffle(2)), images(), "not one of the operations"
    ),
    "bilinear": lambda: (
        Module(lambda m, x: m.f(x, x), f=nn.Bilinear(8, 8, 4)), sequences(), "not one of"
    ),
    "embedding": lambda: (nn.Embedding(20, 8, padding_idx=0), tokens(), "token 0 is padding"),
    "softmax": lambda: (two(lambda m, x: m.a(x).softmax(-1)), sequences(), "leave it out"),
    "batch_norm": lambda: (
        nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)).train(), images(8), "training mode"
    ),
    "dropout": lambda: (
        Module(
            lambda m, x: m.attend(x, x, x)[0],
            attend=nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True),
        ).train(),
        sequences(), "training mode",
    ),
    "detach": lambda: (two(lambda m, x: m.b(m.a(x).detach())), sequences(), "stops gradients"),
    "wrap_with_set_grad_enabled": lambda: (two(no_grad), sequences(), "stops gradients"),
    "fill": lambda: (two(written_into), sequences(), "not one of the operations"),
    "log_softmax": lambda: (two(lambda m, x: m.a(x).log_softmax(-1)), sequences(), "leave it out"),
    "to": lambda: (two(lambda m, x: m.a(x).long().float()), sequences(), "rounds"),
    "randn": lambda: (two(lambda m, x: m.a(x) + torch.randn(8)), sequences(), "random numbers"),
    "outputs": lambda: (two(lambda m, x: (m.a(x), m.b(x))), sequences(), "2 outputs"),
    "torch.export": lambda: (
        two(lambda m, x: m.a(x) if x.sum() > 0 else m.b(x)), sequences(), "data-dependent"
    ),
    "prelu": lambda: (nn.Sequential(nn.Linear(8, 8), nn.PReLU()), sequences(), "is trained"),
    "layer_norm": lambda: (
        Module(
            lambda m, x: m.norm(m.a(x).transpose(1, 2)), a=nn.Linear(8, 8), norm=nn.LayerNorm(6)
        ),
        sequences(), "normalises over positions",
    ),
    "scaled_dot_product_attention": lambda: (
        Module(grouped_queries, q=nn.Linear(8, 8), k=nn.Linear(8, 4), v=nn.Linear(8, 4)),
        sequences(), "not repeated ones",
    ),
    "conv1d": lambda: (
        Module(
            lambda m, x: m.conv(m.a(x).view(-1, 4, 8)), a=nn.Linear(6, 32), conv=nn.Conv1d(4, 4, 3)
        ),
        images(6), "channels of a are taken as positions",
    ),
    "mean": lambda: (two(lambda m, x: m.a(x).mean()), sequences(), "examples included"),
    "add": lambda: (
        two(lambda m, x: m.a(x) + m.b(x).transpose(1, 2)), sequences(length=8),
        "channels of one value meet positions",
    ),
    "instance_norm": lambda: (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4)), images(), "every channel for"
    ),
    "group_norm": lambda: (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(4, 4)), images(), "one channel"
    ),
}  # fmt: skip
"""Modules that are refused, by the operation or the parameter that the refusal names."""
