// Values: wishes that a user states for every answer, how far each shall go, and whether it counts just now.

import * as api from "../api.js";
import { button, field, fill, h, put, said } from "../dom.js";
import { t } from "../i18n.js";
import { badge, inWords, notify } from "../parts.js";
import { user } from "../state.js";

const DIMENSIONS = ["style", "background_knowledge", "informativeness", "harmlessness"];
const STEPS = 5; // strengths that the server puts in different words

export async function values(section) {
  const path = `users/${api.part(user())}/values`;
  let held = [];
  try {
    held = (await api.get(path)).values;
  } catch (error) {
    if (error.status !== 404) throw error;
  }
  const list = h("ul", { class: "rows" });
  const draw = () => put(list, held.length ? held.map(row) : h("li", { class: "muted" }, t("values.none")));
  let last = Promise.resolve();
  /** Store `change(held)`, one change after the other; what was held before, or null where it was refused. */
  const save = (change, { quiet = false } = {}) =>
    (last = last.then(async () => {
      const before = held;
      try {
        held = (await api.put(path, { values: change(before) })).values;
        if (!quiet) draw();
        return before;
      } catch (error) {
        notify(inWords(error));
        draw();
        return null;
      }
    }));
  const row = (value, number) => {
    const set = (fields) => save((all) => all.map((one, other) => (other === number ? { ...one, ...fields } : one)), { quiet: true });
    const wish = h("div", { class: "grow" }, said(value.preference), value.description && h("small", { class: "muted" }, " ", said(value.description)));
    const look = (masked) => wish.classList.toggle("masked", masked);
    const masked = h("input", { type: "checkbox", checked: Boolean(value.masked) });
    masked.addEventListener("change", () => (look(masked.checked), set({ masked: masked.checked })));
    look(masked.checked);
    const remove = button(t("preferences.delete"), async () => {
      const before = await save((all) => all.filter((_, other) => other !== number));
      if (before) notify(t("values.deleted"), () => save(() => before));
    }, { class: "quiet" });
    return h(
      "li",
      {},
      h("div", { class: "line" }, wish, h("span", { class: "badges" }, badge(t(`dimension.${value.dimension}`)), value.subdimension && badge(said(value.subdimension)))),
      h("div", { class: "actions strengths" }, strength(value.strength, (wanted) => set({ strength: wanted }), value.preference).node, h("label", { class: "check" }, masked, t("values.masked")), remove),
    );
  };
  draw();
  put(section, h("h2", {}, t("values.title")), h("p", { class: "muted" }, t("values.lead")), list, form(save));
}

/** A strength in [0, 1] as one of the steps that differ in words; null, a plain wish, is the first. */
function strength(value, changed, of = "") {
  const step = typeof value === "number" ? Math.max(1, Math.ceil(value * STEPS)) : 0;
  const input = h("input", { type: "range", min: 0, max: STEPS, step: 1 });
  input.value = step;
  if (of) input.setAttribute("aria-label", t("values.strength_of", { wish: of }));
  const told = h("output", { class: "muted" });
  const wanted = () => (input.valueAsNumber ? input.valueAsNumber / STEPS : null);
  const say = () => {
    const words = t(`strength.${input.value}`);
    put(told, words);
    input.setAttribute("aria-valuetext", words);
  };
  input.addEventListener("input", say);
  input.addEventListener("change", () => changed(wanted()));
  say();
  const box = h("div", { class: "strength" }, of && h("span", { class: "muted", "aria-hidden": "true" }, t("values.strength")), input, told);
  if (of) return { node: box, wanted, say };
  input.id = "strength";
  return { node: h("div", { class: "field" }, h("label", { for: input.id }, t("values.strength")), box), wanted, say };
}

function form(save) {
  const dimension = h("select", {}, DIMENSIONS.map((one) => h("option", { value: one }, t(`dimension.${one}`))));
  const preference = h("input", { required: true, maxlength: 400, dir: "auto" });
  const description = h("input", { maxlength: 2000, dir: "auto" });
  const far = strength(null, () => {});
  const made = h("form", { class: "inline wrap" });
  fill(made, field(t("values.dimension"), dimension), field(t("values.preference"), preference), field(t("values.description"), description), far.node, h("button", {}, t("values.add")));
  made.addEventListener("reset", () => setTimeout(far.say));
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    const value = { dimension: dimension.value, preference: preference.value };
    if (description.value.trim()) value.description = description.value;
    if (far.wanted() !== null) value.strength = far.wanted();
    if (await save((all) => [...all, value])) made.reset();
  });
  return made;
}
