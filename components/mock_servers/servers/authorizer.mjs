// Reference authorizer, for tests only: what provider `external` of the proxy asks about a bearer token.
//
//   GET /authorize  Authorization: Bearer TOKEN
//     204 accepted; X-Auth-Subject, X-Auth-Expires (epoch seconds)
//     401 no token; 403 a token that is not accepted; X-Auth-Reason says why, for the proxy's log and not for clients
//     503 no keys to tell by, with or without a token, so that a proxy can ask for readiness
//   GET /healthz    200 when keys are at hand, else 503
//
// A subrequest is asked for a status and headers only, so no answer has a body. Tokens are never logged.

import { KeySet, KeySetUnavailable } from './key_set.mjs';
import { boundedServer, log, run, serve } from './service.mjs';
import { issuer, list, milliseconds, port, required } from './settings.mjs';
import { Refused, TokenVerifier } from './token_verifier.mjs';

const CHALLENGE = 'Bearer realm="secure-proxy"';
// Refusals by reason since the last line about them: a flood of bad tokens must not become a flood of lines.
const refusals = new Map();
const REFUSAL_LOG_INTERVAL = 1_000;

run(async () => {
  const keySet = new KeySet(required('KEY_SET_URL'), {
    refresh: milliseconds('KEY_SET_REFRESH_MS', 60_000),
    retry: milliseconds('KEY_SET_RETRY_MS', 500),
    cooldown: milliseconds('KEY_SET_COOLDOWN_MS', 5_000),
    stale: milliseconds('KEY_SET_STALE_MS', 3_600_000),
    timeout: milliseconds('KEY_SET_TIMEOUT_MS', 2_000),
  });
  const verifier = new TokenVerifier(keySet, { issuer: issuer(), audiences: list('AUTHORIZER_AUDIENCES') });
  const server = boundedServer((request, response) => answer(request, response, keySet, verifier));
  serve('authorizer', server, port('AUTHORIZER_PORT'));
  setInterval(logRefusals, REFUSAL_LOG_INTERVAL).unref();
  await keySet.start();
});

async function answer(request, response, keySet, verifier) {
  const [status, headers] = await decide(request, keySet, verifier);
  response.writeHead(status, { 'cache-control': 'no-store', ...(status !== 204 && { 'content-length': '0' }), ...headers });
  response.end();
}

async function decide(request, keySet, verifier) {
  const path = request.url.split('?', 1)[0];
  if (path !== '/authorize' && path !== '/healthz') {
    return [404, {}];
  }
  if (request.method !== 'GET') {
    return [405, { allow: 'GET' }];
  }
  if (!keySet.ready) {
    return [503, {}];
  }
  return path === '/healthz' ? [200, {}] : await authorize(request, verifier);
}

async function authorize(request, verifier) {
  try {
    const token = bearerToken(request);
    if (!token) {
      return [401, { 'www-authenticate': CHALLENGE }];
    }
    const { subject, expires } = await verifier.verify(token);
    return [204, { 'x-auth-subject': subject, 'x-auth-expires': String(expires) }];
  } catch (error) {
    if (error instanceof Refused) {
      refusals.set(error.message, (refusals.get(error.message) ?? 0) + 1);
      return [403, { 'www-authenticate': `${CHALLENGE}, error="invalid_token"`, 'x-auth-reason': error.message }];
    }
    log('unavailable', { reason: error instanceof KeySetUnavailable ? error.message : String(error?.stack ?? error) });
    return [503, {}];
  }
}

function logRefusals() {
  for (const [reason, count] of refusals) {
    log('refused', { reason, count });
  }
  refusals.clear();
}

// RFC 6750 section 2.1; the scheme's name is not case-sensitive (RFC 9110 section 11.1). Other schemes bring no token.
function bearerToken(request) {
  const fields = request.headersDistinct.authorization ?? [];
  if (fields.length > 1) {
    throw new Refused('more than one Authorization header');
  }
  const match = /^bearer(?: +(.*))?$/i.exec((fields[0] ?? '').trim());
  return match?.[1] ?? '';
}
