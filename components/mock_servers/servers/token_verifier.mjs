// Decides on one bearer token: signed by a key of the issuer, by an allowed algorithm, for now, from this issuer and,
// where asked for, for this audience (RFC 7519 section 7.2, RFC 8725).

import { hash } from 'node:crypto';
import { errors, jwtVerify } from 'jose';
import { parseObject } from './strict_json.mjs';

export const ALGORITHMS = Object.freeze(['RS256']);
export const CLOCK_SKEW_SECONDS = 30;

const MAX_TOKEN_CHARACTERS = 8192;
const MAX_CACHED_TOKENS = 10_000;
// The last second of the year 9999: a later expiry is no date.
const LAST_SECOND = 253_402_300_799;
// Parameters that bring a key along, or change what is signed. None of them is ever needed here.
const REFUSED_PARAMETERS = Object.freeze(['jwk', 'jku', 'x5u', 'x5c', 'crit', 'b64', 'zip', 'enc']);
const TYPES = Object.freeze(['jwt', 'at+jwt', 'application/jwt', 'application/at+jwt']);
// Subjects travel in a header; OpenID Connect Core section 2 allows 255 ASCII characters.
const SUBJECT = /^[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?$/;

/** A token that is presented and not accepted; `message` says why, without any of its content. */
export class Refused extends Error {}

export class TokenVerifier {
  #keySet;
  #options;
  #cache = new Map();
  #cacheGeneration = -1;

  /**
   * @param {import('./key_set.mjs').KeySet} keySet
   * @param {{issuer: string, audiences?: string[]}} policy audiences: any of them, or not asked for when empty
   */
  constructor(keySet, { issuer, audiences = [] }) {
    this.#keySet = keySet;
    this.#options = {
      algorithms: [...ALGORITHMS],
      issuer,
      ...(audiences.length > 0 && { audience: audiences }),
      clockTolerance: CLOCK_SKEW_SECONDS,
      requiredClaims: ['exp', 'iss', 'sub'],
    };
  }

  /**
   * @param {string} token compact serialization
   * @returns {Promise<{subject: string, expires: number}>} expires in epoch seconds, without the clock skew
   * @throws {Refused} with the reason
   * @throws {import('./key_set.mjs').KeySetUnavailable} when nobody can tell
   */
  async verify(token) {
    if (token.length > MAX_TOKEN_CHARACTERS) {
      throw new Refused(`longer than ${MAX_TOKEN_CHARACTERS} characters`);
    }
    const { generation } = this.#keySet;
    const digest = hash('sha256', token, 'base64');
    const cached = this.#cached(digest, generation);
    if (cached) {
      return cached;
    }
    const { header } = decode(token);
    const key = await this.#keySet.key(header.kid);
    if (!key) {
      throw new Refused('unknown key id');
    }
    const identity = identityOf(await this.#signedClaims(token, key));
    this.#remember(digest, generation, identity);
    return identity;
  }

  async #signedClaims(token, key) {
    try {
      return (await jwtVerify(token, key, this.#options)).payload;
    } catch (error) {
      throw new Refused(reasonOf(error));
    }
  }

  // Keyed by digest, so that no token stays in memory. Emptied when the keys change; an entry ends with its token.
  #cached(digest, generation) {
    if (this.#cacheGeneration !== generation) {
      this.#cache.clear();
      this.#cacheGeneration = generation;
    }
    const identity = this.#cache.get(digest);
    if (identity && identity.expires + CLOCK_SKEW_SECONDS <= Date.now() / 1000) {
      this.#cache.delete(digest);
      throw new Refused('expired');
    }
    return identity;
  }

  // Not when the keys changed meanwhile: the token may be signed by one that is gone.
  #remember(digest, generation, identity) {
    if (generation !== this.#keySet.generation || generation !== this.#cacheGeneration) {
      return;
    }
    if (this.#cache.size >= MAX_CACHED_TOKENS) {
      this.#cache.delete(this.#cache.keys().next().value);
    }
    this.#cache.set(digest, identity);
  }
}

// What the library would accept and this policy does not: duplicate names, key-bearing headers, loose base64url.
function decode(token) {
  const parts = token.split('.');
  if (parts.length !== 3) {
    throw new Refused('not a signed JWT');
  }
  const [headerBytes, payloadBytes] = parts.map(decodePart);
  let header;
  try {
    header = parseObject(headerBytes.toString('utf8'));
    parseObject(payloadBytes.toString('utf8'));
  } catch {
    throw new Refused('header or payload is not a JSON object with unique names');
  }
  if (!ALGORITHMS.includes(header.alg)) {
    throw new Refused('algorithm not allowed');
  }
  if (REFUSED_PARAMETERS.some((name) => Object.hasOwn(header, name))) {
    throw new Refused('header carries a parameter that is not allowed');
  }
  if (header.typ !== undefined && !TYPES.includes(String(header.typ).toLowerCase())) {
    throw new Refused('type not allowed');
  }
  if (typeof header.kid !== 'string' || header.kid === '') {
    throw new Refused('no key id');
  }
  return { header };
}

function decodePart(part) {
  const bytes = Buffer.from(part, 'base64url');
  // Buffer ignores foreign characters and loose end bits, so two texts could mean one token.
  if (bytes.length === 0 || bytes.toString('base64url') !== part) {
    throw new Refused('a part is empty or not base64url');
  }
  return bytes;
}

function identityOf(claims) {
  if (typeof claims.sub !== 'string' || !SUBJECT.test(claims.sub)) {
    throw new Refused("claim 'sub' is not 1 to 255 printable ASCII characters");
  }
  if (claims.exp > LAST_SECOND) {
    throw new Refused("claim 'exp' is no date");
  }
  return Object.freeze({ subject: claims.sub, expires: Math.floor(claims.exp) });
}

function reasonOf(error) {
  if (error instanceof errors.JWTExpired) {
    return 'expired';
  }
  if (error instanceof errors.JWTClaimValidationFailed) {
    return `claim '${error.claim}' ${error.reason === 'missing' ? 'missing' : 'not accepted'}`;
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) {
    return 'signature not by the issuer';
  }
  if (error instanceof errors.JOSEError) {
    return `not accepted: ${error.code}`;
  }
  throw error;
}
