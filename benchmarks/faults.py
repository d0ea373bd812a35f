"""What a run survives, and what it costs to be able to.

    python benchmarks/faults.py [--kills 50] [kills] [ray] [disk] [throughput] [journal]

Without names, all parts run (about half an hour on two cores). ``disk`` needs to be root, for a small file system of
its own; ``ray`` needs the extra ``ray``.
"""

from __future__ import annotations

import argparse
import contextlib
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

from nas.journal import Journal
from nas.journal_format import FILE_NAME
from nas.objective import make_objective
from nas.search import SearchSettings, run_search
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


def content(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """All that a journal holds but times, sessions, and how often an attempt was cut short."""
    queries = {
        "batches": "SELECT * FROM batches ORDER BY batch",
        "suggestions": "SELECT * FROM suggestions ORDER BY number",
        "completions": "SELECT position, number, accuracy, accuracy_std, reward, failure, error, attempts "
        "FROM completions ORDER BY position",
    }
    with contextlib.closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {name: connection.execute(query).fetchall() for name, query in queries.items()}


def written(folder: Path) -> int:
    """Trials that are done; 0 where there is no journal yet."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{folder / FILE_NAME}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM completions").fetchone()[0])
    except sqlite3.Error:
        return 0


def size_of_log(folder: Path) -> int:
    try:
        return (folder / f"{FILE_NAME}-wal").stat().st_size
    except FileNotFoundError:
        return 0


def wait_to_kill(process: subprocess.Popen[bytes], folder: Path, rng: random.Random) -> str:
    """Wait for one of three moments: at any time from the start, some time after a trial, while the log grows."""
    kind, deadline = rng.choice(("any", "trial", "write")), time.monotonic() + 60
    if kind == "any":
        time.sleep(rng.uniform(0, 3))
        return kind
    before = written(folder)
    while written(folder) <= before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    if kind == "trial":
        time.sleep(rng.uniform(0, 0.3))
        return kind
    size = size_of_log(folder)
    while size_of_log(folder) == size and process.poll() is None and time.monotonic() < deadline:
        pass
    return kind


def kills(count: int) -> None:
    """Kill −9 a search ``count`` times and resume it each time; its journal must be that of one never killed."""
    print(f"## Killed {count} times", flush=True)
    for controller in CONTROLLERS:
        with tempfile.TemporaryDirectory() as place:
            whole, cut, rng = Path(place, "whole"), Path(place, "cut"), random.Random(0)
            options = ["--evaluator", TIMED, "--controller", controller, "--trials", "600", "--target-macs", "300M"]
            options += ["--executor", "in-process"]
            subprocess.run(
                command("search", *options, "--out", str(whole)), env=environment(0), check=True, capture_output=True
            )
            begin = command("search", *options, "--out", str(cut))
            moments: dict[str, int] = {}
            done = killed = 0
            while killed < count:
                go_on = command("search", "--resume", str(cut), "--allow-code")
                process = subprocess.Popen(
                    go_on if done_once(cut) else begin,
                    env=environment(0.1),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                moment = wait_to_kill(process, cut, rng)
                if process.poll() is not None:
                    raise SystemExit(f"{controller}: the search ended after {killed} kills; it needs more trials")
                process.kill()
                process.wait()
                moments[moment] = moments.get(moment, 0) + 1
                killed += 1
                assert written(cut) >= done, "a trial was lost"
                done = written(cut)
            subprocess.run(go_on, env=environment(0), check=True, capture_output=True)
            same = content(whole) == content(cut)
            print(f"{controller}: {killed} kills ({moments}), {done} of 600 trials before the last; same: {same}")
            sys.stdout.flush()
            assert same


def done_once(folder: Path) -> bool:
    """Whether a journal was begun that can be gone on with."""
    with contextlib.suppress(Exception), Journal.open(folder, allow_code=True):
        return True
    return False


def ray(_: int) -> None:
    """Two nodes on loopback, one of them killed in the middle of 200 trials."""
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
            while written(folder) < 100 and process.poll() is None:
                time.sleep(0.05)
            time.sleep(0.2)  # in the middle of the next ones
            raylet = psutil.Process(second.all_processes["raylet"][0].process.pid)
            victims = [*raylet.children(recursive=True), raylet]
            for victim in victims:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.kill()
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 0, output.decode()
            numbers = [row[1] for row in content(folder)["completions"]]
            with contextlib.closing(sqlite3.connect(folder / FILE_NAME)) as connection:
                (again,) = connection.execute("SELECT count(*) FROM failed_attempts").fetchone()
                (failed,) = connection.execute("SELECT count(*) FROM completions WHERE failure IS NOT NULL").fetchone()
            once = sorted(numbers) == list(range(200))
            print(f"killed {len(victims)} processes after 100 trials: {len(numbers)} trials, each once: {once}; ")
            print(f"{again} were run again, {failed} failed", flush=True)
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
    """A file system of 2 MB fills; the run says so, and goes on once it has more."""
    print("## A full disk", flush=True)
    options = ["--controller", "random", "--trials", "5000"]
    with tempfile.TemporaryDirectory() as elsewhere, small_disk(2) as place:
        whole, folder = Path(elsewhere, "run"), place / "run"
        subprocess.run(command("search", *options, "--out", str(whole)), check=True, capture_output=True)
        done = subprocess.run(
            command("search", *options, "--out", str(folder)), capture_output=True, text=True, check=False
        )
        lines = [line for line in done.stderr.splitlines() if line.startswith("mnas:")]
        print(f"exit {done.returncode}: {' | '.join(lines)}")
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        kept = written(folder)
        subprocess.run(["mount", "-o", "remount,size=200m", str(place)], check=True)
        subprocess.run(command("search", "--resume", str(folder)), check=True, capture_output=True)
        same = content(whole) == content(folder)
        print(f"{kept} trials were kept; resumed with more room, same journal as elsewhere: {same}", flush=True)
        assert same


def throughput(_: int) -> None:
    """Trials of 50 ms on one worker and on two, in turns; from the first completion, workers started."""
    print("## Throughput, 200 trials of 50 ms", flush=True)
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(3):
        for workers, found in rates.items():
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
                found.append((len(times) - 1) / (times[-1] - times[0]))
    one, two = (statistics.median(found) for found in rates.values())
    print(f"one worker {one:.2f} trials/s, two {two:.2f}: {two / one:.3f} times", flush=True)


class Timed(Journal):
    """A journal that counts the seconds it takes."""

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
    """What writing costs a trial; and a journal of 100,000 trials: opened, resumed, reported."""
    print("## Journal", flush=True)
    for controller, trials in (("random", 2000), ("nni:regularized-evolution", 2000), ("random", 100_000)):
        with tempfile.TemporaryDirectory() as place:
            folder, Timed.seconds = Path(place, "run"), 0.0
            settings = SearchSettings("efficientnet", "imagenet", controller, make_objective("hard", 400e6), trials, 0)
            with Timed.create(folder, settings) as opened:
                run_search(settings, opened)
                opened.end("complete")
            size = (folder / FILE_NAME).stat().st_size / 1e6
            print(f"{controller}, {trials} trials: {1e3 * Timed.seconds / trials:.3f} ms a trial, {size:.1f} MB")
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


PARTS: dict[str, Callable[[int], None]] = {part.__name__: part for part in (kills, ray, disk, throughput, journal)}


def main() -> None:
    parser = argparse.ArgumentParser(description="What a run survives.")
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
