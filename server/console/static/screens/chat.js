// Chat: a conversation of this tab, each answer of which can be edited where it stands.

import * as api from "../api.js";
import { button, field, fill, h, put } from "../dom.js";
import { t } from "../i18n.js";
import { empty, inWords } from "../parts.js";
import { keep, kept, link, may, session, user } from "../state.js";
import { Answer } from "./answer.js";

export const needsUser = true;
const MODES = ["auto", "retrieval", "adapter", "off"];

export async function render(screen, { alive }) {
  const conversation = new Conversation(screen, user(), alive);
  await conversation.open();
}

class Conversation {
  constructor(screen, name, alive) {
    this.screen = screen;
    this.user = name;
    this.alive = alive;
    this.slot = `chat.${name}`;
    this.turns = kept(this.slot) ?? []; // {request, answer, id, attune, edited, feedback, waits, thumb, finish}
    this.options = { mode: "auto", temperature: 0, system: "", ...kept("chat.options") };
    this.list = h("ol", { class: "talk", "aria-label": t("chat.talk") });
    this.running = null;
  }

  async open() {
    this.input = h("textarea", { rows: 3, placeholder: t("chat.placeholder"), "aria-label": t("chat.message"), dir: "auto" });
    this.input.value = kept(`${this.slot}.draft`) ?? "";
    this.input.addEventListener("input", () => keep(`${this.slot}.draft`, this.input.value || null));
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.submit();
    });
    this.send = h("button", { class: "primary", type: "submit" }, t("chat.send"));
    this.stop = button(t("chat.stop"), () => this.running?.abort(), { hidden: true });
    this.told = h("p", { role: "alert", class: "bad" });
    this.pause = h("p", { class: "away calm", role: "status", hidden: true }, t("pause.chat"), " ", may("data") && h("a", { href: link("data") }, t("nav.data")));
    const form = h("form", { class: "composer" }, this.input, this.told);
    const clear = button(t("chat.new"), () => this.clear(), { class: "quiet" });
    fill(form, h("div", { class: "actions" }, this.send, this.stop, clear, h("small", { class: "muted wide" }, t("chat.keys"))), this.settings());
    form.addEventListener("submit", (event) => (event.preventDefault(), this.submit()));
    put(this.screen, h("h1", { class: "unseen" }, t("nav.chat")), this.list, this.pause, form);
    this.draw();
    await this.look();
    window.scrollTo(0, document.body.scrollHeight);
  }

  /** Whether learning is paused: then an answer is not held, and there is nothing to edit. */
  async look() {
    if (!may("data")) return;
    const held = await api.get(`users/${api.part(this.user)}`).catch(() => null); // a new name, or a server that is away
    this.paused = Boolean(held?.paused);
    this.pause.hidden = !this.paused;
  }

  settings() {
    const option = (name, input, read) => {
      input.addEventListener("change", () => {
        this.options[name] = read(input);
        keep("chat.options", this.options);
      });
      return input;
    };
    const mode = option("mode", h("select", {}, MODES.map((one) => h("option", { value: one, selected: one === this.options.mode }, t(`mode.${one}`)))), (input) => input.value);
    const heat = option("temperature", h("input", { type: "number", min: 0, max: 2, step: 0.1, value: this.options.temperature }), (input) => Math.min(2, Math.max(0, input.valueAsNumber || 0)));
    const system = option("system", h("textarea", { rows: 2, dir: "auto", value: this.options.system }), (input) => input.value);
    return h(
      "details",
      { class: "settings" },
      h("summary", {}, t("chat.settings")),
      h("div", { class: "grid" }, field(t("chat.mode"), mode), field(t("chat.temperature"), heat), field(t("chat.system"), system)),
    );
  }

  clear() {
    this.running?.abort();
    this.turns = [];
    this.save();
    this.draw();
    this.input.focus();
  }

  save() {
    keep(this.slot, this.turns.length ? this.turns.slice(-40) : null);
  }

  draw() {
    this.answers = this.turns.map((turn) => new Answer(this, turn));
    put(this.list, this.answers.map((answer) => answer.node));
    if (!this.turns.length) put(this.list, h("li", {}, this.welcome()));
    this.mark();
  }

  /** What only the last answer offers. */
  mark() {
    this.answers.forEach((answer, number) => answer.isLast(number === this.answers.length - 1));
  }

  welcome() {
    const samples = ["email", "summary", "note"].map((name) =>
      button(t(`chat.sample.${name}.name`), () => {
        this.input.value = t(`chat.sample.${name}`);
        this.input.dispatchEvent(new Event("input"));
        this.input.focus();
      }, { class: "chip" }),
    );
    return empty(t("chat.empty_title"), t("chat.empty_text"), h("div", { class: "chips" }, samples));
  }

  async submit() {
    const text = this.input.value;
    if (!text.trim() || this.running) return this.input.focus();
    const turn = { request: text, answer: "", id: null, attune: null };
    if (!this.turns.length) put(this.list);
    this.turns.push(turn);
    this.answers.push(new Answer(this, turn));
    this.list.append(this.answers.at(-1).node);
    this.input.value = "";
    this.mark();
    const done = await this.ask(this.answers.at(-1));
    if (done) keep(`${this.slot}.draft`, null);
    else if (!turn.answer) this.takeBack(turn, text);
  }

  /** The server did not answer: what was typed is in the field again. */
  takeBack(turn, text) {
    this.turns.splice(this.turns.indexOf(turn), 1);
    this.draw();
    if (!this.input.value) this.input.value = text;
    this.input.focus();
  }

  /** The conversation up to a turn, as the API takes it; an edited answer stands as it was really used. */
  messages(turn) {
    const before = this.turns.slice(0, this.turns.indexOf(turn));
    const said = before.flatMap((one) => [
      { role: "user", content: one.request },
      { role: "assistant", content: one.edited ?? one.answer },
    ]);
    const system = this.options.system.trim() ? [{ role: "system", content: this.options.system }] : [];
    return [...system, ...said, { role: "user", content: turn.request }];
  }

  async model() {
    session.model ||= (await api.get("models")).data[0].id;
    return session.model;
  }

  /** Stream an answer into `answer`; whether it came. */
  async ask(answer, temperature = this.options.temperature) {
    this.running = new AbortController();
    const { turn } = answer;
    turn.stored = this.options.mode !== "off" && !this.paused; // feedback is for answers that are held
    this.busy(true);
    put(this.told);
    try {
      const body = { model: await this.model(), messages: this.messages(turn), temperature, attune: { personalize: this.options.mode } };
      const got = await api.stream(body, { user: this.user, signal: this.running.signal, heard: (piece, id) => answer.hear(piece, id) });
      Object.assign(turn, got);
      return true;
    } catch (error) {
      if (error.name !== "AbortError") put(this.told, inWords(error));
      turn.finish = "stopped";
      return error.name === "AbortError" && Boolean(turn.answer);
    } finally {
      this.running = null;
      this.busy(false);
      this.save();
      answer.draw();
      this.mark();
    }
  }

  busy(is) {
    this.send.disabled = is;
    this.stop.hidden = !is;
    this.list.setAttribute("aria-busy", String(is));
  }
}
