"""The model and dataset that a job names, remembered while they are ready: submitting need not read them again."""

from __future__ import annotations

from api.context import Caller
from jobs.store import UploadView, job_inputs

MAX_KNOWN_INPUTS = 512


def ready_inputs(
    caller: Caller, model_id: str, dataset_id: str, *, fresh: bool = False
) -> tuple[UploadView, UploadView]:
    """The two records, read at most once per process while they are ready.

    What is remembered cannot become wrong: an id is derived from the content, and a ready record never changes. It can
    only be deleted, which the submitting transaction sees for itself. ``fresh`` reads anyway: for a dry run.

    Raises:
        NotFound: the tenant has no such record.
        Conflict: ``model_not_ready``, ``dataset_not_ready``, ``model_rejected`` or ``dataset_rejected``.
    """
    known, names = caller.service.known_inputs, (caller.tenant.id, model_id, dataset_id)
    found = known.get(names)
    if found is None or fresh:
        found = job_inputs(caller.tenant, model_id, dataset_id)
        if len(known) >= MAX_KNOWN_INPUTS:
            known.clear()
        known[names] = found
    return found
