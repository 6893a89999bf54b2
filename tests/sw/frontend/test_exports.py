"""Exports: NIR files come back as they were, ONNX models compute what their network computes."""

from dataclasses import replace

import nir
import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from torch.nn import functional as F

from residuum.cli import main
from residuum.sw.errors import ResiduumError
from residuum.sw.frontend.nir import import_integer_nir, import_nir
from residuum.sw.frontend.nir_export import export_nir
from residuum.sw.frontend.onnx import import_onnx
from residuum.sw.frontend.onnx_export import export_onnx
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.forward import forward
from residuum.sw.network.graph import MaxPool, Pad, Preprocessing
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.network.library import load_network
from tests.sw.frontend.nir_oracle import run_nir
from tests.sw.networks import random_float_graph, random_graph, random_images, random_trains

SEEDS = range(40)


def for_nir(seed: int, *, input: str | None = None, **changes) -> IntegerNetwork:
    """A random graph in rate code with what NIR can say: no border, equal padding."""
    for number in range(seed * 1000, seed * 1000 + 1000):
        network = random_graph(number, "rate", input)
        sides = [source.padding for layer in network.layers for source in layer.sources]
        if all((top, left) == (bottom, right) for top, bottom, left, right in sides):
            layers = tuple(
                layer if layer.output else replace(layer, **changes) for layer in network.layers
            )
            shape = network.padded_shape
            return replace(network, input_shape=shape, pad=None, layers=layers, logit_scale=0.25)
    raise AssertionError("no network")


def contents(network: IntegerNetwork) -> list:
    """Everything in a network, with arrays as lists."""
    rows = [network.name, network.input_shape, network.weight_bits, network.input, network.code]
    rows += [network.class_names, network.logit_scale, network.preprocessing]
    for layer in network.layers:
        threshold = None if layer.threshold is None else layer.threshold.tolist()
        rows += [layer.name, layer.bias.tolist(), threshold, layer.fraction_bits, layer.shift]
        rows += [layer.start, layer.strict]
        for source in layer.sources:
            rows += [source.weight.tolist(), source.map, source.stride, source.padding]
            rows += [source.dilation, source.groups, source.pool]
    return rows


@pytest.mark.parametrize("seed", SEEDS)
def test_exported_to_nir_and_imported_again_a_network_is_equal(tmp_path, seed):
    network = for_nir(seed)
    export_nir(network, tmp_path / "x.nir")
    again = import_integer_nir(tmp_path / "x.nir", reset="subtract")
    assert contents(again) == contents(network)


@pytest.mark.parametrize("seed", SEEDS)
def test_another_program_computes_the_same_from_the_nir_file(tmp_path, seed):
    """A simulation of the graph by NIR's own rules, from zero and strictly above the threshold."""
    network = for_nir(seed, input="spikes", start="zero", strict=True)
    export_nir(network, tmp_path / "x.nir")
    trains = random_trains(seed, network, 2, 12)
    summed = run_nir(nir.read(tmp_path / "x.nir", type_check=False), trains)
    logits = simulate(network, trains, tau=0, T=12, keep_layers=False).logits
    assert (summed * (1 << network.layers[-1].fraction_bits) == logits).all()


def test_the_committed_networks_pass_the_type_check_of_nir(tmp_path):
    export_nir(load_network("digits"), tmp_path / "x.nir")
    assert nir.read(tmp_path / "x.nir").output_type["output"].tolist() == [10]


def test_names_that_hdf5_does_not_allow(tmp_path):
    network = load_network("digits")
    names = ["a/b", ".", "input"]
    layers = tuple(replace(layer, name=n) for layer, n in zip(network.layers, names, strict=True))
    export_nir(replace(network, layers=layers), tmp_path / "x.nir")
    again = import_integer_nir(tmp_path / "x.nir", reset="subtract")
    assert [layer.name for layer in again.layers] == names


def test_a_float_network_from_an_exported_file(tmp_path):
    """Its weights are those of the integers, in units of the thresholds."""
    network = load_network("digits")
    export_nir(network, tmp_path / "x.nir")
    again = import_nir(tmp_path / "x.nir", reset="subtract")
    layer, found = network.layers[0], again.layers[0]
    unit = layer.threshold / (1 << layer.fraction_bits)
    weight = layer.source.weight / unit[:, None, None, None] * 255
    np.testing.assert_allclose(found.source.weight, weight, rtol=1e-12)
    assert (again.input, found.strict, found.start, found.threshold) == ("image", False, "half", 1)


def radix_digits(**changes) -> IntegerNetwork:
    network = load_network("digits")
    layers = [layer if layer.output else replace(layer, bits=3) for layer in network.layers]
    return replace(network, code="radix", layers=tuple(layers), **changes)


def with_border() -> IntegerNetwork:
    return replace(load_network("digits"), input_shape=(1, 6, 8), pad=Pad((1, 1, 0, 0), (9.0,)))


def unequal_padding() -> IntegerNetwork:
    network = load_network("digits")
    first, *others = network.layers
    source = replace(first.source, padding=(2, 0, 1, 1))
    return replace(network, layers=(replace(first, sources=(source,)), *others))


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (radix_digits, "is in radix code, which NIR's neurons cannot do; export it as ONNX"),
        (with_border, "puts a border around the picture, which NIR cannot say"),
        (unequal_padding, r"layer 'conv1' has the padding \(2, 0, 1, 1\); NIR has the same"),
    ],
)
def test_what_nir_cannot_say(tmp_path, network, sentence):
    with pytest.raises(ResiduumError, match=sentence):
        export_nir(network(), tmp_path / "x.nir")
    assert not (tmp_path / "x.nir").exists()


def test_a_changed_file_is_not_taken_for_the_exported_one(tmp_path):
    export_nir(load_network("digits"), tmp_path / "x.nir")
    graph = nir.read(tmp_path / "x.nir")
    graph.nodes["output"] = nir.Output({"output": np.array([32])})
    graph.nodes["more"] = nir.Linear(np.ones((10, 10)))
    graph.nodes["neurons"] = nir.IF(np.ones(10), np.ones(10))
    graph.edges.remove(("classifier", "output"))
    graph.edges += [("classifier", "neurons"), ("neurons", "more"), ("more", "output")]
    nir.write(tmp_path / "x.nir", graph)
    with pytest.raises(ResiduumError, match="was changed after Residuum exported it: its metadata"):
        import_integer_nir(tmp_path / "x.nir", reset="subtract")


# ---------------------------------------------------------------------------------------------
# ONNX.


class MaxPool2d(OpRun):
    """The reference implementation reads the sides of unstrided windows in another order."""

    op_domain = ""

    def _run(self, x, kernel_shape=None, strides=None, pads=None, **others):
        top, left, bottom, right = pads
        padded = F.pad(torch.as_tensor(x), (left, right, top, bottom), value=-torch.inf)
        return (F.max_pool2d(padded, kernel_shape, strides).numpy(),)


MaxPool2d.__name__ = "MaxPool"


def run_onnx(path, images: np.ndarray) -> np.ndarray:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    (logits,) = ReferenceEvaluator(model, new_ops=[MaxPool2d]).run(
        None, {"image": images.astype(np.float32)}
    )
    return logits


@pytest.mark.parametrize("seed", SEEDS)
def test_onnx_of_a_float_network(tmp_path, seed):
    network = random_float_graph(seed, "image")
    if seed % 2:
        pixel = tuple(np.random.default_rng(seed).random(network.input_shape[0]).tolist())
        channels, height, width = network.input_shape
        border = min(height - 1, 1)
        network = replace(
            network, input_shape=(channels, height - border, width),
            pad=Pad((border, 0, 0, 0), pixel),
        )  # fmt: skip
    export_onnx(network, tmp_path / "x.onnx")
    images = np.random.default_rng(seed).random((3, *network.input_shape))
    expected = forward(network, torch.as_tensor(images)).numpy()
    np.testing.assert_allclose(
        run_onnx(tmp_path / "x.onnx", images), expected, rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_onnx_of_a_network_in_radix_code_is_exact(tmp_path, seed):
    network = replace(random_graph(seed, "radix"), logit_scale=0.5)
    advice = export_onnx(network, tmp_path / "x.onnx")
    images = random_images(seed, network, 3)
    logits = simulate(network, images, tau=0, T=1, keep_layers=False).logits * 0.5
    found = run_onnx(tmp_path / "x.onnx", images)
    if advice.endswith("exactly"):
        assert (found == logits).all()
    else:
        assert "can exceed the exact range of float32" in advice


def test_most_of_these_are_exact(tmp_path):
    advice = [export_onnx(random_graph(seed, "radix"), tmp_path / "x.onnx") for seed in SEEDS]
    assert sum(text.endswith("exactly") for text in advice) > len(SEEDS) // 2


def test_onnx_of_a_network_in_rate_code_is_its_ann(tmp_path):
    network = load_network("digits")
    export_onnx(network, tmp_path / "x.onnx")
    images = random_images(0, network, 4)
    rates = simulate(network, images, tau=0, T=512, keep_layers=False).logits / 512
    found = run_onnx(tmp_path / "x.onnx", images)
    np.testing.assert_allclose(found, rates, atol=0.02 * np.abs(rates).max())


def test_an_exported_float_network_is_imported_again(tmp_path):
    network = random_float_graph(3, "image")
    first = network.layers[0]
    pool = MaxPool((2, 2), (1, 1), (1, 0, 0, 1))
    network = replace(network, layers=(replace(first, max_pool=pool), *network.layers[1:]))
    export_onnx(network, tmp_path / "x.onnx")
    again = import_onnx(tmp_path / "x.onnx")
    images = torch.rand(3, *network.input_shape, dtype=torch.float64)
    torch.testing.assert_close(
        forward(again, images), forward(network, images), rtol=1e-5, atol=1e-5
    )


def test_class_names_and_preprocessing_are_properties(tmp_path):
    names = tuple("abcdefghij")
    network = replace(
        load_network("digits"), class_names=names, preprocessing=Preprocessing(mean=(0.5,))
    )
    export_onnx(network, tmp_path / "x.onnx")
    texts = {entry.key: entry.value for entry in onnx.load(tmp_path / "x.onnx").metadata_props}
    assert '"j"' in texts["class_names"]
    assert '"mean": [0.5]' in texts["preprocessing"]


def test_spikes_are_not_for_onnx(tmp_path):
    with pytest.raises(ResiduumError, match="reads spikes, which ONNX does not have; export it as"):
        export_onnx(random_graph(0, "rate", "spikes"), tmp_path / "x.onnx")


# ---------------------------------------------------------------------------------------------
# The command.


def test_the_command(in_tmp, capsys):
    assert main(["export", "digits", "--bits", "4", "-o", "a/x.nir"]) == 0
    assert main(["export", "digits", "-o", "x.onnx"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "a/x.nir: the picture, 0 .. 255, enters in every step; a spike lowers the potential by "
        "v_threshold; neurons start at half of v_threshold and fire at v >= v_threshold",
        "x.onnx: pictures enter as u = 0 .. 255; activations are the rates of infinitely many "
        "steps",
    ]


def test_the_command_takes_float_networks(in_tmp, capsys):
    random_float_graph(3, "image").save("float.npz")
    assert main(["export", "float.npz", "-o", "x.onnx"]) == 0
    assert main(["export", "float.npz", "-o", "x.nir"]) == 1
    assert "is a float network, and NIR files hold integers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["digits", "-o", "x.txt"], "x.txt does not end in .nir or .onnx"),
        (["nothing", "-o", "x.nir"], "there is no network 'nothing'"),
        (["no.npz", "-o", "x.nir"], "there is no file no.npz"),
    ],
)
def test_what_the_command_refuses(in_tmp, capsys, words, sentence):
    assert main(["export", *words]) == 1
    assert sentence in capsys.readouterr().err
