"""Work on any number of images in constant memory: cut into spans, read ahead of compute."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor


def spans(start: int, stop: int, size: int) -> list[range]:
    """Cut the places from start to stop into ranges of a size; the last may be shorter.

    >>> spans(4, 9, 2)
    [range(4, 6), range(6, 8), range(8, 9)]
    """
    return [range(begin, min(begin + size, stop)) for begin in range(start, stop, size)]


def ahead(work, items, depth: int = 2):
    """Yield `work(item)` for each item in order, done on a thread while the caller computes.

    Args:
        work: a function of one item, such as the reading of a batch.
        items: what to work on.
        depth: results held in memory beside the one that the caller has.

    Raises:
        Exception: whatever the work raised, when its turn comes.
    """
    with ThreadPoolExecutor(1) as pool:
        waiting = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
