"""How long folders of images take to load, first and second time, and how often their files are opened.

python benchmarks/images.py
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

# Run in a process of its own: loads a source, and prints seconds and files that were opened. (An audit hook is told of
# every file that Python opens.)
LOAD = """
import sys, time
opened = []
sys.addaudithook(lambda event, arguments: opened.append(arguments[0]) if event == "open" else None)
from baselines.training.data.sources import load_data
started, cpu = time.perf_counter(), time.process_time()
load_data(sys.argv[1])
images = [name for name in opened if str(name).endswith((".jpg", ".png"))]
print(f"{time.perf_counter() - started:.1f} s, {time.process_time() - cpu:.1f} s of CPU, "
      f"{len(images):,} files opened, {len(set(images)):,} of them different")
"""


def photographs(root: Path, count: int) -> None:
    """JPEGs of 640 x 480 px and about 85 kB in ten classes: forty scenes, each file with other bytes at its end."""
    rng, scenes = np.random.default_rng(0), []
    for _ in range(40):
        blocks = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        scene = np.asarray(blocks.resize((640, 480), Image.Resampling.BICUBIC)) + rng.normal(0, 9, (480, 640, 3))
        stream = io.BytesIO()
        Image.fromarray(scene.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=85)
        scenes.append(stream.getvalue())
    for number in range(count):
        file = root / f"class{number % 10}" / f"{number:06}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(scenes[number % 40] + number.to_bytes(4, "big"))


def small(root: Path, count: int) -> None:
    """PNGs of 32 x 32 px in a hundred classes."""
    rng = np.random.default_rng(0)
    for number in range(count):
        file = root / f"class{number % 100:02}" / f"{number:06}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, compress_level=1)


def main() -> None:
    """Print a line for each folder and time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=int, default=10_000)
    parser.add_argument("--small", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        variables = {**os.environ, "XDG_CACHE_HOME": f"{folder}/cache"}
        for name, make, count in (
            ("photographs", photographs, arguments.photographs),
            ("small", small, arguments.small),
        ):
            make(Path(folder) / name, count)
            for which in ("first", "second"):
                command = [sys.executable, "-c", LOAD, f"{folder}/{name}"]
                done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True)
                print(f"{count:,} {name}, {which} time: {done.stdout.strip()}", flush=True)


if __name__ == "__main__":
    main()
