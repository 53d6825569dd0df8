// The admin API, with the key that this tab was given.

const KEY = "tidings-admin-key";

/** A refusal: `status`, and the broker's own words. */
export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { status, code });
  }
}

export const has_key = () => sessionStorage.getItem(KEY) !== null;
export const set_key = (key) => (key === null ? sessionStorage.removeItem(KEY) : sessionStorage.setItem(KEY, key));

/** Asks; `body` makes it a change. Throws [Refused], or what fetch throws when nobody answers. */
export async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key !== null) headers.authorization = `Bearer ${key}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const response = await fetch(`/api/${path}`, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal, cache: "no-store" });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, answer.error?.code ?? "unknown", answer.error?.message ?? `the broker answered ${response.status}`);
  return answer;
}

export const query = (pairs) => new URLSearchParams(Object.entries(pairs).filter(([, value]) => value !== "" && value !== undefined && value !== null)).toString();
