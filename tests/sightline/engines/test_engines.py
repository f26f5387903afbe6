"""Every engine through the same expectations: found by its file, so that a new one is tested without being named."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graphs import BOXES, plain

from sightline import engines
from sightline.contract import ModelDescription
from sightline.cores import available_cores
from sightline.errors import NotAvailableError, SightlineError
from sightline.pool import sessions

NAMES = sorted(path.stem for path in Path(engines.__file__).parent.glob("[a-z]*.py"))
CPU = [name.replace("_", "-") for name in NAMES if name.endswith("_cpu")]
GPU = [pytest.param(name.replace("_", "-"), marks=pytest.mark.gpu) for name in NAMES if name.endswith("_cuda")]


@pytest.mark.parametrize("name", [*CPU, *GPU])
class TestEngine:
    def test_leaves_nothing_behind_and_reports_to_nobody(self, name: str, detector: Path, tmp_path: Path) -> None:
        script = (
            f"from pathlib import Path; from sightline import engines; engines.load('{name}-fp32', Path({str(detector)!r}))"
        )
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
        subprocess.run([sys.executable, "-c", script], env=environment, check=True)
        assert not list(tmp_path.iterdir()), "telemetry keeps its queue there"

    def test_detects_as_the_contract_says(self, name: str, detector: Path) -> None:
        engine = engines.load(f"{name}-fp32", detector)
        outputs = engine.run(plain((255, 51, 102), 3), conf=0.3)
        assert {key: (value.dtype.name, value.shape) for key, value in outputs.items()} == {
            "boxes": ("float32", (3, 3, 4)),
            "scores": ("float32", (3, 3)),
            "labels": ("int64", (3, 3)),
        }
        np.testing.assert_allclose(outputs["scores"], [[1, 0, 0.4]] * 3, rtol=1e-6)
        np.testing.assert_array_equal(outputs["labels"], [[0, 0, 2]] * 3)
        np.testing.assert_array_equal(outputs["boxes"], [[BOXES[0], np.zeros(4), BOXES[2]]] * 3)

    def test_conf_is_an_argument_of_each_run(self, name: str, detector: Path) -> None:
        engine = engines.load(f"{name}-fp32", detector)
        found = [np.count_nonzero(engine.run(plain((200, 100, 50)), conf)["scores"]) for conf in (0.001, 0.3, 0.5, 0.9)]
        assert found == [3, 2, 1, 0]

    @pytest.mark.parametrize("count", [1, 5])
    def test_classifies_any_batch(self, name: str, classifier: Path, count: int) -> None:
        outputs = engines.load(f"{name}-fp32", classifier).run(plain((0, 255, 51), count), conf=0.25)
        assert list(outputs) == ["probabilities"]
        np.testing.assert_allclose(outputs["probabilities"], [[0, 1, 0.2]] * count, rtol=1e-6)

    def test_one_engine_takes_batches_of_any_size_in_turn(self, name: str, classifier: Path) -> None:
        engine = engines.load(f"{name}-fp32", classifier)
        for count in (1, 5, 2, 1):
            np.testing.assert_allclose(
                engine.run(plain((0, 255, 51), count), 0.25)["probabilities"], [[0, 1, 0.2]] * count, rtol=1e-6
            )

    @pytest.mark.parametrize("count", [1, 3])
    def test_results_outlive_the_next_run(self, name: str, classifier: Path, count: int) -> None:
        engine = engines.load(f"{name}-fp32-b3", classifier)
        first = engine.run(plain((255, 0, 0), count), 0.25)["probabilities"]
        engine.run(plain((0, 0, 255), count), 0.25)
        np.testing.assert_array_equal(first, [[1, 0, 0]] * count)

    @pytest.mark.parametrize("threads", [1, 2])
    def test_says_what_runs(self, name: str, detector: Path, threads: int) -> None:
        facts = engines.load(f"{name}-fp32", detector, threads).facts()
        assert facts["threads"] == str(threads)
        assert facts["precision"] in ("fp32", "f32")
        assert {"library", "version", "provider"} < set(facts)

    def test_refuses_a_precision_without_a_file(self, name: str, detector: Path) -> None:
        with pytest.raises(SightlineError, match="fp16"):
            engines.load(f"{name}-fp16", detector)

    def test_refuses_a_file_that_is_not_the_described_one(self, name: str, tmp_path: Path, detector: Path) -> None:
        description = ModelDescription.read(detector)
        description.write(tmp_path)
        own = description.files[engines.file_of(engines.Candidate.parse(f"{name}-fp32"))].path
        (tmp_path / own).write_bytes((detector / own).read_bytes()[:-1] + b"x")
        with pytest.raises(SightlineError, match=rf"{own}: not the file that model\.json describes"):
            engines.load(f"{name}-fp32", tmp_path)


def test_onnxruntime_runs_the_int8_file(detector: Path) -> None:
    engine = engines.load("onnxruntime-cpu-int8", detector)
    assert engine.facts()["precision"] == "int8"


def test_openvino_pins_its_arithmetic(detector: Path) -> None:
    facts = engines.load("openvino-cpu-fp32", detector).facts()
    assert (facts["precision"], facts["arithmetic"]) == ("fp32", "f32")
    with pytest.raises(SightlineError, match="fp16, expected fp32, bf16, int8"):
        engines.load("openvino-cpu-fp16", detector)


def test_openvino_may_use_both_threads_of_a_core(detector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its default leaves out one of the two, and refuses as many threads as there are logical cores."""
    import openvino

    asked, compile_model = [], openvino.Core.compile_model
    monkeypatch.setattr(openvino.Core, "compile_model", lambda *given: asked.append(given[-1]) or compile_model(*given))
    engines.load("openvino-cpu-fp32", detector)
    assert [each["ENABLE_HYPER_THREADING"] for each in asked] == [True]


def test_openvino_runs_bfloat16_where_the_processor_has_it_and_refuses_elsewhere(detector: Path) -> None:
    if "avx512_bf16" in Path("/proc/cpuinfo").read_text():
        assert engines.load("openvino-cpu-bf16", detector).facts()["arithmetic"] == "bf16"
    else:
        with pytest.raises(NotAvailableError, match="on this processor, expected bf16"):
            engines.load("openvino-cpu-bf16", detector)


def test_a_file_that_was_not_exported_is_not_available(detector: Path) -> None:
    with pytest.raises(NotAvailableError, match="no file openvino-int8"):
        engines.load("openvino-cpu-int8", detector)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("onnxruntime-cpu-int8", ("onnxruntime-cpu", "int8", 1, 1, 0)),
        ("onnxruntime-cpu-int8-t4", ("onnxruntime-cpu", "int8", 4, 1, 0)),
        ("onnxruntime-cuda-fp16-t2-b8", ("onnxruntime-cuda", "fp16", 2, 8, 0)),
        ("onnxruntime-cuda-fp16-b8", ("onnxruntime-cuda", "fp16", 1, 8, 0)),
        ("onnxruntime-cpu-int8-t2-b8-s1", ("onnxruntime-cpu", "int8", 2, 8, 1)),
        ("openvino-cpu-bf16-s4", ("openvino-cpu", "bf16", 1, 1, 4)),
        ("openvino-cpu-fp32-t1", ("openvino-cpu", "fp32", 1, 1, 0)),
        ("nothing", ("", "nothing", 1, 1, 0)),
        ("", ("", "", 1, 1, 0)),
    ],
)
def test_a_candidates_name_says_what_it_is(name: str, expected: tuple[str, str, int, int, int]) -> None:
    assert engines.Candidate.parse(name) == expected
    assert str(engines.Candidate(*expected)) == name or name in ("openvino-cpu-fp32-t1", "nothing", "")


@pytest.mark.parametrize(("suffix", "count"), [("", max(1, available_cores())), ("-s3", 3), ("-t2-s1", 1)])
def test_a_service_has_the_streams_of_its_candidate(suffix: str, count: int, detector: Path) -> None:
    assert sessions(engines.load(f"onnxruntime-cpu-fp32{suffix}", detector)) == count


def test_a_batch_that_the_model_does_not_take_is_refused(detector: Path, tmp_path: Path) -> None:
    replace(ModelDescription.read(detector), max_batch=4).write(tmp_path)
    with pytest.raises(NotAvailableError, match=r"onnxruntime-cpu-fp32-b8: batches of 8, .* takes at most 4: choose another"):
        engines.load("onnxruntime-cpu-fp32-b8", tmp_path)


def test_the_candidates_threads_are_used(detector: Path) -> None:
    assert engines.load("onnxruntime-cpu-fp32-t2", detector).facts()["threads"] == "2"
    assert engines.load("onnxruntime-cpu-fp32-t2", detector, threads=1).facts()["threads"] == "1"


def test_a_provider_that_is_not_there_is_an_error(detector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.engines.onnxruntime_cpu import Engine

    monkeypatch.setattr(Engine, "provider", "NoSuchExecutionProvider")
    with pytest.raises(SightlineError, match=r"NoSuchExecutionProvider: not available, got .*CPUExecutionProvider"):
        engines.load("onnxruntime-cpu-fp32", detector)


def test_an_unknown_engine_names_those_that_there_are(detector: Path) -> None:
    with pytest.raises(
        SightlineError, match="'onnxruntime-tpu': not there, expected one of onnxruntime-cpu, onnxruntime-cuda, "
    ):
        engines.load("onnxruntime-tpu-fp32", detector)
