"""Jobs of the PostgreSQL queue surety-queue, enqueued in the caller's transaction.

``surety_queue.psycopg`` and ``surety_queue.asyncpg`` have one ``enqueue`` each; the job that it takes is made here. The
database decides what is valid, and its errors reach the caller as the driver raises them.
"""

from surety_queue.job import Enqueued, FollowUp, IfFailed, NewJob, State, Unique

__all__ = ["Enqueued", "FollowUp", "IfFailed", "NewJob", "State", "Unique"]
