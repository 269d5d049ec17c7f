"""An order and the job that ships it, in one transaction."""

import os
from datetime import timedelta

import psycopg

from surety_queue import NewJob, Unique
from surety_queue.psycopg import enqueue, notify

with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as conn:
    conn.execute("create temporary table orders (id bigint generated always as identity, item text)")
    with conn.transaction():
        (order_id,) = conn.execute("insert into orders (item) values ('tea') returning id").fetchone()
        job = enqueue(
            conn,
            NewJob(
                "ship_order",
                {"order_id": order_id},
                priority=1,
                delay=timedelta(minutes=5),
                tags=["tea"],
                unique=Unique.by_fields("order_id", lasting=timedelta(hours=1)),
            ),
        )
    # After the commit; without it, workers find the job at their next poll.
    notify(conn)
    print(f"job {job.job_id} {'will ship' if job.is_new else 'ships already'} order {order_id}")
