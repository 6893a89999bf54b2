// Requests to the server of this page. A refusal becomes an Error whose message is a sentence.

async function answered(path, options) {
  let reply;
  try {
    reply = await fetch(path, options);
  } catch {
    throw new Error("The server of this page does not answer; start `residuum demo` again.");
  }
  const body = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Error(sentence(body.error ?? `the server failed (${reply.status})`));
  return body;
}

function sentence(text) {
  const whole = text[0].toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}

function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  return answered(path, { method: "POST", headers, body: JSON.stringify(body) });
}

export const MOST_BYTES = 20_000_000;

export const networks = () => answered("/api/networks");
export const run = (wanted) => post("/api/run", wanted);
export const cycles = (wanted, board) => post("/api/cycles", { ...wanted, board });

export function picture(file, { network, bits, invert }) {
  if (file.size > MOST_BYTES) {
    throw new Error(`The file is too large; at most ${MOST_BYTES / 1e6} MB are read.`);
  }
  const headers = { "Content-Type": "application/octet-stream" };
  const query = new URLSearchParams({ network, bits, invert: invert ? 1 : 0 });
  return answered(`/api/picture?${query}`, { method: "POST", headers, body: file });
}
