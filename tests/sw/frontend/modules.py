"""Modules of PyTorch for tests: known architectures, and random ones with every supported form."""

import random
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def with_statistics(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in double precision and evaluation mode, with BatchNorms as after a training."""
    generator = torch.Generator().manual_seed(seed)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (each.running_mean, each.bias):
                tensor.data.normal_(0, 0.3, generator=generator)
            each.running_var.uniform_(0.5, 2, generator=generator)
            each.weight.data.uniform_(0.5, 1.5, generator=generator)
            signs = torch.rand(each.weight.shape, generator=generator) < 0.2
            each.weight.data[signs] *= -1
    return module.double().eval()


class OptionA(nn.Module):
    """Every second position, with zero channels around: a shortcut without weights."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.channels = before, after

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, *self.channels), "constant", 0)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: "A" without weights, "B" a projection."""

    def __init__(self, inputs: int, outputs: int, stride: int, option: str, shortcut: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        branch: nn.Module = nn.Identity()
        if (inputs, stride) != (outputs, 1):
            extra = outputs - inputs
            branch = (
                OptionA(extra // 2, extra - extra // 2)
                if option == "A"
                else nn.Sequential(
                    nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
                )
            )
        self.name_of_shortcut = shortcut
        # The name of the shortcut differs between published models.
        if not isinstance(branch, nn.Identity):
            setattr(self, shortcut, branch)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += getattr(self, self.name_of_shortcut, nn.Identity())(x)
        return F.relu(out)


class ResNet(nn.Module):
    """ResNet for 32 x 32 pictures: 6 blocks + 2 layers."""

    def __init__(
        self,
        blocks: int,
        classes: int,
        *,
        option: str = "A",
        shortcut: str = "shortcut",
        head: str = "linear",
        widths: tuple[int, int, int] = (16, 32, 64),
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        inputs = widths[0]
        for stage, width in enumerate(widths):
            layers = []
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                layers.append(BasicBlock(inputs, width, stride, option, shortcut))
                inputs = width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.head = head
        setattr(self, head, nn.Linear(inputs, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.avg_pool2d(x, x.size()[3])
        return getattr(self, self.head)(x.view(x.size(0), -1))


class ResNet18(nn.Module):
    """As torchvision's resnet18: 7x7 stem, overlapping max-pooling, projections."""

    def __init__(self, width: int = 64, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = width
        for stage in range(4):
            outputs = width << stage
            blocks = [
                BasicBlock(inputs, outputs, 2 if stage else 1, "B", "downsample"),
                BasicBlock(outputs, outputs, 1, "B", "downsample"),
            ]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            inputs = outputs
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class VGG16(nn.Module):
    """As torchvision's vgg16_bn, with an adaptive pooling to 7 x 7 that enlarges small maps."""

    def __init__(self, width: int = 64, hidden: int = 4096, classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for stage, count in enumerate((2, 2, 3, 3, 3)):
            outputs = width << min(stage, 3)
            for _ in range(count):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)]
                layers.append(nn.ReLU(inplace=True))
                inputs = outputs
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            *(nn.Linear(inputs * 49, hidden), nn.ReLU(True), nn.Dropout()),
            *(nn.Linear(hidden, hidden), nn.ReLU(True), nn.Dropout(), nn.Linear(hidden, classes)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        self.residual = stride == 1 and inputs == outputs
        layers: list[nn.Module] = []
        if expand != 1:
            layers += [nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6()]
        layers += [
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            *(nn.BatchNorm2d(hidden), nn.ReLU6()),
            *(nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """The first stages of MobileNetV2: linear bottlenecks."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6())
        self.features = nn.Sequential(
            stem, InvertedResidual(8, 8, 1, 1), InvertedResidual(8, 8, 1, 6)
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean([2, 3]))


Step = Callable[[Tensor], Tensor]


class RandomNet(nn.Module):
    """A random network of supported forms, and their names in `forms`.

    The construction runs an example through the network, so that every choice fits.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        torch.manual_seed(seed)
        self.forms: list[str] = []
        self.steps: list[Step] = []
        self.parts = nn.ModuleList()
        pick = self.random.choice
        channels = pick([1, 2, 3])
        self.input_shape = channels, pick([8, 9, 11, 12, 16]), pick([8, 9, 10, 13, 16])
        self.example = torch.rand(2, *self.input_shape)
        if pick([True, False]):
            self._normalise(channels)
        self._stem()
        for _ in range(pick([1, 2, 3, 4])):
            self.random.choice(
                [
                    *(self._plain, self._residual, self._projection, self._option_a),
                    *(self._concat, self._two_identities, self._depthwise, self._max_pool),
                    *(self._average_pool, self._two_readers, self._scale_before_convolution),
                    *(self._pool_before_relu, self._shuffle, self._split, self._merge),
                    *(self._norm_of_concat, self._padded, self._inception),
                ]
            )()
        self.random.choice(
            [
                *(self._global_head, self._flat_head, self._deep_head, self._convolutional_head),
                *(self._uneven_head, self._mean_head, self._transposed_head, self._maximum_head),
                self._rectified_head,
            ]
        )()

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return x

    # -- help -----------------------------------------------------------------------------------

    def _do(self, form: str, step: Step) -> None:
        with torch.no_grad():
            self.example = step(self.example)
        self.forms.append(form)
        self.steps.append(step)

    def _keep(self, module: nn.Module) -> nn.Module:
        self.parts.append(with_statistics(module, self.random.randrange(1 << 30)).float())
        return module

    @property
    def _channels(self) -> int:
        return self.example.shape[1]

    def _convolution(self, inputs: int, outputs: int, size: int = 3, **options) -> nn.Module:
        bias = self.random.choice([True, False])
        layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, size, bias=bias, **options)]
        if self.random.choice([True, False]):
            layers.append(nn.BatchNorm2d(outputs))
        return self._keep(nn.Sequential(*layers))

    def _relu(self) -> nn.Module:
        self.forms.append(form := self.random.choice(["relu", "relu", "relu6", "clip"]))
        return {
            "relu": nn.ReLU(self.random.choice([True, False])),
            "relu6": nn.ReLU6(),
            "clip": nn.Hardtanh(0.0, 0.7),
        }[form]

    # -- stages ---------------------------------------------------------------------------------

    def _normalise(self, channels: int) -> None:
        mean = torch.rand(channels, 1, 1) * 0.8 + 0.1
        std = torch.rand(channels, 1, 1) * 0.5 + 0.1
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self._do("normalisation", lambda x: (x - self.mean) / self.std)

    def _stem(self) -> None:
        options = {"padding": self.random.choice([0, 1]), "stride": self.random.choice([1, 1, 2])}
        conv = self._convolution(self._channels, self.random.choice([2, 4, 6]), **options)
        relu = self._relu()
        self._do("stem", lambda x: relu(conv(x)))

    def _plain(self) -> None:
        height, width = self.example.shape[2:]
        size = (self.random.choice([1, 3]), self.random.choice([1, 3]))
        dilation = 2 if min(height, width) > 5 and self.random.choice([True, False]) else 1
        padding = self.random.choice(["same", (1, 0), 0, 1])
        stride = 1 if padding == "same" else self.random.choice([1, 2])
        if min(height, width) < 6:
            padding, stride = "same", 1
        groups = 2 if self._channels % 2 == 0 and self.random.choice([True, False]) else 1
        conv = self._convolution(
            self._channels,
            self.random.choice([2, 4, 6]),
            size,
            padding=padding,
            stride=stride,
            dilation=dilation,
            groups=groups,
        )
        relu = self._relu()
        self._do("dilation" if dilation > 1 else "plain", lambda x: relu(conv(x)))
        if groups > 1:
            self.forms.append("groups")

    def _branch(self, outputs: int, stride: int = 1) -> nn.Module:
        return nn.Sequential(
            self._convolution(self._channels, outputs, padding=1, stride=stride),
            self._relu(),
            self._convolution(outputs, outputs, padding=1),
        )

    def _residual(self) -> None:
        branch, relu = self._branch(self._channels), self._relu()
        self._do("residual", lambda x: relu(x + branch(x)))

    def _projection(self) -> None:
        outputs = self._channels + 2
        branch, relu = self._branch(outputs, 2), self._relu()
        shortcut = self._convolution(self._channels, outputs, 1, stride=2)
        self._do("projection", lambda x: relu(branch(x) + shortcut(x)))

    def _option_a(self) -> None:
        branch, relu = self._branch(self._channels + 3, 2), self._relu()
        shortcut = OptionA(1, 2)
        self._do("option A", lambda x: relu(shortcut(x) + branch(x)))

    def _concat(self) -> None:
        first = self._convolution(self._channels, 3, padding=1)
        second = self._convolution(self._channels, 2, 1)
        relu = self._relu()
        self._do("concatenation", lambda x: torch.cat([relu(first(x)), F.relu(second(x))], 1))
        self._plain()

    def _inception(self) -> None:
        first = self._convolution(self._channels, 3, padding=1)
        second = self._convolution(self._channels, 3, 1)
        self._do("ReLU of concatenation", lambda x: F.relu(torch.cat([first(x), second(x)], 1)))
        self._plain()

    def _norm_of_concat(self) -> None:
        first = self._convolution(self._channels, 3, padding=1)
        norm = self._keep(nn.BatchNorm2d(3 + self._channels))
        last = self._convolution(3 + self._channels, 4, 1)
        self._do(
            "norm of concatenation",
            lambda x: F.relu(last(norm(torch.cat([x, F.relu(first(x))], 1)))),
        )

    def _two_identities(self) -> None:
        branch, relu = self._branch(self._channels), self._relu()
        self._do("two identities", lambda x: relu(x + relu(branch(x))))

    def _depthwise(self) -> None:
        channels = self._channels
        first = self._convolution(channels, channels, padding=1, groups=channels)
        second = self._convolution(channels, 4, 1)
        relu = self._relu()
        self._do("depthwise", lambda x: relu(second(F.relu(first(x)))))

    def _pooling(self) -> nn.Module:
        size = self.random.choice([2, 3])
        if min(self.example.shape[2:]) < 4:
            self.forms.append("max-pooling with padding")
            return nn.MaxPool2d(3, 1, 1)
        padding = self.random.choice([0, 1])
        stride = self.random.choice([1, 2, 3])
        ceil_mode = self.random.choice([True, False])
        self.forms += ["max-pooling with padding"] * padding + ["ceil mode"] * ceil_mode
        self.forms += ["max-pooling with overlap"] * (stride < size)
        return nn.MaxPool2d(size, stride, padding, ceil_mode=ceil_mode)

    def _max_pool(self) -> None:
        pool = self._pooling()
        self._do("max-pooling", pool)

    def _pool_before_relu(self) -> None:
        conv = self._keep(nn.Conv2d(self._channels, 4, 3, padding=1))
        pool, relu = self._pooling(), self._relu()
        self._do("max-pooling before ReLU", lambda x: relu(pool(conv(x))))

    def _average_pool(self) -> None:
        if min(self.example.shape[2:]) < 4:
            return
        padding = self.random.choice([0, 0, 1])
        pool = nn.AvgPool2d(self.random.choice([2, 3]), self.random.choice([1, 2, 3]), padding)
        self._do("average pooling", pool)
        self._plain()

    def _two_readers(self) -> None:
        pool = nn.MaxPool2d(3, 1, 1)
        first = self._convolution(self._channels, 4, 1)
        second = self._convolution(self._channels, 4, padding=1)
        self._do("pooled and unpooled reader", lambda x: F.relu(first(pool(x)) + second(x)))

    def _scale_before_convolution(self) -> None:
        norm = self._keep(nn.BatchNorm2d(self._channels))
        conv = self._convolution(self._channels, 4, 1)
        self._do("BatchNorm before convolution", lambda x: F.relu(conv(norm(x))))

    def _shuffle(self) -> None:
        if self._channels % 2:
            return
        conv = self._convolution(self._channels, 4, padding=1)

        def step(x: Tensor) -> Tensor:
            batch, channels, height, width = x.shape
            x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2)
            return F.relu(conv(x.reshape(batch, channels, height, width)))

        self._do("channel shuffle", step)

    def _split(self) -> None:
        if self._channels < 2:
            return
        half = self._channels // 2
        conv = self._convolution(half, half, padding=1)

        def step(x: Tensor) -> Tensor:
            return torch.cat([F.relu(conv(x[:, :half])), x[:, half:]], 1)

        self._do("split channels", step)
        self._plain()

    def _merge(self) -> None:
        first = self._convolution(self._channels, self._channels, padding=1)
        second = self._convolution(self._channels, self._channels, 1)
        norm = self._keep(nn.BatchNorm2d(self._channels))
        self._do("three terms of one map", lambda x: F.relu(first(x) + second(x) + norm(x)))

    def _padded(self) -> None:
        conv = self._convolution(self._channels, 4, stride=self.random.choice([1, 2]))
        sides = [self.random.choice([0, 1, 2]) for _ in range(4)]
        self._do("padding of its own", lambda x: F.relu(conv(F.pad(x, [1 + s for s in sides]))))

    # -- heads ----------------------------------------------------------------------------------

    def _linear(self, outputs: int = 5) -> nn.Module:
        return self._keep(nn.Linear(self.example[0].numel(), outputs))

    def _global_head(self) -> None:
        pool = self.random.choice(
            [nn.AdaptiveAvgPool2d(1), nn.AvgPool2d(tuple(self.example.shape[2:]))]
        )
        self._do("global pooling", lambda x: pool(x).flatten(1))
        linear = self._linear()
        self._do("dense", lambda x: F.log_softmax(linear(x), 1))

    def _flat_head(self) -> None:
        self._do("flatten", lambda x: x.view(x.size(0), -1))
        linear = self._linear()
        self._do("dense", linear)

    def _deep_head(self) -> None:
        self._do("flatten", nn.Flatten())
        first = self._keep(nn.Sequential(self._linear(7), nn.BatchNorm1d(7)))
        relu = self._relu()
        self._do("dense", lambda x: F.dropout(relu(first(x)), training=False))
        second = self._keep(nn.Linear(7, 7))
        self._do("dense residual", lambda x: F.relu(x + second(x)))
        last = self._linear()
        self._do("dense", last)

    def _convolutional_head(self) -> None:
        size = self.random.choice([1, 3]) if min(self.example.shape[2:]) > 2 else 1
        conv = self._keep(nn.Conv2d(self._channels, 5, size))
        self._do("convolution as head", lambda x: F.adaptive_avg_pool2d(conv(x), 1).flatten(1))

    def _rectified_head(self) -> None:
        conv = self._keep(nn.Conv2d(self._channels, 5, 1))
        self._do("ReLU as head", lambda x: F.relu(conv(x)).mean(3).mean(2))

    def _uneven_head(self) -> None:
        pool = self.random.choice(
            [
                nn.AdaptiveAvgPool2d((3, 2)),
                nn.AdaptiveAvgPool2d(7),
                nn.AvgPool2d(2, 2, 1, count_include_pad=False),
                nn.AvgPool2d(2, 2, 0, ceil_mode=True),
            ]
        )
        self._do("uneven pooling", lambda x: pool(x).flatten(1))
        self._do("dense", self._linear())

    def _mean_head(self) -> None:
        self._do("mean", lambda x: x.mean((2, 3)))
        self._do("dense", self._linear())

    def _transposed_head(self) -> None:
        self._do("transposed flatten", lambda x: x.permute(0, 2, 3, 1).flatten(1))
        norm = self._keep(nn.BatchNorm1d(self.example.shape[1]))
        linear = self._linear()
        self._do("dense", lambda x: linear(norm(x)))

    def _maximum_head(self) -> None:
        pool = nn.AdaptiveMaxPool2d(1)
        self._do(
            "two global poolings",
            lambda x: torch.cat([pool(x), F.adaptive_avg_pool2d(x, 1)], 1).flatten(1),
        )
        self._do("dense", self._linear())
