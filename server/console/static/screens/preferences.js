// What it knows: preferences by kind of request, values, and what would apply to a request.

import * as api from "../api.js";
import { bars } from "../charts.js";
import { button, field, fill, h, put, said, settled } from "../dom.js";
import { number, t, when } from "../i18n.js";
import { badge, empty, facts, failure, inWords, later, notify } from "../parts.js";
import { edit } from "../sources.js";
import { user } from "../state.js";
import { values } from "./values.js";

export const needsUser = true;
const AT_ONCE = 30; // of a kind

export async function render(screen, { query }) {
  const base = `users/${api.part(user())}/preferences`;
  const list = h("div", { "aria-live": "polite" });
  const filter = h("input", { type: "search", placeholder: t("preferences.filter"), "aria-label": t("preferences.filter") });
  const ended = h("input", { type: "checkbox" });
  let held = [];
  const draw = () => groups(list, held, filter.value, { base, reload, open: query.get("id") });
  const reload = async () => {
    try {
      held = (await api.get(base, { query: { superseded: ended.checked || query.has("id") || null } })).data;
      draw();
    } catch (error) {
      if (error.status === 404) put(list, none());
      else put(list, failure(error, reload));
    }
  };
  filter.addEventListener("input", settled(150, draw));
  ended.addEventListener("change", reload);
  put(
    screen,
    h("h1", {}, t("nav.preferences")),
    h("p", { class: "lead" }, t("preferences.lead")),
    h("div", { class: "columns" }, search(base), state(base, reload)),
    h("div", { class: "bar" }, filter, h("label", { class: "check" }, ended, t("preferences.ended"))),
    list,
    h("section", { id: "values" }),
  );
  await reload();
  await values(screen.querySelector("#values"));
}

const none = () => empty(t("preferences.none_title"), t("preferences.none_text"), h("a", { class: "button primary", href: "#/chat" }, t("preferences.none_go")));

function groups(list, held, wanted, about) {
  const needle = wanted.trim().toLowerCase();
  const shown = held.filter((one) => !needle || one.text.toLowerCase().includes(needle));
  if (!held.length) return put(list, none());
  if (!shown.length) return put(list, h("p", { class: "muted" }, t("preferences.no_match")));
  const kinds = new Map();
  for (const one of shown) {
    const kind = one.status === "superseded" ? "ended" : (one.kind ?? "always");
    kinds.set(kind, [...(kinds.get(kind) ?? []), one]);
  }
  const order = [...kinds].sort(([a], [b]) => rank(a) - rank(b));
  put(list, order.map(([kind, members]) => group(kind, members, about)));
}

const rank = (kind) => (kind === "always" ? 0 : kind === "ended" ? 2 : 1);

function group(kind, members, about) {
  const rows = h("ul", { class: "rows" });
  const foot = h("div", { class: "foot" });
  const more = (from) => {
    fill(rows, members.slice(from, from + AT_ONCE).map((one) => row(one, about)));
    const left = members.length - from - AT_ONCE;
    put(foot, left > 0 && button(t("preferences.more", { count: left }), () => more(from + AT_ONCE)));
  };
  const wanted = members.findIndex((one) => one.id === about.open);
  more(0);
  for (let from = AT_ONCE; from <= wanted; from += AT_ONCE) more(from);
  const title = kind === "always" ? t("preferences.always") : kind === "ended" ? t("preferences.superseded") : [t("preferences.kind"), " ", said(firstLine(kind))];
  return h("section", { class: "kind" }, h("h2", {}, title), rows, foot);
}

const firstLine = (text) => text.split("\n", 1)[0].slice(0, 90);

function row(one, { base, reload, open }) {
  const path = `${base}/${api.part(one.id)}`;
  const active = one.status === "active";
  const text = h("div", { class: "grow" }, said(one.text));
  const made = h("li", { id: one.id, class: active ? "" : "faded" });
  const details = h("div", {});
  const toggle = button(t("preferences.details"), async () => {
    const isOpen = details.childElementCount > 0;
    toggle.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) return put(details);
    await evidence(details, path);
  }, { class: "quiet", "aria-expanded": "false" });
  const lock = button(one.locked ? t("preferences.unlock") : t("preferences.lock"), async () => {
    await tried(async () => {
      Object.assign(one, await api.patch(path, { locked: !one.locked }));
      made.replaceWith(row(one, { base, reload }));
      document.getElementById(one.id).querySelector(".lock").focus();
    });
  }, { class: "quiet lock", title: t("preferences.lock_hint") });
  const remove = button(t("preferences.delete"), () => {
    made.hidden = true;
    later(t("preference.deleted"), () => api.remove(path), () => (made.hidden = false));
  }, { class: "quiet" });
  const correct = button(t("preferences.correct"), () => editor(text, one, path), { class: "quiet" });
  put(
    made,
    h("div", { class: "line" }, text, h("span", { class: "badges" }, badges(one))),
    h("div", { class: "actions tools" }, active && [correct, lock], remove, toggle),
    details,
  );
  if (open === one.id) {
    made.classList.add("wanted");
    setTimeout(() => (made.scrollIntoView({ block: "center" }), toggle.click()));
  }
  return made;
}

const badges = (one) => [
  badge(t(`source.${one.source}`)),
  one.status === "active" && badge(t(`standing.${one.standing}`), one.standing),
  one.locked && badge(t("preferences.locked"), "fixed"),
];

function editor(text, one, path) {
  const input = h("input", { value: one.text, maxlength: 400, "aria-label": t("preferences.correct"), dir: "auto" });
  const told = h("small", { role: "alert", class: "bad" });
  const back = () => put(text, said(one.text));
  const form = h("form", { class: "inline" }, input, h("button", { class: "primary" }, t("save")), button(t("cancel"), back, { class: "quiet" }), told);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const before = one.text;
    if (input.value === before) return back();
    try {
      one.text = (await api.patch(path, { text: input.value })).text;
      back();
      notify(t("preferences.corrected"), async () => {
        one.text = (await api.patch(path, { text: before })).text;
        back();
      });
    } catch (error) {
      put(told, error.status === 409 ? t("preferences.same") : inWords(error));
    }
  });
  put(text, form);
  input.focus();
  input.addEventListener("keydown", (event) => event.key === "Escape" && back());
}

/** Evidence over time, the requests it was seen in, and the newest edits it comes from. */
async function evidence(into, path) {
  put(into, h("p", { class: "muted" }, t("loading")));
  try {
    const whole = await api.get(path);
    const edits = whole.contexts.filter((one) => one.feedback_id);
    const sources = await Promise.all(edits.slice(-3).map((one) => source(one)));
    put(
      into,
      facts([
        edits.length > 0 && [t("preferences.evidence"), [number(whole.evidence, 1), " ", bars(edits.map((one) => one.weight), t("preferences.bars", { count: edits.length }))]],
        [t("preferences.since"), when(whole.created_at)],
        [t("preferences.used"), whole.used_at ? when(whole.used_at) : t("preferences.never")],
      ]),
      whole.contexts.length > 0 && h("details", {}, h("summary", {}, t("preferences.where", { count: whole.contexts.length })), h("ul", { class: "quotes" }, whole.contexts.slice(-20).toReversed().map((one) => h("li", {}, said(one.text.slice(0, 300)), one.weight < 0 && badge(t("preferences.against"), "doubtful"))))),
      sources.filter(Boolean).toReversed().map(edit),
    );
  } catch (error) {
    put(into, h("p", { class: "bad" }, inWords(error)));
  }
}

async function source(context) {
  try {
    const held = await api.get(`feedback/${api.part(context.feedback_id)}`, { user: user() });
    const turn = await api.get(`turns/${api.part(held.completion_id)}`, { user: user() });
    return { completion_id: held.completion_id, draft: turn.answers[held.choice], edited_text: held.edited_text ?? "", comment: held.comment, created_at: held.created_at };
  } catch {
    return null; // deleted since
  }
}

/** State a new one. */
function state(base, reload) {
  const text = h("input", { maxlength: 400, required: true, dir: "auto" });
  const context = h("textarea", { rows: 2, maxlength: 4000, dir: "auto" });
  const form = h("form", {}, field(t("preferences.text"), text), field(t("preferences.context"), context, t("preferences.context_hint")));
  const told = h("p", { role: "alert", class: "bad" });
  fill(form, told, h("button", { class: "primary" }, t("preferences.add")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const body = context.value.trim() ? { text: text.value, context: context.value } : { text: text.value };
      await api.post(base, body);
      form.reset();
      put(told);
      notify(t("preferences.stated"));
      await reload();
    } catch (error) {
      put(told, inWords(error));
    }
  });
  return h("details", { class: "card" }, h("summary", {}, h("h2", {}, t("preferences.state"))), form);
}

/** What a request would get. */
function search(base) {
  const context = h("textarea", { rows: 2, required: true, dir: "auto" });
  const found = h("div", { "aria-live": "polite" });
  const form = h("form", {}, field(t("preferences.request"), context), h("button", {}, t("preferences.find")), found);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const { data } = await api.post(`${base}/search`, { context: context.value });
      put(found, data.length ? h("ol", { class: "found" }, data.map((one) => h("li", {}, said(one.text), h("small", { class: "muted" }, number(one.score, 2))))) : h("p", { class: "muted" }, t("preferences.nothing")));
    } catch (error) {
      put(found, error.status === 404 ? h("p", { class: "muted" }, t("preferences.nothing")) : h("p", { class: "bad" }, inWords(error)));
    }
  });
  return h("details", { class: "card" }, h("summary", {}, h("h2", {}, t("preferences.search"))), form);
}

async function tried(act) {
  try {
    await act();
  } catch (error) {
    notify(inWords(error));
  }
}
