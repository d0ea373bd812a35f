"""The documentation is tested: its Python runs, its commands exist with their options, and its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import scaling
from baselines.commands.options import documented
from nas.__main__ import parser_of
from nas.commands.trainings import SHARED
from tests.baselines.training.images import write_folders
from tests.processes import ROOT, environment

PAGES = sorted((ROOT / "docs").glob("*.md"))
# A block that begins with this comment is a file of that name.
FILE = re.compile(r"# (\w+\.py)\n")


def python_blocks(page: str) -> list[str]:
    """Python blocks of a page in order, also those in lists."""
    found = re.findall(r"^( *)```python\n(.*?)^\1```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for _, block in found]


def expected_output(code: str) -> list[str]:
    """What the comments behind calls of ``print`` say that they print."""
    return re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)


@pytest.mark.parametrize("page", ["docs/python.md", "docs/networks.md", "docs/scaling.md"])
def test_python_runs_and_prints_what_it_says(workplace: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    """All blocks of a page in one process, in an empty directory; for a page with trainings, one with images."""
    blocks = python_blocks(page)
    if any('data="images"' in block for block in blocks):
        pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")
        monkeypatch.setenv("XDG_CACHE_HOME", str(workplace / "cache"))
        write_folders(workplace / "images", count=40)
    assert blocks
    for block in blocks:
        if match := FILE.match(block):
            Path(match[1]).write_text(block)
    code = "\n".join(block for block in blocks if not FILE.match(block))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected_output(code)


def test_the_fields_of_studies_are_named() -> None:
    """The table of the page has the options of the commands, which are fields of these classes."""
    rows = re.findall(r"^\| `\w+` \| .* \| `(\w+)` \| (.*) \|$", (ROOT / "docs/scaling.md").read_text(), re.MULTILINE)
    named = {name: set(re.findall(r"`(\w+)`", fields)) for name, fields in rows}
    whole = (scaling.AblationPlan, scaling.FamilyPlan, scaling.Grid, scaling.RacingRule)
    assert named == {kind.__name__: set(documented(kind)) for kind in whole} | {"StudyOptions": set(SHARED)}


def commands(page: Path) -> list[str]:
    """Lines of indented blocks that call ``mnas``."""
    return re.findall(r"^    (mnas [^#\n]*)", page.read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", [line for page in PAGES for line in commands(page)])
def test_commands_parse(line: str) -> None:
    """Brackets stand around what may be left out, and bars between alternatives; the first one is tried."""
    line = re.sub(r"\|[\w-]+", "", line.replace("[", "").replace("]", "").replace("--trials N", "--trials 9"))
    name, *arguments = shlex.split(line)[1:]
    parser, _ = parser_of(name)
    parser.parse_args(arguments)


def anchors(page: Path) -> set[str]:
    """Headings of a page as GitHub names them in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        file, _, anchor = target.partition("#")
        place = page.parent / file if file else page
        assert place.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(place), f"{page.name} links to {target}"
