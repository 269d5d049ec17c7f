import assert from "node:assert/strict";
import { it } from "node:test";

import { type NewJob, type Unique, statement } from "../src/job.js";

it("leaves to the database what a job does not name", () => {
  assert.deepEqual(statement({ kind: "greet" }), {
    text: "select job_id::text, is_new::text from queue.enqueue(kind => $1::text, args => $2::text::jsonb)",
    params: ["greet", "{}"],
  });
});

const senseless: [string, Partial<NewJob>][] = [
  ["a moment beside a delay", { runAt: new Date(), delayMs: 1 }],
  ["a moment that is none", { runAt: new Date("soon") }],
  ["an endless delay", { delayMs: Infinity }],
  ["a number that is none", { args: { n: NaN } }],
  ["an undefined argument", { args: { n: undefined as any } }],
  ["a bigint", { args: { n: 1n as any } }],
];
for (const [name, job] of senseless) {
  it(`refuses ${name}`, () => {
    assert.throws(() => statement({ kind: "greet", ...job }), TypeError);
  });
}

const comparisons: [Unique["by"], string][] = [
  ["args", '{"a":1,"b":2}'],
  [{ fields: ["b", "c", "toString"] }, '{"b":2,"c":null,"toString":null}'],
  [{ value: 7 }, "7"],
  [{ value: null }, "null"],
];
for (const [by, value] of comparisons) {
  it(`compares a unique job by ${value}`, () => {
    const { text, params } = statement({ kind: "greet", args: { a: 1, b: 2 }, unique: { by } });
    assert.match(text, /unique_by => \$3::text::jsonb/);
    assert.equal(params[2], value);
  });
}

it("carries of a carrier only what the queue knows", () => {
  const carried = (traceContext: Record<string, string>) => statement({ kind: "greet", traceContext }).params[2];
  assert.equal(carried({ traceparent: "00", baggage: "secret=1" }), '{"traceparent":"00"}');
  assert.equal(carried({ baggage: "secret=1" }), undefined);
  assert.equal(carried({ tracestate: `a=${"b".repeat(510)}` })?.length, 529);
  assert.equal(carried({ tracestate: `a=${"b".repeat(511)}` }), undefined);
});
