"""The processes of a distributed run, as torchrun starts them.

Importing mmseg takes seconds, so they are forked from one process that has done it.
"""

import multiprocessing
import os
import signal
import socket
import sys

import pytest

from tests.tiny_runs import CHECKOUT

SECONDS_TO_END = 300  # ranks that take longer hang


class Ranks:
    """So many processes that each call a function; what they print goes to ``printed_RANK.txt``.

    Args:
        folder (Path): Where they run.
        function (callable): To be found by its name.
        *arguments: Of the function.
        count (int): Of processes.
    """

    def __init__(self, folder, function, *arguments, count=2):
        context = multiprocessing.get_context('forkserver')
        context.set_forkserver_preload(['tools.launch', 'run_experiments', 'tests.killable_runs'])
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        arguments = (str(folder), count, port, function, arguments)
        self.processes = [
            context.Process(target=_join, args=(rank, *arguments)) for rank in range(count)
        ]
        with pytest.MonkeyPatch.context() as patch:
            # The first start begins the process that imports everything; it finds it by this.
            patch.setenv('PYTHONPATH', str(CHECKOUT))
            for process in self.processes:
                process.start()

    def end(self):
        """The exit codes; processes that do not end are killed and are an error."""
        for process in self.processes:
            process.join(SECONDS_TO_END)
        hanging = [process.pid for process in self.processes if process.is_alive()]
        for pid in hanging:
            os.killpg(pid, signal.SIGKILL)
        assert not hanging, f'processes hang: {hanging}'
        return [process.exitcode for process in self.processes]


def _join(rank, folder, count, port, function, arguments):
    os.setsid()
    os.chdir(folder)
    output = os.open(f'printed_{rank}.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output, stream.fileno())
    os.environ |= dict(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count),
        MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), OMP_NUM_THREADS='1',
    )  # fmt: skip
    function(*arguments)
