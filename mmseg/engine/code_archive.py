"""The source of a run as it was, kept beside its results."""

import glob
import os.path as osp
import tarfile

from mmseg.utils.files import moved_into_place

# The checkout: tools run from it.
ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
KEPT = ('*.py', 'test.sh', 'requirements.txt', 'mmseg/**/*.py', 'tools/**/*.py', 'configs/**/*.py')


def archive_code(work_dir, again=False):
    """Write ``code.tar.gz`` into a run's folder, unless an earlier start of the run did.

    Args:
        work_dir (str): Of the run.
        again (bool): Replace what an earlier start left.
    """
    path = osp.join(work_dir, 'code.tar.gz')
    if osp.exists(path) and not again:
        return
    with moved_into_place(path) as file, tarfile.open(fileobj=file, mode='w:gz') as archive:
        for pattern in KEPT:
            for file in sorted(glob.glob(osp.join(ROOT, pattern), recursive=True)):
                archive.add(file, arcname=osp.join('code', osp.relpath(file, ROOT)))
