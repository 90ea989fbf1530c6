// One answer of the chat: as it streams, edited in place, compared, rated, explained.

import * as api from "../api.js";
import { words, show } from "../diffs.js";
import { button, field, h, put, said, settled } from "../dom.js";
import { t } from "../i18n.js";
import { chips, follow } from "../learned.js";
import { inWords, notify } from "../parts.js";
import { keep, kept, link, may } from "../state.js";

const LONG = 4000; // characters that are shown at once
const tabs = new BroadcastChannel("attune.edits");

export class Answer {
  constructor(conversation, turn) {
    this.conversation = conversation;
    this.turn = turn;
    this.text = h("div", { class: "text said", dir: "auto" });
    this.below = h("div", {});
    this.remark = h("div", {});
    this.learned = h("div", { class: "outcome", "aria-live": "polite" });
    this.beside = h("div", {});
    this.node = h(
      "li",
      { class: "turn" },
      h("div", { class: "request" }, h("span", { class: "unseen" }, t("chat.you")), said(turn.request)),
      h("article", { class: "answer", "aria-label": t("chat.answer") }, this.text, this.below, this.remark, this.learned, this.beside),
    );
    this.draw();
    if (turn.waits) setTimeout(() => this.follow(turn.waits)); // once it stands in the page
    if (turn.id && kept(this.said) !== null) this.comment();
  }

  hear(piece, id) {
    this.turn.id ??= id;
    this.turn.answer += piece;
    this.text.append(piece);
    const near = window.innerHeight + window.scrollY > document.body.scrollHeight - 160;
    if (near) window.scrollTo(0, document.body.scrollHeight);
  }

  isLast(is) {
    this.last = is;
    if (this.again) this.again.hidden = !is;
  }

  draw() {
    const { turn } = this;
    const shown = turn.edited ?? turn.answer;
    const long = shown.length > LONG && !this.whole;
    put(this.text, long ? `${shown.slice(0, LONG)}…` : shown);
    if (!turn.id) return put(this.below);
    const all = long && button(t("chat.whole", { count: shown.length }), () => ((this.whole = true), this.draw()), { class: "link" });
    put(
      this.below,
      all,
      turn.finish === "length" && h("p", { class: "muted" }, t("chat.cut")),
      turn.finish === "stopped" && h("p", { class: "muted" }, t("chat.stopped")),
      turn.edited !== undefined && h("details", {}, h("summary", {}, t("chat.changed")), words(turn.answer, turn.edited)),
      chips(turn.attune, { user: this.conversation.user, id: turn.id }),
      this.actions(),
    );
    if (kept(this.slot) !== null) this.edit();
  }

  get slot() {
    return `edit.${this.turn.id}`;
  }

  get said() {
    return `comment.${this.turn.id}`;
  }

  actions() {
    const feedback = may("feedback") && this.turn.stored;
    this.again = button(t("chat.again"), () => this.regenerate(), { class: "quiet" });
    this.again.hidden = !this.last;
    return h(
      "div",
      { class: "actions tools" },
      feedback && button(t("chat.edit"), () => this.edit(), { class: "strong" }),
      feedback && this.turn.edited === undefined && button(t("chat.as_is"), () => this.send(this.turn.answer), { class: "quiet", title: t("chat.as_is_hint") }),
      feedback && this.thumb("up"),
      feedback && this.thumb("down"),
      feedback && button(t("chat.comment"), () => this.comment(), { class: "quiet comment" }),
      this.again,
      button(t("chat.compare"), () => this.compare(), { class: "quiet" }),
      may("data") && this.turn.stored && h("a", { class: "button quiet", href: link("why", this.turn.id) }, t("chat.why")),
    );
  }

  thumb(which) {
    const made = button(hand(which), async () => {
      try {
        await api.post("feedback", { type: "thumbs", completion_id: this.turn.id, thumb: which }, { user: this.conversation.user });
        this.turn.thumb = which;
        this.conversation.save();
        this.draw();
        notify(t(`chat.thumb_${which}`));
      } catch (error) {
        notify(inWords(error));
      }
    }, { class: "quiet icon", "aria-label": t(`chat.${which}`), title: t(`chat.${which}`), "aria-pressed": String(this.turn.thumb === which) });
    return made;
  }

  /** The answer becomes a field; the difference stands beside it while one types. What is typed outlives the page. */
  edit() {
    const { turn } = this;
    const start = kept(this.slot) ?? turn.edited ?? turn.answer;
    const area = h("textarea", { class: "editor", dir: "auto", "aria-label": t("edit.label"), rows: Math.min(24, start.split("\n").length + 2), value: start });
    const diff = h("div", { class: "diff said", "aria-label": t("edit.diff") });
    const told = h("p", { role: "alert", class: "bad" });
    const blank = h("p", { role: "alert", class: "bad" });
    const look = () => {
      show(diff, turn.answer, area.value);
      go.disabled = !area.value.trim();
      put(blank, area.value.trim() ? "" : t("edit.empty"));
    };
    const typed = settled(120, look);
    area.addEventListener("input", () => (keep(this.slot, area.value), typed()));
    const close = () => {
      keep(this.slot, null);
      this.draw();
      this.node.querySelector("button.strong")?.focus();
    };
    const go = button(t("edit.send"), () => this.send(area.value, told), { class: "primary" });
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) go.click();
    });
    put(this.text);
    put(
      this.below,
      h("div", { class: "sides" }, h("div", {}, area), h("div", {}, h("p", { class: "muted" }, t("edit.diff")), diff)),
      blank,
      told,
      h("div", { class: "actions" }, go, button(t("cancel"), close, { class: "quiet" })),
    );
    look();
    area.focus({ preventScroll: true });
  }

  /** A field for words about the answer. What is typed outlives the page, as an edit does. */
  comment() {
    const area = h("textarea", { rows: 2, maxlength: 4000, dir: "auto", value: kept(this.said) ?? "" });
    const told = h("p", { role: "alert", class: "bad" });
    const close = () => {
      keep(this.said, null);
      put(this.remark);
      this.node.querySelector("button.comment")?.focus();
    };
    const go = button(t("comment.send"), async () => {
      if (!area.value.trim()) return area.focus();
      try {
        const body = { type: "comment", completion_id: this.turn.id, comment: area.value };
        const accepted = await api.post("feedback", body, { user: this.conversation.user });
        close();
        await this.wait(accepted.id);
      } catch (error) {
        put(told, inWords(error), error.away ? ` ${t("comment.kept")}` : "");
      }
    }, { class: "primary" });
    area.addEventListener("input", () => keep(this.said, area.value || null));
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) go.click();
    });
    const actions = h("div", { class: "actions" }, go, button(t("cancel"), close, { class: "quiet" }));
    put(this.remark, h("div", { class: "remark" }, field(t("comment.label"), area, t("comment.hint")), told, actions));
    if (this.node.isConnected) area.focus({ preventScroll: true });
  }

  /** Send what was really used, unless another tab has sent something meanwhile. */
  async send(text, told = null, sure = false) {
    const { turn, conversation } = this;
    try {
      if (!sure && (await this.elsewhere(told, text))) return;
      const body = { type: "edit", completion_id: turn.id, edited_text: text };
      const accepted = await api.post("feedback", body, { user: conversation.user });
      Object.assign(turn, { edited: text, feedback: accepted.id });
      keep(this.slot, null);
      tabs.postMessage(turn.id);
      this.draw();
      await this.wait(accepted.id);
    } catch (error) {
      const words = inWords(error);
      if (told?.isConnected) put(told, words, error.away ? ` ${t("edit.kept")}` : "");
      else notify(words);
    }
  }

  /** Whether this answer has an edit that this tab does not know; then the reader is asked. */
  async elsewhere(told, text) {
    const query = { completion_id: this.turn.id, type: "edit", limit: 1 };
    const [newest] = (await api.get("feedback", { query, user: this.conversation.user })).data;
    if (!newest || newest.id === this.turn.feedback) return false;
    const theirs = await api.get(`feedback/${api.part(newest.id)}`, { user: this.conversation.user });
    if (theirs.edited_text === this.turn.edited) return false; // the server found it in the conversation itself
    const take = () => {
      Object.assign(this.turn, { edited: theirs.edited_text, feedback: newest.id, waits: null });
      keep(this.slot, null);
      this.conversation.save();
      this.draw();
    };
    const mine = () => {
      this.turn.feedback = newest.id;
      return this.send(text, told, true);
    };
    const into = told ?? this.learned;
    put(into, t("edit.elsewhere"), " ", button(t("edit.mine"), mine, { class: "quiet" }), " ", button(t("edit.theirs"), take, { class: "quiet" }));
    return true;
  }

  /** Feedback was sent: what becomes of it is shown, also after a reload. */
  async wait(id) {
    this.turn.waits = id;
    this.conversation.save();
    await this.follow(id);
  }

  async follow(id) {
    const { turn, conversation } = this;
    const alive = () => conversation.alive() && turn.waits === id;
    if (!(await follow(this.learned, id, { user: conversation.user, request: turn.request, alive }))) return;
    turn.waits = null;
    conversation.save();
  }

  async regenerate() {
    const { turn, conversation } = this;
    if (conversation.running) return;
    const before = { ...turn };
    for (const name of Object.keys(turn)) if (name !== "request") delete turn[name];
    Object.assign(turn, { answer: "", id: null, attune: null });
    keep(`edit.${before.id}`, null);
    keep(`comment.${before.id}`, null);
    put(this.remark);
    put(this.learned);
    put(this.beside);
    this.draw();
    const heat = Math.max(conversation.options.temperature, 0.7); // the same once more would be no other answer
    if (!(await conversation.ask(this, heat)) && !turn.answer) {
      Object.assign(turn, before);
      this.draw();
    }
  }

  /** The same request with and without what is known about the user, side by side; neither is stored. */
  async compare() {
    const { conversation, turn } = this;
    const side = (name, mode) => {
      const text = h("div", { class: "text said", dir: "auto" });
      return { mode, text, node: h("section", {}, h("h3", {}, name), text) };
    };
    const sides = [side(t("compare.without"), "off"), side(t("compare.with"), "auto")];
    const box = h("div", { class: "sides compare" }, sides.map((one) => one.node));
    const diff = h("div", {});
    put(this.beside, h("div", { class: "card" }, h("h2", {}, t("compare.title")), box, diff, button(t("close"), () => put(this.beside), { class: "quiet" })));
    const ask = async ({ mode, text }) => {
      const body = { model: await conversation.model(), messages: conversation.messages(turn), temperature: 0, attune: { personalize: mode, store: false } };
      await api.stream(body, { user: conversation.user, heard: (piece) => text.append(piece) });
    };
    try {
      await Promise.all(sides.map(ask));
      const [without, withIt] = sides.map((one) => one.text.textContent);
      put(diff, h("details", {}, h("summary", {}, t("chat.changed")), words(without, withIt)));
    } catch (error) {
      put(diff, h("p", { class: "bad", role: "alert" }, inWords(error)));
    }
  }
}

/** A thumb, drawn: not every system has a letter for it. */
const hand = (which) =>
  h(
    "svg",
    { viewBox: "0 0 24 24", width: 20, height: 20, "aria-hidden": "true", class: `hand ${which}` },
    h("path", { d: "M7 10.5v9H4v-9zM7 11l4-7c1.6 0 2.4 1 2.2 2.4L12.6 10H18c1.4 0 2.3 1.2 2 2.5l-1.3 5.2c-.3 1.1-1.2 1.8-2.3 1.8H7" }),
  );

// Another tab has sent an edit: an answer that is open here says so before anything is sent over it.
tabs.addEventListener("message", ({ data }) => {
  if (kept(`edit.${data}`) !== null) notify(t("edit.elsewhere_now"));
});
