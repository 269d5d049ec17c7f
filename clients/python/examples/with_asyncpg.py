"""An order and the job that ships it, in one transaction."""

import asyncio
import os

import asyncpg

from surety_queue import NewJob
from surety_queue.asyncpg import enqueue, notify


async def main() -> None:
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1) as pool, pool.acquire() as conn:
        await conn.execute("create temporary table orders (id bigint generated always as identity, item text)")
        async with conn.transaction():
            order_id = await conn.fetchval("insert into orders (item) values ('tea') returning id")
            job = await enqueue(conn, NewJob("ship_order", {"order_id": order_id}, tags=["tea"]))
        await notify(conn)
        print(f"job {job.job_id} will ship order {order_id}")


asyncio.run(main())
