// Signs the webhooks that are tried out, by Standard Webhooks, with a secret that stays in this page.
// Not by crypto.subtle, which browsers keep from pages that came by plain HTTP from another machine.
const surety = (() => {
  const primes = [];
  for (let n = 2; primes.length < 64; n++) {
    if (primes.every((prime) => n % prime !== 0)) primes.push(n);
  }
  // The first 32 bits behind the point.
  const fraction = (root) => ((root - Math.floor(root)) * 4294967296) | 0;
  const rounds = primes.map((prime) => fraction(Math.cbrt(prime)));
  const start = primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));
  const turn = (word, by) => (word >>> by) | (word << (32 - by));

  // SHA-256 (FIPS 180-4).
  function sha256(message) {
    const padded = new Uint8Array(((message.length + 72) >> 6) << 6);
    padded.set(message);
    padded[message.length] = 0x80;
    const view = new DataView(padded.buffer);
    view.setUint32(padded.length - 8, Math.floor(message.length / 536870912));
    view.setUint32(padded.length - 4, message.length << 3);
    const hash = start.slice();
    const words = new Int32Array(64);
    for (let block = 0; block < padded.length; block += 64) {
      for (let i = 0; i < 16; i++) words[i] = view.getInt32(block + 4 * i);
      for (let i = 16; i < 64; i++) {
        const [a, b] = [words[i - 15], words[i - 2]];
        const s0 = turn(a, 7) ^ turn(a, 18) ^ (a >>> 3);
        const s1 = turn(b, 17) ^ turn(b, 19) ^ (b >>> 10);
        words[i] = words[i - 16] + s0 + words[i - 7] + s1;
      }
      let [a, b, c, d, e, f, g, h] = hash;
      for (let i = 0; i < 64; i++) {
        const s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25);
        const t1 = (h + s1 + ((e & f) ^ (~e & g)) + rounds[i] + words[i]) | 0;
        const s0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22);
        const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
        [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + t2) | 0];
      }
      [a, b, c, d, e, f, g, h].forEach((word, i) => { hash[i] = (hash[i] + word) | 0; });
    }
    const out = new DataView(new ArrayBuffer(32));
    hash.forEach((word, i) => out.setInt32(4 * i, word));
    return new Uint8Array(out.buffer);
  }

  function hmac(key, message) {
    const block = new Uint8Array(64);
    block.set(key.length > 64 ? sha256(key) : key);
    const joined = (mask, rest) => {
      const bytes = new Uint8Array(64 + rest.length);
      bytes.set(block.map((byte) => byte ^ mask));
      bytes.set(rest, 64);
      return bytes;
    };
    return sha256(joined(0x5c, sha256(joined(0x36, message))));
  }

  function keyOf(secret) {
    const bytes = atob(secret.trim().replace(/^whsec_/, ''));
    return Uint8Array.from(bytes, (char) => char.charCodeAt(0));
  }

  function sign(secret, id, timestamp, body) {
    const message = new TextEncoder().encode(`${id}.${timestamp}.${body}`);
    return `v1,${btoa(String.fromCharCode(...hmac(keyOf(secret), message)))}`;
  }

  const path = '/v1/webhooks/transactions';

  // Gives a webhook its three headers, in the place of the document's examples of them. Whoever wants to
  // send his own leaves the secret empty.
  function intercept(request) {
    const secret = document.getElementById('webhook-secret').value;
    const isWebhook = request.method === 'POST' && new URL(request.url, location).pathname === path;
    if (!secret || !isWebhook) return request;
    for (const name of Object.keys(request.headers)) {
      if (/^webhook-(id|timestamp|signature)$/i.test(name)) delete request.headers[name];
    }
    const id = `msg_${Date.now()}${Math.random().toString(36).slice(2)}`;
    const timestamp = String(Math.floor(Date.now() / 1000));
    request.headers['webhook-id'] = id;
    request.headers['webhook-timestamp'] = timestamp;
    request.headers['webhook-signature'] = sign(secret, id, timestamp, request.body || '');
    return request;
  }

  // Says at once that a secret cannot be one.
  function check(input) {
    let problem = '';
    try {
      keyOf(input.value);
    } catch {
      problem = 'This is not whsec_ and base64.';
    }
    input.setCustomValidity(problem);
    input.reportValidity();
  }

  return { check, intercept, sign };
})();
