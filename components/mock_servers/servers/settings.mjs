// What the mock servers are told, by environment variables: ports from the image (image.env), BACKEND_HOST from the
// instance (instance.env). Test-only.

/** The first path segment of the issuer, and the only issuer there is. */
export const ISSUER_NAME = 'awsexample';

export class SettingsError extends Error {}

/**
 * The TCP port that the variable holds.
 * @param {string} name of the variable
 * @returns {number} 1 to 65535
 * @throws {SettingsError} if it holds anything else
 */
export function port(name) {
  const text = required(name);
  const value = Number(text);
  if (!/^[1-9][0-9]{0,4}$/.test(text) || value > 65535) {
    throw new SettingsError(`${name} is '${text}'; it must be a port from 1 to 65535`);
  }
  return value;
}

/**
 * The issuer identifier: the URL under which clients and proxies know the OAuth server.
 * @returns {string} for example http://mock-servers.internal:10080/awsexample
 */
export function issuer() {
  const host = required('BACKEND_HOST');
  if (!/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(host)) {
    throw new SettingsError(`BACKEND_HOST is '${host}'; it must be a DNS name or an IPv4 address in lower case`);
  }
  return `http://${host}:${port('OAUTH_SERVER_PORT')}/${ISSUER_NAME}`;
}

/**
 * A variable that must have a value.
 * @param {string} name
 * @returns {string}
 */
export function required(name) {
  const value = process.env[name];
  if (!value) {
    throw new SettingsError(`${name} has no value; image.env and instance.env in /etc/secure-proxy provide it`);
  }
  return value;
}

/**
 * A duration, or the default when the variable is not set.
 * @param {string} name
 * @param {number} byDefault milliseconds
 * @returns {number} milliseconds
 * @throws {SettingsError} if it holds anything but a positive whole number
 */
export function milliseconds(name, byDefault) {
  const text = process.env[name];
  if (text && !/^[1-9][0-9]{0,8}$/.test(text)) {
    throw new SettingsError(`${name} is '${text}'; it must be a number of milliseconds`);
  }
  return Number(text || byDefault);
}

/**
 * A list given as comma-separated words; empty when the variable is not set.
 * @param {string} name
 * @returns {string[]}
 */
export function list(name) {
  return (process.env[name] ?? '').split(',').map((word) => word.trim()).filter(Boolean);
}
