"""README and documentation: every block of code and every command on them is carried out.

A block that cannot be run here says why in a comment above it, as in ``<!-- needs weights -->``.
Blocks of ``text`` are output.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from conftest import Command

from erf_tools.cli import app
from erf_tools.cue_conflict.category_files import read_categories
from erf_tools.cue_conflict.stimulus_sets import StimulusSet
from erf_tools.models.replknet import VARIANTS
from erf_tools.sweep.study import read_study

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *(ROOT / "docs").glob("*/*.md")]

#: What a block may need that tests do not have.
NEEDS = ("weights", "a GPU", "an installation", "other machines")

LANGUAGES = ("bash", "console", "html", "python", "toml", "text")


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, its language, what is in it, and what it needs."""

    page: Path
    language: str
    content: str
    needs: str | None


def _blocks(page: Path) -> list[Block]:
    fenced = r"(?:<!-- needs ([^>]*?) -->\n)?^(`{3,})([^\n]*)\n(.*?)^\2$"
    return [
        Block(page, language, content, needs or None)
        for needs, _fence, language, content in re.findall(
            fenced, page.read_text(), re.DOTALL | re.MULTILINE
        )
        if not language.startswith("{")  # a directive, which the site's build carries out
    ]


BLOCKS = [block for page in PAGES for block in _blocks(page)]
RUN = [block for block in BLOCKS if block.needs is None]
COMMANDS = sorted(
    {line for block in RUN if block.language == "console" for line in block.content.splitlines()}
)
PYTHON = {block.page: [] for block in RUN if block.language == "python"}
for block in RUN:
    if block.language == "python":
        PYTHON[block.page].append(block.content)


def test_every_block_is_run_or_says_what_it_needs() -> None:
    for block in BLOCKS:
        assert block.language in LANGUAGES, block
        assert block.needs in (None, *NEEDS), block


def test_the_readme_has_two_commands_and_ci_runs_them() -> None:
    shown = [block for block in RUN if block.language == "bash"]
    install, test = (block.content for block in shown if block.page.name == "README.md")
    assert re.fullmatch(r"python -m pip install .* && erf-tools demo\n", install)
    assert re.fullmatch(r"python -m pip install .* && python -m pytest\n", test)
    script = (ROOT / ".ci" / "run").read_text()
    assert 'eval "$(readme_command 1)"' in script
    assert "tests=$(readme_command 2)" in script  # its installation first, then its tests
    assert script.index('eval "${tests%% && *}"') < script.index('eval "${tests#* && }"')
    assert {block.content for block in shown} == {install, test}  # the others are the same


def test_every_command_is_on_a_page() -> None:
    commands = [each.name or each.callback.__name__ for each in app.registered_commands]
    written = "".join(page.read_text() for page in PAGES)
    assert [name for name in commands if f"erf-tools {name}" not in written] == []


def test_what_is_cited_is_this_version() -> None:
    (cited,) = re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert f'version = "{cited}"' in (ROOT / "pyproject.toml").read_text()


@pytest.fixture
def users_folder(image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photographs and a network of one's own, as the pages call them."""
    monkeypatch.chdir(tmp_path)
    image_folder.rename(tmp_path / "photos")
    (build,) = (code for code in PYTHON[ROOT / "docs" / "start.md"] if "def build" in code)
    (tmp_path / "my_network.py").write_text(build)
    return tmp_path


@pytest.mark.parametrize("page", PYTHON, ids=lambda page: page.stem)
def test_python_runs(
    page: Path,
    cue_conflict: Path,
    published_stimuli: StimulusSet,
    users_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The blocks of a page one after another, as in one notebook."""
    (users_folder / "cue-conflict").symlink_to(cue_conflict)
    few = replace(published_stimuli, stimuli=published_stimuli.stimuli[:4])
    monkeypatch.setattr("erf_tools.cue_conflict.classify.open_stimuli", lambda source: few)
    names: dict[str, object] = {}
    for number, code in enumerate(PYTHON[page]):
        exec(compile(code, f"{page.name}, block {number}", "exec"), names)


@pytest.mark.usefixtures("no_drawing")
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(
    command: str, users_folder: Path, run_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is run, small; those on files that only the user has get as far as looking for them."""
    for name, variant in VARIANTS.items():
        small = replace(variant, channels=(16, 32, 64, 128), layers=(1, 1, 1, 1))
        monkeypatch.setitem(VARIANTS, name, small)
    program, *arguments = shlex.split(command)
    assert program == "erf-tools"
    if arguments[0] in ("erf", "audit", "dead-pixels"):
        arguments += ["--num-images", "1", "--resolution", "64"]
    code, _output, error = run_command(*arguments)
    if code:
        assert code == 2, error
        missing = [word for word in arguments if "/" in word or "." in word or ":" in word]
        assert any(part in error for word in missing for part in (word, word.rstrip("/")))
        assert re.search("there is no|[Nn]o such file|cannot import|cannot be read", error)


@pytest.mark.parametrize(
    "study", [block.content for block in RUN if block.language == "toml"], ids=len
)
def test_studies_are_in_order(study: str, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(study)
    if study.startswith("cues"):
        assert read_categories(tmp_path / "study.toml").classes
    else:
        assert read_study(tmp_path / "study.toml").tasks
