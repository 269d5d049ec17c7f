// Verifies recorded webhooks of ours: v1 by the package standardwebhooks, v1a by the cryptography of Node.

import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';

import { Webhook } from 'standardwebhooks';

type Recorded = { headers: Record<string, string>; body: string };

const [path, secret, publicKey] = process.argv.slice(2);
assert.ok(path && secret && publicKey?.startsWith('whpk_'));
const webhook = new Webhook(secret);
const x = Buffer.from(publicKey.slice('whpk_'.length), 'base64').toString('base64url');
const key = createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x } });

function isSignedByKey({ headers, body }: Recorded): boolean {
  const signature = headers['webhook-signature']?.split(' ').find((it) => it.startsWith('v1a,'));
  assert.ok(signature);
  const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`;
  return verify(null, Buffer.from(signed), key, Buffer.from(signature.slice('v1a,'.length), 'base64'));
}

const lines = readFileSync(path, 'utf8').trim().split('\n');
for (const line of lines) {
  const recorded = JSON.parse(line) as Recorded;
  const changed = { ...recorded, body: `${recorded.body} ` };
  assert.deepEqual(webhook.verify(recorded.body, recorded.headers), JSON.parse(recorded.body));
  assert.throws(() => webhook.verify(changed.body, changed.headers));
  assert.ok(isSignedByKey(recorded));
  assert.ok(!isSignedByKey(changed));
}
console.log(`typescript: ${lines.length} webhooks of ours were verified, v1 and v1a`);
