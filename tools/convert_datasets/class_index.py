"""The class index, three JSON files in a data set's root: which label has how much of which class.

Rare Class Sampling (DAFormer, section 3.3) draws classes and images from it.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from tools.convert_datasets.train_ids import write_atomically


def write_class_index(
    root: Path, labels: Sequence[Path], counts: Sequence[dict[int, int]], label_dir: Path | str = ''
) -> None:
    """Writes ``sample_class_stats.json``, ``…_dict.json`` and ``samples_with_class.json``.

    Args:
        root: where the index goes; paths in it are relative to it, with forward slashes.
        labels: the train-id PNGs, sorted.
        counts: per label, the pixels of each class that occurs in it.
        label_dir: of labels elsewhere, which paths are relative to then.
    """
    below = root if labels[0].is_relative_to(root) else label_dir
    files = [label.relative_to(below).as_posix() for label in labels]
    stats = dict(zip(files, counts, strict=True))
    samples: dict[int, list] = {}
    for file, count in stats.items():
        for train_id, pixels in count.items():
            samples.setdefault(train_id, []).append([file, pixels])

    contents = {
        'sample_class_stats.json': [{**count, 'file': file} for file, count in stats.items()],
        'sample_class_stats_dict.json': stats,
        'samples_with_class.json': dict(sorted(samples.items())),
    }
    for name, content in contents.items():
        write_atomically(root / name, (json.dumps(content, indent=1) + '\n').encode())
