"""A user's own ONNX file: hostile ones are refused in one line, and good ones compute what they did."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from sightline.errors import SightlineError
from tasks import untrusted_onnx
from tasks.untrusted_onnx import admit

SIDE = 32
CLASSES = 3


def graph(
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto] | None = None,
    batch: int | str = "N",
    shape: tuple[int | str, ...] = (3, SIDE, SIDE),
    kind: int = TensorProto.FLOAT,
    opset: int = 18,
    **fields: Any,
) -> onnx.ModelProto:
    """A model of `nodes` from `images` to `logits`."""
    images = helper.make_tensor_value_info("images", kind, [batch, *shape])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES])
    made = helper.make_graph(nodes, "own", [images], [logits], weights or [])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], **{"ir_version": 8, **fields})


def head() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Mean colours, one of each."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "shape"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight"], ["logits"]),
    ]
    weights = [
        numpy_helper.from_array(np.array([1, 3], np.int64), "shape"),
        numpy_helper.from_array(rng.normal(size=(3, CLASSES)).astype(np.float32), "weight"),
    ]
    return nodes, weights


def good(batch: int | str = 1, **values: Any) -> onnx.ModelProto:
    nodes, weights = head()
    if batch != 1:
        weights[0] = numpy_helper.from_array(np.array([0, 3], np.int64), "shape")
    return graph(nodes, weights, batch, **values)


def external(location: str) -> onnx.ModelProto:
    model = good()
    tensor = model.graph.initializer[1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "36")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return model


def external_in_an_attribute() -> onnx.ModelProto:
    model = good()
    tensor = external("secret.bin").graph.initializer[1]
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=tensor))
    return model


def custom_domain() -> onnx.ModelProto:
    model = good()
    model.graph.node.append(helper.make_node("Load", ["images"], ["unused"], domain="evil.example"))
    model.opset_import.append(helper.make_opsetid("evil.example", 1))
    return model


def python_operator() -> onnx.ModelProto:
    """The operator of PyTorch's fallback, which runs Python."""
    model = good()
    model.graph.node.append(helper.make_node("PythonOp", ["images"], ["unused"], domain="com.microsoft", name="x"))
    return model


def own_function() -> onnx.ModelProto:
    model = good()
    node = helper.make_node("Identity", ["x"], ["y"])
    model.functions.append(helper.make_function("", "Mine", ["x"], ["y"], [node], [helper.make_opsetid("", 18)]))
    return model


def huge_dims() -> onnx.ModelProto:
    model = good()
    model.graph.initializer[1].dims[:] = [1 << 40, 1 << 20]
    return model


def negative_dims() -> onnx.ModelProto:
    model = good()
    model.graph.initializer[1].dims[:] = [-3, -CLASSES]
    return model


def unknown_type() -> onnx.ModelProto:
    model = good()
    model.graph.initializer[1].data_type = 99
    return model


def deep(levels: int) -> bytes:
    """Subgraphs in subgraphs, in protobuf's wire format: deeper than its library writes."""
    inner = helper.make_graph([helper.make_node("Identity", ["images"], ["y"])], "g", [], []).SerializeToString()

    def field(number: int, data: bytes) -> bytes:
        length, size = len(data), b""
        while length > 127:
            size += bytes([length & 127 | 128])
            length >>= 7
        return bytes([number << 3 | 2]) + size + bytes([length]) + data

    for _ in range(levels):
        attribute = field(1, b"body") + field(6, inner) + b"\xa0\x01\x05"
        inner = field(1, field(4, b"If") + field(5, attribute))
    model = good()
    return model.SerializeToString() + field(7, inner)


def many_nodes() -> onnx.ModelProto:
    model = good()
    model.graph.node.extend([helper.make_node("Identity", ["images"], [f"n{index}"]) for index in range(60_000)])
    return model


def cyclic() -> onnx.ModelProto:
    nodes, weights = head()
    nodes[0] = helper.make_node("Add", ["images", "again"], ["pooled"])
    return graph([*nodes, helper.make_node("Relu", ["pooled"], ["again"])], weights)


def memory() -> onnx.ModelProto:
    """Asks for a terabyte when it runs."""
    nodes, weights = head()
    nodes += [
        helper.make_node("ConstantOfShape", ["size"], ["large"]),
        helper.make_node("ReduceMax", ["large"], ["one"], keepdims=0),
    ]
    nodes[2] = helper.make_node("Gemm", ["flat", "weight"], ["product"])
    nodes.append(helper.make_node("Add", ["product", "one"], ["logits"]))
    weights.append(numpy_helper.from_array(np.array([1 << 38], np.int64), "size"))
    return graph(nodes, weights, 1)


def endless() -> onnx.ModelProto:
    """A loop whose condition never changes."""
    nodes, weights = head()
    inputs = [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
    ]
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["x"], ["x_out"])],
        "body",
        inputs,
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_out", TensorProto.FLOAT, None),
        ],
    )
    nodes.insert(0, helper.make_node("Loop", ["count", "true", "images"], ["looped"], body=body))
    nodes[1] = helper.make_node("GlobalAveragePool", ["looped"], ["pooled"])
    weights += [
        numpy_helper.from_array(np.array(1 << 62, np.int64), "count"),
        numpy_helper.from_array(np.array(True), "true"),
    ]
    return graph(nodes, weights, 1)


def batch_mixed() -> onnx.ModelProto:
    """Subtracts the mean over the batch: an image in a batch gives another result than alone."""
    nodes, weights = head()
    nodes[0] = helper.make_node("ReduceMean", ["images"], ["mean"], axes=[0], keepdims=1)
    nodes.insert(1, helper.make_node("Sub", ["images", "mean"], ["centred"]))
    nodes.insert(2, helper.make_node("GlobalAveragePool", ["centred"], ["pooled"]))
    weights[0] = numpy_helper.from_array(np.array([0, 3], np.int64), "shape")
    return graph(nodes, weights, opset=13)


HOSTILE: dict[str, tuple[Callable[[], onnx.ModelProto | bytes], str]] = {
    "traversal": (lambda: external("../../../../etc/passwd"), "weights in another file"),
    "absolute": (lambda: external("/etc/passwd"), "weights in another file"),
    "beside": (lambda: external("secret.bin"), "weights in another file"),
    "attribute": (external_in_an_attribute, "weights in another file"),
    "domain": (custom_domain, r"domain 'evil\.example'"),
    "python": (python_operator, r"domain 'com\.microsoft'"),
    "function": (own_function, "functions of its own"),
    "huge": (huge_dims, "the file is damaged"),
    "negative": (negative_dims, "the file is damaged"),
    "type": (unknown_type, "unknown type 99"),
    "deep": (lambda: deep(20), "subgraphs 8 deep"),
    "deeper": (lambda: deep(3000), "nested too deep"),
    "nodes": (many_nodes, "more than 50000 nodes"),
    "cyclic": (cyclic, "not taken"),
    "memory": (memory, "not taken"),
    "endless": (endless, "not taken: took longer than 5 s"),
    "truncated": (lambda: good().SerializeToString()[:-20], "not an ONNX file, damaged"),
    "empty": (lambda: b"", "not an ONNX file"),
    "noise": (lambda: np.random.default_rng(0).bytes(4096), "not an ONNX file, damaged"),
    "pickle": (lambda: b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.", "not an ONNX file"),
    "two inputs": (
        lambda: helper.make_model(
            helper.make_graph(
                [helper.make_node("Add", ["a", "b"], ["y"])],
                "g",
                [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, SIDE, SIDE]) for name in "ab"],
                [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
            ),
            opset_imports=[helper.make_opsetid("", 18)],
        ),
        "expected one image",
    ),
    "half": (lambda: good(kind=TensorProto.FLOAT16), "not taken"),
    "side": (lambda: good(shape=(3, 64, 64)), r"set model\.imgsz"),
    "mixed": (batch_mixed, "another result than alone"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused_in_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted_onnx, "TIMEOUT_S", 5 if name == "endless" else 60)
    make, message = HOSTILE[name]
    content = make()
    path = tmp_path / "own.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    (tmp_path / "secret.bin").write_bytes(bytes(36))
    with pytest.raises(SightlineError, match=message) as caught:
        admit(path, SIDE)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert str(caught.value).count(": ") >= 2, "a next step is missing"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["own.onnx", "secret.bin"]


@pytest.mark.parametrize("batch", [1, "N"])
@pytest.mark.parametrize("opset", [13, 20, 21])
def test_good_file_computes_what_it_did(batch: int | str, opset: int, tmp_path: Path) -> None:
    model = good(batch, opset=opset, ir_version=10)
    onnx.save(model, tmp_path / "own.onnx")
    admitted = admit(tmp_path / "own.onnx", SIDE)
    content, facts = admitted.graph, admitted.facts
    assert admitted.masks is None
    assert (facts.contract, facts.shapes, facts.names) == (False, ((CLASSES,),), ())
    images = np.random.default_rng(1).normal(size=(4, 3, SIDE, SIDE)).astype(np.float32)
    before = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = np.concatenate([before.run(None, {"images": image[None]})[0] for image in images])
    after = InferenceSession(content, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(after.run(["map_0"], {"pixels": images})[0], expected, rtol=1e-5, atol=1e-6)


def test_free_sides_become_those_of_the_input(tmp_path: Path) -> None:
    onnx.save(good("N", shape=(3, "H", "W")), tmp_path / "own.onnx")
    content = admit(tmp_path / "own.onnx", SIDE).graph
    dims = onnx.load_model_from_string(content).graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value or dim.dim_param for dim in dims] == ["batch", 3, SIDE, SIDE]


def test_class_names_are_read_as_a_literal_alone(tmp_path: Path) -> None:
    for text, names in (("{0: 'car', 1: 'bus'}", ("car", "bus")), ("__import__('os').getcwd()", ())):
        model = good()
        helper.set_model_props(model, {"names": text})
        onnx.save(model, tmp_path / "own.onnx")
        assert admit(tmp_path / "own.onnx", SIDE).facts.names == names
