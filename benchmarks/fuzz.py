"""Fuzz the code that reads files, guided by coverage (atheris); needs the extra ``fuzz``.

    python benchmarks/fuzz.py [--runs 20000] [KIND …]

For each kind of untrusted file, reads that many variants of a valid one. Each variant must be usable or be refused in
one clear line (tests/test_fuzz.py). A variant that does anything else is written to the current folder as ``crash-…``
and ends the run with an error.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def fuzz(kind: str, runs: int) -> None:
    """Fuzz one kind of file, and end this process."""
    import atheris

    sys.path.insert(0, str(HERE.parent))
    with atheris.instrument_imports(include=["search_spaces", "baselines", "nas"]):
        from tests.entrances import entrances
        from tests.test_fuzz import read
    entrance = entrances()[kind]
    with tempfile.TemporaryDirectory() as place:
        corpus, folder = Path(place, "corpus"), Path(place, "files")
        corpus.mkdir()
        folder.mkdir()
        (corpus / "example").write_bytes(entrance.example)
        usable = refused = 0

        def attempt(content: bytes) -> None:
            nonlocal usable, refused
            for path in folder.iterdir():
                path.unlink()
            if read(folder, kind, content):
                usable += 1
            else:
                refused += 1
            if usable + refused == runs:
                print(f"{kind}: {refused} refused in one line, {usable} usable", flush=True)

        limits = [f"-runs={runs}", f"-max_len={2 * len(entrance.example)}", "-seed=1", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *limits, str(corpus)], attempt)
        atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the code that reads files.")
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--here", help=argparse.SUPPRESS)
    parser.add_argument("kinds", nargs="*", metavar="KIND")
    arguments = parser.parse_args()
    if arguments.here:
        fuzz(arguments.here, arguments.runs)
        return
    sys.path.insert(0, str(HERE.parent))
    from tests.entrances import entrances

    for kind in arguments.kinds or entrances():
        command = [sys.executable, __file__, "--runs", str(arguments.runs), "--here", kind]
        done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False, capture_output=True)
        lines = [line for line in done.stdout.decode().splitlines() if line.startswith(kind)]
        if done.returncode or not lines:
            raise SystemExit(f"{kind}: exit {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()[-6000:]}")
        print(lines[0], flush=True)


if __name__ == "__main__":
    main()
