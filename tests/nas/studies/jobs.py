"""Jobs for tests of the study engine, in a module that worker processes can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from nas.studies.engine import Call, Job, Study
from search_spaces import MnasError


def do(call: Call) -> dict[str, Any]:
    """Do what the payload says; every attempt leaves a line in the job's folder."""
    call.folder.mkdir(parents=True, exist_ok=True)
    with (call.folder / "attempts").open("a") as stream:
        stream.write("x\n")
    what, value = call.payload["what"], call.payload.get("value", 0)
    attempts = attempts_in(call.folder)
    if what == "wrong" or (what == "flaky" and attempts < 3):
        raise RuntimeError(f"broken {attempts}\nin two lines")
    if what == "refused" and not (call.folder.parent / "fixed").exists():
        raise MnasError("value: 7 is not for me; fix it")
    if what == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "sleep":
        time.sleep(1e6)
    if what == "after":
        while not (call.folder.parent / "job1" / "attempts").exists():
            time.sleep(0.01)
        time.sleep(0.3)
    if what == "forbidden":
        raise AssertionError("this was done before")
    if what == "steps":
        _do_steps(call, value)
    return {"square": value**2, "process": os.getpid(), "setting": call.settings.get("setting")}


def _do_steps(call: Call, value: int) -> None:
    """Count slowly to twenty in a file, from where it stopped; each step is written once, despite any kills."""
    done = call.folder / "steps"
    for step in range(len(done.read_text().split()) if done.exists() else 0, 20):
        if call.stop():
            raise KeyboardInterrupt
        time.sleep(0.01)
        new = done.with_suffix(".new")
        new.write_text((done.read_text() if done.exists() else "") + f"{step} ")
        os.replace(new, done)
        call.report((step + 1) / 20, f"step {step + 1}")


def attempts_in(folder: Path) -> int:
    return len((folder / "attempts").read_text().splitlines())


def study(*payloads: dict[str, Any], **fields: Any) -> Study:
    """A study of these jobs, the first of which has the key ``job0``."""
    jobs = [Job(f"job{number}", f"job number {number}", payload) for number, payload in enumerate(payloads)]
    usual: dict[str, Any] = {"kind": "test", "settings": {"setting": "s"}, "perform": do, "resume": "resume it"}
    return Study(jobs=jobs, **{**usual, **fields})


STEPS = study(*({"what": "steps", "value": value} for value in range(12)))
