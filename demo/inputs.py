"""What INPUT of the image demo means: a picture, a folder or pattern of pictures, or a video."""

import glob
import os.path as osp
from dataclasses import dataclass

import cv2
from PIL import Image

from demo.outputs import KINDS
from mmseg.utils.image_files import IMAGE_ENDINGS, visible_files
from mmseg.utils.user_error import UserError

# For messages alone: what OpenCV can open is a video, whatever its ending.
_VIDEO_ENDINGS = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm', '.wmv')


@dataclass(frozen=True)
class Inputs:
    """The files to predict.

    Args:
        paths: of the files, in order.
        folder: of a folder or pattern: what the paths are below; None for a single file.
        is_video: whether the single file is a video.
        left_out: files that were passed over, since they have the names of outputs.
    """

    paths: list[str]
    folder: str | None = None
    is_video: bool = False
    left_out: int = 0


def find_inputs(given):
    """Find the files that INPUT names.

    Args:
        given (str): A file, a folder (its pictures at any depth; hidden files and links to folders
            are passed over), or a pattern as Python's ``glob`` knows them, ``**`` included.

    Returns:
        Inputs: A folder's and a pattern's are without files that have the names of outputs.

    Raises:
        UserError: There is no such file, or nothing in the folder.
    """
    if osp.isdir(given):
        return _of_many(given, _pictures_below(given), f'{given} holds no pictures')
    if osp.isfile(given):
        return Inputs([given], is_video=_is_video(given))
    if not glob.has_magic(given):
        raise UserError(f'{given} does not exist.')
    files = sorted(path for path in glob.glob(given, recursive=True) if osp.isfile(path))
    return _of_many(_folder_of_pattern(given), files, f'{given} matches no file')


def _of_many(folder, files, otherwise):
    paths = [path for path in files if not _is_output(path)]
    left_out = len(files) - len(paths)
    if not paths:
        but = f' but {left_out} that an earlier run wrote' if left_out else ''
        raise UserError(f'{otherwise}{but}; pictures end in {", ".join(IMAGE_ENDINGS)}.')
    return Inputs(paths, folder, left_out=left_out)


def _pictures_below(folder):
    return [
        osp.join(folder, name)
        for name in visible_files(folder, follow_links=False)
        if name.lower().endswith(IMAGE_ENDINGS)
    ]


def _folder_of_pattern(pattern):
    """The part of a pattern that is a path."""
    folder = osp.dirname(pattern)
    while glob.has_magic(folder):
        folder = osp.dirname(folder)
    return folder or '.'


def _is_output(path):
    return osp.splitext(osp.basename(path))[0].endswith(tuple(f'_{kind}' for kind in KINDS))


def _is_video(path):
    # FFmpeg would open pictures, too, and damaged ones by their names.
    if path.lower().endswith(IMAGE_ENDINGS) or cv2.haveImageReader(path):
        return False
    try:
        Image.open(path).close()
        return False
    except Exception:  # no picture, or a damaged one
        opens = cv2.VideoCapture(path).isOpened()
    return opens or path.lower().endswith(_VIDEO_ENDINGS)
