"""How a job's file is tried."""

from onnxproof.job import Job
from onnxproof.validate.trial import Plan, Settings, plan_trial
from onnxproof.wrappers.family import WrappedModel


def plan_of(job: Job, model: WrappedModel) -> Plan:
    """The cases and settings that a file of the job's model is tried with."""
    settings = settings_of(job)
    return plan_trial(model.contract, settings)


def settings_of(job: Job) -> Settings:
    """How the job's file is tried."""
    table = job.validation
    return Settings(
        images=table.images,
        annotations=table.annotations,
        folder=job.folder,
        providers=table.providers,
        optimization=table.optimization,
        effort=table.effort,
        threads=table.threads,
        seed=table.seed,
        chosen=job.chosen,
    )
