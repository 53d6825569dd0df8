// A small plot of the last while: one or two lines, the value of now, and of any moment that is pointed at.

import { clock, el, svg } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 74;

/** `lines` are { pick(point), name?, two? }; `show` writes a value. The plot is told its points by `draw`. */
export function plot(title, lines, show, { max } = {}) {
  const now = el("p", { class: "now" });
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  const [left, right] = [el("span"), el("span")];
  const figure = el("figure", { class: "card plot" }, el("header", {}, el("h2", {}, title), now), drawing, el("footer", {}, left, right));
  let points = [];
  let from = 0;
  let to = 1;
  const x = (point) => ((point.at_ms - from) / (to - from)) * WIDTH;
  const said = (point) => lines.map((line) => `${line.name ? `${line.name} ` : ""}${show(line.pick(point) ?? null)}`).join(", ");

  const point_at = (event) => {
    const box = drawing.getBoundingClientRect();
    const at = from + ((event.clientX - box.left) / box.width) * (to - from);
    return points.reduce((best, point) => (Math.abs(point.at_ms - at) < Math.abs((best?.at_ms ?? Infinity) - at) ? point : best), undefined);
  };
  const hand = svg("line", { class: "hand", y1: 0, y2: HEIGHT });
  const rest = () => {
    hand.remove();
    const top = points.length > 0 ? `max ${show(Math.max(...points.flatMap((point) => lines.map((line) => line.pick(point) ?? 0))))}` : "";
    [left.textContent, right.textContent] = [points.length > 0 ? clock(from).slice(-8, -3) : "no figures yet", top];
  };
  drawing.addEventListener("pointermove", (event) => {
    const point = point_at(event);
    if (!point) return;
    hand.setAttribute("x1", x(point));
    hand.setAttribute("x2", x(point));
    drawing.append(hand);
    [left.textContent, right.textContent] = [clock(point.at_ms).slice(-8), said(point)];
  });
  drawing.addEventListener("pointerleave", rest);

  const draw = (all, begin, end) => {
    [points, from, to] = [all.filter((point) => point.at_ms >= begin), begin, Math.max(end, begin + 1)];
    const top = Math.max(max ?? 0, ...points.flatMap((point) => lines.map((line) => line.pick(point) ?? 0))) || 1;
    const y = (value) => HEIGHT - 2 - (value / top) * (HEIGHT - 8);
    drawing.replaceChildren(svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT - 1, y2: HEIGHT - 1 }));
    for (const line of lines) {
      // A moment without a value breaks the line.
      const parts = [[]];
      for (const point of points) {
        const value = line.pick(point);
        if (value === null || value === undefined) parts.push([]);
        else parts.at(-1).push([x(point).toFixed(1), y(value).toFixed(1)]);
      }
      for (const part of parts.filter((one) => one.length > 0)) {
        const path = part.map(([px, py], at) => `${at ? "L" : "M"}${px} ${py}`).join("");
        if (!line.two) drawing.append(svg("path", { class: "area", d: `${path}L${part.at(-1)[0]} ${HEIGHT - 1}L${part[0][0]} ${HEIGHT - 1}Z` }));
        drawing.append(svg("path", { class: line.two ? "line two" : "line", d: part.length > 1 ? path : `${path}l0.1 0` }));
      }
    }
    const last = points.at(-1);
    now.replaceChildren(...lines.flatMap((line) => {
      const value = last ? show(line.pick(last) ?? null) : "–";
      return line.name ? [el("span", { class: line.two ? "two" : null }, value), el("small", {}, line.name), " "] : [value];
    }));
    drawing.setAttribute("aria-label", last ? `${title}: now ${said(last)}, at most ${show(top)} since ${clock(from)}` : `${title}: no figures yet`);
    rest();
  };
  return { figure, draw };
}
