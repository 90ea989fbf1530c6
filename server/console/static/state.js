// What this tab knows: who is signed in, whose data is looked at, drafts that outlive a reload or a lost server.

const PREFIX = "attune.";

export const session = { caller: null, model: "" };

/** What this tab keeps under a name; null without it. */
export function kept(name) {
  try {
    return JSON.parse(sessionStorage.getItem(PREFIX + name));
  } catch {
    return null;
  }
}

/** Keep a value in this tab, or forget it where it is null. A full storage keeps what it had. */
export function keep(name, value) {
  try {
    if (value === null) sessionStorage.removeItem(PREFIX + name);
    else sessionStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // nothing is lost on the page itself
  }
}

/** Forget everything that this tab keeps: at signing out. */
export function forget() {
  for (const name of Object.keys(sessionStorage)) if (name.startsWith(PREFIX)) sessionStorage.removeItem(name);
  localStorage.removeItem(`${PREFIX}user`);
}

/** Whose data is looked at: the token's user, else the one chosen. */
export function user() {
  return session.caller?.user ?? kept("user") ?? localStorage.getItem(`${PREFIX}user`) ?? "";
}

/** Look at another user's data. */
export function chooseUser(name) {
  keep("user", name || null);
  if (name) localStorage.setItem(`${PREFIX}user`, name);
}

/** Whether whoever is signed in may do something: keys may all, tokens what their scopes say. */
export function may(scope) {
  const { caller } = session;
  if (scope === "operator") return Boolean(caller?.operator);
  if (!caller?.scopes) return true;
  return caller.scopes.includes(scope);
}

/** Where the page is: `#/why/ID?x=1` is `{screen: "why", rest: ["ID"], query}`. */
export function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [screen, ...rest] = path.split("/").map(decodeURIComponent);
  return { screen: screen || "chat", rest, query: new URLSearchParams(query) };
}

export const link = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;
