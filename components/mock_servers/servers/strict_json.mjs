// JSON.parse keeps the last of two equal names, other parsers the first: a token that means one thing here and another
// there must not pass (RFC 7519 section 4 and RFC 7515 section 5.2 let a verifier refuse duplicates).

const TOKENS = /"(?:[^"\\]|\\.)*"|[{}[\],:]/gsu;

/**
 * Parses a JSON object and refuses one in which any object holds the same name twice.
 * @param {string} text
 * @returns {Record<string, unknown>}
 * @throws {SyntaxError} for anything that is not one JSON object with unique names
 */
export function parseObject(text) {
  const value = JSON.parse(text);
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw new SyntaxError('not a JSON object');
  }
  refuseDuplicates(text);
  return value;
}

// The text is known to be valid JSON here, so a string followed by a colon is a name and nesting is balanced.
function refuseDuplicates(text) {
  const open = [];
  let lastString;
  for (const [token] of text.matchAll(TOKENS)) {
    switch (token) {
      case '{':
        open.push(new Set());
        break;
      case '[':
        open.push(undefined);
        break;
      case '}':
      case ']':
        open.pop();
        break;
      case ':': {
        // Names are compared after their escapes are undone: "exp" and "\u0065xp" are the same name.
        const name = JSON.parse(lastString);
        const names = open.at(-1);
        if (names.has(name)) {
          throw new SyntaxError('an object holds the same name twice');
        }
        names.add(name);
        break;
      }
      case ',':
        break;
      default:
        lastString = token;
    }
  }
}
