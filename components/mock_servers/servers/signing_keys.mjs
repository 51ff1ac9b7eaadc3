// The mock OAuth server's own signing keys, kept in a file so that tokens stay good over a restart.

import { generateKeyPair } from 'node:crypto';
import { open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { calculateJwkThumbprint } from 'jose';
import { SettingsError } from './settings.mjs';

const ALGORITHM = 'RS256';
const MODULUS_BITS = 2048;
/** The key that signs and the one before it, whose tokens are still good. */
const KEPT_KEYS = 2;

export class SigningKeys {
  #file;
  #keys;

  constructor(file, keys) {
    this.#file = file;
    this.#keys = keys;
  }

  /**
   * Reads the keys, or makes the first one.
   * @param {string} directory writable by this service alone
   * @returns {Promise<SigningKeys>}
   * @throws {SettingsError} when the file is there and damaged
   */
  static async load(directory) {
    const file = join(directory, 'signing-keys.json');
    let text;
    try {
      text = await readFile(file, 'utf8');
    } catch (error) {
      if (error.code !== 'ENOENT') {
        throw error;
      }
      const fresh = new SigningKeys(file, []);
      await fresh.rotate();
      return fresh;
    }
    return new SigningKeys(file, parseKeys(text, file));
  }

  /** Signs with a new key from now on; the previous key is still published, the one before it no longer. */
  async rotate() {
    const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: MODULUS_BITS });
    const jwk = privateKey.export({ format: 'jwk' });
    const kid = await calculateJwkThumbprint({ kty: jwk.kty, n: jwk.n, e: jwk.e });
    const keys = [{ ...jwk, kid, alg: ALGORITHM, use: 'sig' }, ...this.#keys].slice(0, KEPT_KEYS);
    await writeDurably(this.#file, JSON.stringify({ keys }));
    this.#keys = keys;
  }

  /** The private key that signs, as a JWK. */
  get current() {
    return this.#keys[0];
  }

  /** The public key set (RFC 7517 section 5). */
  get published() {
    return { keys: this.#keys.map(({ kty, n, e, kid, alg, use }) => ({ kty, n, e, kid, alg, use })) };
  }
}

function parseKeys(text, file) {
  let keys;
  try {
    keys = JSON.parse(text).keys;
  } catch {
    keys = undefined;
  }
  const isKey = (jwk) => jwk?.kty === 'RSA' && ['kid', 'n', 'e', 'd'].every((name) => typeof jwk[name] === 'string');
  if (!Array.isArray(keys) || keys.length === 0 || !keys.every(isKey)) {
    throw new SettingsError(`${file} holds no signing keys; remove it to start with a new key (old tokens end then)`);
  }
  return keys;
}

// Written beside, then renamed: a crash leaves the old keys or the new ones, never half a file.
async function writeDurably(file, text) {
  const fresh = `${file}.new`;
  const handle = await open(fresh, 'w', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(fresh, file);
}
