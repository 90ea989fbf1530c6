// Texts by key from one catalogue a language, figures and dates as the reader writes them.

export const LANGUAGES = { en: "English", de: "Deutsch" };
const KEPT = "attune.language";

let texts = {};
let language = "en";
let region = "en"; // the browser's own form of the language: how it writes dates
let plural = new Intl.PluralRules("en");

/** Load the catalogue of the language chosen, else the browser's first that there is one of. */
export async function load() {
  const wanted = [localStorage.getItem(KEPT), ...navigator.languages].filter(Boolean);
  language = wanted.map((one) => one.slice(0, 2).toLowerCase()).find((one) => one in LANGUAGES) ?? "en";
  const answer = await fetch(new URL(`../locales/${language}.json`, import.meta.url));
  if (!answer.ok) throw new Error(`no texts: ${answer.status}`);
  texts = await answer.json();
  plural = new Intl.PluralRules(language);
  region = navigator.languages.find((one) => one.slice(0, 2).toLowerCase() === language) ?? language;
  document.documentElement.lang = language;
}

export const chosen = () => language;

/** Choose a language for good. */
export function choose(wanted) {
  localStorage.setItem(KEPT, wanted);
  location.reload();
}

/** The text of a key. `{name}` in it is `given.name`; with `given.count` there may be a `key.one` and a `key.other`. */
export function t(key, given = {}) {
  const form = "count" in given ? `${key}.${plural.select(given.count)}` : key;
  const text = texts[form] ?? texts[`${key}.other`] ?? texts[key];
  if (text === undefined) throw new Error(`no text for ${key}`);
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = given[name];
    return value === undefined ? whole : typeof value === "number" ? number(value) : String(value);
  });
}

/** Whether there is a text for a key: of words that come from the server. */
export const known = (key) => key in texts;

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(region, { maximumFractionDigits: digits, minimumFractionDigits: digits }).format(value);

export const percent = (share) => new Intl.NumberFormat(region, { style: "percent", maximumFractionDigits: 0 }).format(share);

/** Unix seconds as the reader's own day and time. */
export const when = (seconds) =>
  new Intl.DateTimeFormat(region, { dateStyle: "medium", timeStyle: "short" }).format(new Date(seconds * 1000));

export const clock = (seconds) =>
  new Intl.DateTimeFormat(region, { hour: "2-digit", minute: "2-digit" }).format(new Date(seconds * 1000));

export const day = (seconds) =>
  new Intl.DateTimeFormat(region, { month: "short", day: "numeric" }).format(new Date(seconds * 1000));
