"""Faults that a run survives, and the cost of surviving them.

    python benchmarks/faults.py [--kills 50] [kills] [studies] [ray] [disk] [throughput] [journal]

Runs the named parts; all parts by default (about an hour on two cores). ``disk`` needs root, to mount a small file
system; ``ray`` needs the extra ``ray``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nas.journal import Journal
from nas.journal_format import FILE_NAME
from nas.objective import make_objective
from nas.search_loop import SearchSettings, run_search
from nas.trial import Trial

HERE = Path(__file__).resolve().parent
TIMED = str(HERE / "timed_imagenet.py")
CONTROLLERS = ("random", "ppo", "bayesian", "nni:regularized-evolution")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "nas", *arguments]


def environment(seconds: float, **others: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(HERE.parent),
        "SECONDS": str(seconds),
        "OMP_NUM_THREADS": "1",
        **others,
    }


def journal_content(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return the content of a journal, except times, sessions and interrupted attempts."""
    queries = {
        "batches": "SELECT * FROM batches ORDER BY batch",
        "suggestions": "SELECT * FROM suggestions ORDER BY number",
        "completions": "SELECT position, number, accuracy, accuracy_std, reward, failure, error, attempts "
        "FROM completions ORDER BY position",
    }
    with contextlib.closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {name: connection.execute(query).fetchall() for name, query in queries.items()}


def num_completed(folder: Path) -> int:
    """Return the number of completed trials; 0 if there is no journal yet."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{folder / FILE_NAME}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM completions").fetchone()[0])
    except sqlite3.Error:
        return 0


def log_size(folder: Path) -> int:
    """Return the size of the journal's write-ahead log in bytes; 0 if there is none."""
    try:
        return (folder / f"{FILE_NAME}-wal").stat().st_size
    except FileNotFoundError:
        return 0


def wait_to_kill(process: subprocess.Popen[bytes], folder: Path, rng: random.Random) -> str:
    """Wait for one of three moments: any time after the start, shortly after a trial, or while the log is written."""
    kind, deadline = rng.choice(("any", "trial", "write")), time.monotonic() + 60
    if kind == "any":
        time.sleep(rng.uniform(0, 3))
        return kind
    before = num_completed(folder)
    while num_completed(folder) <= before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    if kind == "trial":
        time.sleep(rng.uniform(0, 0.3))
        return kind
    size = log_size(folder)
    while log_size(folder) == size and process.poll() is None and time.monotonic() < deadline:
        pass
    return kind


def kills(count: int) -> None:
    """Kill a search with SIGKILL ``count`` times and resume it; its journal must equal that of an unkilled search."""
    print(f"## Killed {count} times", flush=True)
    for controller in CONTROLLERS:
        with tempfile.TemporaryDirectory() as place:
            unkilled, killed_run, rng = Path(place, "unkilled"), Path(place, "killed"), random.Random(0)
            options = ["--evaluator", TIMED, "--controller", controller, "--trials", "600", "--target-macs", "300M"]
            options += ["--executor", "in-process"]
            subprocess.run(
                command("search", *options, "--out", str(unkilled)), env=environment(0), check=True, capture_output=True
            )
            start = command("search", *options, "--out", str(killed_run))
            resume = command("search", "--resume", str(killed_run), "--allow-code")
            moments: dict[str, int] = {}
            done = kills_so_far = 0
            while kills_so_far < count:
                process = subprocess.Popen(
                    resume if can_resume(killed_run) else start,
                    env=environment(0.1),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                moment = wait_to_kill(process, killed_run, rng)
                if process.poll() is not None:
                    raise SystemExit(f"{controller}: the search ended after {kills_so_far} kills; it needs more trials")
                process.kill()
                process.wait()
                moments[moment] = moments.get(moment, 0) + 1
                kills_so_far += 1
                assert num_completed(killed_run) >= done, "a trial was lost"
                done = num_completed(killed_run)
            subprocess.run(resume, env=environment(0), check=True, capture_output=True)
            same = journal_content(unkilled) == journal_content(killed_run)
            print(
                f"{controller}: {kills_so_far} kills ({moments}), {done} of 600 trials completed at the last kill; "
                f"same journal: {same}"
            )
            sys.stdout.flush()
            assert same


def can_resume(folder: Path) -> bool:
    """Return whether the folder has a journal that can be resumed."""
    with contextlib.suppress(Exception), Journal.open(folder, allow_code=True):
        return True
    return False


IMAGES = """
import sys
from pathlib import Path
from tests.baselines.training.images import write_folders
write_folders(Path(sys.argv[1]), count=40)
"""
TRAINING = "--recipe proxy --epochs 4 --batch 16 --width 0.25 --resolution 16 --seeds 2 --data images --json"
GRID = "--depths 1,1.5,2 --widths 1,1.25,1.5 --sides 16,20,24 --first 2"
SEARCHES = "--seeds 2 --trials 60 --controllers random,nni:regularized-evolution --workers 2 --json"
CALIBRATED = f"--evaluator {TIMED} --controller random --trials 100 --objective calibrated --json"
# Of each kind of study: the command that starts it, the one that resumes it, and what must be equal afterwards.
STUDIES: dict[str, tuple[str, str, Callable[[Path, str], object]]] = {
    "compare --train": (
        f"compare efficientnet_b0 mnasnet_b1 --train {TRAINING}",
        "compare --train --json",
        lambda folder, out: (results_of(out), weights_of(folder)),
    ),
    "compare --train --workers 2": (
        f"compare efficientnet_b0 mnasnet_b1 --train {TRAINING} --workers 2",
        "compare --train --json",
        lambda folder, out: (results_of(out), weights_of(folder)),
    ),
    "ablate": (
        f"ablate mnasnet_small --rules w,efficientnet {TRAINING}",
        "ablate --json",
        lambda folder, out: (results_of(out), weights_of(folder)),
    ),
    "family --train": (
        f"family mnasnet_small --train --rule fast --macs 1x,2x {TRAINING}",
        "family --train --json",
        lambda folder, out: (results_of(out), weights_of(folder)),
    ),
    "scaling-search": (
        f"scaling-search mnasnet_small {GRID} {TRAINING.replace('--epochs 4', '--epochs 1')}",
        "scaling-search --json",
        lambda folder, out: (results_of(out), weights_of(folder)),
    ),
    "rediscover": (f"rediscover {SEARCHES}", "rediscover --json", lambda folder, out: results_of(out)),
    "search --objective calibrated": (
        f"search {CALIBRATED}",
        "search --json --allow-code",
        lambda folder, out: (
            journal_content(folder),
            *(journal_content(folder / "pilots" / name) for name in ("below", "above")),
        ),
    ),
}


def results_of(out: str) -> object:
    """What a command prints but for the folder that it works in."""
    return {name: value for name, value in json.loads(out).items() if name != "out"}


def weights_of(folder: Path) -> dict[str, bytes]:
    """The weights of each training of a study."""
    return {file.parent.name: file.read_bytes() for file in folder.glob("*/weights.safetensors")}


class Place:
    """A folder with images, in which commands run.

    Args:
        folder: where.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self._variables = environment(0.02, XDG_CACHE_HOME=f"{folder}/cache")
        subprocess.run([sys.executable, "-c", IMAGES, f"{folder}/images"], env=self._variables, check=True)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        where: dict[str, Any] = {"env": self._variables, "cwd": self.folder}
        return subprocess.run(command(*arguments), check=False, capture_output=True, text=True, **where)

    def kill(self, seconds: float, *arguments: str) -> bool:
        """Run a command and kill it after a time; whether it had ended before."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command(*arguments), env=self._variables, cwd=self.folder, **quiet)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        ended = process.poll() is not None
        process.kill()
        process.wait()
        return ended


def studies(count: int) -> None:
    """Kill −9 each kind of study at ``count`` random moments, resume it, and compare it with one never killed."""
    print(f"## Studies, killed at {count} random moments each", flush=True)
    for name, (begin, resumes, result) in STUDIES.items():
        with tempfile.TemporaryDirectory() as folder:
            place, rng = Place(folder), random.Random(0)
            started = time.monotonic()
            done = place.run(*begin.split(), "--out", "whole")
            seconds = time.monotonic() - started
            assert done.returncode == 0, done.stderr
            whole = result(place.folder / "whole", done.stdout)
            ended = unstarted = 0
            for number in range(count):
                out = f"cut{number}"
                ended += place.kill(rng.uniform(0, seconds), *begin.split(), "--out", out)
                done = place.run(*resumes.split(), "--resume", out)
                if done.returncode == 2 and "holds no" in done.stderr:  # too early for anything to resume
                    unstarted += 1
                    done = place.run(*begin.split(), "--out", out)
                assert done.returncode == 0, done.stderr
                assert result(place.folder / out, done.stdout) == whole, f"{out} ended otherwise"
            print(f"{name}: {seconds:.1f} s long, {count} kills, {unstarted} before there was anything to resume,")
            print(f"{ended} after its end; all ended as the one that was never killed", flush=True)


def ray(_: int) -> None:
    """Kill one of two nodes on loopback in the middle of 200 trials."""
    import psutil

    os.environ.update(
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0", RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0"
    )
    from ray.cluster_utils import Cluster

    print("## Two Ray nodes, one of them killed", flush=True)
    node = {"num_cpus": 2, "node_ip_address": "127.0.0.1"}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    second = cluster.add_node(**node)
    try:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "run")
            options = ["--evaluator", TIMED, "--trials", "200", "--executor", "ray", "--workers", "4"]
            process = subprocess.Popen(
                command("search", *options, "--out", str(folder)),
                env=environment(0.4, RAY_ADDRESS=cluster.address),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            while num_completed(folder) < 100 and process.poll() is None:
                time.sleep(0.05)
            time.sleep(0.2)  # into the middle of the next trials
            raylet = psutil.Process(second.all_processes["raylet"][0].process.pid)
            victims = [*raylet.children(recursive=True), raylet]
            for victim in victims:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.kill()
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 0, output.decode()
            numbers = [row[1] for row in journal_content(folder)["completions"]]
            with contextlib.closing(sqlite3.connect(folder / FILE_NAME)) as connection:
                (retried,) = connection.execute("SELECT count(*) FROM failed_attempts").fetchone()
                (failed,) = connection.execute("SELECT count(*) FROM completions WHERE failure IS NOT NULL").fetchone()
            once = sorted(numbers) == list(range(200))
            print(f"killed {len(victims)} processes after 100 trials: {len(numbers)} trials, each once: {once};")
            print(f"{retried} trials were run again, {failed} failed", flush=True)
            assert once
    finally:
        cluster.shutdown()


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", place], check=True)
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", place], check=True)


def disk(_: int) -> None:
    """Fill a file system of 2 MB: the run reports it, and can be resumed once there is more room."""
    print("## A full disk", flush=True)
    options = ["--controller", "random", "--trials", "5000"]
    with tempfile.TemporaryDirectory() as elsewhere, small_disk(2) as place:
        reference, folder = Path(elsewhere, "run"), place / "run"
        subprocess.run(command("search", *options, "--out", str(reference)), check=True, capture_output=True)
        done = subprocess.run(
            command("search", *options, "--out", str(folder)), capture_output=True, text=True, check=False
        )
        lines = [line for line in done.stderr.splitlines() if line.startswith("mnas:")]
        print(f"exit {done.returncode}: {' | '.join(lines)}")
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        kept = num_completed(folder)
        subprocess.run(["mount", "-o", "remount,size=200m", str(place)], check=True)
        subprocess.run(command("search", "--resume", str(folder)), check=True, capture_output=True)
        same = journal_content(reference) == journal_content(folder)
        print(f"{kept} trials were kept; after resuming with more room, same journal as elsewhere: {same}", flush=True)
        assert same


def throughput(_: int) -> None:
    """Measure trials of 50 ms on one worker and on two, alternately, from the first completion on."""
    print("## Throughput, 200 trials of 50 ms", flush=True)
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(3):
        for workers, measured in rates.items():
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place, "run")
                options = ["--evaluator", TIMED, "--controller", "random", "--trials", "200"]
                subprocess.run(
                    command("search", *options, "--workers", str(workers), "--out", str(folder)),
                    env=environment(0.05),
                    check=True,
                    capture_output=True,
                )
                with contextlib.closing(sqlite3.connect(folder / FILE_NAME)) as connection:
                    times = [row[0] for row in connection.execute("SELECT finished FROM completions ORDER BY position")]
                measured.append((len(times) - 1) / (times[-1] - times[0]))
    one, two = (statistics.median(measured) for measured in rates.values())
    print(f"one worker {one:.2f} trials/s, two {two:.2f}: {two / one:.3f} times", flush=True)


class Timed(Journal):
    """A journal that sums up the seconds it takes to write."""

    seconds = 0.0

    def suggested(self, *arguments: object) -> None:
        started = time.perf_counter()
        super().suggested(*arguments)  # type: ignore[arg-type]
        Timed.seconds += time.perf_counter() - started

    def completed(self, trials: Sequence[Trial], controller: object = None) -> None:
        started = time.perf_counter()
        super().completed(trials)
        Timed.seconds += time.perf_counter() - started


def journal(_: int) -> None:
    """Measure the time to write a trial, and the commands on a journal of 100,000 trials."""
    print("## Journal", flush=True)
    for controller, trials in (("random", 2000), ("nni:regularized-evolution", 2000), ("random", 100_000)):
        with tempfile.TemporaryDirectory() as place:
            folder, Timed.seconds = Path(place, "run"), 0.0
            settings = SearchSettings("efficientnet", "imagenet", controller, make_objective("hard", 400e6), trials, 0)
            with Timed.create(folder, settings) as opened:
                run_search(settings, opened)
                opened.end("complete")
            size = (folder / FILE_NAME).stat().st_size / 1e6
            print(f"{controller}, {trials} trials: {1e3 * Timed.seconds / trials:.3f} ms per trial, {size:.1f} MB")
            sys.stdout.flush()
            if trials < 100_000:
                continue
            for arguments in (
                ["runs", str(folder)],
                ["trials", str(folder)],
                ["search", "--resume", str(folder), "--trials", "100050"],
                ["front", str(folder)],
            ):
                started = time.perf_counter()
                subprocess.run(command(*arguments), env=environment(0), check=True, capture_output=True)
                print(f"mnas {' '.join(arguments[:1])}: {time.perf_counter() - started:.1f} s", flush=True)


PARTS: dict[str, Callable[[int], None]] = {
    part.__name__: part for part in (kills, studies, ray, disk, throughput, journal)
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the faults that a run survives, and the cost of the journal.")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"unknown part {min(unknown)!r}; choose from {', '.join(PARTS)}")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name, part in PARTS.items():
        if not arguments.parts or name in arguments.parts:
            part(arguments.kills)


if __name__ == "__main__":
    main()
