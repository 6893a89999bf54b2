"""ONNX models against ONNX's reference implementation."""

import contextlib

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch.nn import functional as F

from residuum.api import load_images
from residuum.sw.errors import ResiduumError
from residuum.sw.frontend import supported
from residuum.sw.frontend.onnx import import_onnx, read_onnx
from residuum.sw.network.forward import forward
from residuum.sw.network.graph import Preprocessing
from tests.sw.frontend.onnx_models import Model
from tests.sw.frontend.published import need_data, published
from tests.sw.frontend.run_operators import run_operators

SHAPE = (3, 7, 6)
# Where operators changed: attributes became inputs.
OPSETS = (7, 10, 11, 13, 18, 20)


def agree(model: Model, tmp_path, *, shape=SHAPE, batch=1) -> None:
    """What the reference makes of random images is what the graph of operators makes."""
    path = model.save(tmp_path / "x.onnx")
    graph = read_onnx(path)
    images = np.random.default_rng(5).normal(size=(batch, *shape)).astype(np.float32)
    (expected,) = ReferenceEvaluator(str(path)).run(None, {"image": images})
    found = run_operators(graph, torch.as_tensor(images, dtype=torch.float64)).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def weights(rng, *shape):
    return rng.normal(size=shape)


# One operator of each form: a function of the model, a generator, and the opset.


def conv(model, rng, **attributes):
    out, inputs = 4, SHAPE[0] // attributes.get("group", 1)
    out = 6 if inputs == 1 else out
    kernel = attributes.setdefault("kernel_shape", [3, 2])
    model.node(
        "Conv",
        model.constant(weights(rng, out, inputs, *kernel)),
        model.constant(weights(rng, out)),
        **attributes,
    )


def pool(model, rng, op, **attributes):
    model.node(op, kernel_shape=[3, 2], **attributes)


def gemm(model, rng, third="vector", **attributes):
    model.node("Flatten")
    shape = (5, 126) if attributes.get("transB") else (126, 5)
    shapes = {"vector": (5,), "row": (1, 5), "number": ()}
    model.node(
        "Gemm",
        model.constant(weights(rng, *shape)),
        model.constant(weights(rng, *shapes[third])),
        **attributes,
    )


def gemm_plus_map(model, rng):
    other = model.node(
        "Gemm",
        model.constant(weights(rng, 126, 5)),
        model.constant(weights(rng, 5)),
        source=model.node("Flatten"),
    )
    flat = model.node("Flatten", source="image")
    model.node("Gemm", model.constant(weights(rng, 126, 5)), other, source=flat, beta=-0.5)


def batch_norm(model, rng):
    constants = [weights(rng, 3), weights(rng, 3), weights(rng, 3), rng.uniform(0.5, 2, 3)]
    model.node("BatchNormalization", *map(model.constant, constants), epsilon=0.01)
    return constants


def with_constant(model, rng, op, first=False, shape=(3, 1, 1)):
    value = model.constant(rng.uniform(0.5, 2, shape))
    model.node(op, *(["image"] if first else [value]), source=value if first else "image")


def two_maps(model, rng, op):
    first = model.node("Relu")
    second = model.node("Neg", source="image")
    model.node(op, second, source=first)


def clip(model, rng, upper=6.0):
    if model.opset < 11:
        model.node("Clip", min=0.0, **({} if upper is None else {"max": upper / 10}))
    else:
        bounds = [model.constant(0.0)] + ([] if upper is None else [model.constant(upper / 10)])
        model.node("Clip", *bounds)


def maximum(model, rng):
    model.node("Max", model.constant(0.0))


def dropout(model, rng):
    model.node("Dropout")


def reduce_mean(model, rng, keep):
    if model.opset < 18:
        model.node("ReduceMean", axes=[2, -1], keepdims=keep)
    else:
        model.node("ReduceMean", model.constant([2, -1], np.int64), keepdims=keep)


def reshape(model, rng, shape):
    model.node("Reshape", model.constant(shape, np.int64))


def reshape_by_shape(model, rng):
    """As exporters write ``x.view(x.size(0), -1)``."""
    size = model.node("Shape", source="image")
    batch = model.node("Gather", model.constant(0, np.int64), source=size, axis=0)
    if model.opset < 13:
        first = model.node("Unsqueeze", source=batch, axes=[0])
    else:
        first = model.node("Unsqueeze", model.constant([0], np.int64), source=batch)
    shape = model.node("Concat", model.constant([-1], np.int64), source=first, axis=0)
    model.node("Reshape", shape, source="image")


def squeeze(model, rng):
    model.node("GlobalAveragePool")
    if model.opset < 13:
        model.node("Squeeze", axes=[2, 3])
    else:
        model.node("Squeeze", model.constant([2, 3], np.int64))


def reshaped_weights(model, rng):
    model.node("Flatten")
    stored, shape = model.constant(weights(rng, 3, 7, 6, 5)), model.constant([126, 5], np.int64)
    name, last = model.last, model.node("Reshape", shape, source=stored)
    model.node("MatMul", last, source=name)


def concat(model, rng):
    two_maps(model, rng, "Sub")
    model.node("Concat", "image", axis=1 if model.opset < 11 else -3)


def zeros_appended(model, rng):
    zeros = model.constant(np.zeros((1, 2, 7, 6)))
    model.node("Concat", "image", zeros, source=zeros, axis=1)


def slices(model, rng, steps=True):
    if model.opset < 10:
        model.node("Slice", starts=[1, -3], ends=[3, 1000], axes=[1, 2])
    else:
        lists = [[0, 1, -6], [1, 2**31, 7], [0, 1, 2], [1, 1, 2]]
        model.node("Slice", *(model.constant(values, np.int64) for values in lists))


def split(model, rng):
    if model.opset < 13:
        first = model.node("Split", outputs=2, axis=2, split=[3, 4])
    else:
        first = model.node("Split", model.constant([3, 4], np.int64), outputs=2, axis=2)
    model.node("GlobalAveragePool", source=f"{first}_1")


def pad(model, rng):
    pads = [0, 1, 2, 0, 0, 2, 0, 1]
    if model.opset < 11:
        model.node("Pad", pads=pads)
    else:
        model.node("Pad", model.constant(pads, np.int64))


def transpose(model, rng):
    model.node("Transpose", perm=[0, 2, 3, 1])


def constant(model, rng):
    value = onnx.numpy_helper.from_array(np.full((3, 1, 1), 2.5, np.float32))
    model.node("Constant", source="", value=value)
    model.node("Mul", "image")


def cast(model, rng):
    model.node("Cast", to=onnx.TensorProto.FLOAT)


FORMS = {
    "convolution": conv,
    "convolution, no bias": lambda m, r: m.node("Conv", m.constant(weights(r, 2, 3, 2, 3))),
    "strided and padded": lambda m, r: conv(m, r, strides=[2, 1], pads=[1, 0, 2, 1]),
    "dilated": lambda m, r: conv(m, r, dilations=[2, 3]),
    "depthwise": lambda m, r: conv(m, r, group=3),
    "same upper": lambda m, r: conv(m, r, auto_pad="SAME_UPPER", strides=[2, 2]),
    "same lower": lambda m, r: conv(m, r, auto_pad="SAME_LOWER", dilations=[1, 2]),
    "valid": lambda m, r: conv(m, r, auto_pad="VALID"),
    "max-pooling": lambda m, r: pool(m, r, "MaxPool", strides=[2, 2], pads=[1, 1, 2, 0]),
    "max-pooling, same": lambda m, r: pool(m, r, "MaxPool", auto_pad="SAME_LOWER"),
    "average pooling": lambda m, r: pool(m, r, "AveragePool", strides=[1, 2]),
    "average pooling, padded": lambda m, r: pool(m, r, "AveragePool", pads=[1, 0, 1, 1]),
    "average pooling, same": lambda m, r: pool(m, r, "AveragePool", auto_pad="SAME_UPPER"),
    "average pooling, padding counts": lambda m, r: pool(
        m, r, "AveragePool", pads=[1, 1, 1, 1], count_include_pad=1
    ),
    "global average": lambda m, r: m.node("GlobalAveragePool"),
    "global maximum": lambda m, r: m.node("GlobalMaxPool"),
    "mean": lambda m, r: reduce_mean(m, r, 1),
    "mean, fewer axes": lambda m, r: reduce_mean(m, r, 0),
    "dense": gemm,
    "dense, transposed": lambda m, r: gemm(m, r, "row", transB=1, alpha=0.5, beta=2.0),
    "dense, one offset": lambda m, r: gemm(m, r, "number"),
    "dense plus a map": gemm_plus_map,
    "matrix": reshaped_weights,
    "x + c": lambda m, r: with_constant(m, r, "Add"),
    "c + x": lambda m, r: with_constant(m, r, "Add", True, ()),
    "x - c": lambda m, r: with_constant(m, r, "Sub"),
    "c - x": lambda m, r: with_constant(m, r, "Sub", True),
    "x * c": lambda m, r: with_constant(m, r, "Mul", True, (1, 3, 1, 1)),
    "x / c": lambda m, r: with_constant(m, r, "Div"),
    "sum of two": lambda m, r: two_maps(m, r, "Add"),
    "difference of two": lambda m, r: two_maps(m, r, "Sub"),
    "sum of three": lambda m, r: m.node("Sum", "image", m.constant(np.ones((3, 1, 1))), "image"),
    "sum of one": lambda m, r: m.node("Sum"),
    "clip": clip,
    "clip, open": lambda m, r: clip(m, r, None),
    "maximum with 0": maximum,
    "dropout": dropout,
    "reshape": lambda m, r: reshape(m, r, [0, 0, -1]),
    "reshape, batch given": lambda m, r: reshape(m, r, [1, 126]),
    "reshape by shape": reshape_by_shape,
    "flatten": lambda m, r: m.node("Flatten", axis=1),
    "squeeze": squeeze,
    "concatenation": concat,
    "zeros appended": zeros_appended,
    "slices": slices,
    "split": split,
    "padding": pad,
    "transpose": transpose,
    "constant": constant,
    "cast": cast,
    "identity": lambda m, r: m.node("Identity"),
}


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_every_operator(tmp_path, form, opset):
    model = Model(SHAPE, opset)
    FORMS[form](model, np.random.default_rng(opset))
    agree(model, tmp_path)


@pytest.mark.parametrize("opset", OPSETS)
def test_batch_norm(tmp_path, opset):
    """Against torch: the reference normalises by the images at hand in opsets below 14."""
    model = Model(SHAPE, opset)
    gamma, beta, mean, variance = batch_norm(model, np.random.default_rng(0))
    images = torch.randn(2, *SHAPE, dtype=torch.float64)
    found = run_operators(read_onnx(model.save(tmp_path / "x.onnx")), images)
    arrays = map(torch.as_tensor, (mean, variance, gamma, beta))
    torch.testing.assert_close(found, F.batch_norm(images, *arrays, eps=0.01), rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------------------------------------
# Whole models.


def small(opset=17, **arguments) -> Model:
    model = Model(SHAPE, opset, **arguments)
    conv(model, np.random.default_rng(0), pads=[1, 0, 1, 1])
    model.node("Relu")
    return model


@pytest.mark.parametrize("batch", ["N", 0, 4])
def test_any_batch(tmp_path, batch):
    model = small(batch=batch)
    model.node("Flatten")
    agree(model, tmp_path, batch=4)


def test_nodes_that_the_output_does_not_need(tmp_path):
    model = small()
    wanted = model.last
    model.node("Sigmoid")
    model.last = wanted
    agree(model, tmp_path)


def test_channels_last(tmp_path):
    """As TensorFlow's exporters write models: pictures enter as (H, W, C)."""
    model = Model((7, 6, 3), 17)
    model.node("Transpose", perm=[0, 3, 1, 2])
    conv(model, np.random.default_rng(0))
    path = model.save(tmp_path / "x.onnx")
    images = np.random.default_rng(5).normal(size=(1, 3, 7, 6)).astype(np.float32)
    (expected,) = ReferenceEvaluator(str(path)).run(None, {"image": images.transpose(0, 2, 3, 1)})
    graph = read_onnx(path)
    found = run_operators(graph, torch.as_tensor(images, dtype=torch.float64)).numpy()
    assert graph.input_shape == (3, 7, 6)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("taken", "given", "shape"),
    [((126,), None, (126, 1, 1)), ((126,), SHAPE, SHAPE), ((7, 18), None, (1, 7, 18))],
)
def test_other_shapes_of_the_image(tmp_path, taken, given, shape):
    model = Model(taken, 17)
    model.node("Flatten")
    model.node("Gemm", model.constant(np.random.default_rng(0).normal(size=(126, 4))))
    path = model.save(tmp_path / "x.onnx")
    graph = read_onnx(path, input_shape=given)
    images = np.random.default_rng(5).normal(size=(1, 126)).astype(np.float32)
    (expected,) = ReferenceEvaluator(str(path)).run(None, {"image": images.reshape(1, *taken)})
    found = run_operators(graph, torch.as_tensor(images, dtype=torch.float64).reshape(1, *shape))
    assert graph.input_shape == shape
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_an_open_size_is_given(tmp_path):
    model = Model((3, "height", "width"), 17)
    conv(model, np.random.default_rng(0))
    path = model.save(tmp_path / "x.onnx")
    assert read_onnx(path, input_shape=(3, 9, 8)).input_shape == (3, 9, 8)
    with pytest.raises(ResiduumError, match="leaves the size of its input 'image' open; say which"):
        read_onnx(path)


def test_the_cnn_of_the_model_zoo():
    """Its Reshape of weights, its SAME_UPPER, and its pictures of 0 .. 255."""
    path = published("mnist-12.onnx")
    graph = read_onnx(path)
    images = np.random.default_rng(0).integers(0, 256, (1, 1, 28, 28)).astype(np.float32)
    (expected,) = ReferenceEvaluator(str(path)).run(None, {"Input3": images})
    found = run_operators(graph, torch.as_tensor(images, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-2)
    network = import_onnx(path, preprocessing=Preprocessing(scale=1.0))
    logits = forward(network, torch.as_tensor(images, dtype=torch.float64) / 255).numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-2)
    assert network.metadata["opset"] == "12"


def test_accuracy_of_the_cnn_of_the_model_zoo():
    """98.91 % of all test images, as its authors' format computes them; here the first 2,000."""
    network = import_onnx(published("mnist-12.onnx"), preprocessing=Preprocessing(scale=1.0))
    need_data()
    images, labels = load_images("mnist")
    pictures = torch.as_tensor(np.array(images[:2000])).float() / 255
    with torch.no_grad():
        right = (forward(network, pictures).argmax(1).numpy() == labels[:2000]).sum()
    assert right == 1968


def random_classifier(seed: int) -> Model:
    """A residual network with convolutions, pooling and a concatenation drawn at random."""
    rng = np.random.default_rng(seed)
    model = Model(SHAPE, int(rng.choice(OPSETS)))

    def convolution(source, inputs, out, *, kernel=3, **attributes):
        kernels = [kernel, kernel]
        weight = model.constant(weights(rng, out, inputs, *kernels) / 3)
        name = model.node("Conv", weight, source=source, kernel_shape=kernels, **attributes)
        gamma, variance = rng.uniform(0.5, 2, (2, out))
        constants = (gamma, weights(rng, out) / 2, weights(rng, out) / 2, variance)
        # The reference normalises by the images at hand in opsets below 14.
        if model.opset >= 14 and rng.random() < 0.7:
            return model.node("BatchNormalization", *map(model.constant, constants), source=name)
        return model.node("Add", model.constant(weights(rng, out, 1, 1) / 2), source=name)

    def activation():
        return model.node("Relu") if rng.random() < 0.5 else clip(model, rng, 30.0)

    same = {"auto_pad": str(rng.choice(["SAME_UPPER", "SAME_LOWER"]))}
    convolution("image", 3, 4, **same)
    activation()
    if rng.random() < 0.5:
        model.node("MaxPool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])
    stem = model.last
    convolution(stem, 4, 6, strides=[2, 2], pads=[1, 1, 1, 1])
    activation()
    branch = convolution(model.last, 6, 6, **same)
    shortcut = convolution(stem, 4, 6, kernel=1, strides=[2, 2])
    model.node("Add", branch, source=shortcut)
    activation()
    joined = model.last
    if rng.random() < 0.5:
        convolution(joined, 6, 5, **same)
        activation()
        model.node("Concat", joined, axis=1)
    else:
        model.node("AveragePool", kernel_shape=[2, 1], strides=[2, 1])
    channels = 11 if model.nodes[-1].op_type == "Concat" else 6
    model.node("GlobalAveragePool")
    model.node("Flatten")
    model.node("Gemm", model.constant(weights(rng, channels, 5)), model.constant(weights(rng, 5)))
    return model


@pytest.mark.parametrize("seed", range(24))
def test_random_classifiers_as_float_networks(tmp_path, seed):
    path = random_classifier(seed).save(tmp_path / "x.onnx")
    images = np.random.default_rng(seed).random((1, *SHAPE)).astype(np.float32)
    (expected,) = ReferenceEvaluator(str(path)).run(None, {"image": images})
    found = forward(import_onnx(path), torch.as_tensor(images, dtype=torch.float64)).numpy()
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


class Residual(torch.nn.Module):
    """What exporters meet: BatchNorm, a projection, an option-A shortcut, ReLU6, a global mean."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.body = nn.Sequential(
            nn.Conv2d(4, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU6(),
            nn.Conv2d(8, 8, 3, padding=1, groups=2),
            nn.BatchNorm2d(8),
            nn.Dropout(),
        )
        self.shortcut = nn.Conv2d(4, 8, 1, 2)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.stem(x)
        x = F.relu(self.body(x) + self.shortcut(x))
        x = torch.cat([F.max_pool2d(x, 2), F.pad(x[:, ::2, ::2, ::2], (0, 0, 0, 0, 2, 2))], 1)
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


@pytest.mark.parametrize(("opset", "dynamo"), [(20, True), (13, False)])
@pytest.mark.filterwarnings("ignore")
def test_models_that_torch_exports(tmp_path, opset, dynamo):
    torch.manual_seed(0)
    module = Residual().eval()
    images = torch.randn(1, 3, 8, 8)
    torch.onnx.export(
        module, (images,), tmp_path / "x.onnx", opset_version=opset, dynamo=dynamo, verbose=False
    )
    graph = read_onnx(tmp_path / "x.onnx")
    torch.testing.assert_close(run_operators(graph, images), module(images), rtol=1e-4, atol=1e-5)
    network = import_onnx(tmp_path / "x.onnx")
    torch.testing.assert_close(forward(network, images), module(images), rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------------------------------------
# Refused.


def read(tmp_path, model: Model):
    return read_onnx(model.save(tmp_path / "x.onnx"))


REFUSED = {
    "activation": (lambda m: m.node("Tanh"), r"'n0' \(Tanh\) is an activation.*: replace it by"),
    "unknown": (lambda m: m.node("Floor"), r"'n0' \(Floor\) is an operator that is not supported"),
    "product": (
        lambda m: two_maps(m, None, "Mul"),
        r"'n2' \(Mul\) multiplies two maps, but a spike only adds a weight: leave out the gate",
    ),
    "SiLU": (
        lambda m: m.node("Mul", "image", source=m.node("Sigmoid")),
        r"'n1' \(Mul\) is an activation",
    ),
    "c / x": (
        lambda m: with_constant(m, np.random.default_rng(0), "Div", True),
        r"'n0' \(Div\) multiplies two maps",
    ),
    "x / 0": (
        lambda m: m.node("Div", m.constant(np.zeros((3, 1, 1)))),
        r"'n0' \(Div\) divides by 0",
    ),
    "weights from the image": (
        lambda m: m.node("Conv", "image"),
        r"'n0' \(Conv\) multiplies two maps",
    ),
    "clip from below 0": (
        lambda m: m.node("Clip", m.constant(-1.0), m.constant(1.0)),
        r"'n0' \(Clip\) lets negative numbers through",
    ),
    "training": (
        lambda m: m.node("Dropout", m.constant(0.5), m.constant(True, np.bool_), source="image"),
        r"'n0' \(Dropout\) drops numbers at random; export the model in eval mode",
    ),
    "reflection": (
        lambda m: m.node("Pad", m.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64), mode="reflect"),
        r"'n0' \(Pad\) pads with something else than zeros",
    ),
    "padding with ones": (
        lambda m: m.node("Pad", m.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64), m.constant(1.0)),
        r"'n0' \(Pad\) pads with something else than zeros",
    ),
    "batch moved": (
        lambda m: m.node("Transpose", perm=[1, 0, 2, 3]),
        r"'n0' \(Transpose\) .* the batch must stay the first axis",
    ),
    "batch merged": (
        lambda m: reshape(m, None, [-1, 6]),
        r"'n0' \(Reshape\) makes the shape \(21, 6\) of a batch of 1; the batch must stay",
    ),
    "batch averaged": (
        lambda m: m.node("ReduceMean", axes=[0, 2]),
        r"'n0' \(ReduceMean\) works on the batch",
    ),
    "backwards": (
        lambda m: m.node("Slice", *(m.constant(v, np.int64) for v in ([5], [0], [2], [-1]))),
        r"'n0' \(Slice\) has the step -1; it must go forward",
    ),
    "broadcast": (
        lambda m: m.node("Add", "image", source=m.node("GlobalAveragePool")),
        r"'n1' \(Add\) adds maps of the shapes \(3, 1, 1\) and \(3, 7, 6\); they must be equal",
    ),
    "ones appended": (
        lambda m: m.node("Concat", m.constant(np.ones((1, 1, 7, 6))), axis=1),
        r"'n0' \(Concat\) appends constants to a map; only zeros",
    ),
    "unequal sizes": (
        lambda m: m.node("Conv", m.constant(np.ones((2, 4, 1, 1)))),
        r"'n0' \(Conv\) has weights of the shape \(2, 4, 1, 1\) for 3 channels",
    ),
    "shape from the image": (
        lambda m: m.node(
            "Reshape", m.node("ReduceMean", axes=[1, 2, 3], keepdims=0), source="image"
        ),
        r"'n1' \(Reshape\) has an output whose shape is not known before the run",
    ),
    "integers": (
        lambda m: m.node("Cast", to=onnx.TensorProto.INT64),
        r"'n0' \(Cast\) rounds numbers to integers",
    ),
    "undefined value": (
        lambda m: m.node("Add", "nothing"),
        r"'n0' \(Add\) reads 'nothing', which no node before it writes; .*x.onnx is damaged",
    ),
}


@pytest.mark.parametrize(
    ("op", "why"),
    [(op, row.why) for row in supported.REFUSALS.values() for op in row.onnx if op != "Sigmoid"],
)
def test_every_refused_operator_of_the_table(tmp_path, op, why):
    model = Model(SHAPE, 17)
    model.node(op)
    with pytest.raises(ResiduumError) as raised:
        read(tmp_path, model)
    assert str(raised.value).startswith(f"'n0' ({op}) {why}: ")


def test_every_supported_operator_of_the_table_is_in_a_form():
    models = [Model(SHAPE, opset) for opset in (9, 17)]
    built = set()
    for form in FORMS.values():
        for model in models:
            form(model, np.random.default_rng(0))
    built = {node.op_type for model in models for node in model.nodes}
    listed = {op for row in supported.SUPPORTED for op in row.onnx}
    assert listed - built == {"BatchNormalization", *LAST}


LAST = ("Softmax", "LogSoftmax", "Sigmoid")


@pytest.mark.parametrize("op", LAST)
def test_softmax_at_the_end_is_left_out(tmp_path, op):
    model = random_classifier(0)
    network = import_onnx(model.save(tmp_path / "x.onnx"))
    model.node(op)
    again = import_onnx(model.save(tmp_path / "x.onnx"))
    images = torch.rand(2, *SHAPE, dtype=torch.float64)
    assert op in again.metadata["notes"]
    assert torch.equal(forward(again, images), forward(network, images))


@pytest.mark.parametrize("case", REFUSED)
def test_refused_nodes(tmp_path, case):
    build, sentence = REFUSED[case]
    model = Model(SHAPE, 17)
    build(model)
    with pytest.raises(ResiduumError, match=sentence) as raised:
        read(tmp_path, model)
    assert "\n" not in str(raised.value)


def test_several_inputs(tmp_path):
    model = small()
    model.inputs.append(onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, [1, 3]))
    with pytest.raises(ResiduumError, match=r"x.onnx has 2 inputs \('image', 'b'\); a network has"):
        read(tmp_path, model)


def test_several_outputs(tmp_path):
    model = small()
    model.outputs = ["v0", "v1"]
    with pytest.raises(ResiduumError, match=r"x.onnx has 2 outputs \('v0', 'v1'\)"):
        read(tmp_path, model)


@pytest.mark.parametrize("opset", [6, 21])
def test_other_opsets(tmp_path, opset):
    with pytest.raises(ResiduumError, match=f"has opset {opset}; export it with opset 7 to 20"):
        read(tmp_path, small(opset))


@pytest.mark.parametrize("seed", range(60))
def test_files_with_flipped_bits(tmp_path, seed):
    """They end in one sentence, if not in a network."""
    rng = np.random.default_rng(seed)
    content = bytearray(random_classifier(seed % 3).save(tmp_path / "x.onnx").read_bytes())
    for place in rng.integers(0, len(content), 3):
        content[place] ^= 1 << rng.integers(0, 8)
    (tmp_path / "x.onnx").write_bytes(content)
    with contextlib.suppress(ResiduumError):
        read_onnx(tmp_path / "x.onnx")


@pytest.mark.parametrize("content", [b"", b"no model", bytes(range(256))])
def test_damaged_files(tmp_path, content):
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(ResiduumError, match=r"x.onnx is not an ONNX model, or it is damaged"):
        read_onnx(tmp_path / "x.onnx")


def test_a_missing_file(tmp_path):
    with pytest.raises(ResiduumError, match="there is no file"):
        read_onnx(tmp_path / "x.onnx")


def test_external_weights(tmp_path):
    model = small().model()
    onnx.save(
        model, tmp_path / "x.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    assert read_onnx(tmp_path / "x.onnx").operators
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ResiduumError, match="keeps its weights in other files, which cannot be"):
        read_onnx(tmp_path / "x.onnx")


def test_without_the_package(tmp_path, monkeypatch):
    path = small().save(tmp_path / "x.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ResiduumError, match=r"install the extra 'onnx': pip install 'residuum\[on"):
        read_onnx(path)
