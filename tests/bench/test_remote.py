"""A worker in another process: what it returns, what it raises, and how it may end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from hgrt.bench import remote
from hgrt.bench.remote import Remote
from hgrt.errors import HgrtError


class Clerk:
    """Answers from its own process."""

    def where(self) -> int:
        return os.getpid()

    def add(self, one: int, two: int) -> int:
        return one + two

    def refuse(self) -> None:
        raise HgrtError("No.", "Because.", "Ask again.")

    def stumble(self) -> None:
        raise ZeroDivisionError("a bug")

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def leave(self) -> None:
        os._exit(3)

    def sleep(self) -> None:
        time.sleep(60)

    def close(self) -> None: ...


def test_it_answers_from_another_process() -> None:
    with Remote(Clerk, "clerk") as there:
        pid = there.ask("where")
        assert pid != os.getpid()
        assert there.ask("add", 2, 3) == 5
        assert there.load_ms > 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    there.close()


def test_what_it_raises_is_raised_here_and_it_goes_on() -> None:
    with Remote(Clerk, "clerk") as there:
        with pytest.raises(HgrtError) as refused:
            there.ask("refuse")
        assert (refused.value.what, refused.value.why, refused.value.fix) == ("No.", "Because.", "Ask again.")
        with pytest.raises(RuntimeError, match=r"(?s)Traceback.*ZeroDivisionError: a bug"):
            there.ask("stumble")
        assert there.ask("add", 1, 1) == 2


@pytest.mark.parametrize(("method", "how"), [("die", "signal SIGKILL"), ("leave", "exit code 3")])
def test_a_death_is_said(method: str, how: str) -> None:
    with Remote(Clerk, "clerk") as there:
        with pytest.raises(HgrtError) as died:
            there.ask(method)
        assert died.value.what == "The process of clerk died." and how in died.value.why
        with pytest.raises(HgrtError, match="died"):
            there.ask("add", 1, 1)


def test_one_that_does_not_answer_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with Remote(Clerk, "clerk") as there:
        monkeypatch.setattr(remote, "PATIENCE_S", 0.2)
        with pytest.raises(HgrtError, match="did not answer"):
            there.ask("sleep")
    assert not multiprocessing.active_children()
