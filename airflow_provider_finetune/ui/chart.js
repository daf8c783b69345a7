// A line chart in SVG: axes, smoothing, a logarithmic scale, marks, and a cross-hair for pointer and keyboard.
import { fill, h, s } from "./dom.js";

const HEIGHT = 230, LEFT = 52, RIGHT = 14, TOP = 16, BOTTOM = 26;
const FEW = 40; // points that are shown as dots, too, and not smoothed

/**
 * A chart. Returns its `element`, and `update(data)`, `point(step or null)` and `stop()`.
 *
 * data: x (steps, ascending), from and to (the range of steps), lines [{label, colour, y}], marks [{x, label, best}],
 * log, smoothing (0 to 1). `onPoint(step or null)` is called when somebody points at a step.
 */
export function lineChart({ name, words, onPoint }) {
  const svg = s("svg", { class: "ft-chart", role: "img" });
  const slider = h("input", { type: "range", class: "ft-cursor", min: 0, step: 1, "aria-label": words("cursor", { name }) });
  const legend = h("ul", { class: "ft-legend" });
  const at = h("p", { class: "ft-at" });
  const plot = h("div", { class: "ft-plot" }, svg, slider);
  const element = h("div", {}, plot, h("div", { class: "ft-readout" }, legend, at));
  let data = null, scale = null, pointed = null;

  const watching = new ResizeObserver(() => data && scale?.width !== width() && draw());
  watching.observe(plot);
  const width = () => Math.max(240, Math.round(plot.clientWidth || 600));

  svg.addEventListener("pointermove", (event) => {
    const x = event.clientX - svg.getBoundingClientRect().left;
    onPoint(data.x[nearest(data.x, scale.step(x))]);
  });
  svg.addEventListener("pointerleave", () => onPoint(null));
  slider.addEventListener("input", () => onPoint(data.x[slider.value]));
  slider.addEventListener("focus", () => onPoint(data.x[slider.value]));
  slider.addEventListener("blur", () => onPoint(null));

  function update(next) {
    data = next;
    slider.max = data.x.length - 1;
    if (pointed === null) slider.value = data.x.length - 1;
    draw();
  }

  function draw() {
    scale = scaleOf(data, width());
    const { x, lines, marks, log, smoothing } = data;
    const { px, py } = scale;
    svg.setAttribute("width", scale.width);
    svg.setAttribute("height", HEIGHT);
    svg.setAttribute("aria-label", `${name}. ${lines.map((line) => described(line, x, words)).join(". ")}`);
    const grid = scale.yTicks.flatMap((tick) => [
      s("line", { class: "ft-grid", x1: LEFT, x2: scale.width - RIGHT, y1: py(tick), y2: py(tick) }),
      s("text", { class: "ft-tick", x: LEFT - 8, y: py(tick) + 4, "text-anchor": "end" }, words.number(tick)),
    ]);
    const axis = s("line", { class: "ft-axis", x1: LEFT, x2: scale.width - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM });
    const steps = scale.xTicks.map((tick) =>
      s("text", { class: "ft-tick", x: px(tick), y: HEIGHT - 6, "text-anchor": "middle" }, words.number(tick)));
    const flags = marks.map((mark) => s("g", { class: mark.best ? "ft-mark ft-best" : "ft-mark" },
      s("title", {}, mark.label),
      s("line", { x1: px(mark.x), x2: px(mark.x), y1: TOP, y2: HEIGHT - BOTTOM }),
      s("path", { d: `M${px(mark.x)} ${TOP}l-4 -6h8z` }),
      mark.best && s("text", { x: px(mark.x) - 7, y: TOP - 3, "text-anchor": "end" }, words("best_one"))));
    const curves = lines.flatMap((line) => {
      const points = known(x, line.y, log);
      if (points.length <= FEW) {
        return [curve(points, line, scale), ...points.map(([step, value]) =>
          s("circle", { class: "ft-dot", "--c": line.colour, cx: px(step), cy: py(value), r: 2.5 }))];
      }
      if (!smoothing) return [curve(points, line, scale)];
      return [curve(points, line, scale, "ft-faint"), curve(smoothed(points, smoothing), line, scale)];
    });
    fill(svg, grid, axis, steps, flags, curves, s("g", { class: "ft-hair" }));
    point(pointed);
  }

  function point(step) {
    pointed = step;
    const { x, lines, log } = data;
    const index = step === null ? x.length - 1 : nearest(x, step);
    const hair = svg.querySelector(".ft-hair");
    const read = lines.map((line) => ({ ...line, row: lastKnown(line.y, index) }));
    fill(legend, read.map(({ label, colour, y, row }) =>
      h("li", { "--c": colour }, label, " ", h("b", {}, row === null ? "–" : words.number(y[row])))));
    fill(at, `${words("step")} ${words.number(x[index])}`);
    if (step === null) return fill(hair);
    slider.value = index;
    slider.setAttribute("aria-valuetext", [at.textContent, ...[...legend.children].map((item) => item.textContent)].join(", "));
    const across = scale.px(x[index]);
    return fill(hair, s("line", { x1: across, x2: across, y1: TOP, y2: HEIGHT - BOTTOM }),
      read.filter(({ y, row }) => row !== null && (!log || y[row] > 0)).map(({ colour, y, row }) =>
        s("circle", { "--c": colour, cx: scale.px(x[row]), cy: scale.py(y[row]), r: 4 })));
  }

  return { element, update, point, stop: () => watching.disconnect() };
}

function scaleOf({ x, from, to, lines, log }, width) {
  const range = to > from ? [from, to] : [from - 1, to + 1];
  let low = Infinity, high = -Infinity;
  for (const { y } of lines) {
    for (const value of y) {
      if (value === null || value === undefined || (log && value <= 0)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low > high) [low, high] = log ? [0.1, 1] : [0, 1];
  if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
  const f = log ? Math.log10 : (value) => value;
  const pad = (f(high) - f(low)) * 0.06;
  const bottom = f(low) - pad, top = f(high) + pad;
  const inner = width - LEFT - RIGHT, tall = HEIGHT - TOP - BOTTOM;
  const yTicks = log ? decades(low, high) : ticks(bottom, top, 5);
  return {
    width, yTicks,
    xTicks: ticks(...range, Math.max(2, Math.floor(inner / 70))).filter(Number.isInteger),
    px: (step) => LEFT + ((step - range[0]) / (range[1] - range[0])) * inner,
    py: (value) => TOP + (1 - (f(value) - bottom) / (top - bottom)) * tall,
    step: (px) => range[0] + ((px - LEFT) / inner) * (range[1] - range[0]),
  };
}

const curve = (points, { colour }, { px, py }, also = "") => {
  let d = "";
  for (const [step, value] of points) d += `${d ? "L" : "M"}${px(step).toFixed(1)} ${py(value).toFixed(1)}`;
  return s("path", { class: `ft-line ${also}`, "--c": colour, d });
};

/** The points of a line. Where a value is missing the line goes on: many are measured every tenth step only. */
function known(x, y, log) {
  const points = [];
  for (let i = 0; i < x.length; i++) {
    if (typeof y[i] === "number" && (!log || y[i] > 0)) points.push([x[i], y[i]]);
  }
  return points;
}

/** The exponential moving average, without a pull towards the start; a step that was left out counts as time. */
function smoothed(points, weight) {
  const usual = (points[points.length - 1][0] - points[0][0]) / (points.length - 1);
  let sum = 0, mass = 0, before = points[0][0] - usual;
  return points.map(([step, value]) => {
    const kept = weight ** ((step - before) / usual);
    before = step;
    sum = sum * kept + value * (1 - kept);
    mass = mass * kept + (1 - kept);
    return [step, sum / mass];
  });
}

function described({ label, y }, x, words) {
  const row = lastKnown(y, y.length - 1);
  let low = Infinity, high = -Infinity;
  for (const value of y) if (typeof value === "number") [low, high] = [Math.min(low, value), Math.max(high, value)];
  const [value, step] = row === null ? [null, null] : [words.number(y[row]), words.number(x[row])];
  return words("latest_lowest", { name: label, value, step, low: words.number(low), high: words.number(high) });
}

function ticks(from, to, about) {
  const raw = (to - from) / about, power = 10 ** Math.floor(Math.log10(raw));
  const width = [1, 2, 5, 10].map((m) => m * power).find((m) => m >= raw * 0.999);
  const found = [];
  for (let n = Math.ceil(from / width - 1e-9); n * width <= to + width * 1e-9; n++) found.push(Number((n * width).toPrecision(12)));
  return found;
}

/** The ticks of a logarithmic scale: 1, 2, 5 of each decade, or 1 of many; evenly in a part of one. */
function decades(low, high) {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const found = [];
  for (let e = first; e <= last; e++) for (const m of last - first > 4 ? [1] : [1, 2, 5]) found.push(Number((m * 10 ** e).toPrecision(3)));
  const inside = found.filter((tick) => tick >= low * 0.9 && tick <= high * 1.1);
  return inside.length > 2 ? inside : ticks(low, high, 4).filter((tick) => tick > 0);
}

function nearest(x, step) {
  let low = 0, high = x.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x[middle] < step) low = middle + 1;
    else high = middle;
  }
  return low > 0 && step - x[low - 1] < x[low] - step ? low - 1 : low;
}

function lastKnown(y, from) {
  for (let i = from; i >= 0; i--) if (typeof y[i] === "number") return i;
  return null;
}
