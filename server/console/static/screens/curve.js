// Curve: what edits cost by round, with what was learned on the way; of one user, or of the tenant.

import * as api from "../api.js";
import { lines } from "../charts.js";
import { h, put } from "../dom.js";
import { day, number, percent, t, when } from "../i18n.js";
import { empty, facts, failure, table } from "../parts.js";
import { session, user } from "../state.js";

export async function render(screen, { query }) {
  const all = session.caller.user === null && (query.get("of") === "tenant" || !user());
  const choice = (of, label) => h("a", { class: "button quiet", href: `#/curve?of=${of}`, "aria-current": (of === "tenant") === all ? "true" : null }, label);
  const content = h("div", {});
  put(
    screen,
    h("h1", {}, t("nav.curve")),
    h("p", { class: "lead" }, t("curve.lead")),
    session.caller.user === null && user() && h("div", { class: "actions" }, choice("user", user()), choice("tenant", t("curve.tenant", { tenant: session.caller.tenant }))),
    content,
  );
  try {
    const curve = await api.get("curve", { query: { of: all ? "tenant" : "user" }, user: all ? null : user() });
    put(content, curve.edits ? pictures(curve) : empty(t("curve.none_title"), t("curve.none_text"), h("a", { class: "button primary", href: "#/chat" }, t("preferences.none_go"))));
  } catch (error) {
    put(content, failure(error, () => render(screen, { query })));
  }
}

function pictures({ points, marks, edits }) {
  const labels = points.map((one) => day(one.since));
  const unique = new Set(labels).size > 1 ? labels : points.map((_, at) => number(at + 1));
  const column = (name) => points.map((one) => one[name]);
  const first = mean(points.slice(0, Math.ceil(points.length / 4)));
  const last = mean(points.slice(-Math.ceil(points.length / 4)));
  return [
    facts([
      [t("curve.edits"), number(edits)],
      [t("curve.first"), number(first, 2)],
      [t("curve.last"), number(last, 2)],
      [t("curve.unchanged"), percent(column("unchanged").reduce((sum, one, at) => sum + one * points[at].edits, 0) / edits)],
    ]),
    lines({
      title: t("curve.cost"), labels: unique, top: Math.max(0.2, ...column("cost")), shown: (value) => number(value, 2),
      series: [{ name: t("curve.cost"), values: column("cost"), kind: "one" }],
      marks: marks.map((mark) => ({ at: position(points, mark.at), kind: mark.kind, text: `${when(mark.at)}: ${mark.kind === "adapter" ? t("adapter.version", { version: mark.id }) : mark.text}` })),
    }),
    lines({ title: t("curve.share_lately", { count: WINDOW }), labels: unique, top: 1, shown: percent, series: [{ name: t("curve.share"), values: lately(points), kind: "one" }] }),
    lines({
      title: t("curve.tokens"), labels: unique, shown: (value) => number(value),
      series: [{ name: t("curve.prompt"), values: column("prompt_tokens"), kind: "one" }, { name: t("curve.completion"), values: column("completion_tokens"), kind: "two" }],
    }),
    h("details", {}, h("summary", {}, t("curve.table")), table(t("curve.table"), [t("curve.from"), t("curve.edits"), t("curve.cost"), t("curve.share"), t("curve.prompt"), t("curve.completion")], points.map((one) => [when(one.since), number(one.edits), number(one.cost, 2), percent(one.unchanged), number(one.prompt_tokens), number(one.completion_tokens)]))),
    marks.length > 0 && h("details", {}, h("summary", {}, t("curve.marks", { count: marks.length })), h("ul", { class: "quotes" }, marks.map((mark) => h("li", { dir: "auto" }, `${when(mark.at)}: ${mark.kind === "adapter" ? t("adapter.version", { version: mark.id }) : mark.text}`)))),
  ];
}

const WINDOW = 7; // points; of single edits the share would be all or nothing

/** The share of answers used as they were, at each point over those up to it. */
const lately = (points) =>
  points.map((_, at) => {
    const some = points.slice(Math.max(0, at + 1 - WINDOW), at + 1);
    return some.reduce((sum, one) => sum + one.unchanged * one.edits, 0) / some.reduce((sum, one) => sum + one.edits, 0);
  });

const mean = (points) => points.reduce((sum, one) => sum + one.cost * one.edits, 0) / points.reduce((sum, one) => sum + one.edits, 0);

/** Where a time lies among the points: between two, where it does. */
function position(points, at) {
  const next = points.findIndex((one) => one.since >= at);
  if (next === 0) return 0;
  if (next < 0) return points.length - 1;
  const from = points[next - 1].since;
  return next - 1 + (at - from) / Math.max(points[next].since - from, 1e-6);
}
