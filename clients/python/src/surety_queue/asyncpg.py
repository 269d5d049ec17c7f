"""Enqueueing with asyncpg, by connections and by those that a pool lends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surety_queue.job import NOTIFY, Enqueued, NewJob, statement

if TYPE_CHECKING:
    from asyncpg import Connection
    from asyncpg.pool import PoolConnectionProxy

__all__ = ["enqueue", "notify"]


async def enqueue(conn: Connection[Any] | PoolConnectionProxy[Any], job: NewJob) -> Enqueued:
    """Enqueues a job in the transaction of this connection: it exists once, and only if, that commits.

    Raises what asyncpg makes of a refusal, such as ``asyncpg.CheckViolationError``, whose ``constraint_name`` says which
    rule it was; the transaction can then only be rolled back, also to a savepoint. ValueError or TypeError for
    arguments that JSON cannot say.
    """
    query, params = statement(job, lambda n: f"${n}")
    return Enqueued._make(await conn.fetchrow(query, *params) or ())


async def notify(conn: Connection[Any] | PoolConnectionProxy[Any]) -> None:
    """Wakes idle workers, which otherwise look at their next poll. Call it after the commit, in a transaction of its own:
    commits that notify wait for each other."""
    await conn.execute(NOTIFY)
