// What a task that evaluates models has to show: scores with their intervals, and each model beside the baseline.
import { copyable, fill, h, progressBar, s, state, table } from "./dom.js";

export const evaluation = {
  operators: ["EvaluateModelOperator"],
  sign: "progress",
  keys: ["progress", "return_value"],
  isOurs: (progress) => typeof progress?.asked === "number",
  build,
};

const WIDE = 160, TALL = 18;

function build(words) {
  const head = h("header", { class: "ft-head" });
  const bar = progressBar(words("answers"));
  const body = h("div", {});

  function update({ instance, values, live }) {
    const { progress, return_value: result } = values;
    const { step = 0, total_steps: total = 0, estimated_finish: expected, status } = progress ?? {};
    const kind = instance?.state === "failed" ? "bad" : status === "succeeded" ? "good" : "on";
    fill(head, h("span", { class: `ft-badge ft-is-${kind}`, role: "status" }, words.status(kind === "bad" ? "failed" : status)),
      h("span", {}, `${words("answers")}: `, words("steps", { step: words.number(step), total: words.number(total) })),
      live && expected && h("span", {}, `${words("expected")}: ${words.minute(expected)}`),
      state(instance, live, words));
    bar.show(total > 0 ? step / total : 0, kind);
    const models = known(result?.models), compared = known(result?.comparisons);
    fill(body, models.length > 0 && scores(models, result, words), compared.length > 0 && comparisons(compared, result, words));
  }
  return { element: h("div", {}, head, bar.element, body), update, stop() {} };
}

const known = (rows) => (Array.isArray(rows) ? rows.filter((row) => typeof row?.model === "string") : []);

function scores(rows, result, words) {
  const draw = scale(rows.flatMap((row) => [row.score_low, row.score_high]));
  const counts = ["errors", "empty", "ungraded"];
  const columns = [[words("model")], [words("step"), true], [words("score"), true], [words("interval", { share: result.confidence })],
    ...counts.map((name) => [words(name), true]), ["p50 / p95, s", true], [words("cost"), true]];
  const { source, examples } = result.dataset ?? {};
  return [h("p", { class: "ft-note" }, words("graded", { examples: words.number(examples), source, grader: result.grader?.name ?? result.grader?.type })),
    table(words("scores"), columns, rows.map((row) => ({
      best: row.model === result.best,
      cells: [
        [copyable(row.model, words), row.model === result.best && h("span", { class: "ft-star" }, ` ★ ${words("best_one")}`),
          row.model === result.baseline && ` (${words("baseline")})`],
        words.number(row.step), words.number(row.score), interval(row.score, row.score_low, row.score_high, draw, words),
        ...counts.map((name) => words.number(row[name])), `${words.number(row.latency_p50)} / ${words.number(row.latency_p95)}`, words.number(row.cost)],
    })))];
}

function comparisons(rows, result, words) {
  const draw = scale(rows.flatMap((row) => [row.difference_low, row.difference_high]));
  const counts = ["wins", "losses", "ties"];
  const columns = [[words("model")], ...counts.map((name) => [words(name), true]), [words("difference"), true],
    [words("interval", { share: result.confidence })], [words("p_value"), true]];
  return [
    table(words("against", { name: result.baseline }), columns, rows.map((row) => ({ cells: [
      h("code", {}, row.model), ...counts.map((name) => words.number(row[name])), words.number(row.difference),
      interval(row.difference, row.difference_low, row.difference_high, draw, words), words.number(row.p_value)] }))),
    rows.filter((row) => row.differ_most?.length > 0).map((row) => [
      table(words("differ_most", { name: row.model }), [[words("line")], [words("score"), true], [words("baseline"), true]],
        row.differ_most.map((one) => ({ cells: [one.line, one.grade, one.baseline_grade].map(words.number) }))),
      result.report && h("p", { class: "ft-note" }, words("texts_in", { report: result.report })),
    ]),
  ];
}

/** The place of a value on the scale that all rows share; 0 is always on it. */
function scale(values) {
  const known = [0, ...values.filter(Number.isFinite)];
  const low = Math.min(...known), high = Math.max(...known);
  return (value) => 4 + ((WIDE - 8) * (value - low)) / (high - low || 1);
}

function interval(value, low, high, at, words) {
  if (![value, low, high].every(Number.isFinite)) return "–";
  const told = `${words.number(low)} – ${words.number(high)}`;
  return h("span", { class: "ft-interval" }, s("svg", { width: WIDE, height: TALL, "aria-hidden": "true" },
    s("line", { class: "ft-grid", x1: at(0), x2: at(0), y1: 0, y2: TALL }),
    s("line", { class: "ft-span", x1: at(low), x2: at(high), y1: TALL / 2, y2: TALL / 2 }),
    s("circle", { class: "ft-dot", "--c": "var(--ft-1)", cx: at(value), cy: TALL / 2, r: 4 })), told);
}
