// Where a preference comes from: its source edits, in a dialog.

import * as api from "./api.js";
import { h, said } from "./dom.js";
import { words } from "./diffs.js";
import { t, when } from "./i18n.js";
import { dialog } from "./parts.js";
import { link } from "./state.js";

/** The preference of the turn `id` with the edits that taught it. */
export async function sources(preference, { user, id }) {
  const turn = await api.get(`turns/${api.part(id)}`, { user });
  const applied = turn.preferences.find((one) => one.id === preference.id);
  dialog(t("sources.title"), (close) => [
    h("p", { class: "quote" }, said(preference.text)),
    standing(applied),
    (applied?.edits ?? []).toReversed().map(edit),
    h("p", {}, h("a", { href: `${link("preferences")}?id=${api.part(preference.id)}`, onclick: close }, t("sources.correct"))),
  ]);
}

function standing(applied) {
  if (!applied || applied.status === "deleted") return h("p", { class: "muted" }, t("sources.deleted"));
  if (applied.status === "superseded") return h("p", { class: "muted" }, t("sources.superseded"));
  return applied.edits.length ? null : h("p", { class: "muted" }, t("sources.stated"));
}

/** One source edit: when, and what it changed; of a comment, its words. */
export const edit = (one) =>
  h(
    "section",
    { class: "source" },
    h("p", { class: "muted" }, t(one.comment ? "sources.comment" : "sources.edit", { when: when(one.created_at) }), " ", h("a", { href: link("why", one.completion_id) }, t("chat.why"))),
    one.comment ? h("blockquote", { class: "diff" }, said(one.comment)) : words(one.draft, one.edited_text),
  );
