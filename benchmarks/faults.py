"""Faults that a run survives, and the cost of surviving them.

    python benchmarks/faults.py [--kills 50] [--work TEXT] [kills] [studies] [ray] [disk] [throughput] [journal]

Runs the named parts; all parts by default (about an hour on two cores). ``disk`` needs root, to mount a small file
system; ``ray`` needs the extra ``ray``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
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
import os, sys
from pathlib import Path
from tests.baselines.training.images import write_folders
root = Path(sys.argv[1])
write_folders(root / "images", count=40)
for file in (root / "images").glob("*/*.png"):
    for number in range(100):
        link = root / "many" / file.parent.name / f"{number:03}-{file.name}"
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, link)
"""
# What a command says of a folder in which there is nothing to resume yet.
TOO_EARLY = ("holds no", "before anything was written")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
TRAINED = "--recipe proxy --epochs 4 --batch 16 --width 0.25 --resolution 16"
TRAINING = f"{TRAINED} --seeds 2 --data images --json"
GRID = "--depths 1,1.5,2 --widths 1,1.25,1.5 --sides 16,20,24 --first 2"
SEARCHES = "--seeds 2 --trials 60 --controllers random,nni:regularized-evolution --workers 2 --json"
CALIBRATED = f"--evaluator {TIMED} --controller random --trials 100 --objective calibrated --json"
EVERY_CONTROLLER = (
    *("ppo", "bayesian", "random", "reinforce", "nni:random", "nni:grid", "nni:regularized-evolution", "nni:tpe"),
    *("local-search", "optuna:random", "optuna:tpe", "optuna:nsga2", "optuna:gp"),
)


def results_of(folder: Path, out: str) -> object:
    """What a study prints but for the folder that it works in, and the weights of each of its trainings."""
    printed = {name: value for name, value in json.loads(out).items() if name != "out"}
    return printed, {file.parent.name: file.read_bytes() for file in folder.glob("*/weights.safetensors")}


def weights_of(folder: Path, _: str) -> object:
    """The weights of a training."""
    return (folder / "weights.safetensors").read_bytes()


def journals_of(folder: Path, _: str) -> object:
    """The journals of a search and of its pilots; which of two workers is done first is not the same each time."""
    found = {}
    for file in [folder / FILE_NAME, *folder.glob(f"pilots/*/{FILE_NAME}")]:
        content = journal_content(file.parent)
        content["completions"] = sorted(row[1:-1] for row in content["completions"])
        found[file.parent.name if file.parent != folder else ""] = content
    return found


def cache_of(folder: Path, _: str) -> object:
    """What the packed images are, file for file."""
    files = sorted((folder.parent / "cache").rglob("images.npy"))
    return [file.read_bytes() for file in files]


# Of each kind of work: the command that starts it, the one that resumes it ("" starts it again), and what must be equal
# afterwards.
WORK: dict[str, tuple[str, str, Callable[[Path, str], object]]] = {
    "compare --train": (
        f"compare efficientnet_b0 mnasnet_b1 --train {TRAINING}",
        "compare --train --json",
        results_of,
    ),
    "compare --train --workers 2": (
        f"compare efficientnet_b0 mnasnet_b1 --train {TRAINING} --workers 2",
        "compare --train --json",
        results_of,
    ),
    "ablate": (f"ablate mnasnet_small --rules w,efficientnet {TRAINING}", "ablate --json", results_of),
    "family --train": (
        f"family mnasnet_small --train --rule fast --macs 1x,2x {TRAINING}",
        "family --train --json",
        results_of,
    ),
    "scaling-search": (
        f"scaling-search mnasnet_small {GRID} {TRAINING.replace('--epochs 4', '--epochs 1')}",
        "scaling-search --json",
        results_of,
    ),
    "rediscover": (f"rediscover {SEARCHES}", "rediscover --json", results_of),
    "search --objective calibrated": (f"search {CALIBRATED}", "search --json --allow-code", journals_of),
    **{
        f"search --controller {controller}": (
            f"search --controller {controller} --evaluator {TIMED} --trials 80 --executor processes",
            "search --allow-code",
            journals_of,
        )
        for controller in EVERY_CONTROLLER
    },
    "train": (f"train efficientnet_b0 --data images {TRAINED}", "train", weights_of),
    "cache": (f"train efficientnet_b0 --data many {TRAINED} --plan", "", cache_of),
    "export": ("export mnasnet_small --format onnx", "", lambda file, _: file.read_bytes()),
}


class Place:
    """A folder with images, in which commands run.

    Args:
        folder: where.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self._variables = environment(0.02, XDG_CACHE_HOME=f"{folder}/cache")
        subprocess.run([sys.executable, "-c", IMAGES, folder], env=self._variables, check=True)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        where: dict[str, Any] = {"env": self._variables, "cwd": self.folder}
        return subprocess.run(command(*arguments), check=False, capture_output=True, text=True, **where)

    def kill(self, seconds: float, number: int, *arguments: str) -> tuple[bool, int]:
        """Send a signal to a command after a time.

        Returns:
            Whether it had ended before, and how many of its processes live five seconds after the signal.
        """
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command(*arguments), env=self._variables, cwd=self.folder, **quiet)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        ended = process.poll() is not None
        process.send_signal(number)
        deadline = time.monotonic() + 5
        while (left := self._processes(process)) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
        process.wait()
        return ended, left

    def _processes(self, process: subprocess.Popen[bytes]) -> int:
        """The number of processes that were started here and live."""
        process.poll()  # one that ended is a zombie until it is waited for
        marker, count = f"XDG_CACHE_HOME={self.folder}/cache".encode(), 0
        for file in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                count += marker in file.read_bytes().split(b"\0")
        return count

    def files(self, name: str) -> set[str]:
        """What lies in a folder of results and in the cache, without what bears a time or a process in its name."""
        found = {file.relative_to(self.folder / name) for file in (self.folder / name).rglob("*")}
        cached = {Path(file.name) for file in (self.folder / "cache").rglob("*")}
        return {str(file) for file in found | cached if "tfevents" not in file.name}

    def clear_cache(self) -> None:
        """Forget the packed images."""
        shutil.rmtree(self.folder / "cache", ignore_errors=True)


def studies(count: int, names: str = "") -> None:
    """End each kind of work at random moments, ``count`` times by each of three signals, and go on with it.

    It must end as one that was never stopped; none of its processes may live five seconds later, and no file may be
    left that the unstopped one does not have.

    Args:
        count: how often by each signal; of searches, all controllers together.
        names: of the kinds of work, those whose names begin with this.
    """
    print(f"## Ended {count} times each by KILL, TERM and HUP", flush=True)
    for name, (begin, resumes, result) in WORK.items():
        if not name.startswith(names):
            continue
        times = -(-count // len(EVERY_CONTROLLER)) if "--controller " in name else count
        with tempfile.TemporaryDirectory() as folder:
            place, rng = Place(folder), random.Random(0)
            started = time.monotonic()
            suffix = ".onnx" if name == "export" else ""
            done = place.run(*begin.split(), "--out", f"whole{suffix}")
            seconds = time.monotonic() - started
            assert done.returncode == 0, done.stderr
            whole, files = result(place.folder / f"whole{suffix}", done.stdout), place.files("whole")
            ended = unstarted = left = 0
            for number in range(times * len(SIGNALS)):
                out = f"cut{number}{suffix}"
                if name in ("train", "cache"):
                    place.clear_cache()
                before, living = place.kill(
                    rng.uniform(0, seconds), SIGNALS[number % len(SIGNALS)], *begin.split(), "--out", out
                )
                ended, left = ended + before, left + living
                done = (
                    place.run(*resumes.split(), "--resume", out) if resumes else place.run(*begin.split(), "--out", out)
                )
                if done.returncode == 2 and "already exists" in done.stderr and not resumes:  # it had been done
                    done.returncode = 0
                if done.returncode == 2 and any(text in done.stderr for text in TOO_EARLY):
                    unstarted += 1
                    shutil.rmtree(place.folder / out, ignore_errors=True)
                    done = place.run(*begin.split(), "--out", out)
                assert done.returncode == 0, done.stderr
                assert result(place.folder / out, done.stdout) == whole, f"{out} ended otherwise"
                assert place.files(out) <= files, f"{name}: {sorted(place.files(out) - files)} left in {out}"
            print(
                f"{name}: {seconds:.1f} s long, ended {times} times by each signal, {unstarted} before there was "
                f"anything to resume, {ended} after its end; {left} processes were left, all ended as the one never "
                "stopped",
                flush=True,
            )


def ray(_: int) -> None:
    """On two nodes on loopback: one killed and a third added in the middle of 200 trials; then the driver killed."""
    import psutil

    os.environ.update(
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0", RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0"
    )
    from ray.cluster_utils import Cluster

    print("## Two Ray nodes: one of them killed, one added, and the driver killed", flush=True)
    node = {"num_cpus": 2, "node_ip_address": "127.0.0.1"}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    second = cluster.add_node(**node)
    options = ["--evaluator", TIMED, "--trials", "200", "--executor", "ray", "--workers", "4"]
    variables = environment(0.4, RAY_ADDRESS=cluster.address)
    try:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "run")
            process = _started(["search", *options, "--out", str(folder)], variables, folder, 70)
            time.sleep(0.2)  # into the middle of the next trials
            raylet = psutil.Process(second.all_processes["raylet"][0].process.pid)
            victims = [*raylet.children(recursive=True), raylet]
            for victim in victims:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.kill()
            _wait_for(process, folder, 120)
            third = cluster.add_node(**node)
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 0, output.decode()
            retried = _each_once(folder, f"killed {len(victims)} processes of a node after 70 trials, added one at 120")
            assert retried >= 1
            raylet = psutil.Process(third.all_processes["raylet"][0].process.pid)
            print(f"the added node has run {len(raylet.children())} processes of ours", flush=True)

            folder = Path(place, "driver")
            process = _started(["search", *options, "--out", str(folder)], variables, folder, 100)
            process.kill()
            process.communicate()  # which closes its output
            time.sleep(5)
            left = [each for each in psutil.process_iter(["cmdline"]) if _works_for(each, folder)]
            resumed = command("search", "--resume", str(folder), "--allow-code")
            done = subprocess.run(resumed, env=variables, check=False, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            _each_once(folder, f"killed the driver after 100 trials ({len(left)} of its processes left) and resumed")
    finally:
        cluster.shutdown()


def _started(arguments: Sequence[str], variables: dict[str, str], folder: Path, trials: int) -> subprocess.Popen[bytes]:
    """A search that has completed so many trials."""
    process = subprocess.Popen(command(*arguments), env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    _wait_for(process, folder, trials)
    return process


def _wait_for(process: subprocess.Popen[bytes], folder: Path, trials: int) -> None:
    while num_completed(folder) < trials and process.poll() is None:
        time.sleep(0.05)


def _works_for(process: Any, folder: Path) -> bool:
    """Whether a process names a run's folder."""
    return any(str(folder) in word for word in process.info["cmdline"] or ())


def _each_once(folder: Path, what: str) -> int:
    """Print and check that each of 200 trials was done once. Returns how many were run again."""
    numbers = [row[1] for row in journal_content(folder)["completions"]]
    with contextlib.closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        (retried,) = connection.execute("SELECT count(*) FROM failed_attempts").fetchone()
        (failed,) = connection.execute("SELECT count(*) FROM completions WHERE failure IS NOT NULL").fetchone()
    once = sorted(numbers) == list(range(200))
    print(f"{what}: {len(numbers)} trials, each once: {once}; {retried} were run again, {failed} failed", flush=True)
    assert once
    return int(retried)


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
    parser.add_argument("--work", default="", help="of studies: only kinds whose name begins with this")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"unknown part {min(unknown)!r}; choose from {', '.join(PARTS)}")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup, commands would ignore it too
    for name, part in PARTS.items():
        if not arguments.parts or name in arguments.parts:
            part(arguments.kills) if part is not studies else studies(arguments.kills, arguments.work)


if __name__ == "__main__":
    main()
