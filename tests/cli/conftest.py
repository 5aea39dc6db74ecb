"""The seeded lab of the backends' tests, for the verbs."""

from __future__ import annotations

from tests.training.conftest import cloud, contract_lab, job_folder, lab_cloud

__all__ = ["cloud", "contract_lab", "job_folder", "lab_cloud"]
