// Figures as pictures: lines over time with markers, means with intervals. SVG, so that styles and readers reach them.

import { h } from "./dom.js";
import { t } from "./i18n.js";

const narrow = matchMedia("(max-width: 52rem)");
const TALL = 240;
const EDGE = { left: 44, right: 12, top: 14, bottom: 28 };

/** Round steps that divide 0 to `top`. */
export function ticks(top, count = 4) {
  if (!(top > 0)) return [0, 1];
  const raw = top / count;
  const scale = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * scale).find((one) => one >= raw * 0.999);
  const found = [];
  for (let value = 0; value < top + step * 0.999; value += step) found.push(Number(value.toPrecision(10)));
  return found;
}

/**
 * Lines over one axis. `series` are `{name, values, kind}` of one length; `labels` name the positions; `marks` are
 * `{at, text, kind}` with `at` a position that may lie between two. `wide` is about its width on the page, so that its
 * texts are as large as others.
 */
export function lines({ title, series, labels, marks = [], top = null, shown = (value) => value, wide = 820 }) {
  const width = narrow.matches ? 360 : wide;
  const count = Math.max(labels.length, 2);
  const steps = ticks(top ?? Math.max(...series.flatMap((one) => one.values), 0));
  const highest = steps.at(-1);
  const x = (at) => EDGE.left + (at / (count - 1)) * (width - EDGE.left - EDGE.right);
  const y = (value) => TALL - EDGE.bottom - (Math.min(value, highest) / highest) * (TALL - EDGE.top - EDGE.bottom);
  const every = Math.ceil(labels.length / (width < 600 ? 4 : 6));
  const picture = h(
    "svg",
    { viewBox: `0 0 ${width} ${TALL}`, role: "img", "aria-label": title, class: "chart" },
    steps.map((step) => [
      h("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y(step), y2: y(step), class: "grid" }),
      h("text", { x: EDGE.left - 8, y: y(step) + 4, class: "tick end" }, shown(step)),
    ]),
    labels.map(
      (label, at) =>
        at % every === 0 &&
        h("text", { x: x(at), y: TALL - 8, class: `tick ${at === 0 ? "start" : at === labels.length - 1 ? "end" : "middle"}` }, label),
    ),
    marks.map(({ at, text, kind }) =>
      h("g", { class: `mark ${kind}` }, h("title", {}, text), h("line", { x1: x(at), x2: x(at), y1: EDGE.top - 4, y2: y(0) }), h("circle", { cx: x(at), cy: EDGE.top - 5, r: 5 })),
    ),
    series.map(({ values, kind }) =>
      h(
        "g",
        { class: `series ${kind}` },
        h("polyline", { points: values.map((value, at) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ") }),
        values.length <= 60 &&
          values.map((value, at) => h("circle", { cx: x(at), cy: y(value), r: width < 600 ? 2 : 3 }, h("title", {}, `${labels[at]}: ${shown(value)}`))),
      ),
    ),
  );
  const legend =
    (series.length > 1 || marks.length > 0) &&
    h(
      "ul",
      { class: "legend" },
      series.map(({ name, kind }) => h("li", {}, h("i", { class: `key ${kind}` }), name)),
      ["preference", "adapter"]
        .filter((kind) => marks.some((mark) => mark.kind === kind))
        .map((kind) => h("li", {}, h("i", { class: `key dot ${kind}` }), t(`mark.${kind}`))),
    );
  return h("figure", { class: "figure" }, h("figcaption", {}, title), picture, legend);
}

/** Means with their intervals, one below the other; `rows` are `{name, value, low, high, kind}`. Zero has a line. */
export function intervals({ title, rows, shown }) {
  const tall = 34 * rows.length + 34;
  const width = narrow.matches ? 360 : 820;
  const left = narrow.matches ? 120 : 170;
  const least = Math.min(0, ...rows.map((row) => row.low));
  const most = Math.max(0, ...rows.map((row) => row.high));
  const span = most - least || 1;
  const x = (value) => left + ((value - least) / span) * (width - left - 75);
  const marked = [...new Set([least, 0, most])];
  return h(
    "figure",
    { class: "figure" },
    h("figcaption", {}, title),
    h(
      "svg",
      { viewBox: `0 0 ${width} ${tall}`, role: "img", "aria-label": title, class: "chart intervals" },
      h("line", { x1: x(0), x2: x(0), y1: 4, y2: tall - 24, class: "zero" }),
      marked.map((value) => h("text", { x: x(value), y: tall - 6, class: "tick middle" }, shown(value))),
      rows.map((row, number) => {
        const y = 22 + number * 34;
        return h(
          "g",
          { class: `interval ${row.kind ?? ""}` },
          h("title", {}, `${row.name}: ${shown(row.value)} (${shown(row.low)} – ${shown(row.high)})`),
          h("text", { x: left - 16, y: y + 4, class: "tick end" }, row.name),
          h("line", { x1: x(row.low), x2: x(row.high), y1: y, y2: y }),
          h("circle", { cx: x(row.value), cy: y, r: 5 }),
          h("text", { x: width - 45, y: y + 4, class: "tick start" }, shown(row.value)),
        );
      }),
    ),
  );
}

/** Weights over time as small bars, up for and down against. */
export function bars(weights, title) {
  const wide = Math.min(weights.length, 24) * 7;
  return h(
    "svg",
    { viewBox: `0 0 ${Math.max(wide, 7)} 24`, width: Math.max(wide, 7), height: 24, role: "img", "aria-label": title, class: "bars" },
    h("title", {}, title),
    weights.slice(-24).map((weight, at) => {
      const tall = Math.max(2, Math.min(11, Math.abs(weight) * 7));
      return h("rect", { x: at * 7, width: 5, y: weight > 0 ? 12 - tall : 12, height: tall, class: weight > 0 ? "for" : "against" });
    }),
  );
}
