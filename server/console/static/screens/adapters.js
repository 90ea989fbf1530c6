// Adapters: the versions of a user as a timeline, what the gate measured, and what serves.

import * as api from "../api.js";
import { intervals } from "../charts.js";
import { button, field, h, put, said, sleep } from "../dom.js";
import { number, t, when } from "../i18n.js";
import { badge, confirmed, dialog, empty, facts, failure, inWords, notify } from "../parts.js";
import { session, user } from "../state.js";

export const needsUser = true;
const ARMS = ["base", "retrieval", "serving", "adapter", "retrieval+adapter"];

export async function render(screen, { alive }) {
  const base = `users/${api.part(user())}/adapters`;
  const content = h("div", {});
  const told = h("p", { role: "status" });
  const owner = session.caller.user === null;
  const train = button(t("adapters.train"), async () => {
    try {
      const version = await api.post(base, {});
      notify(version.report?.notice ?? t("adapters.queued", { version: version.version }));
      reload();
    } catch (error) {
      notify(error.status === 404 ? t("adapters.no_edits") : inWords(error));
    }
  }, { class: "primary" });
  put(screen, h("h1", {}, t("nav.adapters")), h("p", { class: "lead" }, t("adapters.lead")), owner && h("div", { class: "actions" }, train), told, content);
  let loop = 0;
  const reload = async () => {
    const mine = ++loop;
    for (;;) {
      if (!alive() || mine !== loop) return;
      let making = false;
      try {
        const list = await api.get(base);
        making = list.data.some((one) => ["queued", "training"].includes(one.state));
        const events = making ? await progress() : null;
        if (!alive() || mine !== loop) return;
        draw(content, list, { base, reload, owner, events });
      } catch (error) {
        if (error.status === 404) return put(content, none(owner));
        put(content, failure(error, reload));
        if (!error.away) return;
      }
      if (!making) return;
      await sleep(2000);
    }
  };
  const first = reload();
  await Promise.race([first, sleep(3000)]);
}

const none = (owner) => empty(t("adapters.none_title"), t(owner ? "adapters.none_text" : "adapters.none_user"));

/** What the training under way says of itself; a key alone may ask. */
async function progress() {
  try {
    const [job] = (await api.get("fine_tuning/jobs", { query: { limit: 1 }, user: user() })).data;
    if (!job) return null;
    return (await api.get(`fine_tuning/jobs/${api.part(job.id)}/events`, { query: { limit: 20 }, user: user() })).data;
  } catch {
    return null;
  }
}

function draw(content, list, about) {
  if (!list.data.length) return put(content, none(about.owner));
  const open = new Set([...content.querySelectorAll("details[open]")].map((one) => one.dataset.key));
  const serving = list.active ? t("adapter.version", { version: list.active }) : t("adapter.base");
  put(
    content,
    facts([
      [t("adapters.serves"), [serving, " ", list.pinned && badge(t("adapters.pinned"), "fixed")]],
      list.canary > 0 && [t("adapters.trial"), t("adapter.version", { version: list.canary })],
    ]),
    about.owner && h("div", { class: "actions tools" }, rollback(list, about), list.active > 0 && act(t("adapters.base"), () => api.post(`${about.base}/0/activate`, {}), t("adapters.base_sure"), about)),
    h("ol", { class: "timeline" }, list.data.toReversed().map((one) => version(one, list, about))),
  );
  for (const one of content.querySelectorAll("details")) one.open = open.has(one.dataset.key) || one.open;
}

const rollback = (list, about) =>
  (list.active > 0 || list.canary > 0) && act(t("adapters.rollback"), () => api.post(`${about.base}/rollback`, {}), t("adapters.rollback_sure"), about);

/** A button that changes what serves, after a question where there is one to ask. */
function act(label, call, sure, { reload }, props = { class: "quiet" }) {
  return button(label, async () => {
    if (sure && !(await confirmed(label, sure, label))) return;
    try {
      await call();
      notify(t("adapters.done"));
      await reload();
    } catch (error) {
      notify(inWords(error));
    }
  }, props);
}

function version(one, list, about) {
  const path = `${about.base}/${one.version}`;
  const report = one.report ?? {};
  const ready = one.state === "ready";
  const making = ["queued", "training"].includes(one.state);
  return h(
    "li",
    { class: one.active ? "active" : "" },
    h(
      "div",
      { class: "line" },
      h("h2", { class: "grow" }, t("adapter.version", { version: one.version })),
      h("span", { class: "badges" }, one.active && badge(t("adapters.active"), "held"), one.pinned && badge(t("adapters.pinned"), "fixed"), one.canary && badge(t("adapters.canary"), "tentative"), badge(t(`state.${one.state}`), ready ? "" : "tentative")),
    ),
    h("p", { class: "muted" }, when(one.created_at), ready && ` · ${t(`personalized.${one.mode}`)}`),
    (report.sentence ?? report.notice) && h("p", {}, said(report.sentence ?? report.notice)),
    making && steps(about.events),
    report.canary && h("p", {}, said(report.canary.sentence ?? t("adapters.canary_runs", { share: Math.round((report.canary.share ?? 0) * 100) }))),
    report.arms && h("details", { open: one === list.data.at(-1), "data-key": `gate${one.version}` }, h("summary", {}, t("adapters.gate")), gate(report)),
    about.owner && h("div", { class: "actions tools" }, choices(one, path, about, { ready, making })),
  );
}

const choices = (one, path, about, { ready, making }) => [
  ready && !one.active && act(t("adapters.activate"), () => api.post(`${path}/activate`, {}), null, about, { class: "strong" }),
  ready && !one.pinned && act(t("adapters.pin"), () => api.post(`${path}/pin`, {}), null, about),
  one.pinned && act(t("adapters.unpin"), () => api.post(`${path}/unpin`, {}), null, about),
  ready && !one.active && !one.canary && button(t("adapters.try"), () => tryOut(path, about), { class: "quiet" }),
  ready && !one.active && !one.canary && act(t("adapters.retire"), () => api.post(`${path}/retire`, {}), t("adapters.retire_sure"), about),
  act(making ? t("adapters.give_up") : t("preferences.delete"), () => api.remove(path), making ? null : t("adapters.delete_sure"), about),
];

function tryOut(path, about) {
  dialog(t("adapters.try"), (close) => {
    const share = h("input", { type: "number", min: 1, max: 100, value: 20 });
    const form = h("form", {}, field(t("adapters.share"), share, t("adapters.share_hint")), h("button", { class: "primary" }, t("adapters.try")));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      close();
      try {
        await api.post(`${path}/canary`, { share: share.valueAsNumber / 100 });
        await about.reload();
      } catch (error) {
        notify(inWords(error));
      }
    });
    return form;
  });
}

/** How far a training is: its last step as a bar, and what it said. */
function steps(events) {
  const last = events?.find((one) => one.type === "metrics");
  const line = events?.[0]?.message;
  return h(
    "div",
    { class: "progress", role: "status" },
    h("progress", last ? { max: last.data.total_steps, value: last.data.step, "aria-label": t("adapters.progress") } : { "aria-label": t("adapters.progress") }),
    line && h("small", { class: "muted" }, said(line)),
  );
}

/** The gate's arms: the cost of each, and its difference to what serves with the interval. */
function gate(report) {
  const arms = ARMS.filter((name) => report.arms[name] && typeof report.arms[name].cost === "number");
  const measured = arms.filter((name) => Array.isArray(report.arms[name].interval));
  const rows = measured.map((name) => {
    const { difference, interval } = report.arms[name];
    return { name: t(`arm.${name}`), value: difference, low: interval[0], high: interval[1], kind: interval[1] < 0 ? "better" : interval[0] > 0 ? "worse" : "" };
  });
  return [
    rows.length > 0 && intervals({ title: t("adapters.difference"), rows, shown: (value) => number(value, 2) }),
    facts(arms.map((name) => [t(`arm.${name}`), t("adapters.arm", { cost: number(report.arms[name].cost, 3), tokens: Math.round(report.arms[name].prompt_tokens ?? 0) })])),
  ];
}
