"""The jobs that a job file makes: one, or one for each combination of its matrix's values."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from onnxproof.errors import JobError
from onnxproof.job.document import cells_of, read_document, told
from onnxproof.job.tables import Job
from onnxproof.system.signatures import checks_arguments


@dataclass(frozen=True, slots=True)
class Told:
    """One of the jobs that a file makes. ``axes`` says which values of its matrix the job has, as pairs of a
    key and the value as text; it is empty if the file has no matrix.

    ``job`` is None if the document does not fit the schema; ``error`` says why. ``name`` is then what the
    document says, or None.
    """

    name: str | None
    axes: tuple[tuple[str, str], ...]
    job: Job | None
    error: JobError | None = None

    @property
    def known(self) -> Job:
        """The job. Raises the JobError if there is none."""
        if self.job is None:
            assert self.error is not None
            raise self.error
        return self.job


def read_jobs(path: str | PathLike[str], set: Sequence[str] = ()) -> tuple[Told, ...]:
    """What a job file makes: a job, or one for each combination of its matrix's values.

    ``set`` is as for ``load_job``. Raises JobError if the file cannot be read; a job that does not fit
    the schema has its error beside it.
    """
    file = Path(path)
    document, source = read_document(file), told(file)
    found = []
    for cell in cells_of(document, set, source):
        name = cell.document.get("name")
        try:
            job, error = Job.from_document(cell.document, folder=file.parent, source=source), None
        except JobError as raised:
            job, error = None, raised
        found.append(Told(name if isinstance(name, str) else None, cell.axes, job, error))
    return tuple(found)


@checks_arguments
def load_jobs(path: str | PathLike[str], set: Sequence[str] = ()) -> tuple[Job, ...]:
    """Every job that a file makes: one, or one for each combination of its matrix's values.

    ``set`` is as for ``load_job``, for each of the jobs. Raises JobError as ``load_job`` does.
    """
    return tuple(one.known for one in read_jobs(path, set))
