"""Writing small files whole or not at all."""

import os
import os.path as osp


def write_text(path, text):
    """Write ``text`` beside ``path`` and move it into place; missing folders are made."""
    folder = osp.dirname(path) or '.'
    os.makedirs(folder, exist_ok=True)
    beside = osp.join(folder, f'.{osp.basename(path)}.part')
    try:
        with open(beside, 'w', encoding='utf-8') as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        if osp.exists(beside):
            os.remove(beside)
