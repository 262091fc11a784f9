"""What all tests share: where the shared folder is, one thread, and random tests that draw the same every time."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

import cv2
import pytest
from hypothesis import settings

from golden import shared_folder

settings.register_profile("hgrt", deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile("hgrt")

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for torch, here and in the processes that tests start
cv2.setNumThreads(1)
# A shell that starts the tests in the background has Ctrl-C ignored, and so would all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def _little_to_collect() -> None:
    """What is there before a module's tests, all of torch among it, Python's collector need not look through again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _one_folder_for_all_processes(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What one process of this run makes for all of them lies there (`runtime.make_golden.files`)."""
    base = tmp_path_factory.getbasetemp()
    os.environ["HGRT_TESTS_SHARED"] = str(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the reference fixtures and the real data; tests that need it are skipped where it is absent."""
    folder = shared_folder()
    if not (folder / "fixtures" / "reference").is_dir():
        pytest.skip(f"no reference fixtures in {folder}; set HGRT_SHARED to the shared folder")
    return folder


@pytest.fixture(scope="session")
def fixtures(shared: Path) -> Path:
    """The numbers that the published implementation produced."""
    return shared / "fixtures" / "reference"
