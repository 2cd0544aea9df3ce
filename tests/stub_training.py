"""A run that trains nothing, in a process of its own, and the ways in which it ends."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.processes import Training


@dataclass(frozen=True)
class StubTraining(Training):
    """A `Training` whose process behaves as told (see :func:`main`)."""

    behaviour: str = 'ends'

    def command(self):
        return [sys.executable, __file__, self.behaviour, self.work_dir]


def stub(name, behaviour, **options):
    """A stub with all its files below ``runs`` in the current folder."""
    return StubTraining(f'{name}.json', f'runs/{name}', behaviour=behaviour, **options)


def main(behaviour, work_dir):
    """Begin, or resume where the process before stopped; a SIGTERM stops cleanly, as in a run."""
    work_dir = Path(work_dir)
    work_dir.mkdir(exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: stop(work_dir))
    names = ('OMP_NUM_THREADS', 'CUDA_VISIBLE_DEVICES')
    print('devices:', *[os.environ.get(name) for name in names])
    if (work_dir / 'resume').exists():
        print('resumed')
    elif behaviour == 'fails':
        sys.exit('Error: no space is left')
    elif behaviour.startswith('SIG'):
        # The parent is told to stop, and tells this process.
        os.kill(os.getppid(), getattr(signal, behaviour))
        while True:
            signal.pause()


def stop(work_dir):
    with open(work_dir / 'resume', 'a') as file:
        file.write('stopped\n')
    sys.exit(143)


if __name__ == '__main__':
    main(*sys.argv[1:])
