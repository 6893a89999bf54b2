// The state of the page as the fragment of its address, and bytes as text.

export function toBase64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return forAddress(btoa(text));
}

// Base64 without the letters that an address has for other uses.
export function forAddress(base64) {
  return base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

export function fromBase64(text) {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
}

// Strokes, lists of points [x, y] of 0..255, as bytes: for each the number of its points, then x and
// y of each point. A long stroke is cut in pieces that share a point.
export function packStrokes(strokes) {
  const bytes = [];
  for (const stroke of strokes) {
    for (let start = 0; start === 0 || start < stroke.length - 1; start += 254) {
      const piece = stroke.slice(start, start + 255);
      bytes.push(piece.length, ...piece.flat());
    }
  }
  return toBase64(bytes);
}

export function unpackStrokes(text) {
  const bytes = fromBase64(text);
  const strokes = [];
  for (let place = 0; place < bytes.length; ) {
    const points = [];
    const end = place + 1 + 2 * bytes[place];
    if (end > bytes.length || !bytes[place]) throw new Error("damaged");
    for (place += 1; place < end; place += 2) points.push([bytes[place], bytes[place + 1]]);
    strokes.push(points);
  }
  return strokes;
}

const NUMBERS = ["bits", "tau", "T", "test"];
const TEXTS = ["network", "correction", "board", "strokes", "picture"];

// Fields of the state that the fragment of an address holds.
export function readFragment(fragment) {
  const given = new URLSearchParams(fragment.replace(/^#/, ""));
  const state = {};
  for (const name of NUMBERS) {
    if (/^\d{1,9}$/.test(given.get(name) ?? "")) state[name] = Number(given.get(name));
  }
  for (const name of TEXTS) if (given.has(name)) state[name] = given.get(name);
  return state;
}

export function writeFragment(state) {
  const given = new URLSearchParams();
  for (const name of ["network", "bits", "tau", "T", "correction", "board", "test", "strokes", "picture"]) {
    if (state[name] !== undefined && state[name] !== null) given.set(name, state[name]);
  }
  return `#${given}`;
}
