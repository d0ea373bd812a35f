"""Child processes, however they start, run nothing that lies in the current folder."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.baselines.training.images import write_folders
from tests.processes import ROOT, environment

# Modules that Python or multiprocessing import when a process starts, and some that its work imports.
NAMES = ("signal", "socket", "pickle", "random", "struct", "tempfile", "json", "queue", "numpy", "torch", "yaml", "PIL")
SEARCH = ("search", "--controller", "random", "--trials", "3", "--out", "run", "--executor")
TRAIN = ("train", "efficientnet_b0", "--data", "images", "--resolution", "32", "--width", "0.1", "--recipe", "proxy")


@pytest.fixture
def mnas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command as pip installs it, whose own path has no current folder; and a current folder full of traps."""
    script = tmp_path / "bin" / "mnas"
    script.parent.mkdir()
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom nas.__main__ import main\n"
        'if __name__ == "__main__":\n    sys.exit(main())\n'
    )
    here = tmp_path / "received"
    here.mkdir()
    for name in NAMES:
        trap = f"open({str(tmp_path / 'ran')!r}, 'a').write('{name} ')\nraise SystemExit(3)\n"
        (here / f"{name}.py").write_text(trap)
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return [sys.executable, str(script)]


def run(mnas: list[str], *arguments: str) -> None:
    variables = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    done = subprocess.run([*mnas, *arguments], check=False, capture_output=True, text=True, env=variables)
    ran = Path("../ran")
    assert not ran.exists(), ran.read_text()
    assert done.returncode == 0, done.stderr


def test_the_traps_work(mnas: list[str], tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", "import signal"], check=False)
    assert (done.returncode, (tmp_path / "ran").read_text()) == (3, "signal ")


def test_workers(mnas: list[str]) -> None:
    run(mnas, *SEARCH, "processes", "--workers", "2")
    searches = ("--seeds", "2", "--trials", "8", "--controllers", "random")
    run(mnas, "rediscover", *searches, "--workers", "2", "--out", "many")


def test_workers_on_ray(mnas: list[str]) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed; pip install 'mnas[ray]'")
    run(mnas, *SEARCH, "ray", "--workers", "1")


@pytest.mark.slow
def test_readers_of_images(mnas: list[str]) -> None:
    pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")
    write_folders(Path("images"), count=12, side=150)
    run(mnas, *TRAIN, "--epochs", "1", "--batch", "8", "--out", "trained")
    run(mnas, "evaluate", "trained")


def test_what_the_work_starts_finds_its_files(mnas: list[str]) -> None:
    """A worker leaves no trace of its own safe path to what a user's evaluator starts."""
    Path("../tools").mkdir()
    Path("../tools/part.py").write_text("print(0.5)\n")
    Path("../tools/whole.py").write_text("import part\n")
    Path("../ev.py").write_text(
        "import subprocess, sys\n"
        "from nas.evaluators.base import Evaluator, Metrics\n"
        "class Own(Evaluator):\n"
        '    """Own."""\n'
        "    name, meaning = 'own', 'a test'\n"
        "    def check(self, architecture):\n"
        "        pass\n"
        "    def evaluate(self, architectures, seed=0):\n"
        "        out = subprocess.run([sys.executable, '../tools/whole.py'], capture_output=True, text=True).stdout\n"
        "        return [Metrics(float(out))] * len(architectures)\n"
    )
    run(mnas, *SEARCH, "processes", "--workers", "1", "--evaluator", "../ev.py:Own", "--allow-code")
