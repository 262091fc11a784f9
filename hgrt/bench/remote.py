"""A worker in a process of its own: started fresh, asked one thing at a time, killed if it does not answer.

What a worker raises is raised here; one that dies is an error that says so, not the end of the benchmark.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from hgrt.closing import Closing
from hgrt.errors import HgrtError

PATIENCE_S = 600.0  # for one answer: some runtimes compile for minutes when they are opened
FAREWELL_S = 10.0  # for a process to end by itself


class Remote(Closing):
    """A `make()` in a fresh process. `load_ms`: from starting it until it is there, before anything is asked of it.

    `make` must be picklable: a function or class of a module, or a frozen dataclass.
    """

    def __init__(self, make: Callable[[], Any], name: str) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make), name=name, daemon=True)
        start = time.perf_counter()
        try:
            with _spared():
                self._process.start()
            theirs.close()  # the other end is the child's alone, so that its death is heard
            self._receive()
        except BaseException:  # nobody else will end it
            self._kill()
            raise
        self.load_ms = 1000 * (time.perf_counter() - start)

    def ask(self, method: str, *arguments: object) -> Any:
        """Call a method over there and wait for what it returns, or raise what it raises.

        HgrtError where the process died or does not answer; RuntimeError with the traceback for a bug.
        """
        try:
            self._pipe.send((method, arguments))
        except OSError as error:
            raise self._dead() from error
        return self._receive()

    def close(self) -> None:
        """End the process, by force if it must be; safe to call twice."""
        try:
            self._pipe.send(None)
        except OSError:
            pass  # it is gone already
        else:
            self._process.join(FAREWELL_S)
        self._kill()
        self._pipe.close()

    def _receive(self) -> Any:
        try:
            if not self._pipe.poll(PATIENCE_S):
                self._kill()
                raise HgrtError(f"{self.name} did not answer within {PATIENCE_S:.0f} s.", "Its process was ended.")
            answer, error = self._pipe.recv()
        except (EOFError, OSError) as gone:
            raise self._dead() from gone
        if error is not None:
            raise error
        return answer

    def _kill(self) -> None:
        if self._process.pid is not None:
            self._process.kill()
            self._process.join()

    def _dead(self) -> HgrtError:
        self._process.join(FAREWELL_S)
        code = self._process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        return HgrtError(f"The process of {self.name} died.", f"It ended with {how}.")


@contextmanager
def _spared() -> Iterator[None]:
    """What starts in here never hears Ctrl-C, which reaches the whole group: the parent ends its children.

    The parent itself hears it at the end: a child that is half told what to do would complain.
    """
    posix = hasattr(signal, "pthread_sigmask")
    if posix:
        resource_tracker.ensure_running()  # it lets signals through again when it starts
    heard: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _frame: heard.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if posix else set()
    try:
        yield
    finally:
        if posix:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
    if heard:
        raise KeyboardInterrupt


def _serve(pipe: Connection, make: Callable[[], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker = make()
    with suppress(BrokenPipeError, EOFError):  # the parent is gone
        pipe.send((None, None))
        while (request := pipe.recv()) is not None:
            method, arguments = request
            answer: tuple[Any, Exception | None]
            try:
                answer = (getattr(worker, method)(*arguments), None)
            except HgrtError as error:
                answer = (None, error)
            except Exception:  # whatever it is, it is the other side's to report
                answer = (None, RuntimeError(traceback.format_exc()))
            pipe.send(answer)
    worker.close()
