// What a task that creates, waits for or steers a fine-tuning job has to show.
import { lineChart } from "./chart.js";
import { copyable, fill, h, link, progressBar, state, table } from "./dom.js";
import { metricOf } from "./words.js";

export const training = {
  operators: ["CreateFineTuningJobOperator", "FineTuningJobSensor", "PauseFineTuningJobOperator",
    "ResumeFineTuningJobOperator", "CancelFineTuningJobOperator"],
  /** Without this XCom there is nothing to show yet. */
  sign: "progress",
  keys: ["progress", "metrics", "events", "checkpoints", "best_checkpoint", "job_link"],
  /** Whether a task is one whatever its operator is called, by its XCom `progress`. */
  isOurs: (progress) => typeof progress?.job_id === "string",
  build,
};

const OVER = new Set(["succeeded", "failed", "cancelled"]);
const COLOURS = { train: "var(--ft-1)", valid: "var(--ft-2)", full_valid: "var(--ft-3)" };
const PARTS = ["train", "valid", "full_valid", undefined];
const CHARTS = ["loss", "accuracy", "reward"];

/** The page: its `element`, `update({instance, values, live, version})` and `stop()`. */
function build(words) {
  const head = h("header", { class: "ft-head" });
  const bar = progressBar(words("progress"));
  const trouble = h("div", {});
  const tiles = h("dl", { class: "ft-tiles" });
  const curves = charts(words);
  const checkpoints = h("div", {});
  const events = h("div", {});
  const job = h("div", {});
  const element = h("div", {}, head, bar.element, trouble, tiles, curves.element, checkpoints, h("div", { class: "ft-two" }, events, job));

  // A part is made anew only when it has changed: nobody loses the place they read, or a selection.
  const shown = new Map();
  const part = (node, about, make) => {
    const before = shown.get(node);
    if (before && about.every((value, i) => value === before[i])) return;
    shown.set(node, about);
    fill(node, make());
  };

  function update({ instance, values, live, version }) {
    const { metrics, job_link: url } = values;
    const progress = values.progress ?? {};
    const found = list(values.checkpoints ?? progress.checkpoints).filter((row) => typeof row?.step === "number");
    const best = values.best_checkpoint ?? progress.best_checkpoint;
    part(head, [values.progress, url, instance?.state, instance?.try_number], () => heading(progress, url, instance, live, words));
    bar.show(share(progress), kind(progress.status));
    part(trouble, [values.progress, metrics, instance?.state, version, live], () => notes(progress, metrics, instance, live, version, words));
    part(tiles, [values.progress, best], () => figures(progress, best, words));
    part(curves.element, [metrics, values.progress, values.checkpoints, live], () => curves.show(metrics, progress, found, best, live));
    part(checkpoints, [values.checkpoints, values.progress, best], () => checkpointTable(found, best, words));
    part(events, [values.events], () => log(list(values.events), words));
    part(job, [values.progress], () => details(progress, words));
  }
  return { element, update, stop: curves.stop };
}

const list = (value) => (Array.isArray(value) ? value : []);
const kind = (status) => (status === "succeeded" ? "good" : status === "failed" ? "bad" : status === "cancelled" || status === "paused" ? "off" : "on");

function share({ status, step, total_steps: total }) {
  if (status === "succeeded") return 1;
  return step >= 0 && total > 0 ? Math.min(1, step / total) : null;
}

function heading(progress, url, instance, live, words) {
  return [
    progress.status && h("span", { class: `ft-badge ft-is-${kind(progress.status)}`, role: "status" }, words.status(progress.status)),
    progress.job_id && copyable(progress.job_id, words),
    link(url, words("vendor_page")),
    state(instance, live, words),
  ];
}

function notes(progress, metrics, instance, live, version, words) {
  const said = [];
  const { error, status } = progress;
  if (error) said.push(h("p", { class: "ft-alert ft-is-bad" }, h("b", {}, words("error"), error.code ? ` ${error.code}` : ""), " ", error.message ?? ""));
  if (!live && status && !OVER.has(status)) said.push(h("p", { class: "ft-alert" }, words("went_on", { status: words.status(status) })));
  if (!list(metrics?.step).length && typeof metrics !== "string") {
    const early = live && /^(2\.|3\.[012]\.)/.test(version ?? "");
    const why = early ? "at_end" : live ? "soon" : OVER.has(status) ? "without" : null;
    if (why) said.push(h("p", { class: "ft-note" }, words(why, { version })));
  }
  return said;
}

function figures(progress, best, words) {
  const { step, total_steps: total, status, estimated_finish: expected, created_at: begun, finished_at: ended } = progress;
  const tile = (name, value, more) => h("div", {}, h("dt", {}, name), h("dd", {}, value, more && h("small", {}, more)));
  const losses = ["train_loss", "valid_loss"].filter((name) => typeof progress[name] === "number");
  const measured = FIRST.find((name) => typeof best?.[name] === "number");
  return [
    typeof step === "number" && tile(words("step"), words.number(step), total ? `/ ${words.number(total)}` : null),
    losses.map((name) => tile(words("latest", { name: words.metric(name) }), words.number(progress[name]))),
    measured && tile(words("best", { name: words.metric(measured) }), words.number(best[measured]), words("at_step", { step: words.number(best.step) })),
    OVER.has(status) && ended
      ? tile(words("ended"), words.minute(ended), begun && words("took", { time: words.span(ended - begun) }))
      : expected && tile(words("expected"), words.minute(expected), words.until(expected)),
  ];
}

/** The charts with their controls. */
function charts(words) {
  const element = h("div", {});
  const view = { log: localStorage.getItem("finetune.log") === "yes", smoothing: Number(localStorage.getItem("finetune.smoothing") ?? 0.6) };
  const log = h("input", { type: "checkbox", checked: view.log });
  const smooth = h("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: view.smoothing });
  const amount = h("output", {}, words.number(view.smoothing));
  const controls = h("div", { class: "ft-controls" },
    h("label", {}, log, " ", words("log")), h("label", {}, words("smoothing"), " ", smooth, " ", amount));
  const more = h("details", { class: "ft-more" });
  const shown = new Map(); // chart by name
  let redraw = () => {};
  log.addEventListener("change", () => {
    view.log = log.checked;
    localStorage.setItem("finetune.log", view.log ? "yes" : "");
    redraw();
  });
  smooth.addEventListener("input", () => {
    view.smoothing = Number(smooth.value);
    amount.textContent = words.number(view.smoothing);
    localStorage.setItem("finetune.smoothing", smooth.value);
    redraw();
  });
  const onPoint = (step) => shown.forEach(({ chart }) => chart.point(step));

  function chartFor(name, title) {
    if (!shown.has(name)) {
      const chart = lineChart({ name: title, words, onPoint });
      shown.set(name, { chart, figure: h("figure", {}, h("figcaption", {}, title), chart.element) });
    }
    return shown.get(name);
  }

  function show(metrics, progress, checkpoints, best, live) {
    const x = list(metrics?.step);
    const names = Object.keys(metrics ?? {}).filter((name) => name !== "step" && list(metrics[name]).some((value) => typeof value === "number"));
    if (!x.length || !names.length) return [];
    const total = live ? Math.max(progress.total_steps ?? 0, x[x.length - 1]) : x[x.length - 1];
    const marks = checkpoints.filter(({ step }) => step <= total).map((row) => ({
      x: row.step, best: row.step === best?.step, label: words("checkpoint_at", { step: words.number(row.step) }),
    }));
    const groups = new Map();
    for (const name of names) {
      const group = metricOf(name).kind ?? name;
      groups.set(group, [...(groups.get(group) ?? []), name]);
    }
    const figureOf = (group, title) => {
      const { chart, figure } = chartFor(group, title);
      const others = ["var(--ft-4)", "var(--ft-5)", "var(--ft-6)"];
      const taken = new Set();
      const lines = groups.get(group).sort((one, other) => PARTS.indexOf(metricOf(one).part) - PARTS.indexOf(metricOf(other).part)).map((name, n) => {
        const own = COLOURS[metricOf(name).part] ?? others[n % 3];
        const colour = taken.has(own) ? others[n % 3] : own;
        taken.add(colour);
        return { label: words.title(name), colour, y: metrics[name] };
      });
      figure.draw = () => chart.update({ x, from: Math.min(x[0], 0), to: total, lines, marks, smoothing: view.smoothing, log: view.log && group === "loss" });
      return figure;
    };
    const figures = CHARTS.filter((group) => groups.has(group)).map((group) => figureOf(group, words(group)));
    const rest = [...groups.keys()].filter((group) => !CHARTS.includes(group)).map((group) => figureOf(group, words.title(group)));
    fill(more, h("summary", {}, words("more")), h("div", { class: "ft-charts" }, rest));
    redraw = () => [...figures, ...rest].forEach((figure) => figure.draw());
    queueMicrotask(redraw); // in the page, so that they know how wide they are
    return [controls, h("div", { class: "ft-charts" }, figures), rest.length > 0 && more];
  }

  return { element, show, stop: () => shown.forEach(({ chart }) => chart.stop()) };
}

const FIRST = ["full_valid_loss", "valid_loss", "train_loss"];
const NOT_METRICS = new Set(["step", "model", "id", "created_at"]);

function checkpointTable(rows, best, words) {
  if (!rows.length) return [];
  const names = [...new Set(rows.flatMap(Object.keys))].filter((name) => !NOT_METRICS.has(name) && rows.some((row) => typeof row[name] === "number"));
  names.sort((one, other) => rank(one) - rank(other) || one.localeCompare(other));
  const columns = [[words("step")], ...names.map((name) => [words.title(name), true]), [words("model")]];
  return table(words("checkpoints"), columns, rows.map((row) => {
    const isBest = row.step === best?.step;
    const step = [words.number(row.step), isBest && h("span", { class: "ft-star" }, ` ★ ${words("best_one")}`)];
    return { best: isBest, cells: [step, ...names.map((name) => words.number(row[name])), typeof row.model === "string" ? copyable(row.model, words) : "–"] };
  }));
}

const rank = (name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);

function log(events, words) {
  const one = ({ created_at: at, level, message }) => h("li", { class: `ft-${level}` },
    h("time", { datetime: at > 0 ? new Date(at * 1000).toISOString() : null }, words.moment(at)),
    h("span", {}, (level === "warn" || level === "error") && h("b", {}, words(level), " "), String(message ?? "")));
  return [h("h2", {}, words("events")), events.length
    ? h("div", { class: "ft-events", role: "region", tabindex: 0, "aria-label": words("events") },
      h("ol", {}, [...events].reverse().filter(Boolean).map(one)))
    : h("p", { class: "ft-note" }, words("no_events"))];
}

function details(progress, words) {
  const { job_id: id, model, fine_tuned_model: tuned, trained_tokens: tokens, created_at: created, finished_at: finished } = progress;
  if (!id) return [];
  const parameters = Object.entries(progress.hyperparameters ?? {});
  const row = (name, value) => value && [h("dt", {}, name), h("dd", {}, value)];
  const text = (value) => (typeof value === "number" ? words.number(value) : typeof value === "string" ? value : JSON.stringify(value));
  return [h("h2", {}, words("job")), h("dl", { class: "ft-details" },
    row(words("job_id"), h("code", {}, id)),
    row(words("base_model"), model && h("code", {}, model)),
    row(words("method"), progress.method),
    row(words("fine_tuned_model"), tuned && copyable(tuned, words)),
    row(words("trained_tokens"), typeof tokens === "number" && words.number(tokens)),
    row(words("created"), created && words.moment(created)),
    row(words("finished"), finished && words.moment(finished)),
    row(words("hyperparameters"), parameters.length > 0 && h("ul", { class: "ft-parameters" },
      parameters.map(([name, value]) => h("li", {}, h("code", {}, name), " ", text(value))))))];
}
