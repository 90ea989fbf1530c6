// The server's public API from a page of its own origin. Whatever the console does goes through here.

const V1 = new URL("../v1/", document.baseURI);

/** What the server refused, or that it cannot be reached (`status` 0). `message` is for people. */
export class ApiError extends Error {
  constructor(status, message, param = null, retryAfter = null) {
    super(message);
    Object.assign(this, { status, param, retryAfter });
  }

  get away() {
    return this.status === 0 || this.status === 503;
  }
}

let tell = () => {};

/** From now on `told(state)` alone hears `"away"`, `"here"` and `"signed-out"`. */
export const listen = (told) => (tell = told);

/** The address of a route, for a link. `query` has its parameters; null ones are left out. */
export function address(path, query = {}) {
  const url = new URL(path, V1);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  return url;
}

/** A path's part of a name that is somebody's own. */
export const part = (name) => encodeURIComponent(name);

async function ask(method, url, { body, user, signal, headers = {} } = {}) {
  let answer;
  try {
    answer = await fetch(url, {
      method,
      signal,
      keepalive: method === "DELETE", // one that waited is sent as the page is left
      headers: {
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...(user ? { "X-User-Id": inLatin1(user) } : {}),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    tell("away");
    throw new ApiError(0, "");
  }
  tell("here");
  if (answer.ok) return answer;
  let told = null;
  try {
    told = (await answer.json()).error;
  } catch {
    // a proxy's page: the status has to do
  }
  if (answer.status === 401) tell("signed-out");
  const seconds = Number(answer.headers.get("Retry-After")) || null;
  throw new ApiError(answer.status, told?.message ?? `HTTP ${answer.status}`, told?.param ?? null, seconds);
}

const json = async (answer) => (answer.status === 204 ? null : answer.json());

export const get = async (path, { query, ...rest } = {}) => json(await ask("GET", address(path, query), rest));
export const post = async (path, body, rest = {}) => json(await ask("POST", address(path), { body, ...rest }));
export const put = async (path, body, rest = {}) => json(await ask("PUT", address(path), { body, ...rest }));
export const patch = async (path, body, rest = {}) => json(await ask("PATCH", address(path), { body, ...rest }));
export const remove = async (path, rest = {}) => json(await ask("DELETE", address(path), rest));

/** Whether the server may answer: its parts, also while it loads. */
export async function ready() {
  try {
    const answer = await fetch(new URL("../ready", V1), { cache: "no-store" });
    tell("here");
    return await answer.json();
  } catch {
    tell("away");
    return null;
  }
}

export const signIn = (key) => ask("POST", new URL("session", document.baseURI), { body: { key } });
export const signOut = () => ask("DELETE", new URL("session", document.baseURI));

/** Ask for an answer and hear it as it comes: `heard(text)` gets each piece. Gives `{id, attune, finish}` at its end. */
export async function stream(body, { user, signal, heard }) {
  const answer = await ask("POST", address("chat/completions"), { body: { ...body, stream: true }, user, signal });
  const got = { id: null, attune: null, finish: null };
  for await (const data of events(answer.body)) {
    if (data === "[DONE]") break;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(503, chunk.error.message);
    got.id ??= chunk.id;
    got.attune = chunk.attune ?? got.attune;
    const choice = chunk.choices?.[0];
    got.finish = choice?.finish_reason ?? got.finish;
    if (choice?.delta?.content) heard(choice.delta.content, got.id);
  }
  return got;
}

/** The `data` of each server-sent event of a body. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      const parts = rest.split(/\r?\n\r?\n/);
      rest = parts.pop();
      for (const event of parts) {
        const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
        if (lines.length) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** A header's value in UTF-8, as the API reads it: browsers send the code points below 256 as bytes. */
function inLatin1(text) {
  return Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join("");
}
