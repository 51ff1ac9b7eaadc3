// Mock OAuth and OpenID Connect server, for tests only: any client id, secret and code get a signed token.
//
//   POST /awsexample/token      any grant; `expires_in` (seconds), `audience` and `scope` of the form shape the token
//   GET  /awsexample/authorize, /awsexample/.well-known/openid-configuration, /awsexample/jwks
//   GET  /isalive               200
// Other paths, and other issuers, are 404. SIGHUP signs with a new key; the previous one is published on.

import { AssertionError } from 'node:assert';
import { randomUUID } from 'node:crypto';
import { OAuth2Issuer, OAuth2Service } from 'oauth2-mock-server';
import { boundedServer, log, run, serve } from './service.mjs';
import { ISSUER_NAME, issuer, port, required } from './settings.mjs';
import { SigningKeys } from './signing_keys.mjs';

const PREFIX = `/${ISSUER_NAME}`;
const MAX_BODY_BYTES = 64 * 1024;
const DEFAULT_LIFETIME_SECONDS = 3600;
const MAX_LIFETIME_SECONDS = 86_400;

run(async () => {
  const keys = await SigningKeys.load(required('STATE_DIRECTORY'));
  const url = issuer();
  let service = await serviceSigningWith(keys.current, url);
  const server = boundedServer((request, response) => route(request, response, keys, service));
  serve('oauth-server', server, port('OAUTH_SERVER_PORT'));
  log('issuer', { issuer: url, kid: keys.current.kid });

  process.on('SIGHUP', async () => {
    try {
      await keys.rotate();
      service = await serviceSigningWith(keys.current, url);
      log('rotated', { kid: keys.current.kid });
    } catch (error) {
      log('rotation-failed', { reason: error.message });
    }
  });
});

// The library signs with all keys of its store in turn and can't drop one, so each signing key gets a service of its own.
async function serviceSigningWith(key, url) {
  const oauthIssuer = new OAuth2Issuer();
  oauthIssuer.url = url;
  await oauthIssuer.keys.add(key);
  const service = new OAuth2Service(oauthIssuer);
  service.on('beforeTokenSigning', ({ payload }, request) => shapeToken(payload, request));
  service.on('beforeResponse', (response, { body }) => {
    response.body.expires_in = lifetimeSeconds(body);
  });
  return service;
}

function route(request, response, keys, service) {
  const path = request.url.split('?', 1)[0];
  if (path === '/isalive') {
    return send(response, 200, 'alive\n', 'text/plain');
  }
  if (!path.startsWith(`${PREFIX}/`)) {
    return send(response, 404);
  }
  if (request.method === 'GET' && path === `${PREFIX}/jwks`) {
    return send(response, 200, JSON.stringify(keys.published), 'application/json');
  }
  // The library collects a body without a limit, so its length has to be known beforehand.
  if (request.headers['transfer-encoding'] !== undefined) {
    return send(response, 411);
  }
  if (Number(request.headers['content-length'] ?? 0) > MAX_BODY_BYTES) {
    return send(response, 413);
  }
  request.url = request.url.slice(PREFIX.length);
  return service.requestHandler(request, response);
}

function send(response, status, body = '', type = undefined) {
  response.writeHead(status, {
    'content-length': Buffer.byteLength(body),
    ...(type && { 'content-type': type }),
    ...(status >= 400 && { connection: 'close' }),
  });
  response.end(body);
}

function shapeToken(payload, request) {
  const client = clientId(request);
  const { aud, audience } = request.body;
  payload.sub = client;
  payload.azp = client;
  payload.aud = payload.aud ?? audience ?? aud ?? client;
  payload.jti = randomUUID();
  payload.exp = payload.iat + lifetimeSeconds(request.body);
}

// RFC 6749 section 2.3.1: in the form, or by HTTP Basic with both halves form-encoded.
function clientId(request) {
  const [, credentials] = /^basic +(.*)$/i.exec(request.headers.authorization ?? '') ?? [];
  const basic = credentials && Buffer.from(credentials, 'base64').toString('utf8').split(':', 1)[0];
  const client = basic ? new URLSearchParams(`id=${basic}`).get('id') : request.body.client_id;
  if (typeof client !== 'string' || client === '') {
    throw new AssertionError({ message: "No 'client_id'; any will do" });
  }
  return client;
}

function lifetimeSeconds({ expires_in: wanted = String(DEFAULT_LIFETIME_SECONDS) }) {
  const seconds = Number(wanted);
  if (!/^[1-9][0-9]{0,4}$/.test(wanted) || seconds > MAX_LIFETIME_SECONDS) {
    throw new AssertionError({ message: `Invalid 'expires_in'; allowed: 1 to ${MAX_LIFETIME_SECONDS} seconds` });
  }
  return seconds;
}
