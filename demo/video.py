"""Videos: their frames in order, and frames written as a video, whole or not at all."""

import contextlib
import math
import os
import os.path as osp

import cv2
import numpy as np

from mmseg.utils.files import UNWRITABLE, refusing_to_write
from mmseg.utils.user_error import UserError

# FFmpeg's own messages name no file; ours do.
os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')

_USUAL_RATE = 25.0
# Some containers know their length in seconds only, which rounds.
_SHARE_READ = 0.98


class Video:
    """The frames of a video file, upright as a player shows them.

    Attributes:
        rate (float): Frames per second; 25 if the file does not say.
        length (int | None): Frames, if the file says.
        read (int): How many frames were read.

    Args:
        path (str): The file.

    Raises:
        UserError: OpenCV cannot read it.
    """

    def __init__(self, path):
        self.path = path
        self._capture = cv2.VideoCapture(path)
        if not self._capture.isOpened():
            raise UserError(f'{path} cannot be read as a video: it is damaged, or none.')
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if math.isfinite(rate) and rate > 0 else _USUAL_RATE
        length = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.length = int(length) if math.isfinite(length) and length > 0 else None
        self.read = 0

    def __iter__(self):
        """Yields (H, W, 3) BGR uint8."""
        while True:
            there, frame = self._capture.read()
            if not there:
                return
            self.read += 1
            yield frame

    def check_end(self):
        """Raise a :class:`UserError` if the frames ended before the video should."""
        if self.read == 0 or (self.length and self.read + 1 < _SHARE_READ * self.length):
            of = f' of {self.length}' if self.length else ''
            raise UserError(f'{self.path} breaks off after frame {self.read}{of}.')


class VideoWriter:
    """Writes frames of equal size as MPEG-4; a context manager that moves the file into place.

    A frame of an odd width or height gets one more column or row, a copy of the last, since the
    format stores colours of 2×2 pixels.

    Args:
        path (str): The target, ``.mp4``. Without a frame, or after an exception, it is not written.
        rate (float): Frames per second.

    Raises:
        UserError: It cannot be written there.
    """

    def __init__(self, path, rate):
        self.path = path
        self.rate = rate
        self.written = 0
        # OpenCV knows the format by the ending.
        self._beside = osp.join(osp.dirname(path), f'.{osp.basename(path)}.part.mp4')
        self._writer = None

    def __enter__(self):
        with refusing_to_write(self.path, UNWRITABLE):
            os.makedirs(osp.dirname(self.path) or '.', exist_ok=True)
            with open(self._beside, 'wb'):
                pass  # OpenCV would not say why it cannot
        return self

    def write(self, frame):
        """Write a frame (H, W, 3) BGR or (H, W) grey, uint8."""
        if frame.ndim == 2:
            frame = cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
        height, width = frame.shape[:2]
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode='edge')
        if self._writer is None:
            size = frame.shape[1::-1]
            self._writer = cv2.VideoWriter(
                self._beside, cv2.VideoWriter_fourcc(*'mp4v'), self.rate, size
            )
            if not self._writer.isOpened():
                raise UserError(f'{self.path}: OpenCV cannot write videos of {size} pixels here.')
        self._writer.write(frame)
        self.written += 1

    def __exit__(self, kind, *_):
        try:
            if self._writer is not None:
                self._writer.release()
            if kind is None and self.written:
                self._check()
                os.replace(self._beside, self.path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(self._beside)

    def _check(self):
        """OpenCV does not say when the disk is full."""
        found = cv2.VideoCapture(self._beside).get(cv2.CAP_PROP_FRAME_COUNT)
        if found != self.written:
            raise UserError(f'{self.path} cannot be written. Make room there.')
