// Elements from plain values. Texts become text nodes and nothing here parses HTML: what people or models write is data.

const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set(["svg", "g", "path", "line", "circle", "rect", "text", "polyline", "title", "desc"]);

/** An element: `h("p", {class: "note", onclick: f}, "text", child, [more])`. Null and false children are left out. */
export function h(tag, props = {}, ...children) {
  const node = DRAWN.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  fill(node, ...children);
  return node;
}

/** Add children to a node. */
export function fill(node, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

/** Put children in the place of what a node has. */
export function put(node, ...children) {
  node.replaceChildren();
  return fill(node, ...children);
}

/** A text that a person or a model wrote: its own direction, its own lines. */
export const said = (text, props = {}) => h("span", { dir: "auto", ...props, class: `said ${props.class ?? ""}` }, text);

/** A button. It is off while what it does is under way, so that it is done once. */
export function button(label, act, props = {}) {
  const made = h("button", { type: "button", ...props }, label);
  made.addEventListener("click", async (event) => {
    if (made.getAttribute("aria-busy") === "true") return;
    made.setAttribute("aria-busy", "true");
    try {
      await act(event);
    } finally {
      made.removeAttribute("aria-busy");
    }
  });
  return made;
}

let ids = 0;

/** A field with its label above it. */
export function field(label, input, hint) {
  input.id ||= `f${++ids}`;
  if (hint) input.setAttribute("aria-describedby", `${input.id}-hint`);
  return h(
    "div",
    { class: "field" },
    h("label", { for: input.id }, label),
    input,
    hint && h("small", { id: `${input.id}-hint` }, hint),
  );
}

/** `wait` milliseconds after the last call, once. */
export function settled(wait, act) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...given), wait);
  };
}

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
