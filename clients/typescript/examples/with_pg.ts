// An order and the job that ships it, in one transaction.
import pg from "pg";
import { enqueue, notify } from "surety-queue/pg";

const client = new pg.Client({ connectionString: process.env["DATABASE_URL"] });
await client.connect();
await client.query("create temporary table orders (id bigint generated always as identity, item text)");
await client.query("begin");
const { rows } = await client.query("insert into orders (item) values ('tea') returning id::int");
const orderId: number = rows[0].id;
const { jobId, isNew } = await enqueue(client, {
  kind: "ship_order",
  args: { orderId },
  priority: 1,
  delayMs: 5 * 60_000,
  tags: ["tea"],
  unique: { by: { fields: ["orderId"] }, lastingMs: 3_600_000 },
});
await client.query("commit");
// After the commit; without it, workers find the job at their next poll.
await notify(client);
await client.end();
console.log(`job ${jobId} ${isNew ? "will ship" : "ships already"} order ${orderId}`);
