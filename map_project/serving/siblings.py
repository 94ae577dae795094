"""What the server processes of one machine know of each other."""

import mmap
import weakref
from typing import ClassVar

from gunicorn.workers.gthread import ThreadWorker


class Siblings:
    """How many connections each worker has, in memory that they share.

    All of them are woken by a newcomer. Clients that come at once and keep their connections would
    otherwise often end with one worker all together, while another has nothing to do.
    """

    _MOST = 256
    _NOBODY = 2**31 - 1
    # Filled in the arbiter, before a worker is forked.
    _counts: ClassVar = memoryview(mmap.mmap(-1, 4 * _MOST)).cast("i")
    _places: ClassVar = weakref.WeakValueDictionary[int, ThreadWorker]()

    def __init__(self, worker: ThreadWorker) -> None:
        """`place` is its number among them; the first that is free, counted from 0."""
        free = (place for place in range(self._MOST) if place not in self._places)
        self.place = next(free)
        self._places[self.place] = worker
        self._counts[self.place] = 0
        for place in range(self._MOST):
            if place not in self._places:
                self._counts[place] = self._NOBODY

    def tell(self, connections: int) -> None:
        """So many has this one."""
        self._counts[self.place] = connections

    def leave(self) -> None:
        """This one takes no more."""
        self._counts[self.place] = self._NOBODY

    def have_fewer(self) -> bool:
        """Whether another would be a better one to take the next."""
        return min(self._counts) < self._counts[self.place]
