// An order and the job that ships it, in one transaction.
import postgres from "postgres";
import { enqueue, notify } from "surety-queue/postgres";

const sql = postgres(process.env["DATABASE_URL"]!, { max: 1 });
await sql`create temporary table orders (id bigint generated always as identity, item text)`;
const { jobId, orderId } = await sql.begin(async (tx) => {
  const [order] = await tx`insert into orders (item) values ('tea') returning id::int`;
  const { jobId } = await enqueue(tx, { kind: "ship_order", args: { orderId: order!["id"] }, tags: ["tea"] });
  return { jobId, orderId: order!["id"] };
});
await notify(sql);
await sql.end();
console.log(`job ${jobId} will ship order ${orderId}`);
