// Pieces that several screens are made of: notices, errors in words, lists by pages, confirmation.

import { button, h, put } from "./dom.js";
import { t } from "./i18n.js";

/** What went wrong, in the reader's words; the server's own sentence where it says more. */
export function inWords(error) {
  if (error.status === 0) return t("error.away");
  if (error.status === 401) return t("error.signed_out");
  if (error.status === 403) return t("error.forbidden");
  if (error.status === 429) return t("error.busy");
  if (error.status === 503) return t("error.unavailable", { message: error.message });
  if (error.status) return t("error.refused", { message: error.message });
  console.error(error);
  return t("error.page", { message: error.message });
}

export const failure = (error, again) =>
  h("div", { class: "notice bad", role: "alert" }, h("p", {}, inWords(error)), again && button(t("again"), again, { class: "quiet" }));

export const empty = (title, text, ...more) => h("div", { class: "empty" }, h("h2", {}, title), h("p", {}, text), ...more);

const spoken = () => document.getElementById("spoken");

/** Say something to those who hear the page, and in the corner to those who see it. With `undo`, for some seconds. */
export function notify(text, undo = null) {
  const note = h("div", { class: "toast" }, h("span", {}, text));
  if (undo) note.append(button(t("undo"), undo, { class: "link" }));
  spoken().append(note);
  const gone = () => note.remove();
  setTimeout(gone, undo ? UNDO : 5000);
  return gone;
}

export const UNDO = 6000;
const waiting = new Map();

/** Do `act` once its time to undo it is over, or at once when the page is left. `back` is called at an undo. */
export function later(text, act, back) {
  const key = Symbol(text);
  const close = notify(text, async () => {
    clearTimeout(waiting.get(key)?.timer);
    waiting.delete(key);
    close();
    back();
  });
  const run = async () => {
    waiting.delete(key);
    close();
    try {
      await act();
    } catch (error) {
      notify(inWords(error));
      back();
    }
  };
  waiting.set(key, { timer: setTimeout(run, UNDO), run });
}

/** What still waits is done now: the reader has moved on. */
export async function settle() {
  const runs = [...waiting.values()];
  await Promise.all(runs.map(({ timer, run }) => (clearTimeout(timer), run())));
}
window.addEventListener("pagehide", settle);

/** A dialog of the browser's own, which holds the focus; `fillIn(close)` gives what is in it. */
export function dialog(title, fillIn) {
  const box = h("dialog", { class: "dialog", "aria-label": title });
  const close = () => box.close();
  put(box, h("header", {}, h("h2", {}, title), button("×", close, { class: "quiet", "aria-label": t("close") })), fillIn(close));
  box.addEventListener("close", () => box.remove());
  box.addEventListener("click", (event) => event.target === box && close());
  document.body.append(box);
  box.showModal();
  return box;
}

/** Ask before something that cannot be undone. */
export function confirmed(title, text, label) {
  return new Promise((answer) => {
    const box = dialog(title, (close) => {
      const sure = button(label, () => (answer(true), close()), { class: "danger" });
      return [h("p", {}, text), h("div", { class: "actions" }, sure, button(t("cancel"), close, { class: "quiet" }))];
    });
    box.addEventListener("close", () => answer(false));
  });
}

/** A list that asks for its next page when the reader wants it. `ask(cursor)` gives a page, `row(item)` an element. */
export function paged({ ask, row, none, into = h("ul", { class: "rows" }) }) {
  const foot = h("div", { class: "foot" });
  const box = h("div", {}, into, foot);
  const next = async (cursor) => {
    put(foot, h("p", { class: "muted" }, t("loading")));
    try {
      const page = await ask(cursor);
      into.append(...page.data.map(row));
      if (!into.childElementCount && none) put(box, none());
      put(foot, page.has_more && button(t("more"), () => next(page.next_cursor)));
    } catch (error) {
      if (error.status === 404 && none) return put(box, none());
      put(foot, failure(error, () => next(cursor)));
    }
  };
  box.filled = next(null);
  return box;
}

export const badge = (text, kind = "") => h("span", { class: `badge ${kind}` }, text);

/** Names and values, one below the other. */
export const facts = (pairs) =>
  h(
    "dl",
    { class: "facts" },
    pairs.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );

/** A table; on a narrow page it scrolls by itself. */
export const table = (caption, heads, rows) =>
  h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      {},
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell) => h("td", {}, cell))))),
    ),
  );
