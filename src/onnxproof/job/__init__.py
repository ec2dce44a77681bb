"""The job: what a user asks for, in a file or in Python.

- ``tables.py``: the schema, one table a section. ``document.py``: TOML files, ``extends``, ``--set`` and the
  matrix. ``words.py``: what is wrong with a document, in words.
- ``matrix.py``: the jobs that a file makes. ``of_module.py``: the job of a module that is given in Python.
- ``asked.py``: the job that a job file or a bundle names. ``relocated.py``: its paths, seen from a bundle.
"""

from onnxproof.job.axes import refuse_open_axes as refuse_open_axes
from onnxproof.job.axes import refuse_other_dims as refuse_other_dims
from onnxproof.job.axes import refuse_unused_dims as refuse_unused_dims
from onnxproof.job.tables import CAPTURE_TIMEOUT_S as CAPTURE_TIMEOUT_S
from onnxproof.job.tables import OLDEST_TORCH_EXPORT_OPSET as OLDEST_TORCH_EXPORT_OPSET
from onnxproof.job.tables import ExportTable as ExportTable
from onnxproof.job.tables import Job as Job
from onnxproof.job.tables import PredictTable as PredictTable
from onnxproof.job.tables import ValidateTable as ValidateTable
from onnxproof.job.tables import WrapperTable as WrapperTable
from onnxproof.job.tables import load_job as load_job
