// API keys: for operators; the secret of a new one is shown once.

import * as api from "../api.js";
import { button, field, fill, h, put, said } from "../dom.js";
import { number, t, when } from "../i18n.js";
import { confirmed, dialog, inWords, notify, table } from "../parts.js";
import { may, session } from "../state.js";

export async function keys(section) {
  put(section, h("h2", {}, t("keys.title")));
  if (!may("operator")) return fill(section, h("p", { class: "muted" }, t("keys.not_operator")));
  const list = h("div", {});
  const reload = async () => {
    try {
      const { data } = await api.get("keys");
      put(list, data.length ? table(t("keys.title"), heads(), data.map((key) => row(key, reload))) : h("p", { class: "muted" }, t("keys.none")));
    } catch (error) {
      if (error.status !== 401) put(list, h("p", { class: "bad" }, inWords(error)));
    }
  };
  fill(section, list, form(reload));
  await reload();
}

const heads = () => [t("keys.tenant"), t("keys.name"), t("keys.created"), t("keys.limits"), t("keys.id"), ""];

const row = (key, reload) => [
  said(key.tenant),
  said(key.name),
  when(key.created_at),
  [key.requests_per_minute === null ? t("keys.default") : key.requests_per_minute ? t("keys.a_minute", { count: key.requests_per_minute }) : t("keys.no_limit"), ", ", key.in_flight === null ? t("keys.default") : t("keys.at_once", { number: number(key.in_flight) })],
  h("code", {}, key.id.slice(0, 8)),
  key.revoked_at
    ? h("span", { class: "muted" }, t("keys.revoked", { when: when(key.revoked_at) }))
    : button(t("keys.revoke"), async () => {
        if (!(await confirmed(t("keys.revoke"), t("keys.revoke_sure", { name: key.name, tenant: key.tenant }), t("keys.revoke")))) return;
        try {
          await api.remove(`keys/${api.part(key.id)}`);
          await reload();
        } catch (error) {
          notify(inWords(error));
        }
      }, { class: "quiet" }),
];

function form(reload) {
  const tenant = h("input", { required: true, maxlength: 64, value: session.caller.tenant });
  const name = h("input", { maxlength: 200, placeholder: "default" });
  const minute = h("input", { type: "number", min: 0, placeholder: t("keys.default") });
  const flight = h("input", { type: "number", min: 1, placeholder: t("keys.default") });
  const told = h("p", { role: "alert", class: "bad" });
  const made = h("form", { class: "inline wrap" });
  fill(made, field(t("keys.tenant"), tenant), field(t("keys.name"), name), field(t("keys.per_minute"), minute), field(t("keys.in_flight"), flight), h("button", {}, t("keys.create")), told);
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    const first = session.caller.kind === "local";
    if (first && !(await confirmed(t("keys.create"), t("keys.first"), t("keys.create")))) return;
    const number = (input) => (input.value === "" ? null : input.valueAsNumber);
    try {
      const key = await api.post("keys", { tenant: tenant.value, name: name.value || "default", requests_per_minute: number(minute), in_flight: number(flight) });
      secret(t("keys.made"), key.key, async () => {
        if (!first) return;
        await api.signIn(key.key).catch(() => {}); // the page asks for the key then
        location.reload();
      });
      made.reset();
      if (!first) await reload();
    } catch (error) {
      put(told, inWords(error));
    }
  });
  return made;
}

/** What is shown this once, to be copied. */
export function secret(title, text, closed = () => {}) {
  const box = dialog(title, () => {
    const shown = h("textarea", { readonly: true, rows: 3, class: "secret", "aria-label": title, onfocus: (event) => event.target.select() }, text);
    const copy = button(t("copy"), async () => {
      shown.select();
      try {
        await navigator.clipboard.writeText(text);
        notify(t("copied"));
      } catch {
        notify(t("copy_yourself"));
      }
    }, { class: "primary" });
    return [h("p", {}, t("keys.once")), shown, h("div", { class: "actions" }, copy)];
  });
  box.addEventListener("close", closed);
}
