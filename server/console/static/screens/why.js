// Why: one answer with what it was made of, and what came of the edit; before that the list of answers.

import * as api from "../api.js";
import { words } from "../diffs.js";
import { h, put, said } from "../dom.js";
import { known, number, t, when } from "../i18n.js";
import { badge, empty, facts, failure, paged, table } from "../parts.js";
import { edit as sourceEdit } from "../sources.js";
import { link, user } from "../state.js";

export const needsUser = true;

export async function render(screen, { rest }) {
  const [id] = rest;
  if (!id) return list(screen);
  const back = h("p", {}, h("a", { href: link("why") }, t("why.back")));
  try {
    const [turn, given] = await Promise.all([
      api.get(`turns/${api.part(id)}`, { user: user() }),
      api.get("feedback", { query: { completion_id: id, limit: 20 }, user: user() }).catch(() => ({ data: [] })),
    ]);
    const edits = await Promise.all(given.data.filter((one) => one.type === "edit").map((one) => api.get(`feedback/${api.part(one.id)}`, { user: user() })));
    put(screen, back, h("h1", {}, t("why.title")), whole(turn, given.data, edits));
  } catch (error) {
    put(screen, back, error.status === 404 ? empty(t("why.gone_title"), t("why.gone_text")) : failure(error, () => render(screen, { rest })));
  }
}

async function list(screen) {
  const none = () => empty(t("why.none_title"), t("why.none_text"), h("a", { class: "button primary", href: "#/chat" }, t("preferences.none_go")));
  const row = (turn) =>
    h(
      "li",
      {},
      h("a", { class: "line", href: link("why", turn.id) }, h("span", { class: "grow" }, when(turn.created_at)), badge(t(`personalized.${turn.personalized}`), turn.personalized === "none" ? "" : "held"), turn.adapter_version > 0 && badge(t("adapter.version", { version: turn.adapter_version })), turn.partial && badge(t("why.partial"), "doubtful"), h("span", { class: "muted" }, t("why.tokens", { prompt: turn.usage.prompt_tokens, completion: turn.usage.completion_tokens }))),
    );
  const turns = paged({ ask: (cursor) => api.get("turns", { query: { cursor }, user: user() }), row, none });
  put(screen, h("h1", {}, t("nav.why")), h("p", { class: "lead" }, t("why.lead")), turns);
  await turns.filled;
}

function whole(turn, given, edits) {
  return [
    facts([
      [t("why.when"), when(turn.created_at)],
      [t("why.model"), turn.model],
      [t("why.how"), t(`personalized.${turn.personalized}`)],
      [t("why.adapter"), turn.adapter_version ? h("a", { href: link("adapters") }, t("adapter.version", { version: turn.adapter_version })) : t("adapter.base")],
      [t("why.length"), t("why.tokens", { prompt: turn.usage.prompt_tokens, completion: turn.usage.completion_tokens })],
      turn.timings.total_ms !== null && [t("why.took"), took(turn.timings)],
    ]),
    h("section", {}, h("h2", {}, t("why.prompt")), legend(), prompt(turn)),
    turn.answers.map((answer, number) => h("section", {}, h("h2", {}, turn.answers.length > 1 ? t("why.answer_of", { number: number + 1 }) : t("chat.answer")), h("div", { class: "text said boxed", dir: "auto" }, answer))),
    h("section", {}, h("h2", {}, t("why.preferences")), turn.preferences.length ? turn.preferences.map(applied) : h("p", { class: "muted" }, t("why.no_preferences"))),
    h("section", {}, h("h2", {}, t("why.feedback")), outcomes(turn, given, edits)),
  ];
}

/** How long it took, in seconds: of a stream also until its first word. */
const took = ({ first_token_ms: first, total_ms: total }) =>
  first === null ? t("why.total", { total: number(total / 1000, 2) }) : t("why.first_and_total", { first: number(first / 1000, 2), total: number(total / 1000, 2) });

const applied = (one) =>
  h(
    "details",
    { class: "applied" },
    h("summary", {}, said(one.text), " ", h("small", { class: "muted" }, t("why.alike", { score: number(one.score, 2) })), one.status !== "active" && badge(t(`status.${one.status}`))),
    one.edits.length ? one.edits.toReversed().map(sourceEdit) : h("p", { class: "muted" }, t("sources.stated")),
  );

const PARTS = ["own", "values", "preferences", "history"];

const legend = () => h("ul", { class: "legend" }, PARTS.map((name) => h("li", { class: `part ${name}` }, t(`part.${name}`))));

/** The prompt as the engine got it; what is not in the request, value or preference was put there by the server. */
function prompt(turn) {
  const last = turn.prompt.findLastIndex((message) => message.role === "user");
  return h(
    "div",
    { class: "prompt" },
    turn.prompt.map((message, at) =>
      h("div", { class: "message" }, h("strong", {}, known(`role.${message.role}`) ? t(`role.${message.role}`) : message.role), h("div", { class: "said", dir: "auto" }, parts(contentOf(message), at === last || message.role === "system" ? "own" : "history"))),
    ),
  );
}

const BLOCK = /<(values|preferences)>[\s\S]*?<\/\1>/g;

function parts(text, kind) {
  const found = [];
  let from = 0;
  for (const match of text.matchAll(BLOCK)) {
    found.push(h("span", { class: `part ${kind}` }, text.slice(from, match.index)), h("span", { class: `part ${match[1]}` }, match[0]));
    from = match.index + match[0].length;
  }
  found.push(h("span", { class: `part ${kind}` }, text.slice(from)));
  return found.filter((one) => one.textContent);
}

const contentOf = ({ content }) =>
  typeof content === "string" ? content : (content ?? []).map((piece) => piece.text ?? `[${piece.type}]`).join("\n");

function outcomes(turn, given, edits) {
  if (!given.length) return h("p", { class: "muted" }, t("why.no_feedback"));
  const texts = new Map(edits.map((one) => [one.id, one]));
  return given.map((one) => (["edit", "comment"].includes(one.type) ? outcome(turn, texts.get(one.id) ?? one) : other(one)));
}

const other = (one) =>
  h("p", {}, when(one.created_at), ": ", one.thumb ? t(`chat.thumb_${one.thumb}`) : one.type);

function outcome(turn, edit) {
  const rows = (edit.candidates ?? []).map((one) => [[said(one.text), h("small", { class: "muted block" }, said(one.reason))], badge(t(`verdict.${one.verdict}`), one.verdict === "learned" || one.verdict === "confirmed" ? "held" : "doubtful"), one.lift === null ? "–" : number(one.lift, 1)]);
  return h(
    "div",
    { class: "card" },
    h("p", {}, edit.comment ? t("why.commented", { when: when(edit.created_at) }) : t("why.edited", { when: when(edit.created_at), cost: number(edit.cost ?? 0, 2) }), " ", badge(t(`feedback.${edit.status}`))),
    edit.comment && h("blockquote", { class: "diff" }, said(edit.comment)),
    edit.reason && h("p", { class: "muted" }, said(edit.reason)),
    typeof edit.edited_text === "string" && words(turn.answers[edit.choice] ?? "", edit.edited_text),
    rows.length > 0 && table(t("why.candidates"), [t("why.candidate"), t("why.verdict"), t("why.lift")], rows),
  );
}
