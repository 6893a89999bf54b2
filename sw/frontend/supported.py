"""What `residuum import` takes and what it refuses, as data: for front ends, errors and pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from residuum.sw.errors import ResiduumError


@dataclass(frozen=True)
class Supported:
    """A row of the table of supported operators: names in PyTorch and ONNX, and what becomes of
    them in the network."""

    operators: str
    torch: tuple[str, ...]
    onnx: tuple[str, ...]
    becomes: str


@dataclass(frozen=True)
class Refusal:
    """A row of the table of refused operators or patterns.

    Attributes
    ----------
    what
        Noun for the table.
    why
        End of a sentence that begins with the operator: "is an activation that ...".
    cure
        What to use in its place.
    torch, onnx
        Names of the operators (ATen without overload and trailing underscore; ONNX), if the row is
        about operators.
    """

    what: str
    why: str
    cure: str
    torch: tuple[str, ...] = ()
    onnx: tuple[str, ...] = ()


SUPPORTED = (
    Supported(
        "convolution: strided, padded, dilated, grouped, depthwise",
        ("conv2d", "convolution"),
        ("Conv",),
        "a source of a layer",
    ),
    Supported(
        "dense layer",
        ("linear", "addmm", "mm", "matmul"),
        ("Gemm", "MatMul"),
        "a convolution whose kernel is the whole map",
    ),
    Supported(
        "BatchNorm",
        ("batch_norm", "_native_batch_norm_legit_no_training"),
        ("BatchNormalization",),
        "folded into the convolution or dense layer before it, or after it if that has no padding",
    ),
    Supported(
        "arithmetic with constants: normalisation, scales",
        ("add", "sub", "rsub", "mul", "div", "neg"),
        ("Add", "Sub", "Mul", "Div", "Neg"),
        "folded likewise; in front of the first layer its border becomes pixels of the picture",
    ),
    Supported(
        "ReLU, ReLU6, clip from 0",
        ("relu", "relu6", "hardtanh", "clamp", "clamp_min"),
        ("Relu", "Clip"),
        "the neurons of a layer, and their range",
    ),
    Supported(
        "max-pooling",
        ("max_pool2d", "max_pool2d_with_indices", "adaptive_max_pool2d"),
        ("MaxPool", "GlobalMaxPool"),
        "behind the neurons of the layer before it",
    ),
    Supported(
        "average pooling, adaptive and global pooling, mean and sum over positions",
        ("avg_pool2d", "adaptive_avg_pool2d", "mean", "sum"),
        ("AveragePool", "GlobalAveragePool", "ReduceMean"),
        "in front of the layer that reads it; overlapping windows become a layer",
    ),
    Supported(
        "sum of two maps",
        ("add",),
        ("Add", "Sum"),
        "two sources of a layer",
    ),
    Supported(
        "concatenation of two maps",
        ("cat", "concat", "concatenate"),
        ("Concat",),
        "two sources of the layer that reads it",
    ),
    Supported(
        "strided slices, parts of the channels, zeros around channels and positions",
        ("slice", "select", "chunk", "split", "pad", "constant_pad_nd"),
        ("Slice", "Split", "Pad"),
        "stride, padding and zero weights of the source",
    ),
    Supported(
        "flatten, reshape, transpose",
        ("flatten", "view", "reshape", "unflatten", "squeeze", "unsqueeze", "permute", "transpose"),
        ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose"),
        "the order of the weights of the next layer",
    ),
    Supported(
        "dropout, identity",
        ("dropout", "feature_dropout", "alpha_dropout", "contiguous", "clone", "alias"),
        ("Dropout", "Identity"),
        "nothing",
    ),
    Supported(
        "softmax, log-softmax, sigmoid at the end",
        ("softmax", "log_softmax", "sigmoid"),
        ("Softmax", "LogSoftmax", "Sigmoid"),
        "dropped: the order of the classes stays",
    ),
)

ACTIVATION = "activation"
LEAKY = "leaky"
NORMALISATION = "normalisation"
PRODUCT = "product"
ATTENTION = "attention"
RECURRENCE = "recurrence"
DIMENSIONS = "dimensions"
RESAMPLING = "resampling"
QUANTISED = "quantised"
PADDING = "padding"
CLIPPING = "clipping"
DATA = "data"

REFUSALS = {
    ACTIVATION: Refusal(
        "GELU, SiLU, Hardswish, Sigmoid, Tanh, ELU and other smooth activations",
        "is an activation that no integrate-and-fire neuron computes",
        "replace it by ReLU and fine-tune",
        (
            *("gelu", "silu", "hardswish", "hardsigmoid", "sigmoid", "tanh", "elu", "selu", "celu"),
            *("softplus", "mish", "log_sigmoid", "threshold", "exp", "hardshrink"),
            *("abs", "pow", "square", "sqrt", "softshrink", "glu"),
        ),
        (
            *("Gelu", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Elu", "Selu", "Celu"),
            *("Softplus", "Mish", "Softsign", "ThresholdedRelu", "Exp", "Erf"),
        ),
    ),
    LEAKY: Refusal(
        "LeakyReLU, PReLU, RReLU",
        "lets negative numbers through, and spikes carry no sign",
        "replace it by ReLU and fine-tune",
        ("leaky_relu", "prelu", "rrelu", "_prelu_kernel"),
        ("LeakyRelu", "PRelu"),
    ),
    NORMALISATION: Refusal(
        "LayerNorm, GroupNorm, InstanceNorm, local response normalisation",
        "normalises by statistics of the image at hand, which no weights contain",
        "replace it by BatchNorm and fine-tune",
        ("layer_norm", "group_norm", "instance_norm", "rms_norm", "linalg_vector_norm"),
        (
            *("LayerNormalization", "GroupNormalization", "InstanceNormalization", "LRN"),
            *("LpNormalization", "RMSNormalization", "MeanVarianceNormalization"),
        ),
    ),
    PRODUCT: Refusal(
        "product or quotient of two maps (squeeze-and-excitation, gates)",
        "multiplies two maps, but a spike only adds a weight",
        "leave out the gate (squeeze-and-excitation) and fine-tune",
    ),
    ATTENTION: Refusal(
        "attention",
        "is attention, whose weights are activations themselves",
        "use a convolutional network",
        (
            "scaled_dot_product_attention",
            "bmm",
            "baddbmm",
            "einsum",
        ),
        ("Attention", "MultiHeadAttention", "Einsum"),
    ),
    RECURRENCE: Refusal(
        "LSTM, GRU, RNN",
        "is recurrent, but a layer reads earlier layers only",
        "use a network without recurrence",
        ("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_relu_cell"),
        ("LSTM", "GRU", "RNN", "Loop", "Scan"),
    ),
    DIMENSIONS: Refusal(
        "convolutions and pooling in one or three dimensions",
        "does not work on maps with height and width",
        "use its two-dimensional form",
        (
            *("conv1d", "conv3d", "max_pool1d", "max_pool3d", "avg_pool1d", "avg_pool3d"),
            *("adaptive_avg_pool1d", "adaptive_avg_pool3d", "adaptive_max_pool1d"),
        ),
    ),
    RESAMPLING: Refusal(
        "interpolation, upsampling, transposed convolution, pixel shuffle",
        "enlarges its map, which no window of the engine does",
        "leave it out, since a classifier needs no larger map",
        (
            *("upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d", "grid_sampler"),
            *("conv_transpose2d", "pixel_shuffle", "_upsample_nearest_exact2d"),
        ),
        ("Resize", "Upsample", "ConvTranspose", "DepthToSpace", "GridSample"),
    ),
    QUANTISED: Refusal(
        "models that are quantised already",
        "belongs to a model that is quantised already",
        "import the float model that it was made from",
        (
            *("quantize_per_tensor", "quantize_per_channel", "dequantize"),
            *("fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine"),
        ),
        (
            *("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger"),
            *("MatMulInteger", "DynamicQuantizeLinear"),
        ),
    ),
    PADDING: Refusal(
        "padding by reflection, repetition or a constant that is not zero",
        "pads with something else than zeros",
        "use zero padding and fine-tune",
        ("reflection_pad2d", "replication_pad2d"),
    ),
    CLIPPING: Refusal(
        "clip whose lower bound is not 0",
        "lets negative numbers through or keeps numbers above 0, and a neuron starts at 0",
        "use ReLU, ReLU6 or clamp(0, x) and fine-tune",
    ),
    DATA: Refusal(
        "ifs, loops and indices on data, random numbers",
        "depends on the numbers of the image",
        "make the model do the same for every image",
        ("index", "gather", "where", "nonzero", "topk", "sort", "rand_like", "bernoulli", "argmax"),
        ("If", "Where", "Gather", "GatherElements", "NonZero", "TopK", "ArgMax", "RandomUniform"),
    ),
}

SIGNED_SUM = "signed sum"
SIGNED_CONVOLUTION = "signed convolution"
TERMS = "terms"
PADDED_NORM = "padded normalisation"
MIRRORED_MAXIMUM = "mirrored maximum"
DILATED_MAXIMUM = "dilated maximum"
IMAGE_MAXIMUM = "maximum of the image"
MAP_OUTPUT = "map as output"
UNEQUAL_WINDOWS = "unequal windows"
LAYOUT = "layout"
BORDERS = "borders"

PATTERNS = {
    SIGNED_CONVOLUTION: Refusal(
        "convolution after convolution, linear bottleneck: no ReLU between two layers",
        "reads numbers that can be negative, and spikes carry no sign",
        "put a ReLU between the two layers (no linear bottleneck) and fine-tune",
    ),
    SIGNED_SUM: Refusal(
        "pre-activation block, sum of branches without ReLU behind it",
        "reads a sum that can be negative, and spikes carry no sign",
        "put a ReLU behind the sum, as ResNet v1 has it (no pre-activation, no linear bottleneck), "
        "and fine-tune",
    ),
    TERMS: Refusal(
        "sum or concatenation of more than two maps",
        "makes a layer read more than two maps",
        "put a ReLU behind the sum of each two, or use fewer branches, and fine-tune",
    ),
    PADDED_NORM: Refusal(
        "BatchNorm or offset in front of a convolution with zero padding",
        "pads with zeros behind a BatchNorm or an offset, which then cannot be folded exactly",
        "put the BatchNorm in front of the ReLU, or use padding 0, and fine-tune",
    ),
    MIRRORED_MAXIMUM: Refusal(
        "max-pooling behind a BatchNorm with negative scales",
        "takes the maximum behind a BatchNorm whose scale is negative in some channels",
        "put the max-pooling in front of the BatchNorm, or the BatchNorm in front of the ReLU, "
        "and fine-tune",
    ),
    DILATED_MAXIMUM: Refusal(
        "dilated max-pooling",
        "takes the maximum of positions that do not lie side by side",
        "use max-pooling without dilation",
    ),
    IMAGE_MAXIMUM: Refusal(
        "max-pooling of the image",
        "takes the maximum of the image itself, which has no neurons",
        "use average pooling or a strided convolution, or smaller pictures",
    ),
    MAP_OUTPUT: Refusal(
        "output larger than 1 x 1 (segmentation, detection), or several outputs",
        "is not one number per class",
        "end the model in a global pooling or a dense layer with one number per class",
    ),
    UNEQUAL_WINDOWS: Refusal(
        "adaptive, padded or cut pooling whose windows differ, not in front of a dense layer",
        "depends on pooling windows of different sizes",
        "use windows that divide the map, or count_include_pad=True",
    ),
    LAYOUT: Refusal(
        "reshape, transpose or slice that a layer cannot undo by the order of its weights",
        "reads numbers in an order that no layer has",
        "keep channels, rows and columns up to the first dense layer",
    ),
    BORDERS: Refusal(
        "readers of the image whose borders hold different pixels, or pixels that no picture has",
        "pads the image with numbers that are not one pixel between 0 and 255",
        "normalise the image once, with means between black and white",
    ),
}


def refusal_of_torch(name: str) -> str:
    """Key of `REFUSALS` for an ATen operator such as "gelu" or "conv1d"; "" if there is none."""
    return next((key for key, row in REFUSALS.items() if name in row.torch), "")


def refusal_of_onnx(name: str) -> str:
    """Key of `REFUSALS` for an ONNX operator such as "Gelu"; "" if there is none."""
    return next((key for key, row in REFUSALS.items() if name in row.onnx), "")


def refusal_sentence(where: str, key: str, extra: str = "") -> str:
    """The sentence about an operator or a pattern.

    ``where`` names both operator and path; ``extra`` follows the reason.
    """
    row = REFUSALS.get(key) or PATTERNS.get(key)
    if row is None:
        return f"{where} is an operator that is not supported; docs/own-model.md lists what is"
    return f"{where} {row.why}{extra}: {row.cure}"


def refuse(where: object, key: str, extra: str = "") -> NoReturn:
    """Raise ``ResiduumError`` with `refusal_sentence`."""
    raise ResiduumError(refusal_sentence(str(where), key, extra))


def supported_table() -> str:
    """The supported operators as a table in Markdown."""
    rows = [(row.operators, _code(row.torch), _code(row.onnx), row.becomes) for row in SUPPORTED]
    return _table(("operator", "PyTorch (ATen)", "ONNX", "becomes"), rows)


def refused_table() -> str:
    """The refused operators and patterns as a table in Markdown."""
    rows = [(row.what, row.why, row.cure) for row in (*REFUSALS.values(), *PATTERNS.values())]
    return _table(("refused", "because it", "use in its place"), rows)


def _code(names: tuple[str, ...]) -> str:
    return " ".join(f"`{name}`" for name in names)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"
