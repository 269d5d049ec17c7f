// The operator's pages in a real browser: Chromium of the distribution, driven by Playwright.
//
// Run by `cargo test --test browser`, which starts two servers with pages that ask for no sign-in,
// one with nothing in it and one full, and one that takes only signed webhooks, and hands their
// addresses over.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";
import { chromium } from "playwright-core";

const EMPTY = process.env.SURETY_EMPTY_URL;
const FULL = process.env.SURETY_FULL_URL;
/** Takes signed webhooks, and is called by another name than its address. */
const SIGNED = process.env.SURETY_SIGNED_URL;
const SECRET = process.env.SURETY_SECRET;
/** Of the full server: what there is to be found. */
const SEEN = JSON.parse(process.env.SURETY_SEEN);
/** Where pictures are kept; none are made without. */
const PICTURES = process.env.SURETY_PICTURES;

const require = createRequire(import.meta.url);
const AXE = await readFile(require.resolve("axe-core/axe.min.js"), "utf8");

/** Every page that the navigation lists. */
const LISTED = await listed();
/** Pages of one thing each, which only the full server has. */
const OF_ONE = [
  `/ui/jobs/${SEEN.discarded}`,
  `/ui/jobs/${SEEN.hostile}`,
  `/ui/queues/${encodeURIComponent(SEEN.queue)}`,
  `/ui/failures/${SEEN.fingerprint}`,
  `/ui/jobs/bulk?action=cancel&queue=${encodeURIComponent(SEEN.queue)}`,
  "/ui/jobs?state=discarded&kind=export_report",
  "/ui/jobs/999999999",
];
const THEMES = ["light", "dark"];
/** A desk, a small window, a phone. */
const WIDTHS = [1440, 1024, 360];

let browser;
before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.SURETY_CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
});
after(() => browser?.close());

async function listed() {
  const html = await (await fetch(`${EMPTY}/ui`)).text();
  return [...html.matchAll(/<a href="(\/ui[^"]*)" data-key=/g)].map((match) => match[1]);
}

/** A page in a context of its own, and what went wrong on it. */
async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  const wrong = [];
  page.on("console", (message) => {
    // Swagger UI has no icon of its own, and the browser asks all the same.
    const isIcon = message.location().url.endsWith("/favicon.ico");
    if (message.type() === "error" && !isIcon) wrong.push(message.text());
  });
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("requestfailed", (request) => {
    // What is cut because the page is left is as it should be: its stream, and an icon that was still on its way.
    const isLeft = request.failure()?.errorText === "net::ERR_ABORTED" && request.url().includes("/ui/assets/icon.");
    if (!isLeft && !request.url().endsWith("/ui/events")) wrong.push(`${request.url()}: ${request.failure()?.errorText}`);
  });
  return { context, page, wrong };
}

async function violations(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.map((it) => `${it.id}: ${it.help}: ${it.nodes.map((node) => node.html).slice(0, 3).join(" ")}`);
}

function isRefusal(path) {
  return path.endsWith("/999999999");
}

describe("every page", () => {
  assert.ok(LISTED.length >= 7, `the navigation lists ${LISTED}`);
  for (const [name, server, paths] of [
    ["empty", EMPTY, LISTED],
    ["full", FULL, [...LISTED, ...OF_ONE]],
  ]) {
    for (const path of paths) {
      for (const theme of THEMES) {
        test(`${path}, ${name}, ${theme}: has no fault that axe finds, and asks for nothing forbidden`, async () => {
          const { context, page, wrong } = await open({ colorScheme: theme });
          await page.goto(server + path);
          assert.deepEqual(await violations(page), []);
          const expected = isRefusal(path) ? wrong.filter((it) => !it.includes("404")) : wrong;
          assert.deepEqual(expected, []);
          await context.close();
        });
      }
      test(`${path}, ${name}: fits a desk, a small window and a phone`, async () => {
        const { context, page } = await open();
        for (const width of WIDTHS) {
          await page.setViewportSize({ width, height: 800 });
          await page.goto(server + path);
          const wide = await page.evaluate(() => document.documentElement.scrollWidth);
          assert.ok(wide <= width, `${wide} at ${width}`);
        }
        await context.close();
      });
    }
  }
});

test("text of others is shown as text, wherever it stands", async () => {
  const { context, page } = await open();
  await page.addInitScript(() => (globalThis.alert = () => (globalThis.wasRun = true)));
  for (const path of [`/ui/jobs/${SEEN.hostile}`, "/ui/jobs", "/ui/queues", "/ui/failures", "/ui"]) {
    await page.goto(FULL + path);
    assert.equal(await page.locator("img").count(), 0, path);
    assert.equal(await page.evaluate(() => globalThis.wasRun === true), false, path);
  }
  await page.goto(`${FULL}/ui/jobs/${SEEN.hostile}`);
  assert.ok((await page.locator("main").innerText()).includes("<script>alert(1)</script>"));
  await context.close();
});

test("by keys alone: failed jobs are found by their error, and all are retried", async () => {
  const { context, page, wrong } = await open();
  await page.goto(`${FULL}/ui`);
  const press = (...keys) => keys.reduce((done, key) => done.then(() => page.keyboard.press(key)), Promise.resolve());
  const focused = () => page.evaluate(() => document.activeElement?.textContent?.trim() ?? "");
  const tabTo = async (words) => {
    for (let step = 0; step < 60; step += 1) {
      if ((await focused()).startsWith(words)) return;
      await press("Tab");
    }
    assert.fail(`nothing says ${words}`);
  };

  await press("g", "j");
  await page.waitForURL("**/ui/jobs");
  await press("/");
  await page.keyboard.type(SEEN.error);
  await press("Enter");
  await page.waitForURL("**/ui/jobs?error=**");
  assert.match(await page.locator("tbody").innerText(), /export_report/);
  await tabTo("Retry all");
  await press("Enter");
  await page.waitForURL("**/ui/jobs/bulk?**");
  // A slow machine counts for a while, and says that there are more.
  assert.match(await page.locator("main").innerText(), new RegExp(`(${SEEN.failed.toLocaleString("en")}|\\+) jobs`));
  await press("/");
  await page.keyboard.type("the report server is back");
  await press("Enter");
  await page.waitForURL("**/ui/operations/*");
  // The page follows by itself.
  await page.locator(".tag", { hasText: "Completed" }).waitFor({ timeout: 120_000 });
  assert.match(await page.locator("main").innerText(), new RegExp(`${SEEN.failed.toLocaleString("en")} of`));
  assert.deepEqual(wrong, []);
  await context.close();
});

test("rows are gone through by keys, and keys can be switched off", async () => {
  const { context, page } = await open();
  await page.goto(`${FULL}/ui/jobs`);
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("k");
  const first = await page.locator("tbody th a").first().innerText();
  await page.keyboard.press("Enter");
  await page.waitForURL(`**/ui/jobs/${first}`);
  await page.keyboard.press("?");
  await page.getByLabel("Keys are on").uncheck();
  await page.keyboard.press("Escape");
  await page.keyboard.press("g");
  await page.keyboard.press("q");
  assert.ok(page.url().endsWith(`/ui/jobs/${first}`));
  await context.close();
});

test("a page follows what happens, and rests while somebody is at a form", async () => {
  const { context, page } = await open();
  await page.goto(`${FULL}/ui/queues`);
  await page.locator(".live[data-state=live]").waitFor();
  await page.locator("summary", { hasText: "Pause all" }).click();
  const before = await page.locator("#queues").innerText();
  await fetch(`${FULL}/v1/webhooks/transactions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      transaction_id: "txn_live", amount: "1.00", currency: "EUR", source_account: "a", destination_account: "b",
    }),
  });
  await page.goto(`${FULL}/ui/jobs`);
  const newest = () => page.locator("tbody th").first().innerText();
  const was = await newest();
  await fetch(`${FULL}/v1/webhooks/transactions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      transaction_id: "txn_live_2", amount: "1.00", currency: "EUR", source_account: "a", destination_account: "b",
    }),
  });
  await page.waitForFunction((was) => document.querySelector("tbody th").innerText !== was, was, { timeout: 20_000 });
  assert.ok(before.length > 0);
  await context.close();
});

test("without a script all pages are read, and a single action is done", async () => {
  const { context, page } = await open({ javaScriptEnabled: false });
  for (const path of [...LISTED, ...OF_ONE]) {
    const answer = await page.goto(FULL + path);
    assert.equal(answer.status(), isRefusal(path) ? 404 : 200, path);
    assert.ok((await page.locator("h1").innerText()).length > 0, path);
  }
  await page.goto(`${FULL}/ui/queues/spare`);
  await page.locator("summary", { hasText: "Pause" }).click();
  await page.locator("details[open] input[name=reason]").fill("a try without a script");
  await page.getByRole("button", { name: "Pause it" }).click();
  assert.match(await page.locator(".notice").innerText(), /Queue spare: paused/);
  await page.locator("summary", { hasText: "Resume" }).click();
  await page.getByRole("button", { name: "Resume it" }).click();
  assert.match(await page.locator(".notice").innerText(), /Queue spare: resumed/);
  await context.close();
});

test("the arguments of a job are edited without a script, in a form that axe finds no fault with", async () => {
  for (const theme of THEMES) {
    const { context, page, wrong } = await open({ colorScheme: theme });
    await page.goto(`${FULL}/ui/jobs/${SEEN.hostile}`);
    await page.locator("summary", { hasText: "Edit" }).click();
    assert.deepEqual(await violations(page), []);
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 800 });
      const box = await page.locator(".sheet.broad").boundingBox();
      assert.ok(box.x >= 0 && box.x + box.width <= width, `${JSON.stringify(box)} at ${width}`);
    }
    assert.deepEqual(wrong, []);
    await context.close();
  }
  const { context, page } = await open({ javaScriptEnabled: false });
  await page.goto(`${FULL}/ui/jobs/${SEEN.hostile}`);
  await page.locator("summary", { hasText: "Edit" }).click();
  const form = page.locator("details[open] form");
  const shown = await form.locator("textarea").inputValue();
  const args = JSON.parse(shown);
  assert.ok(args.text.startsWith("<script>"), shown);
  await form.locator("textarea").fill(shown.replace("10000000000000000000000.10", "20000000000000000000000.20"));
  await form.locator("input[name=reason]").fill("a try without a script");
  await form.getByRole("button", { name: "Change the arguments" }).click();
  assert.match(await page.locator(".notice").innerText(), /has other arguments.*to take this back/s);
  assert.match(await page.locator("main").innerText(), /20000000000000000000000\.20/);
  await context.close();
});

test("a list is kept as a file, with its filter, with a script and without", async () => {
  for (const javaScriptEnabled of [true, false]) {
    const { context, page } = await open({ javaScriptEnabled });
    await page.goto(`${FULL}/ui/transactions?currency=USD`);
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "CSV" }).click()]);
    assert.equal(download.suggestedFilename(), "transactions.csv");
    const text = await readFile(await download.path(), "utf8");
    assert.match(text, /^transaction_id,status,/);
    assert.equal(text.trim().split("\r\n").length, 61);
    await context.close();
  }
});

test("the theme is kept, with a script or without", async () => {
  const { context, page } = await open({ colorScheme: "light", javaScriptEnabled: false });
  await page.goto(`${EMPTY}/ui/workers`);
  await page.getByRole("button", { name: "Dark" }).click();
  assert.ok(page.url().endsWith("/ui/workers"));
  assert.equal(await page.locator("html").getAttribute("data-theme"), "dark");
  await page.goto(`${EMPTY}/ui`);
  assert.equal(await page.locator("html").getAttribute("data-theme"), "dark");
  await context.close();
});

test("Swagger UI posts a webhook and sees 202", async () => {
  const { context, page, wrong } = await open();
  await page.goto(`${EMPTY}/docs`);
  const operation = page.locator("[id$=receive_transaction]").first();
  await operation.locator("button.opblock-summary-control").click();
  await operation.getByRole("button", { name: "Try it out" }).click();
  await operation.getByRole("button", { name: "Execute" }).click();
  const status = operation.locator(".live-responses-table tbody .response-col_status").first();
  await status.waitFor({ timeout: 20_000 });
  assert.match(await status.innerText(), /^202/);
  assert.deepEqual(wrong, []);
  await context.close();
});

test("Swagger UI signs a webhook with the secret, wherever it is opened, also on a phone", async () => {
  const { context, page, wrong } = await open({ viewport: { width: 360, height: 800 } });
  await page.goto(`${SIGNED}/docs`);
  const groups = page.locator(".opblock-tag");
  await groups.first().waitFor();
  assert.match(await groups.first().innerText(), /webhook/i, "the way in comes first");
  assert.match((await page.locator('link[rel="icon"]').first().getAttribute("href")) ?? "", /^data:/);
  await page.locator("#webhook-secret").fill(SECRET);
  await page.locator("#webhook-secret").press("Tab");
  const operation = page.locator("[id$=receive_transaction]").first();
  await operation.locator("button.opblock-summary-control").click();
  await operation.getByRole("button", { name: "Try it out" }).click();
  await operation.getByRole("button", { name: "Execute" }).click();
  const status = operation.locator(".live-responses-table tbody .response-col_status").first();
  await status.waitFor({ timeout: 20_000 });
  assert.match(await status.innerText(), /^202/);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 360, `${wide} at 360`);
  assert.deepEqual(wrong, []);
  await context.close();
});

if (PICTURES) {
  test("pictures for the README", async () => {
    for (const [name, path] of [
      ["overview", "/ui"],
      ["jobs", "/ui/jobs?state=discarded"],
      ["job", `/ui/jobs/${SEEN.discarded}`],
    ]) {
      for (const theme of THEMES) {
        const { context, page } = await open({ colorScheme: theme, viewport: { width: 1280, height: 800 } });
        await page.goto(FULL + path);
        await page.screenshot({ path: `${PICTURES}/${name}-${theme}.png` });
        await context.close();
      }
    }
  });
}
