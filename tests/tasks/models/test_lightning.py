"""Lightning's loop: class balance, compilation, and several processes that train as one and die as one."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset
from torchvision.transforms import v2

from sightline.contract import Input
from sightline.errors import SightlineError
from tasks import schema
from tasks.models import DivergedError, _lightning, _lightning_classify

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_data
from tiny_learning import Tiny

pytestmark = pytest.mark.timeout(600)


def order(learning: _lightning.Learning, recipe: schema.Train, epoch: int, rank: int = 0) -> list[int]:
    return list(_lightning.SeededLoader(learning, recipe, epoch, rank).sampler)


def fit(learning: Tiny, folder: Path, **values: Any) -> list[int]:
    folder.mkdir(exist_ok=True)
    epochs: list[int] = []
    recipe = tiny_data.recipe("resnet", **{"epochs": 2, **values})
    _lightning.fit(learning, recipe, work=folder, out=folder / "weights.pt", on_epoch=lambda epoch, _: epochs.append(epoch))
    return epochs


def rare() -> Any:
    """Ten images of class 0, two of class 1, none of class 2."""
    images = TensorDataset(torch.zeros(12, 3, 8, 8, dtype=torch.uint8))
    images.labels = torch.tensor([0] * 10 + [1] * 2)
    return images


def test_weights_of_the_loss_are_inverse_frequencies() -> None:
    learning = _lightning_classify.Learning(nn.Flatten(), rare(), ("a", "b", "c"), "weights")
    assert learning.weights is not None
    assert learning.weights.tolist() == pytest.approx([12 / 20, 12 / 4, 12 / 2])  # of the two classes that it has
    assert learning.sampling is None


def test_the_sampler_draws_rare_classes_as_often() -> None:
    learning = _lightning_classify.Learning(nn.Flatten(), rare(), ("a", "b", "c"), "sampler")
    assert learning.weights is None
    recipe = tiny_data.recipe("resnet")
    drawn = [index for epoch in range(1, 101) for index in order(learning, recipe, epoch)]
    assert sum(index >= 10 for index in drawn) / len(drawn) == pytest.approx(0.5, abs=0.05)
    assert order(learning, recipe, 1) == order(learning, recipe, 1)


def test_scale_resizes_a_part_of_the_image() -> None:
    spec = Input(32, 32, "stretch")
    ramp = torch.arange(32, dtype=torch.uint8).expand(3, 32, 32) * 8
    augment = _lightning_classify.augmentation(tiny_data.recipe("resnet", augment={"scale": 0.92}), spec)
    torch.manual_seed(0)
    crops = [augment(ramp) for _ in range(50)]
    assert {(crop.shape, crop.dtype) for crop in crops} == {(ramp.shape, ramp.dtype)}
    widths = [(int(crop[0, 0, -1]) - int(crop[0, 0, 0])) / 248 for crop in crops]  # of what is left, as a share
    assert 0.2 < min(widths) < 0.4
    assert max(widths) > 0.8
    with pytest.raises(SightlineError, match=r"train\.augment\.scale: got 1\.5, expected 0-1"):
        _lightning_classify.augmentation(tiny_data.recipe("resnet", augment={"scale": 1.5}), spec)


def test_without_scale_the_same_is_drawn_as_ever() -> None:
    recipe, spec = tiny_data.recipe("resnet"), Input(32, 32, "stretch")
    assert "scale" not in recipe.augment
    image = torch.arange(3 * 32 * 32).reshape(3, 32, 32).to(torch.uint8)
    plain = v2.Compose([v2.RandomCrop((32, 32), padding=[4, 4], padding_mode="reflect"), v2.RandomHorizontalFlip(0.5)])
    plain = v2.Compose([plain, v2.RandomVerticalFlip(0.0)])
    for seed in range(5):
        torch.manual_seed(seed)
        expected = plain(image)
        torch.manual_seed(seed)
        assert torch.equal(_lightning_classify.augmentation(recipe, spec)(image), expected)


def test_processes_share_an_epoch_without_overlap() -> None:
    learning, recipe = Tiny(items=7), tiny_data.recipe("resnet", devices=2)
    first, second = (order(learning, recipe, 1, rank) for rank in (0, 1))
    assert len(first) == len(second) == 3
    assert len({*first, *second}) == 6


def test_accumulation_is_the_larger_batch(tmp_path: Path) -> None:
    plain = {"momentum": 0, "warmup_epochs": 0, "scheduler": "constant"}
    fit(Tiny(), tmp_path / "large", batch=8, **plain)
    fit(Tiny(), tmp_path / "small", batch=2, accumulate=4, **plain)
    large, small = (torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("large", "small"))
    assert all(torch.allclose(large[name], small[name], atol=1e-6) for name in large)


@pytest.mark.slow
def test_compiled_training_learns_the_same(tmp_path: Path) -> None:
    fit(Tiny(), tmp_path / "eager")
    fit(Tiny(), tmp_path / "compiled", compile=True)
    eager, compiled = (torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("eager", "compiled"))
    assert eager.keys() == compiled.keys()
    assert all(torch.allclose(eager[name], compiled[name], atol=1e-5) for name in eager)


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path: Path) -> None:
    plain = {"batch": 4, "momentum": 0, "warmup_epochs": 0, "scheduler": "constant"}
    assert fit(Tiny(), tmp_path / "two", devices=2, **plain) == [1, 2]
    assert fit(Tiny(), tmp_path / "one", **{**plain, "batch": 8}) == [1, 2]
    one, two = (torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)


@pytest.mark.slow
def test_what_fails_in_a_process_is_told_as_in_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DivergedError, match=r"lower train\.lr0"):
        fit(Tiny(), tmp_path / "diverged", devices=2, optimizer="SGD", lr0=1e30, epochs=3)
    assert fit(Tiny(most=2), tmp_path / "halved", devices=2) == [1, 2]
    assert "train.batch 4 -> 2, train.accumulate 1 -> 2" in capfd.readouterr().out


@pytest.mark.slow
def test_processes_die_with_the_one_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "fit.py"
    script.write_text(
        textwrap.dedent(f"""
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(tiny_data.__file__).parent)!r})
        import psutil, tiny_data
        from tiny_learning import Tiny
        from tasks.models import _lightning
        folder, dies = Path(sys.argv[1]), sys.argv[2] == "dies"
        def on_epoch(epoch, losses):
            print(epoch, flush=True)
            if dies and epoch == 1:
                print(*(child.pid for child in psutil.Process().children()), flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
        if __name__ == "__main__":
            recipe = tiny_data.recipe("resnet", devices=2, ema=0.9, epochs=3)
            _lightning.fit(Tiny(), recipe, work=folder, out=folder / "weights.pt", on_epoch=on_epoch)
        """)
    )

    def run(folder: Path, end: str) -> "subprocess.CompletedProcess[str]":
        folder.mkdir(exist_ok=True)
        command = [sys.executable, str(script), str(folder), end]
        environment = {**os.environ, "PYTHONPATH": str(tiny_data.ROOT)}
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)

    killed = run(tmp_path / "killed", "dies")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    children = [int(word) for word in killed.stdout.splitlines()[1].split()]
    assert len(children) >= 2
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in children if psutil.pid_exists(pid)], timeout=10)
    assert not alive
    done, whole = run(tmp_path / "killed", "lives"), run(tmp_path / "whole", "lives")
    assert (done.returncode, done.stdout.split()) == (0, ["1", "2", "3"]), done.stderr
    assert (whole.returncode, whole.stdout.split()) == (0, ["1", "2", "3"]), whole.stderr
    assert (tmp_path / "killed/weights.pt").read_bytes() == (tmp_path / "whole/weights.pt").read_bytes()
