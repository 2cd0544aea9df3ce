"""Testing with two processes: each image once, and the figures of one process."""

import json
import os

import pytest

from tests.ranks import Ranks
from tests.tiny_runs import files_below
from tools import prediction_files, test


def evaluate_rank(config, checkpoint):
    """Test on one of several ranks; leaves its figures and the names of the pictures it drew."""
    drawn, write = [], prediction_files.write_image
    prediction_files.write_image = lambda picture, path, *more: (
        drawn.append(path), write(picture, path, *more),
    )  # fmt: skip
    found = test.main([config, checkpoint, '--show-dir', 'pictures', '--device', 'cpu'])
    with open(f'found_{os.environ["RANK"]}.json', 'w') as file:
        json.dump(dict(found=found, drawn=drawn), file)


@pytest.mark.usefixtures('one_thread')
def test_two_processes_find_what_one_finds(copied_run):
    expected = test.main([copied_run.config, copied_run.checkpoint, '--show-dir', 'expected'])
    ranks = Ranks(copied_run.folder, evaluate_rank, copied_run.config, copied_run.checkpoint)
    assert ranks.end() == [0, 0], (copied_run.folder / 'printed_0.txt').read_text()
    each = [json.loads((copied_run.folder / f'found_{rank}.json').read_text()) for rank in (0, 1)]
    assert [len(rank['drawn']) for rank in each] == [2, 1]  # of three images
    assert not set(each[0]['drawn']) & set(each[1]['drawn'])
    for rank in each:
        # As JSON, in which NaN (a class that does not occur) is equal to itself.
        assert json.dumps(rank['found']) == json.dumps(expected)
    pictures = [path.read_bytes() for path in files_below('pictures')]
    assert pictures == [path.read_bytes() for path in files_below('expected')]
    printed = [(copied_run.folder / f'printed_{rank}.txt').read_text() for rank in (0, 1)]
    assert 'mIoU: ' in printed[0] and 'mIoU' not in printed[1]
