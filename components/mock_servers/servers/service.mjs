// What both HTTP services share: limits, logging, start and stop.

import { createServer } from 'node:http';
import { SettingsError } from './settings.mjs';

/** Largest request line and headers together, in bytes; more is answered with 431. A token has a limit of its own. */
const MAX_HEADER_BYTES = 64 * 1024;

/**
 * One JSON line to standard output, which systemd or Docker keeps. Callers never pass tokens, keys or secrets.
 * @param {string} event
 * @param {Record<string, unknown>} [fields]
 */
export function log(event, fields = {}) {
  process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), event, ...fields })}\n`);
}

/**
 * An HTTP server that slow or oversized requests cannot hold.
 * @param {import('node:http').RequestListener} listener
 * @returns {import('node:http').Server}
 */
export function boundedServer(listener) {
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: 5_000,
      requestTimeout: 10_000,
      // Longer than NGINX keeps an idle upstream connection (60 s), so that the proxy is the one that closes it.
      keepAliveTimeout: 75_000,
      connectionsCheckingInterval: 1_000,
      noDelay: true,
    },
    listener,
  );
  server.maxHeadersCount = 100;
  return server;
}

/**
 * Listens on all addresses (LISTEN_ADDRESS narrows it) until SIGTERM or SIGINT.
 * @param {string} name of the service, for the log
 * @param {import('node:http').Server} server
 * @param {number} port
 */
export function serve(name, server, port) {
  const host = process.env.LISTEN_ADDRESS || '0.0.0.0';
  server.on('error', (error) => fail(error));
  server.listen({ port, host, backlog: 4096 }, () => log('listening', { service: name, host, port, note: 'test only' }));
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, () => {
      log('stopping', { service: name, signal });
      server.close(() => process.exit(0));
      server.closeAllConnections();
    });
  }
}

/**
 * Runs a service's main function; a failure to start is one sentence and exit code 1.
 * @param {() => Promise<void> | void} main
 */
export async function run(main) {
  try {
    await main();
  } catch (error) {
    fail(error);
  }
}

function fail(error) {
  const expected = error instanceof SettingsError || (error instanceof Error && 'code' in error);
  process.stderr.write(`error: ${expected ? error.message : (error?.stack ?? error)}\n`);
  process.exit(1);
}
