"""Working ahead in a thread: the next items are made while the current one is used."""

import contextlib
import queue
import threading

_END = object()


@contextlib.contextmanager
def made_ahead(iterable, ahead=2):
    """Iterate in a thread.

    Args:
        iterable (Iterable): What takes time without holding Python's lock, as decoding does.
        ahead (int): So many items are kept ready, at most.

    Yields:
        Iterator: The items in their order. What making one raises is raised in its place. The
        thread has ended when the context is left, early or not.
    """
    ready = queue.Queue(maxsize=ahead)
    left = threading.Event()

    def hand_over(item):
        while not left.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return

    def work():
        try:
            for item in iterable:
                hand_over((item, None))
                if left.is_set():
                    return
            hand_over((_END, None))
        except BaseException as error:  # is raised where the items are used
            hand_over((_END, error))

    def items():
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield items()
    finally:
        left.set()
        thread.join()
