// The issuer's public keys, at hand without asking for them on every token.
//
// They are downloaded at start and then regularly. An unknown key id may cause one more download, but not more often than
// every few seconds, whatever clients send. When the issuer is away the keys stay good for a while, then nobody is
// accepted until it answers.

import { once } from 'node:events';
import { get as httpGet } from 'node:http';
import { get as httpsGet } from 'node:https';
import { importJWK } from 'jose';
import { log } from './service.mjs';
import { parseObject } from './strict_json.mjs';

const MAX_BYTES = 256 * 1024;
const MAX_KEYS = 64;
const MIN_MODULUS_BITS = 2048;

export class KeySetUnavailable extends Error {}

export class KeySet {
  #url;
  #times;
  #keys = new Map();
  #text = '';
  #generation = 0;
  #fetchedAt = -Infinity;
  #askedAt = -Infinity;
  #pending;
  #failure;

  /**
   * @param {string} url of the JWK Set (RFC 7517)
   * @param {{refresh: number, retry: number, cooldown: number, stale: number, timeout: number}} times in milliseconds:
   *   between downloads, after a failed one, between two that unknown key ids cause, how long keys are used while none
   *   can be downloaded, and for one download
   */
  constructor(url, times) {
    this.#url = url;
    this.#times = times;
  }

  /** Starts the downloads; never fails, since the issuer may start later. */
  async start() {
    const succeeded = await this.#refresh();
    setTimeout(() => this.start(), succeeded ? this.#times.refresh : this.#times.retry).unref();
  }

  /** Whether there are keys, and not too old ones. */
  get ready() {
    return this.#keys.size > 0 && performance.now() - this.#fetchedAt < this.#times.stale;
  }

  /** Changes whenever the keys do, so that what was decided with the old ones can be dropped. */
  get generation() {
    return this.#generation;
  }

  /**
   * @param {string} kid key id
   * @returns {Promise<import('jose').CryptoKey | undefined>} undefined when the issuer has no such key
   * @throws {KeySetUnavailable} when there are no keys to tell by
   */
  async key(kid) {
    const known = this.ready ? this.#keys.get(kid) : undefined;
    if (known) {
      return known;
    }
    if (this.#pending || performance.now() - this.#askedAt >= this.#times.cooldown) {
      this.#askedAt = performance.now();
      await this.#refresh();
    }
    if (!this.ready) {
      throw new KeySetUnavailable(`no keys from ${this.#url}`);
    }
    return this.#keys.get(kid);
  }

  // Callers that come while a download runs share it.
  #refresh() {
    this.#pending ??= this.#download().finally(() => {
      this.#pending = undefined;
    });
    return this.#pending;
  }

  async #download() {
    try {
      const text = await download(this.#url, this.#times.timeout);
      const keys = await usableKeys(parseObject(text).keys);
      if (text !== this.#text) {
        this.#text = text;
        this.#generation += 1;
        log('keys', { url: this.#url, kids: [...keys.keys()] });
      }
      this.#keys = keys;
      this.#fetchedAt = performance.now();
      this.#failure = undefined;
      return true;
    } catch (error) {
      this.#report(error.message);
      return false;
    }
  }

  // Once for each reason, not once a second while the issuer is away.
  #report(failure) {
    if (failure !== this.#failure) {
      this.#failure = failure;
      log('keys-unavailable', { url: this.#url, reason: failure });
    }
  }
}

// Not by fetch(), which refuses port 10080 (https://fetch.spec.whatwg.org/#port-blocking). Redirects are not followed: the
// issuer's keys come from where the operator says.
async function download(url, timeout) {
  const request = (url.startsWith('https:') ? httpsGet : httpGet)(url, {
    headers: { accept: 'application/json' },
    signal: AbortSignal.timeout(timeout),
  });
  const [response] = await once(request, 'response');
  try {
    if (response.statusCode !== 200) {
      throw new Error(`HTTP status ${response.statusCode}`);
    }
    const chunks = [];
    let size = 0;
    for await (const chunk of response) {
      size += chunk.length;
      if (size > MAX_BYTES) {
        throw new Error(`key set larger than ${MAX_BYTES} bytes`);
      }
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString('utf8');
  } finally {
    response.destroy();
  }
}

/**
 * RS256 signing keys by key id. Keys of other kinds are left out; a set in which a key id stands twice or that holds no
 * usable key is refused.
 */
async function usableKeys(jwks) {
  if (!Array.isArray(jwks) || jwks.length > MAX_KEYS) {
    throw new Error(`'keys' must be a list of at most ${MAX_KEYS} keys`);
  }
  const keys = new Map();
  for (const jwk of jwks) {
    if (!isRs256(jwk)) {
      continue;
    }
    if (keys.has(jwk.kid)) {
      throw new Error('a key id stands twice in the key set');
    }
    // Public members alone: a set that carelessly shows private ones must not hand them on.
    const key = await importJWK({ kty: 'RSA', n: jwk.n, e: jwk.e }, 'RS256');
    if (key.algorithm.modulusLength >= MIN_MODULUS_BITS) {
      keys.set(jwk.kid, key);
    }
  }
  if (keys.size === 0) {
    throw new Error('no RS256 key with a key id in the key set');
  }
  return keys;
}

function isRs256(jwk) {
  return (
    jwk?.kty === 'RSA' &&
    (jwk.alg ?? 'RS256') === 'RS256' &&
    (jwk.use ?? 'sig') === 'sig' &&
    [jwk.kid, jwk.n, jwk.e].every((member) => typeof member === 'string' && member !== '')
  );
}
