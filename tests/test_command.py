"""The command as a person uses it: what it prints, writes and refuses."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from baselines.commands.options import quantity
from nas.__main__ import COMMANDS, main, parser_of
from search_spaces import SPACES
from tests.processes import environment
from tests.scaling.test_compound import RELEASED

ROOT = Path(__file__).resolve().parents[1]


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which `mnas search --target-macs 200M --trials 100 --out runs/b200` was run."""
    folder = tmp_path_factory.mktemp("searched")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["search", "--target-macs", "200M", "--trials", "100", "--out", "runs/b200"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def after_search(searched: Path, workplace: Path) -> Path:
    """A copy of `searched` as the current directory."""
    shutil.copytree(searched, workplace, dirs_exist_ok=True)
    return workplace


@pytest.mark.parametrize("name", COMMANDS)
def test_each_default_is_given_once_in_words(name: str) -> None:
    """A value of Python means nothing to who types a command."""
    parser, _ = parser_of(name)
    assert not re.search(r"\b(None|True|False|MISSING|SUPPRESS)\b|==", parser.format_help())
    for action in parser._actions:
        assert len(re.findall("by default|default:", action.help or "")) < 2, action.option_strings


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "runs/b200"),
        ("compare", "runs/b200", "efficientnet_b0"),
        ("export", "runs/b200", "--format", "timm"),
        ("scale", "runs/b200", "--phi", "1", "--name", "b1"),
        ("latency", "runs/b200", "--runs", "1"),
    ],
)
@pytest.mark.usefixtures("after_search")
def test_the_folder_of_a_search_is_a_spec(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    """As the help of each command says."""
    assert main(["help", arguments[0]]) == 0
    assert "folder of a training or a search" in " ".join(capsys.readouterr().out.split())
    assert main(arguments) == 0


def test_show_b0(capsys: pytest.CaptureFixture[str]) -> None:
    data = run_json(capsys, "show", "efficientnet_b0")
    assert (data["params"], data["macs"]) == (5288548, 385814752)
    assert main(["show", "efficientnet_b0", "--per-layer"]) == 0
    text = capsys.readouterr().out
    for part in ("5,288,548", "385,814,752", "MBConv6 k5x5 SE 0.25", "stages.5.3.se.reduce", "Table 2", "77.1 %"):
        assert part in text


@pytest.mark.parametrize("name", sorted(RELEASED))
@pytest.mark.usefixtures("workplace")
def test_scale_b0(capsys: pytest.CaptureFixture[str], name: str) -> None:
    data = run_json(capsys, "scale", "efficientnet_b0", "--preset", name)
    assert (data["params"], data["macs"]) == RELEASED[name]
    written = yaml.safe_load(Path(data["file"]).read_text())
    assert written["provenance"]["scaling"]["parent"] == "efficientnet_b0"
    again = run_json(capsys, "show", f"efficientnet_b0_{name}")
    assert (again["params"], again["macs"], again["digest"]) == (data["params"], data["macs"], data["digest"])


def test_the_whole_line(capsys: pytest.CaptureFixture[str], after_search: Path) -> None:
    frozen = run_json(capsys, "freeze", "runs/b200", "--name", "b200")
    assert 0.97 * 200e6 <= frozen["macs"] <= 200e6
    best = yaml.safe_load(Path("runs/b200/best.yaml").read_text())
    assert best["architecture"] == frozen["spec"]["architecture"]
    compared = run_json(capsys, "compare", "b200", "efficientnet_b0")
    assert compared["reference"] == "efficientnet_b0"
    change = compared["differences"][0]
    assert change["beyond_noise"] == (abs(change["accuracy"]) > change["accuracy_std"])
    assert change["agreement"]["choices"] == 28
    assert "shortened schedule" in compared["evaluator"]["meaning"]
    scaled = run_json(capsys, "scale", "b200", "--preset", "b3")
    assert scaled["spec"]["provenance"]["scaling"]["parent_digest"] == frozen["digest"]
    assert scaled["resolution"] == 300
    listed = {entry["name"] for entry in run_json(capsys, "baselines")["baselines"]}
    assert {"efficientnet_b0", "efficientnet_b7", "mnasnet_a1", "b200", "b200_b3"} <= listed
    assert main(["compare", "b200_b3", "b200", "efficientnet_b0"]) == 0
    text = capsys.readouterr().out
    for part in ("b200_b3: not judged (resolution: 300", "28 choices", "11.6", "±", "shortened schedule", "≠"):
        assert part in text


def test_a_run_folder_holds_everything(searched: Path) -> None:
    import sqlite3

    run = searched / "runs" / "b200"
    connection = sqlite3.connect(run / "journal.sqlite")
    assert connection.execute("SELECT count(*) FROM trials").fetchone() == (100,)
    settings = json.loads(connection.execute("SELECT value FROM run WHERE key = 'settings'").fetchone()[0])
    connection.close()
    assert settings["objective"]["targets"] == [{"cost": "macs", "value": 200_000_000}]
    assert (run / "best.yaml").is_file()
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))


def test_tensorboard_reads_the_scalars(searched: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(searched / "runs" / "b200" / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {f"trial/{name}" for name in ("reward", "accuracy", "macs")} <= tags
    assert {f"best/{name}" for name in ("reward", "accuracy", "macs")} <= tags
    rewards, macs = ([event.value for event in events.Scalars(f"trial/{name}")] for name in ("reward", "macs"))
    assert len(rewards) == 100
    best = [event.value for event in events.Scalars("best/reward")]
    # At or below the target comes first, then the reward; TensorBoard holds 32-bit floats.
    order = list(zip([size <= 200e6 for size in macs], rewards, strict=True))
    assert best == [max(order[: step + 1])[1] for step in range(100)]


def test_freezing_twice_is_no_error_and_another_trial_is_another_name(after_search: Path) -> None:
    assert main(["freeze", "runs/b200", "--name", "b200"]) == 0
    before = tree(after_search)
    assert main(["freeze", "runs/b200", "--name", "b200"]) == 0
    assert main(["freeze", "runs/b200", "--name", "b200", "--trial", "0"]) == 2
    assert tree(after_search) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "efficientnetb0"], "unknown baseline 'efficientnetb0'; did you mean 'efficientnet_b0'?"),
        (["show", "specs/absent.yaml"], "specs/absent.yaml: cannot be read (No such file or directory)"),
        (["show", "broken.yaml"], "broken.yaml: architecture.stages[0].kernel_size: 4 is not an odd integer"),
        (["show", "cut.yaml"], "cut.yaml: "),
        (["shw", "efficientnet_b0"], "unknown command 'shw'; did you mean 'show'?"),
        (["show"], "the following arguments are required: SPEC"),
        (["--jsno"], "--jsno: expected a command first (see mnas --help)"),
        (["show", "efficientnet_b0", "--jsno"], "unrecognized arguments: --jsno"),
        (["search", "--space", "efficentnet"], "unknown space 'efficentnet'; did you mean 'efficientnet'?"),
        (["search", "--controller", "bayesain"], "unknown controller 'bayesain'; did you mean 'bayesian'?"),
        (["search", "--evaluator", "imagnet"], "unknown evaluator 'imagnet'; did you mean 'imagenet'?"),
        (["search", "--objective", "sotf"], "unknown objective 'sotf'; did you mean 'soft'?"),
        (["search", "--target-macs", "20M"], "target macs: 20,000,000 is below the smallest"),
        (["search", "--target-macs", "2G"], "target macs: 2,000,000,000 is above the largest"),
        (["search", "--target-macs", "400X"], "argument --target-macs: '400X': expected a positive number"),
        (["search", "--target-macs=-1"], "argument --target-macs: '-1': expected a positive number"),
        (["search", "--target-macs", "-1"], "argument --target-macs: '-1': expected a positive number"),
        (["search", "--target-macs", "nan"], "argument --target-macs: 'nan': expected a positive number"),
        (["search", "--target-macs", "inf"], "argument --target-macs: 'inf': expected a positive number"),
        (["search", "--target-macs", ""], "argument --target-macs: '': expected a positive number"),
        (["search", "--trials", "0"], "argument --trials: '0': expected an integer from 1"),
        (["search", "--seed", "1.5"], "argument --seed: '1.5': expected an integer"),
        (["search", "--exponent", "nan"], "argument --exponent: 'nan': expected a finite number"),
        (["search", "--exponent", "0.07"], "exponent: 0.07 is not a number from -100 to below 0"),
        (["search", "--out", "runs/b200"], "out: runs/b200 already holds a run; choose another folder or resume it"),
        (["search", "--out", "/proc/mnas"], "out: /proc/mnas cannot be created (No such file or directory)"),
        (["show", "a\nb", "c\nd"], "unrecognized arguments: c d"),
        (["scale", "efficientnet_b0", "--width", "1.5", "--name", "x" * 70], "name: 'xxx"),
        (["freeze", "runs/absent", "--name", "x"], "run: runs/absent holds no run"),
        (["freeze", "runs/b200", "--name", "a/b"], "name: 'a/b': expected up to 64 letters"),
        (["freeze", "runs/b200", "--name", "efficientnet_b0"], "name: 'efficientnet_b0' is a baseline of the package"),
        (["freeze", "runs/b200", "--name", "x", "--trial", "999"], "runs/b200/journal.sqlite: no trial 999"),
        (["compare", "efficientnet_b0"], "compare: expected two or more networks"),
        (["compare", "efficientnet_b0", "b9"], "unknown baseline 'b9'"),
        (["scale", "efficientnet_b0"], "scale: expected one of preset, phi"),
        (
            ["scale", "efficientnet_b0", "--target", "macs=1G", "--target", "params=5M"],
            "argument --target: given twice, as macs=1G and params=5M; give it once",
        ),
        (["scale", "efficientnet_b0", "--preset", "b33"], "unknown preset 'b33'; did you mean 'b3'?"),
        (["scale", "efficientnet_b0", "--preset", "b3", "--phi", "1"], "scale: expected one of preset, phi"),
        (["scale", "efficientnet_b0", "--phi", "99"], "phi: 99.0 is not a number from -4 to 12"),
        (["scale", "efficientnet_b0", "--width", "0"], "width: 0.0 is not a number from 0.05 to 50"),
        (["scale", "efficientnet_b0", "--resolution", "7"], "resolution: 7 is smaller than the network's total stride"),
    ],
)
def test_mistakes_are_one_line_and_change_nothing(
    capsys: pytest.CaptureFixture[str], after_search: Path, arguments: list[str], message: str
) -> None:
    b0 = (ROOT / "baselines" / "specs" / "efficientnet_b0.yaml").read_text()
    Path("broken.yaml").write_text(b0.replace("kernel_size: 3, expand_ratio: 1", "kernel_size: 4, expand_ratio: 1"))
    Path("cut.yaml").write_text(b0[: len(b0) // 2])
    before = tree(after_search)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"mnas: {message}")
    assert err.count("\n") == 1
    assert tree(after_search) == before
    assert not [entry for entry in after_search.iterdir() if entry.name not in ("runs", "broken.yaml", "cut.yaml")]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "nas", *arguments]


def test_json_and_progress_do_not_mix(workplace: Path) -> None:
    arguments = command("search", "--trials", "60", "--controller", "random", "--json")
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=workplace, env=environment())
    data = json.loads(done.stdout)
    assert data["trials"] == 60
    assert Path(workplace / data["out"] / "journal.sqlite").is_file()
    assert "trials 60/60" in done.stderr


def test_same_seed_same_run_in_another_process(workplace: Path) -> None:
    digests = []
    for seed in ("0", "0", "1"):
        arguments = command("search", "--trials", "60", "--json", "--seed", seed)
        done = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=workplace, env=environment())
        provenance = json.loads(done.stdout)["best"]["spec"]["provenance"]
        digests.append(provenance["search"]["journal_digest"])
    assert digests[0] == digests[1] != digests[2]
    assert len(list((workplace / "runs").iterdir())) == 3


def test_show_and_scale_import_neither_torch_nor_nni(workplace: Path) -> None:
    code = (
        "import sys; from nas.__main__ import main; "
        "assert main(['show', 'efficientnet_b0']) == 0 and 'numpy' not in sys.modules; "
        "assert main(['scale', 'efficientnet_b0', '--preset', 'b3']) == 0; "
        "loaded = {'torch', 'nni', 'scipy', 'tensorboard', 'pandas'} & set(sys.modules); assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=workplace, env=environment())


def test_a_search_can_be_interrupted_and_keeps_its_trials(workplace: Path) -> None:
    arguments = command("search", "--trials", "1000000", "--controller", "random", "--out", "run")
    process = subprocess.Popen(
        arguments, cwd=workplace, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    journal = workplace / "run" / "journal.sqlite"
    deadline = time.monotonic() + 60
    written = 0
    while time.monotonic() < deadline and not written:
        time.sleep(0.2)
        if journal.exists() and (workplace / "run" / "tensorboard").exists():
            import sqlite3

            connection = sqlite3.connect(journal)
            written = connection.execute("SELECT count(*) FROM trials").fetchone()[0]
            connection.close()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.decode().rstrip().endswith("mnas: interrupted")
    assert "Traceback" not in err.decode()
    assert "Found" in out.decode()
    assert (workplace / "run" / "best.yaml").is_file()


def in_shell(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which ``mnas`` is the command; its status is that of the first command that fails."""
    line = f'set -o pipefail; mnas() {{ {sys.executable} -m nas "$@"; }}; {script}'
    env = {**environment(), **variables}
    return subprocess.run(["bash", "-c", line], check=False, capture_output=True, text=True, cwd=folder, env=env)


def test_a_closed_pipe_is_no_error(workplace: Path) -> None:
    done = in_shell("mnas show efficientnet_b0 --per-layer --json | head -1", workplace)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_one_line(workplace: Path) -> None:
    done = in_shell("mnas show efficientnet_b0 > /dev/full", workplace)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "mnas: cannot write (No space left on device); make room or choose another place\n"


def test_a_closed_stdout_is_no_error(workplace: Path) -> None:
    done = in_shell("mnas show efficientnet_b0 >&-", workplace)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_that_is_not_utf8_shows_question_marks(workplace: Path) -> None:
    done = in_shell("mnas scale efficientnet_b0 --preset b1", workplace, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "(?1.78)" in done.stdout


@pytest.mark.usefixtures("workplace")
def test_what_ends_before_its_first_batch_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nas.api.run_search", interrupted)
    assert main(["search", "--out", "run"]) == 130
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("controller", "objective"),
    [("ppo", "soft"), ("nni:regularized-evolution", "absolute"), ("random", "hard"), ("bayesian", "absolute")],
)
def test_every_controller_and_objective(workplace: Path, controller: str, objective: str) -> None:
    """In a process of its own: nothing that they import may write to stdout, where the JSON goes."""
    options = f"--controller {controller} --objective {objective} --trials 60 --target-macs 300M --out _run"
    done = in_shell(f"mnas search {options} --json", workplace)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["settings"]["controller"] == controller
    best, target = data["best"], 300_000_000
    accuracy = best["spec"]["figures"][0]["value"]
    ratio = best["macs"] / target
    expected = {"soft": accuracy * ratio**-0.07, "absolute": accuracy - 0.1 * abs(ratio - 1), "hard": accuracy}
    assert best["reward"] == pytest.approx(expected[objective])
    assert best["name"] == "run"
    if controller == "ppo":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(workplace / "_run" / "tensorboard"))
        events.Reload()
        entropy = [event.value for event in events.Scalars("controller/entropy")]
        assert len(entropy) == 5  # one for each batch of 12
        # At the start nearly uniform; 28 choices of 2, 3 or 4 values, entropy in nats.
        assert entropy[0] == pytest.approx((14 * math.log(2) + 13 * math.log(3) + math.log(4)) / 28, abs=0.02)


@pytest.mark.usefixtures("workplace")
def test_spaces_and_baselines_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    spaces = {space["name"]: space for space in run_json(capsys, "spaces")["spaces"]}
    assert list(spaces) == list(SPACES)
    space = spaces["efficientnet"]
    assert (space["size"], space["networks"], len(space["choices"])) == (12**7 * 3**6 * 4, 12**7 * 3**6 * 4, 28)
    assert spaces["mnasnet"]["networks"] < spaces["mnasnet"]["size"]
    assert main(["spaces"]) == main(["baselines"]) == 0
    text = capsys.readouterr().out
    assert "1.045e+11" in text
    assert "385.8M" in text


def test_networks_of_a_space_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    data = run_json(capsys, "spaces", "efficientnet", "--histogram", "--near", "400M")
    assert sum(data["counts"]) == data["networks"] == 12**7 * 3**6 * 4
    assert data["edges"][1] - data["edges"][0] == 50_000_000
    assert main(["spaces", "efficientnet", "--histogram", "--near", "400M"]) == 0
    text = capsys.readouterr().out
    assert "4,909,843,655 of 104,485,552,128 networks of efficientnet (4.7 %) lie within 2 % of 400.0M MACs." in text
    assert "16,611,325,099     15.9 %" in text


@pytest.mark.usefixtures("workplace")
def test_one_broken_spec_does_not_hide_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scale", "efficientnet_b0", "--preset", "b1", "--name", "mine"]) == 0
    text = Path("specs/mine.yaml").read_text()
    Path("specs/other.yaml").write_text(text)
    Path("specs/cut.yaml").write_text(text[:300])
    capsys.readouterr()
    listed = run_json(capsys, "baselines")
    own = {entry["name"] for entry in listed["baselines"]} & {"mine", "other", "cut"}
    assert own == {"mine"}
    cut, other = listed["problems"]
    assert cut.startswith("specs/cut.yaml: ")
    assert other == "specs/other.yaml: name: 'mine' is not the name of the file; rename one of them"
    assert main(["baselines"]) == 0
    assert "Unusable: specs/cut.yaml" in capsys.readouterr().out


@pytest.mark.usefixtures("workplace")
def test_a_run_folder_may_have_any_name(capsys: pytest.CaptureFixture[str]) -> None:
    for folder, name in (("_a b", "a-b"), ("...", "found"), ("x" * 90, "x" * 64)):
        found = run_json(capsys, "search", "--trials", "10", "--controller", "random", "--out", folder)
        assert found["best"]["name"] == name


def test_tables_fit_a_narrow_terminal(after_search: Path) -> None:
    from rich.console import Console

    from baselines import load
    from baselines.views.spec import layer_table, spec_table
    from nas.evaluators.registry import load_evaluator
    from nas.evidence import Comparison
    from nas.views.comparison import text as comparison_text

    b0, found = load("efficientnet_b0"), load(str(after_search / "runs" / "b200" / "best.yaml"))
    view = comparison_text(Comparison.of([found, b0], load_evaluator("imagenet")))
    with (after_search / "narrow.txt").open("w") as stream:
        console = Console(file=stream, width=80)
        for part in (spec_table(b0), layer_table(b0), *view):
            console.print(part)
    text = (after_search / "narrow.txt").read_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for whole in ("385,814,752", "2,026,348", "classifier", "stages.5.3.se.reduce", "efficientnet_b0"):
        assert whole in text


@pytest.mark.parametrize(
    ("text", "value"),
    [("400M", 400e6), ("1.8G", 1.8e9), (" 386m ", 386e6), ("0.39B", 390e6), ("4e8", 4e8), ("2e5k", 2e8), (".4g", 4e8)],
)
def test_quantities(text: str, value: float) -> None:
    assert quantity(text) == value


@pytest.mark.usefixtures("workplace")
def test_a_negative_exponent_may_be_written_any_way(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("-0.07", "-7e-2", "-.07"):
        options = ["--objective", "soft", "--exponent", text, "--trials", "5", "--controller", "random"]
        assert run_json(capsys, "search", *options)["settings"]["objective"]["exponents"] == [-0.07, -0.07]


@pytest.mark.parametrize("script", ["retarget.py", "scale.sh", pytest.param("rediscover.sh", marks=pytest.mark.slow)])
def test_examples_run(workplace: Path, script: str) -> None:
    file = ROOT / "examples" / script
    (workplace / "bin").mkdir()
    launcher = workplace / "bin" / "mnas"
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -m nas "$@"\n')
    launcher.chmod(0o755)
    env = {**environment(), "PATH": f"{launcher.parent}:{os.environ['PATH']}"}
    program = sys.executable if file.suffix == ".py" else "sh"
    done = subprocess.run([program, str(file)], check=False, capture_output=True, text=True, cwd=workplace, env=env)
    assert done.returncode == 0, done.stderr
    assert "shortened schedule" in done.stdout


def test_the_wheel_holds_specs_and_predictor(tmp_path: Path) -> None:
    import zipfile

    source = tmp_path / "source"
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "runs")
    shutil.copytree(ROOT, source, ignore=ignored, symlinks=True)
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("mnas-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"baselines/specs/efficientnet_b0.yaml", "nas/predictors/imagenet.npz"} <= set(names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {
        "search_spaces",
        "baselines",
        "scaling",
        "nas",
        "mnas",
    }


def test_python_in_the_readme_runs(workplace: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    blocks = readme.split("```python\n")[1:]
    assert blocks
    code = "\n".join(block.split("```")[0] for block in blocks)
    expected = [line.split("#")[1].strip() for line in code.splitlines() if line.startswith("print(")]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=workplace, env=environment()
    )
    assert done.stdout.split() == expected


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("name", ["timm", "torchvision", "tf"])
def test_export_and_import(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["export", "mnasnet_a1", "--format", name]) == 0
    Path("printed.json").write_text(capsys.readouterr().out)
    assert main(["export", "mnasnet_a1", "--format", name, "--out", "written.json"]) == 0
    assert json.loads(Path("printed.json").read_text()) == json.loads(Path("written.json").read_text())
    capsys.readouterr()
    found = run_json(capsys, "import", "written.json", "--format", name, "--name", "mine")
    assert found["digest"] == run_json(capsys, "show", "mnasnet_a1")["digest"]
    assert run_json(capsys, "show", "mine")["digest"] == found["digest"]
    assert main(["export", "mnasnet_a1", "--format", name, "--out", "written.json"]) == 2
    assert "written.json already exists" in capsys.readouterr().err
    document = json.loads(Path("written.json").read_text())
    Path("broken.json").write_text(json.dumps({**document, "num_classes": 0}))
    assert main(["import", "broken.json", "--format", name, "--name", "other"]) == 2
    assert capsys.readouterr().err.startswith("mnas: broken.json: num_classes: 0 is not an integer")
    assert not Path("specs/other.yaml").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("workplace")
def test_export_for_runtimes(capsys: pytest.CaptureFixture[str]) -> None:
    import onnxruntime
    import torch

    from baselines import load
    from baselines.exchange.weights import save_weights
    from search_spaces.network import build_network

    assert main(["scale", "mnasnet_small", "--resolution", "64", "--name", "tiny"]) == 0
    torch.manual_seed(3)
    network = build_network(load("tiny").architecture).eval()
    save_weights(network, Path("tiny.safetensors"))
    for name, file in (("onnx", "tiny.onnx"), ("torch", "tiny.pt2")):
        assert main(["export", "tiny", "--format", name, "--weights", "tiny.safetensors"]) == 0
        assert Path(file).is_file()
        assert main(["export", "tiny", "--format", name]) == 2
        assert f"{file} already exists" in capsys.readouterr().err
    images = torch.randn(5, 3, 64, 64)
    with torch.no_grad():
        expected = network(images)
    session = onnxruntime.InferenceSession("tiny.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": images.numpy()})
    torch.testing.assert_close(torch.as_tensor(found), expected, rtol=1e-4, atol=1e-5)
    again = torch.export.load("tiny.pt2").module()(images)
    torch.testing.assert_close(again, expected, rtol=1e-4, atol=1e-5)
    Path("cut.pth").write_bytes(b"")
    assert main(["export", "tiny", "--format", "onnx", "--out", "x.onnx", "--weights", "cut.pth"]) == 2
    assert capsys.readouterr().err.startswith("mnas: cut.pth: not a complete file")
    assert not Path("x.onnx").exists()


def test_show_under_other_rules_and_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    data = run_json(
        capsys, "show", "efficientnet_b1", "--resolution", "224", "--classes", "10", "--count-with", "torch"
    )
    # EfficientNet-B1 with 10 classes, and at 224 px twice what torch's counter calls flops.
    assert data["params"] == 6_525_994
    assert data["counted_with"]["total"] == 2 * data["macs"]
    assert data["memory"]["training"] > data["memory"]["inference"] > 0
    layers = run_json(capsys, "show", "efficientnet_b0", "--per-layer")["layers"]
    assert sum(layer["macs"] for layer in layers) == 385_814_752
    assert main(["show", "efficientnet_b0", "--count-with", "thop-rules"]) == 0
    text = capsys.readouterr().out
    for part in ("415,145,024", "1.0760", "MiB at the peak of inference"):
        assert part in text
    assert main(["show", "efficientnet_b0", "--count-with", "thop"]) == 2
    assert "unknown counter 'thop'; did you mean 'thop-rules'?" in capsys.readouterr().err
    assert main(["show", "efficientnet_b0", "--resolution", "16"]) == 2
    assert "resolution: 16 is smaller than the network's total stride" in capsys.readouterr().err


def test_latency_prints_a_table_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    specs = ["mnasnet_small", "mobilenet_v2"]
    data = run_json(capsys, "latency", *specs, "--runs", "2", "--batch", "2")
    assert [timing["name"] for timing in data["timings"]] == specs
    assert (data["reference"], data["protocol"]["batch"]) == ("mobilenet_v2", 2)
    assert main(["latency", *specs, "--runs", "2"]) == 0
    text = capsys.readouterr().out
    for part in ("against mobilenet_v2", "batch 1, 1 thread, 2 rounds", "mnasnet_small"):
        assert part in text
    assert main(["latency", "mnasnet_small", "--device", "gpu"]) == 2
    assert capsys.readouterr().err.startswith("mnas: device: 'gpu' is not available")


@pytest.mark.usefixtures("torchvision")
def test_compare_with_another_kind_of_network(capsys: pytest.CaptureFixture[str], after_search: Path) -> None:
    names = ["runs/b200/best.yaml", "torchvision:resnet50", "efficientnet_b0"]
    data = run_json(capsys, "compare", *names)
    assert [entry["name"] for entry in data["specs"]] == ["b200", "torchvision:resnet50", "efficientnet_b0"]
    assert data["specs"][1]["params"] == 25_557_032
    assert data["differences"][1]["agreement"] is None
    assert main(["compare", *names, "--html", "figure.html"]) == 0
    text = capsys.readouterr().out
    for part in ("4,089,184,256", "77.1 %", "torchvision:resnet50: not judged", "figure.html"):
        assert part in text
    page = (after_search / "figure.html").read_text()
    for part in ("AmoebaNet-C", "GPipe", "torchvision:resnet50", "arXiv 1905.11946v5", "b200"):
        assert part in page
    assert main(["compare", *names, "--html", "figure.html"]) == 2
    assert "figure.html already exists" in capsys.readouterr().err
    # A reference without a spec has no space, so nothing is ranked.
    assert main(["compare", "efficientnet_b0", "torchvision:resnet50"]) == 0
    assert "Among random members" not in capsys.readouterr().out
    assert main(["show", "torchvision:resnet50", "--classes", "10"]) == 2
    assert "torchvision:resnet50: it has no spec" in capsys.readouterr().err
    assert run_json(capsys, "show", "torchvision:resnet50")["macs"] == 4_089_184_256
