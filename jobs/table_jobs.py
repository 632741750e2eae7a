"""Names of the jobs that write a molecule's tables: a run of one of them is not asked for on top of another."""

from jobs.batch_generation import BATCH_JOBS
from jobs.jobs import JOBS

TABLE_JOBS = [job.name for job in (*JOBS, *BATCH_JOBS)]
