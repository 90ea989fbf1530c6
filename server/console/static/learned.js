// After an edit or a comment: wait for what is learned from it, show it, and let the reader say wrong, always or only here.

import * as api from "./api.js";
import { button, h, put, said, sleep } from "./dom.js";
import { t } from "./i18n.js";
import { inWords, later, notify } from "./parts.js";
import { link, may } from "./state.js";

const PATIENCE = 180_000; // milliseconds

/** Show in `node` what becomes of feedback `id`. `request` is the request it belongs to; `alive()` ends the waiting. Whether it was shown. */
export async function follow(node, id, { user, request, alive }) {
  put(node, h("p", { class: "learning" }, h("span", { class: "pulse", "aria-hidden": "true" }), t("learn.pending")));
  const began = Date.now();
  for (let wait = 300; Date.now() - began < PATIENCE; wait = Math.min(wait * 1.4, 4000)) {
    if (!alive() || !node.isConnected) return false;
    try {
      const held = await api.get(`feedback/${api.part(id)}`, { user });
      if (held.status !== "pending") {
        await told(node, held, { user, request });
        return true;
      }
    } catch (error) {
      if (!error.away && error.status !== 429) return Boolean(put(node, h("p", { class: "bad" }, inWords(error))));
    }
    await sleep(wait);
  }
  put(node, h("p", {}, t("learn.long"), " ", h("a", { href: link("preferences") }, t("nav.preferences"))));
  return true;
}

async function told(node, held, { user, request }) {
  if (held.status === "replaced") return put(node, h("p", {}, t("learn.replaced")));
  if (held.status === "failed") return put(node, h("p", { class: "bad" }, t("learn.failed")));
  const comment = held.type === "comment";
  const verdicts = new Map((held.candidates ?? []).map((one) => [one.text, one.verdict]));
  const found = (await Promise.all(held.learned.map((id) => one(id, user)))).filter(Boolean);
  if (!found.length) {
    const why = h("a", { href: link("why", held.completion_id) }, t("learn.why"));
    const none = comment ? "learn.comment_nothing" : held.cost === 0 ? "learn.unchanged" : "learn.nothing";
    return put(node, h("p", {}, t(none), " ", may("data") && why));
  }
  const fresh = found.some((one) => verdicts.get(one.text) !== "confirmed");
  put(
    node,
    h("p", {}, t(fresh ? (comment ? "learn.comment_done" : "learn.done") : comment ? "learn.comment_confirmed" : "learn.confirmed")),
    h("ul", { class: "learned" }, found.map((one) => item(one, { user, request, confirmed: verdicts.get(one.text) === "confirmed" }))),
  );
  node.scrollIntoView({ block: "nearest" });
}

async function one(id, user) {
  try {
    return await api.get(`users/${api.part(user)}/preferences/${api.part(id)}`);
  } catch (error) {
    if (error.status === 404 || error.status === 403) return null;
    throw error;
  }
}

function item(preference, { user, request, confirmed }) {
  const path = `users/${api.part(user)}/preferences/${api.part(preference.id)}`;
  const note = h("small", { role: "status" }, confirmed && t("learn.again"));
  const row = h("li", {});
  const say = (act, done) => async () => {
    try {
      await act();
      put(note, done);
    } catch (error) {
      put(note, inWords(error));
    }
  };
  const wrong = button(t("learn.wrong"), () => {
    row.hidden = true;
    later(t("preference.deleted"), () => api.remove(path), () => (row.hidden = false));
  });
  const always = say(() => api.post(`users/${api.part(user)}/preferences`, { text: preference.text }), t("learn.is_always"));
  const here = say(() => api.patch(path, { context: request.slice(0, 4000) }), t("learn.is_here"));
  return put(
    row,
    said(preference.text),
    h("span", { class: "choices" }, wrong, button(t("learn.always"), always), request && button(t("learn.here"), here)),
    note,
  );
}

/** The preferences of an answer as chips that open the edits they come from. */
export function chips(attune, { user, id }) {
  if (!attune || (!attune.preferences.length && !attune.adapter_version)) return null;
  return h(
    "div",
    { class: "chips" },
    h("span", { class: "muted" }, t("chat.used")),
    attune.preferences.map((one) => button(said(one.text), () => source(one, { user, id }), { class: "chip" })),
    attune.adapter_version > 0 &&
      h("a", { class: "chip adapter", href: link("adapters") }, t("adapter.version", { version: attune.adapter_version })),
  );
}

async function source(preference, { user, id }) {
  const { sources } = await import("./sources.js");
  try {
    await sources(preference, { user, id });
  } catch (error) {
    notify(inWords(error));
  }
}
