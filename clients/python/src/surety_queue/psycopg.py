"""Enqueueing with psycopg 3, by connections and asynchronous connections."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection, Connection
from psycopg.rows import tuple_row

from surety_queue.job import NOTIFY, Enqueued, NewJob, statement

__all__ = ["enqueue", "enqueue_async", "notify", "notify_async"]


def enqueue(conn: Connection[Any], job: NewJob) -> Enqueued:
    """Enqueues a job in the transaction of this connection: it exists once, and only if, that commits.

    Raises what psycopg makes of a refusal, such as ``psycopg.errors.CheckViolation``, whose
    ``diag.constraint_name`` says which rule it was; the transaction can then only be rolled back, also to a savepoint.
    ValueError or TypeError for arguments that JSON cannot say.
    """
    query, params = _statement(job)
    with conn.cursor(row_factory=tuple_row) as cursor:
        return Enqueued._make(cursor.execute(query, params).fetchone() or ())


async def enqueue_async(conn: AsyncConnection[Any], job: NewJob) -> Enqueued:
    """The same as ``enqueue`` by an asynchronous connection."""
    query, params = _statement(job)
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(query, params)
        return Enqueued._make(await cursor.fetchone() or ())


def notify(conn: Connection[Any]) -> None:
    """Wakes idle workers, which otherwise look at their next poll. Call it after the commit, in a transaction of its own:
    commits that notify wait for each other."""
    conn.execute(NOTIFY)


async def notify_async(conn: AsyncConnection[Any]) -> None:
    """The same as ``notify`` by an asynchronous connection."""
    await conn.execute(NOTIFY)


def _statement(job: NewJob) -> tuple[bytes, list[Any]]:
    query, params = statement(job, lambda _: "%s")
    # Types of psycopg take literals, or bytes. It has nothing of the caller's: that is in the parameters.
    return query.encode(), params
