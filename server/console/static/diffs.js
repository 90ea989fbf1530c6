// What an edit changed, word by word.

import { diffWordsWithSpace } from "../vendor/diff/diff/word.js";
import { h, put } from "./dom.js";
import { t } from "./i18n.js";

const PATIENCE = 150; // milliseconds of one comparison; a page that types on is worth more

/** Put the difference of two texts into `node`. Very long and very different ones are shown one after the other. */
export function show(node, before, after, same = "diff.same") {
  node.dir = "auto";
  if (before === after) return put(node, h("p", { class: "muted" }, t(same)));
  const changes = diffWordsWithSpace(before, after, { timeout: PATIENCE });
  if (!changes) {
    const whole = (tag, text) => h(tag, { dir: "auto", class: "said" }, text);
    return put(node, h("p", { class: "muted" }, t("diff.long")), whole("del", before), whole("ins", after));
  }
  return put(
    node,
    changes.map(({ value, added, removed }) => (added ? h("ins", {}, value) : removed ? h("del", {}, value) : value)),
  );
}

export const words = (before, after) => show(h("div", { class: "diff said" }), before, after, "diff.none");
