"""The three ways to a connection, so that each test runs by each: what differs between drivers is what can go wrong."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import psycopg

import surety_queue.asyncpg
import surety_queue.psycopg
from surety_queue import Enqueued, NewJob


class RollBack(Exception):
    """Ends a transaction."""


@dataclass
class Session:
    """A connection with a transaction that is open."""

    driver: Any
    conn: Any

    async def enqueue(self, job: NewJob) -> Enqueued:
        return await self.driver.enqueue(self.conn, job)


class Psycopg:
    Refused = psycopg.errors.CheckViolation

    @asynccontextmanager
    async def begin(self, url: str, **options):
        with psycopg.connect(url, **options) as conn, conn.transaction():
            yield Session(self, conn)

    async def enqueue(self, conn, job):
        return surety_queue.psycopg.enqueue(conn, job)

    async def notify(self, url):
        with psycopg.connect(url, autocommit=True) as conn:
            surety_queue.psycopg.notify(conn)

    def constraint(self, error):
        return error.diag.constraint_name


class AsyncPsycopg(Psycopg):
    @asynccontextmanager
    async def begin(self, url: str, **options):
        async with await psycopg.AsyncConnection.connect(url, **options) as conn, conn.transaction():
            yield Session(self, conn)

    async def enqueue(self, conn, job):
        return await surety_queue.psycopg.enqueue_async(conn, job)

    async def notify(self, url):
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
            await surety_queue.psycopg.notify_async(conn)


class Asyncpg:
    Refused = asyncpg.CheckViolationError

    @asynccontextmanager
    async def begin(self, url: str):
        conn = await asyncpg.connect(url)
        try:
            async with conn.transaction():
                yield Session(self, conn)
        finally:
            await conn.close()

    async def enqueue(self, conn, job):
        return await surety_queue.asyncpg.enqueue(conn, job)

    async def notify(self, url):
        conn = await asyncpg.connect(url)
        try:
            await surety_queue.asyncpg.notify(conn)
        finally:
            await conn.close()

    def constraint(self, error):
        return error.constraint_name


DRIVERS = [Psycopg(), AsyncPsycopg(), Asyncpg()]


async def heard(url: str, then) -> bool:
    """A notification came to whoever listens as workers do, after ``then``."""
    came = asyncio.Event()
    conn = await asyncpg.connect(url)
    try:
        await conn.add_listener("surety_queue", lambda *_: came.set())
        await then()
        await asyncio.wait_for(came.wait(), 30)
        return came.is_set()
    finally:
        await conn.close()
