"""What shows that the memory is too little, in Python's errors and in those of libraries."""

import errno

WORDS = (
    "cannot allocate memory",
    "can't allocate memory",
    "failed to allocate memory",
    "failed to map segment",
    "bad_alloc",
    "bad allocation",
    "out of memory",
)
"""What the messages of libraries hold where memory was refused: the loader's, PyTorch's, ONNX Runtime's."""

WHAT_TO_DO = "end other programs, raise this process's limit (ulimit -v), or use a machine with more memory"


def shows_shortage(error: BaseException) -> bool:
    """Whether an error, or one behind it, says that memory was refused."""
    seen: set[int] = set()
    told: BaseException | None = error
    while told is not None and id(told) not in seen:
        seen.add(id(told))
        if isinstance(told, MemoryError) or (isinstance(told, OSError) and told.errno == errno.ENOMEM):
            return True
        if any(words in str(told).lower() for words in WORDS):
            return True
        told = told.__cause__ or told.__context__
    return False


def shortage(doing: str = "") -> str:
    """The message. ``doing`` is what could not be done."""
    return f"there is not enough memory{f' {doing}' if doing else ''}: {WHAT_TO_DO}"
