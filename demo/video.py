"""Videos: read frame by frame, and written atomically."""

import os
import os.path as osp
import tempfile

import cv2

from mmseg.utils.files import UNWRITABLE, reporting_write_errors
from mmseg.utils.user_error import UserError

VIDEO_ENDINGS = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm', '.wmv')
# FFmpeg's own messages name no file; ours do.
os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')


def read_frames(capture):
    """Yield the frames (H, W, 3) of a ``cv2.VideoCapture``, BGR uint8."""
    while (frame := capture.read()[1]) is not None:
        yield frame


class VideoWriter:
    """Context manager that writes frames of equal size as MPEG-4, whole or not at all.

    Of an odd width or height OpenCV leaves out the last column or row.
    """

    def __init__(self, path, rate):
        self.path, self.rate = path, rate
        self.writer, self.count = None, 0

    def __enter__(self):
        folder = osp.dirname(self.path) or '.'
        with reporting_write_errors(self.path, UNWRITABLE):
            os.makedirs(folder, exist_ok=True)
            self.folder = tempfile.TemporaryDirectory(prefix='.', suffix='.part', dir=folder)
        self.part = osp.join(self.folder.name, 'video.mp4')
        return self

    def write(self, frame):
        """Write a frame, (H, W, 3) BGR uint8."""
        if self.writer is None:
            codec = cv2.VideoWriter_fourcc(*'mp4v')
            self.writer = cv2.VideoWriter(self.part, codec, self.rate, frame.shape[1::-1])
        self.writer.write(frame)
        self.count += 1

    def __exit__(self, error, *_):
        with self.folder:
            if self.writer is not None:
                self.writer.release()
            if error is not None or not self.count:
                return
            # OpenCV does not say when it cannot write, as on a full disk.
            if cv2.VideoCapture(self.part).get(cv2.CAP_PROP_FRAME_COUNT) != self.count:
                raise UserError(f'{self.path} cannot be written. Make room there.')
            os.replace(self.part, self.path)
