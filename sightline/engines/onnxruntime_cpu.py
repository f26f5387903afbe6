"""ONNX Runtime on a CPU."""

from sightline.engines._onnxruntime import CPU, OnnxRuntimeEngine


class Engine(OnnxRuntimeEngine):
    """The folder's FP32 or INT8 file on ONNX Runtime's CPU provider."""

    provider = CPU
    extra = "onnxruntime"
