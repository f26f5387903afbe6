"""Preparing a dataset, side by side: ours, Datumaro's, Ultralytics' and supervision's, whole processes from start to end.

    python benchmarks/data.py --peers PYTHON [--images 20000 | --path ../shared/data/bccd]

PYTHON is the interpreter of an environment with datumaro and supervision (Ultralytics is in ours). The first floor reads every
byte and decodes every image once to grey, on all cores; the second opens each image and annotation, reads their first 64 KiB,
writes a label of 100 bytes and links to the image, and understands nothing of it. Who converts copies the images, where no
--link stands. With --path, the stages validate and transform are measured as the pipeline runs them. All run one after the
other in one go, the best of some runs each; the table of the last run is in benchmarks/data.md. All files are in memory
(--work): a disk takes many times as long to create files where as many were deleted just before, as between two runs here.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT, QUALITY = 640, 480, 90
CLASSES = ("car", "truck", "bus", "bicycle")

DATUMARO = """
import sys
from datumaro.components.dataset import Dataset
from datumaro.plugins.validators import DetectionValidator
dataset = Dataset.import_from(sys.argv[1], "voc")
report = DetectionValidator(few_samples_thr=10, imbalance_ratio_thr=50, far_from_mean_thr=5, dominance_ratio_thr=0.8,
    topk_bins=0.1).validate(dataset)
dataset.export(sys.argv[2], "yolo", save_media=True)
print(len(dataset), report["summary"])
"""
SUPERVISION = """
import sys
from pathlib import Path
import supervision
voc, out = Path(sys.argv[1]), Path(sys.argv[2])
dataset = supervision.DetectionDataset.from_pascal_voc(str(voc / "JPEGImages"), str(voc / "Annotations"))
dataset.as_yolo(str(out / "images"), str(out / "labels"), str(out / "data.yaml"))
print(len(dataset))
"""
ULTRALYTICS = """
import sys
from pathlib import Path
import yaml
from ultralytics.data.dataset import YOLODataset
root = Path(sys.argv[1])
data = yaml.safe_load((root / "data.yaml").read_text())
for cache in root.rglob("*.cache"):
    cache.unlink()
images = sorted({path.parent for path in (root / "images").rglob("*.jpg")})
print(sum(len(YOLODataset(img_path=str(folder), data=data, task="detect", augment=False)) for folder in images))
"""
FLOOR = """
import os, sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
import simplejpeg

def decode(path):
    return simplejpeg.decode_jpeg(Path(path).read_bytes(), "GRAY", fastdct=True).shape

if __name__ == "__main__":
    paths = [entry.path for entry in os.scandir(Path(sys.argv[1]) / "JPEGImages")]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        print(sum(1 for _ in pool.map(decode, paths, chunksize=64)))
"""


FILES = """
import os, sys
from concurrent.futures import ProcessPoolExecutor

def touch(root, out, name):
    with open(f"{root}/JPEGImages/{name}.jpg", "rb", buffering=0) as file:
        file.read(65536)
    with open(f"{root}/Annotations/{name}.xml", "rb", buffering=0) as file:
        text = file.read(65536)
    with open(f"{out}/labels/{name}.txt", "xb", buffering=0) as file:
        file.write(text[:100])
    os.link(f"{root}/JPEGImages/{name}.jpg", f"{out}/images/{name}.jpg")

def some(job):
    for name in job[2]:
        touch(*job[:2], name)

if __name__ == "__main__":
    root, out = sys.argv[1:]
    for folder in ("labels", "images"):
        os.makedirs(f"{out}/{folder}")
    names = [entry.name[:-4] for entry in os.scandir(f"{root}/JPEGImages")]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(some, [(root, out, names[start : start + 64]) for start in range(0, len(names), 64)]))
"""


def draw(folder: Path, index: int) -> None:
    """A picture of patches and noise, about as large as a photograph of its size, and its annotation."""
    rng = np.random.default_rng(index)
    import simplejpeg
    from PIL import Image

    small = Image.fromarray(rng.integers(0, 255, (15, 20, 3), np.uint8)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    noise = rng.integers(-12, 12, (HEIGHT // 2, WIDTH // 2, 1), np.int16).repeat(2, 0).repeat(2, 1)
    pixels = np.clip(np.asarray(small, np.int16) + noise, 0, 255).astype(np.uint8)
    (folder / f"JPEGImages/{index:06}.jpg").write_bytes(simplejpeg.encode_jpeg(pixels, QUALITY, "RGB", "420"))
    objects = ""
    for _ in range(int(rng.integers(1, 9))):
        x, y = int(rng.integers(1, WIDTH - 100)), int(rng.integers(1, HEIGHT - 100))
        w, h = (int(value) for value in rng.integers(20, 100, 2))
        objects += (
            f"<object><name>{CLASSES[int(rng.integers(4))]}</name><difficult>0</difficult><bndbox><xmin>{x}</xmin>"
            f"<ymin>{y}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        )
    (folder / f"Annotations/{index:06}.xml").write_text(
        f"<annotation><folder>JPEGImages</folder><filename>{index:06}.jpg</filename><size><width>{WIDTH}</width>"
        f"<height>{HEIGHT}</height><depth>3</depth></size><segmented>0</segmented>{objects}</annotation>"
    )


def make(folder: Path, count: int) -> None:
    """Writes a VOC dataset of `count` images."""
    from concurrent.futures import ProcessPoolExecutor

    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(partial(draw, folder), range(count), chunksize=64))
    for name, numbers in (("train", range(count - count // 10)), ("val", range(count - count // 10, count))):
        (folder / f"ImageSets/Main/{name}.txt").write_text("".join(f"{number:06}\n" for number in numbers))


def name_classes(voc: Path) -> None:
    """Writes the labelmap.txt without which Datumaro refuses classes that are not VOC's own."""
    names = {name for path in (voc / "Annotations").iterdir() for name in re.findall("<name>(.*?)</name>", path.read_text())}
    (voc / "labelmap.txt").write_text("".join(f"{name}:::\n" for name in ("background", *sorted(names))))


def stages(voc: Path, work: Path) -> list[str]:
    """A command that runs validate and transform as `dvc repro` does, in a folder of their own."""
    import yaml

    from flows.compose import compose_params

    params = yaml.safe_load(compose_params(["tracking=none"], ROOT))  # a tracker goes on writing after the stage
    params["dataset"]["format"] = "voc"
    (work / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return [
        "sh", "-ec", 'cd "$1"; export PYTHONPATH="$4"; "$2" -m tasks.validate --raw "$3" --tables tables --report report; '
        '"$2" -m tasks.transform --raw "$3" --tables tables --out dataset',
        "sh", str(work), sys.executable, str(voc), str(ROOT),
    ]  # fmt: skip


def measure(command: list[str], out: Path | None, runs: int) -> float:
    """The best wall time of some runs, seconds."""
    best = float("inf")
    for _ in range(runs):
        if out is not None:
            shutil.rmtree(out, ignore_errors=True)
        begin = time.perf_counter()
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"YOLO_OFFLINE": "true"}
        )
        best = min(best, time.perf_counter() - begin)
        if done.returncode != 0:
            raise SystemExit(
                f"{' '.join(command[:4])}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            )
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", required=True, help="the interpreter of an environment with datumaro and supervision")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--path", type=Path, help="a VOC dataset instead of a generated one")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("/dev/shm"),  # noqa: S108
        help="where the images are drawn and written to: 4 GB for 20,000 (default: %(default)s)",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sightline-bench-", dir=options.work) as name:
        work = Path(name)
        voc = work / "voc"
        if options.path:
            shutil.copytree(options.path, voc)
        else:
            make(voc, options.images)
        name_classes(voc)
        out, report = work / "out", work / "report"
        sightline = [str(Path(sys.executable).with_name("sightline"))]
        measure([*sightline, "convert", str(voc), str(work / "yolo"), "--to", "yolo", "--link"], None, 1)
        check = [*sightline, "validate", "--report", str(report)]
        ultralytics = [sys.executable, "-c", ULTRALYTICS, str(work / "yolo")]
        convert = [*sightline, "convert", str(voc), str(out), "--to", "yolo"]
        chain = [*convert, "--validate", "--report", str(report)]
        rows = {
            "floor: read and decode": measure([sys.executable, "-c", FLOOR, str(voc)], None, options.runs),
            "floor: open, write and link the files": measure(
                [sys.executable, "-c", FILES, str(voc), str(out)], out, options.runs
            ),
            "sightline validate, headers": measure([*check, "--headers", str(voc)], report, options.runs),
            "sightline validate": measure([*check, str(voc)], report, options.runs),
            "sightline validate, headers, YOLO": measure([*check, "--headers", str(work / "yolo")], report, options.runs),
            "sightline convert": measure(convert, out, options.runs),
            "sightline convert --link": measure([*convert, "--link"], out, options.runs),
            "sightline convert --validate --headers": measure([*chain, "--headers"], out, options.runs),
            "sightline convert --validate --headers --link": measure([*chain, "--headers", "--link"], out, options.runs),
            "sightline convert --validate": measure(chain, out, options.runs),
            "ultralytics check, cold, YOLO": measure(ultralytics, None, options.runs),
            "datumaro import, validate, export": measure(
                [options.peers, "-c", DATUMARO, str(voc), str(out)], out, options.runs
            ),
            "supervision load, convert": measure([options.peers, "-c", SUPERVISION, str(voc), str(out)], out, options.runs),
        }
        if options.path:
            rows["stages validate and transform"] = measure(stages(voc, work), None, options.runs)
        count = len(list((voc / "JPEGImages").iterdir()))
    datumaro = rows["datumaro import, validate, export"]
    print(f"{count} images, {len(os.sched_getaffinity(0))} cores, {platform.machine()}, Python {platform.python_version()}\n")
    print("| process, start to end | seconds | images/s |\n|---|---:|---:|")
    for label, seconds in rows.items():
        print(f"| {label} | {seconds:.2f} | {count / seconds:,.0f} |")
    print("\n| ratio | |\n|---|---:|")
    floors = [label for label in rows if label.startswith("floor")]
    for label in floors:
        print(f"| Datumaro's chain / {label} | {datumaro / rows[label]:.1f} |")
    for options_of in ("--headers", "--headers --link", ""):
        label = f"convert --validate {options_of}".strip()
        print(f"| Datumaro's chain / {label} | {datumaro / rows[f'sightline {label}']:.1f} |")
    print(
        f"| Ultralytics' check / validate (headers) of the same YOLO dataset | "
        f"{rows['ultralytics check, cold, YOLO'] / rows['sightline validate, headers, YOLO']:.1f} |"
    )
    print(f"| supervision / convert | {rows['supervision load, convert'] / rows['sightline convert']:.1f} |")
    print(f"| validate / floor | {rows['sightline validate'] / rows['floor: read and decode']:.2f} |")


if __name__ == "__main__":
    main()
