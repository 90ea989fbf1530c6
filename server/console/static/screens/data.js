// My data: pause learning, take it along, link it for its owner, erase it.

import * as api from "../api.js";
import { button, field, fill, h, put } from "../dom.js";
import { t } from "../i18n.js";
import { facts, inWords, notify } from "../parts.js";
import { forget, may, session, user } from "../state.js";
import { secret } from "./keys.js";

export const needsUser = true;
const FORMATS = ["all", "sft", "preferences", "thumbs"];
const SCOPES = ["chat", "feedback", "data", "erase"];

export async function render(screen) {
  const name = user();
  const base = `users/${api.part(name)}`;
  const held = h("div", {});
  put(
    screen,
    h("h1", {}, t("nav.data")),
    h("p", { class: "lead" }, t("data.lead")),
    held,
    pausing(base),
    takeAlong(base),
    session.caller.user === null && links(base),
    may("erase") ? erase(name, base) : h("section", { class: "card" }, h("h2", {}, t("data.erase")), h("p", {}, t("data.erase_app"))),
  );
  try {
    const [preferences, adapters] = await Promise.all([api.get(`${base}/preferences`), api.get(`${base}/adapters`)]);
    put(held, facts([[t("data.preferences"), preferences.data.length], [t("data.adapters"), adapters.data.length]]));
    if (adapters.active) fill(screen.querySelector(".exports"), exported(base, "adapter"));
  } catch (error) {
    put(held, h("p", { class: error.status === 404 ? "muted" : "bad" }, error.status === 404 ? t("data.nothing") : inWords(error)));
  }
}

const exported = (base, format) =>
  h("li", {}, h("a", { href: api.address(`${base}/export`, { format }).href, download: format === "adapter" ? "adapter.tar" : `${format}.jsonl` }, t(`export.${format}`)), h("small", { class: "muted" }, t(`export.${format}_hint`)));

const takeAlong = (base) => h("section", { class: "card" }, h("h2", {}, t("data.export")), h("ul", { class: "exports" }, FORMATS.map((format) => exported(base, format))));

/** A switch: while it is off, what is known is applied and nothing new is kept. */
function pausing(base) {
  const on = h("input", { type: "checkbox", role: "switch", disabled: true });
  const told = h("p", { role: "status" });
  const show = (paused) => {
    on.checked = !paused;
    put(told, t(paused ? "pause.is_paused" : "pause.is_on"));
  };
  on.addEventListener("change", async () => {
    const paused = !on.checked;
    try {
      show((await api.patch(base, { paused })).paused);
    } catch (error) {
      on.checked = paused;
      notify(inWords(error));
    }
  });
  api.get(base).catch((error) => (error.status === 404 ? { paused: false } : null)).then((held) => {
    if (held) show(held.paused);
    on.disabled = !held;
  });
  return h("section", { class: "card" }, h("h2", {}, t("pause.title")), h("label", { class: "check" }, on, t("pause.label")), told);
}

/** A link that an app may give its user: the console of this user alone, for a while. */
function links(base) {
  const hours = h("input", { type: "number", class: "few", min: 1, max: 24, value: 1 });
  const scopes = SCOPES.map((scope) => [scope, h("input", { type: "checkbox", checked: true })]);
  const told = h("p", { role: "alert", class: "bad" });
  const form = h("form", { class: "card" }, h("h2", {}, t("link.title")), h("p", {}, t("link.text")));
  fill(form, field(t("link.hours"), hours), h("fieldset", {}, h("legend", {}, t("link.scopes")), scopes.map(([scope, box]) => h("label", { class: "check" }, box, t(`scope.${scope}`)))), told, h("button", {}, t("link.make")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const wanted = scopes.filter(([, box]) => box.checked).map(([scope]) => scope);
      const made = await api.post(`${base}/tokens`, { scopes: wanted, expires_in: Math.round(hours.valueAsNumber * 3600) });
      const start = wanted.includes("data") ? "data" : "chat";
      secret(t("link.made"), new URL(`#/${start}?token=${made.token}`, location.href).href);
    } catch (error) {
      put(told, inWords(error));
    }
  });
  return form;
}

function erase(name, base) {
  const sure = h("input", { autocomplete: "off", spellcheck: "false", dir: "auto" });
  const told = h("p", { role: "alert" });
  const go = button(t("data.erase_go"), async () => {
    if (sure.value.trim() !== name) return;
    try {
      await api.remove(base);
      const theirs = session.caller.user !== null;
      forget();
      if (theirs) await api.signOut();
      put(form, h("h2", {}, t("data.erased_title")), h("p", { role: "status" }, t("data.erased")));
      if (!theirs) document.getElementById("whose").value = "";
    } catch (error) {
      put(told, error.status === 404 ? t("data.nothing") : inWords(error));
      notify(told.textContent);
    }
  }, { class: "danger", disabled: true });
  sure.addEventListener("input", () => (go.disabled = sure.value.trim() !== name));
  const form = h("section", { class: "card" }, h("h2", {}, t("data.erase")), h("p", {}, t("data.erase_text")), field(t("data.erase_type", { name }), sure), told, go);
  return form;
}
