// Posts a webhook and reads its transaction and a wallet, by the client that openapi-ts generated.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import { client } from './client/client.gen.js';
import {
  createUser, getTransaction, getWalletBalance, listWallets, receiveTransaction, signIn,
} from './client/index.js';

async function webhookAndTransaction() {
  const id = `txn_typescript_${randomUUID()}`;
  const accepted = await receiveTransaction({
    body: {
      transaction_id: id,
      source_account: 'acc_typescript',
      destination_account: 'acc_shop',
      amount: '12.50',
      currency: 'USD',
    },
  });
  assert.equal(accepted.response?.status, 202);

  const read = () => getTransaction({ path: { transaction_id: id }, throwOnError: true });
  let transaction = (await read()).data;
  for (let tries = 0; tries < 100 && transaction.status === 'PROCESSING'; tries++) {
    await sleep(100);
    transaction = (await read()).data;
  }
  assert.equal(transaction.status, 'COMPLETED');
  assert.equal(transaction.amount, '12.50');

  const unknown = await getTransaction({ path: { transaction_id: 'txn_unknown' } });
  assert.equal(unknown.error?.code, 'transaction-not-found');
}

async function userAndWallet() {
  const email = `${randomUUID()}@example.com`;
  const password = 'three otters on a raft';
  await createUser({ body: { email, password, currency: 'USD' }, throwOnError: true });
  const access = await signIn({ body: { email, password }, throwOnError: true });
  client.setConfig({ auth: access.data.access_token });
  const wallet = (await listWallets({ throwOnError: true })).data.wallets[0];
  assert(wallet);
  const balance = await getWalletBalance({ path: { wallet_id: wallet.id }, throwOnError: true });
  assert.equal(balance.data.balance, '0.00');
}

client.setConfig({ baseUrl: process.argv[2] });
await webhookAndTransaction();
await userAndWallet();
console.log("typescript: a webhook was posted, its transaction read, and a wallet's balance");
