// Elements made of text. Nothing here turns text into markup: what a client chose is always a text node or an attribute's value.

export const by = (id) => document.getElementById(id);

/** An element with attributes and children; a string among them is text. `null` leaves an attribute or a child out. */
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null && child !== undefined).map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

export function svg(name, attributes = {}, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/** A way to a view of this page, and to nowhere else. */
export const link = (view, name, text, attributes = {}) => el("a", { ...attributes, href: `#${view}${name === undefined ? "" : `/${encodeURIComponent(name)}`}` }, text ?? name);

/** A table: columns are { title, number?, wide?, label?, cell(row) }; a cell is text or an element. */
export function table(columns, rows, { caption, stacking = true } = {}) {
  const head = el("tr", {}, ...columns.map((column) => el("th", { scope: "col", class: column.number ? "number" : null }, column.title)));
  const body = rows.map((row) => {
    const cells = columns.map((column) => {
      const classes = [column.number && "number", column.wide && "wide", column.class].filter(Boolean).join(" ");
      return el("td", { class: classes || null, "data-label": column.label }, column.cell(row));
    });
    return el("tr", {}, ...cells);
  });
  const made = el("table", { class: stacking ? "stacking" : null }, el("thead", {}, head), el("tbody", {}, ...body));
  if (caption) made.prepend(el("caption", { class: "unseen" }, caption));
  return made;
}

export const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const some = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** A number fit for a headline. */
export function short(value) {
  if (value >= 1e6) return `${some.format(value / 1e6)} M`;
  if (value >= 1e4) return `${some.format(value / 1e3)} k`;
  return value >= 100 ? whole.format(value) : some.format(value);
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit += 1) value /= 1024;
  return `${some.format(value)} ${units[unit]}`;
}

export const milliseconds = (value) => (value === null || value === undefined ? "–" : value >= 1000 ? `${some.format(value / 1000)} s` : value >= 1 ? `${some.format(value)} ms` : `${some.format(value * 1000)} µs`);

export function span(seconds) {
  if (seconds < 60) return `${some.format(seconds)} s`;
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  return [days && `${days} d`, hours && `${hours} h`, !days && minutes && `${minutes} min`].filter(Boolean).join(" ");
}

/** The time of day; with the date when it is not today. */
export function clock(ms) {
  const time = new Date(ms);
  const day = time.toDateString() === new Date().toDateString() ? "" : `${time.toISOString().slice(0, 10)} `;
  return `${day}${time.toTimeString().slice(0, 8)}`;
}

/** Says that there is nothing, in the place of something. */
export const nothing = (text) => el("p", { class: "muted" }, text);
