// Users, keys, jobs, health: the server as those see it who run it, or an app's tenant.

import * as api from "../api.js";
import { lines } from "../charts.js";
import { button, fill, h, put, said, sleep } from "../dom.js";
import { clock, number, t, when } from "../i18n.js";
import { badge, empty, facts, failure, paged, table } from "../parts.js";
import { chooseUser, link, may } from "../state.js";
import { keys } from "./keys.js";

const STATES = ["", "queued", "running", "failed", "done"];

export async function render(screen, { alive }) {
  const health = h("section", {});
  const users = h("section", {}, h("h2", {}, t("operation.users")));
  const jobs = h("section", {}, h("h2", {}, t("operation.jobs")));
  put(screen, h("h1", {}, t("nav.operation")), health, users, jobs, h("section", { id: "keys" }));
  await look(health);
  refresh(health, alive);
  const list = paged({ ask: (cursor) => api.get("users", { query: { cursor } }), row: userRow, none: () => empty(t("operation.no_users"), t("operation.no_users_text")) });
  users.append(list);
  fill(jobs, jobList());
  await keys(screen.querySelector("#keys"));
  await list.filled;
}

async function refresh(health, alive) {
  for (;;) {
    await sleep(10_000);
    if (!alive()) return;
    if (!document.hidden) await look(health);
  }
}

async function look(into) {
  const ready = await api.ready();
  if (!ready) return;
  const parts = ["engine", "store", "worker"].map((name) => [t(`health.${name}`), badge(t(`state.${ready[name]}`), ready[name] === "ready" || ready[name] === "elsewhere" ? "held" : "doubtful")]);
  const more = may("operator") ? await operator() : h("p", { class: "muted" }, t("operation.not_operator"));
  put(into, h("h2", {}, t("operation.health")), facts(parts), ready.reason && h("p", { class: "bad" }, said(ready.reason)), more);
}

async function operator() {
  try {
    const status = await api.get("status");
    const { now, hour } = status;
    const samples = [...hour, now];
    const labels = samples.map((one) => clock(one.at));
    const line = (name, label, kind) => ({ name: label, kind, values: samples.map((one) => one[name]) });
    return [
      facts([
        [t("operation.in_flight"), number(now.in_flight)],
        [t("operation.queued"), number(now.queued)],
        [t("operation.failed"), number(now.failed)],
        [t("operation.places"), t("operation.places_of", { loaded: now.loaded, capacity: status.capacity })],
        status.engines.length > 1 && [t("operation.engines"), status.engines.map((one) => badge(one.name, one.ready ? "held" : "doubtful"))],
      ]),
      h(
        "div",
        { class: "columns" },
        lines({ wide: 440, title: t("operation.queue"), labels, top: Math.max(4, ...samples.map((one) => one.queued + one.running)), shown: (value) => number(value), series: [line("queued", t("operation.queued"), "one"), line("running", t("operation.running"), "two")] }),
        lines({ wide: 440, title: t("operation.places_hour"), labels, top: Math.max(4, status.capacity), shown: (value) => number(value), series: [line("loaded", t("operation.loaded"), "one"), line("serving", t("operation.serving"), "two")] }),
      ),
      status.failures.length > 0 && h("details", {}, h("summary", {}, t("operation.failures", { count: status.failures.length })), table(t("operation.failures", { count: status.failures.length }), [t("operation.when"), t("operation.kind"), t("operation.who"), t("operation.error")], status.failures.map((one) => [when(one.created_at), t(`job.${one.kind}`), said(`${one.tenant} / ${one.user}`), said(one.error)]))),
    ];
  } catch (error) {
    return failure(error, null);
  }
}

const userRow = (one) =>
  h(
    "li",
    {},
    h(
      "div",
      { class: "line" },
      h("a", { class: "grow", dir: "auto", href: link("preferences"), onclick: () => select(one.id) }, one.id),
      one.active_adapter > 0 && badge(t("adapter.version", { version: one.active_adapter })),
      h("span", { class: "muted" }, one.active_at ? t("operation.active", { when: when(one.active_at) }) : t("operation.seen", { when: when(one.created_at) })),
    ),
  );

function select(name) {
  chooseUser(name);
  const input = document.getElementById("whose");
  if (input) input.value = name;
}

function jobList() {
  const box = h("div", {});
  const state = h("select", { "aria-label": t("operation.filter"), onchange: () => draw() }, STATES.map((one) => h("option", { value: one }, t(one ? `job_state.${one}` : "operation.all"))));
  const draw = () =>
    put(
      box,
      paged({
        ask: (cursor) => api.get("jobs", { query: { cursor, state: state.value } }),
        none: () => h("p", { class: "muted" }, t("operation.no_jobs")),
        row: (job) => h("li", {}, h("div", { class: "line" }, h("span", { class: "grow" }, t(`job.${job.kind}`), " ", said(job.user, { class: "muted" })), badge(t(`job_state.${job.state}`), job.state === "failed" ? "doubtful" : job.state === "done" ? "" : "tentative"), h("span", { class: "muted" }, when(job.created_at)))),
      }),
    );
  draw();
  return [h("div", { class: "bar" }, state, button(t("operation.refresh"), draw, { class: "quiet" })), box];
}
