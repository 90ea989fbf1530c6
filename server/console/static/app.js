// The frame around the screens: who is signed in, whose data is shown, where one can go.

import * as api from "./api.js";
import { button, field, fill, h, put, settled, sleep } from "./dom.js";
import { LANGUAGES, choose, chosen, load, t } from "./i18n.js";
import { confirmed, empty, failure, settle } from "./parts.js";
import { chooseUser, forget, keep, kept, link, may, place, session, user } from "./state.js";

const SCREENS = {
  chat: { file: () => import("./screens/chat.js"), scope: "chat" },
  preferences: { file: () => import("./screens/preferences.js"), scope: "data" },
  why: { file: () => import("./screens/why.js"), scope: "data" },
  curve: { file: () => import("./screens/curve.js"), scope: "data" },
  adapters: { file: () => import("./screens/adapters.js"), scope: "data" },
  operation: { file: () => import("./screens/operation.js"), scope: null },
  data: { file: () => import("./screens/data.js"), scope: "data" },
};
const app = document.getElementById("app");
let shown = 0;

async function start() {
  await load();
  try {
    await signInByLink();
    await frame();
  } catch (error) {
    if (error.status === 401) return signIn();
    put(app, h("main", {}, failure(error, start)));
  }
}

/** A link may carry a token of one user behind its `#`, which no server sees. It is taken out of the address at once. */
async function signInByLink() {
  const { screen, query } = place();
  const token = query.get("token");
  if (!token) return;
  history.replaceState(null, "", link(screen));
  const now = await api.get("caller").catch(() => null);
  if (now && now.kind !== "local" && !(await confirmed(t("signin.other"), t("signin.other.text"), t("signin.go")))) return;
  forget();
  await api.signIn(token);
}

function signIn(told = "") {
  shown += 1; // what a screen still waits for is not drawn over the form
  api.listen(() => {});
  const key = h("input", { type: "password", autocomplete: "current-password", required: true, spellcheck: "false", name: "key" });
  const said = h("p", { role: "alert", class: "bad" }, told);
  const form = h("form", { class: "card narrow" }, h("h1", {}, t("signin.title")), h("p", {}, t("signin.text")));
  fill(form, field(t("signin.key"), key, t("signin.hint")), said, h("button", { class: "primary" }, t("signin.go")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await api.signIn(key.value.trim());
      await frame();
    } catch (error) {
      put(said, error.status === 401 ? t("signin.wrong") : error.message || t("error.away"));
      key.select();
    }
  });
  put(app, spoken(), h("main", { class: "middle" }, form));
  key.focus();
}

const spoken = () => h("div", { id: "spoken", role: "status", "aria-live": "polite" });

async function frame() {
  session.caller = await api.get("caller");
  const who = JSON.stringify([session.caller.tenant, session.caller.user]);
  if (kept("who") !== null && kept("who") !== who) forget(); // what is kept here is somebody else's
  keep("who", who);
  const main = h("main", { id: "main", tabindex: "-1" });
  const away = h("p", { class: "away", role: "alert", hidden: true }, t("error.away"));
  const engine = h("p", { class: "away calm", role: "status", hidden: true });
  put(
    app,
    h("a", { class: "skip", href: "#main", onclick: (event) => (event.preventDefault(), main.focus()) }, t("skip")),
    spoken(),
    h("header", { class: "top" }, h("a", { class: "brand", href: link("chat") }, "Attune"), whose()),
    nav(),
    h("div", { class: "page" }, away, engine, main),
  );
  api.listen((state) => {
    if (state === "signed-out") signIn(t("error.signed_out"));
    away.hidden = state !== "away";
  });
  window.onhashchange = () => show(main);
  await show(main);
  watch(engine);
}

/** Until the server can answer, say what it waits for; then look now and then. */
async function watch(engine) {
  for (;;) {
    const told = await api.ready();
    const state = told && told.status !== "ready" ? told.engine : null;
    engine.hidden = !state;
    const ready = engine.dataset.state;
    engine.dataset.state = state ?? "ready";
    if (state && state !== ready) put(engine, t("engine.waits"), " ", told.reason ?? "");
    await sleep(state ? 2000 : 30000);
    if (!engine.isConnected) return;
  }
}

/** The user whose data is shown: of a token its own, else whom one names. */
function whose() {
  const { caller } = session;
  if (caller.user !== null) return h("p", { class: "whose" }, t("user.is"), " ", h("strong", { dir: "auto" }, caller.user));
  const names = h("datalist", { id: "names" });
  const input = h("input", { value: user(), list: "names", maxlength: 256, placeholder: t("user.none"), autocomplete: "off", spellcheck: "false" });
  const choose = () => {
    if (input.value.trim() === user()) return;
    chooseUser(input.value.trim());
    window.onhashchange();
  };
  input.addEventListener("change", choose);
  input.addEventListener("focus", settled(0, async () => {
    try {
      const page = await api.get("users", { query: { limit: 100 } });
      put(names, page.data.map((one) => h("option", { value: one.id })));
    } catch {
      // a name can be typed as well
    }
  }));
  const label = h("label", { for: "whose" }, t("user.is"));
  input.id = "whose";
  const form = h("form", { class: "whose" }, label, input, names);
  form.addEventListener("submit", (event) => (event.preventDefault(), choose(), input.blur()));
  return form;
}

function nav() {
  const { caller } = session;
  const items = Object.entries(SCREENS).filter(([name, { scope }]) => (name === "operation" ? caller.user === null : may(scope)));
  const languages = h("select", { "aria-label": t("language"), onchange: (event) => choose(event.target.value) });
  fill(languages, Object.entries(LANGUAGES).map(([code, name]) => h("option", { value: code, selected: code === chosen() }, name)));
  const leave = button(t("signout"), async () => {
    await settle();
    await api.signOut();
    forget();
    location.assign("./");
  }, { class: "link" });
  const who = caller.kind === "local" ? t("caller.local") : t(`caller.${caller.kind}`, { tenant: caller.tenant });
  return h(
    "nav",
    { "aria-label": t("nav") },
    h("ul", {}, items.map(([name]) => h("li", {}, h("a", { href: link(name), "data-screen": name }, t(`nav.${name}`))))),
    h("div", { class: "small" }, h("p", {}, who), languages, caller.kind === "local" ? null : leave),
  );
}

async function show(main) {
  const number = ++shown;
  await settle();
  if (number !== shown) return;
  const { screen, rest, query } = place();
  const known = screen in SCREENS ? screen : "chat";
  for (const item of document.querySelectorAll("nav a")) {
    if (item.dataset.screen !== known) item.removeAttribute("aria-current");
    else {
      item.setAttribute("aria-current", "page");
      item.closest("nav").scrollLeft = item.offsetLeft - 40; // of a narrow page, where it is a row
    }
  }
  document.title = `${t(`nav.${known}`)} · Attune`;
  const content = h("div", { class: `screen ${known}` });
  try {
    const { file } = SCREENS[known];
    const made = await file();
    if (number !== shown) return;
    put(main, content);
    if (made.needsUser && !user()) return put(content, nobody());
    await made.render(content, { rest, query, alive: () => number === shown });
  } catch (error) {
    if (number === shown && error.status !== 401) put(main, failure(error, () => show(main)));
  }
}

const nobody = () =>
  empty(t("user.none_title"), t("user.none_text"), button(t("user.choose"), () => document.getElementById("whose").focus(), { class: "primary" }));

start();
