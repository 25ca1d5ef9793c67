"""Imports, and looks at networks, during which nobody looks for garbage."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest
import torch

from erf_tools.features.architecture import architecture_sha256
from erf_tools.features.copies import independent_copy
from erf_tools.features.state import State
from erf_tools.importing import heavy_imports
from erf_tools.models.identity import network_sha256

MODULE = "a_module_that_is_imported_once"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / f"{MODULE}.py").write_text("MADE = [[] for _ in range(1000)]")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    return MODULE


@pytest.mark.parametrize("collecting", [True, False])
def test_the_collector_is_as_it_was_whatever_happens(collecting: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if collecting else gc.disable)()
        with heavy_imports():
            assert not gc.isenabled()
        with pytest.raises(ImportError), heavy_imports():
            import there_is_no_such_module  # noqa: F401
        assert gc.isenabled() == collecting
    finally:
        (gc.enable if before else gc.disable)()


def test_what_was_imported_is_left_alone_and_nothing_where_all_was_there(module: str) -> None:
    frozen = gc.get_freeze_count()
    with heavy_imports():
        __import__(module)
    after = gc.get_freeze_count()
    assert after >= frozen + 1000
    made = [[] for _ in range(1000)]  # type: ignore[var-annotated]
    with heavy_imports():
        __import__(module)
    assert gc.get_freeze_count() < after + len(made)


LOOKS = {
    "a copy": independent_copy,
    "its state": lambda network: State(network, weights=True).moved(),
    "its architecture": architecture_sha256,
    "which it is": lambda network: network_sha256(network, own=True),
}


@pytest.mark.parametrize("what", LOOKS)
def test_a_look_at_a_network_starts_no_search_for_garbage(what: str) -> None:
    network = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(300)))
    LOOKS[what](network)
    runs: list[str] = []
    threshold = gc.get_threshold()
    gc.collect()
    gc.set_threshold(200, *threshold[1:])
    gc.callbacks.append(lambda phase, _: runs.append(phase))
    try:
        LOOKS[what](network)
    finally:
        gc.callbacks.pop()
        gc.set_threshold(*threshold)
    assert runs.count("start") <= 2  # on what is left behind
