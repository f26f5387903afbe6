import pytest

from flows.output import Step, Transcript, is_dvc, parse_progress


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("train: 3/20 epochs, mAP50 0.41", Step("train", 15.0, "3/20 epochs, mAP50 0.41")),
        ("onnxruntime-cpu-int8: 30/30 requests", Step("onnxruntime-cpu-int8", 100.0, "30/30 requests")),
        ("package: test: 2/8 images", Step("package: test", 25.0, "2/8 images")),
        ("train: 3 of 20", None),
        ("train: 0/0 images", None),
        ("ERROR: failed to reproduce 'train'", None),
    ],
)
def test_progress_lines_are_read_back(line: str, step: Step | None) -> None:
    assert parse_progress(line) == step


def transcript(text: str) -> Transcript:
    result = Transcript("train")
    for line in text.splitlines():
        result.add(line)
    return result


def test_a_failed_stage_says_its_own_message() -> None:
    failed = transcript(
        "Running stage 'train':\n> python -m tasks.train --raw data/raw\ntrain: 1/2 epochs\n"
        "train: labels/3.txt:1: class 9, expected 0..4\nsecond line\n"
        "ERROR: failed to reproduce 'train': failed to run: python -m tasks.train --raw data/raw, exited with 1"
    )
    assert failed.ran
    assert failed.message() == "train: labels/3.txt:1: class 9, expected 0..4\nsecond line"
    assert failed.exit_code() == 1


def test_a_bug_gives_the_last_line_of_its_traceback() -> None:
    failed = transcript(
        "Running stage 'train':\nTraceback (most recent call last):\n  File x\nKeyError: 'a'\n"
        "ERROR: failed to reproduce 'train': failed to run: python -m tasks.train, exited with 1"
    )
    assert failed.message() == "train: KeyError: 'a'"


def test_dvcs_own_error_is_the_message_where_the_stage_did_not_run() -> None:
    failed = transcript("ERROR: 'data/raw' is busy, it is being blocked by (PID 1): dvc repro")
    assert not failed.ran
    assert failed.message() == "train: 'data/raw' is busy, it is being blocked by (PID 1): dvc repro"
    assert failed.exit_code() == 2


def test_a_cached_stage_did_not_run() -> None:
    cached = transcript("Stage 'train' didn't change, skipping\nData and pipelines are up to date.")
    assert not cached.ran


def test_dvcs_lines_are_told_from_the_stages() -> None:
    assert is_dvc("> python -m tasks.train")
    assert is_dvc("\tgit add dvc.lock")
    assert not is_dvc("train: 1/2 epochs")
